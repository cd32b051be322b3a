//! Parts of a plan.

use super::{on_main, planned};
use crate::{Decision, SelectError, Selection};

const TEXT: &str = "image: busybox:1
stages:
  compile: make
  test: { needs: [compile], matrix: { db: [mysql, pg] }, run: make test }
  lint: { needs: [compile], run: make lint }
  pack: { needs: [test, lint], run: make pack }
  docs: { needs: [], run: make docs }
";

/// What runs, then what is taken from a former run.
fn selected(selection: &Selection) -> Result<(String, String), SelectError> {
    let mut plan = planned(TEXT, &on_main());
    let carried = selection.apply(&mut plan)?;
    let runs = plan
        .stages
        .iter()
        .filter(|stage| stage.state == Decision::Run && !carried.contains(&stage.name));
    let runs: Vec<&str> = runs.map(|stage| stage.name.as_str()).collect();
    Ok((runs.join(" "), carried.join(" ")))
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn a_part_is_what_is_named_with_what_it_needs_or_what_needs_it() {
    let none = Selection::default();
    let all = "checkout compile test[db=mysql] test[db=pg] lint pack docs";
    assert_eq!(selected(&none).unwrap(), (all.into(), String::new()));
    let lint = Selection { stages: vec!["lint".into()], ..Selection::default() };
    assert_eq!(selected(&lint).unwrap(), ("checkout compile lint".into(), String::new()));
    let two = Selection { stages: vec!["lint".into(), "docs".into()], ..Selection::default() };
    assert_eq!(selected(&two).unwrap().0, "checkout compile lint docs");
    let until = Selection { until: some("test[db=pg]"), ..Selection::default() };
    assert_eq!(selected(&until).unwrap().0, "checkout compile test[db=pg]");
    let from = Selection { from: some("lint"), ..Selection::default() };
    let needed = "checkout compile test[db=mysql] test[db=pg]";
    assert_eq!(selected(&from).unwrap(), ("lint pack".into(), needed.into()));
    let between = Selection { until: some("lint"), ..from };
    assert_eq!(selected(&between).unwrap(), ("lint".into(), "checkout compile".into()));
    let only = Selection { only: some("test"), ..Selection::default() };
    let (runs, carried) = selected(&only).unwrap();
    assert_eq!(
        (runs.as_str(), carried.as_str()),
        ("test[db=mysql] test[db=pg]", "checkout compile")
    );
    let cell = Selection { matrix: vec![("db".into(), "pg".into())], ..only };
    assert_eq!(selected(&cell).unwrap().0, "test[db=pg]");
}

#[test]
fn what_the_plan_does_not_have_is_said_with_what_it_has() {
    let help = |selection: Selection| {
        let error = selected(&selection).unwrap_err();
        format!("{error}: {}", error.help().unwrap_or_default())
    };
    let stages = |name: &str| Selection { stages: vec![name.into()], ..Selection::default() };
    assert_eq!(help(stages("pakc")), "the plan has no stage `pakc`: did you mean `pack`?");
    let matrix = |axis: &str, value: &str| Selection {
        matrix: vec![(axis.into(), value.into())],
        ..Selection::default()
    };
    assert_eq!(help(matrix("os", "x")), "no stage has the axis `os`: the axes are `db`");
    assert_eq!(help(matrix("db", "x")), "no cell has `db=x`: the values of `db` are `mysql`, `pg`");
    let nothing = Selection { from: some("pack"), until: some("lint"), ..Selection::default() };
    assert_eq!(help(nothing), "`lint` does not come after `pack`, so nothing is between them: ");
}
