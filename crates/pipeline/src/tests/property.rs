//! What holds for every input.

use proptest::prelude::*;

use super::*;
use crate::{Decision, EdgeReason};

/// A stage of a random pipeline.
#[derive(Clone, Debug)]
struct RandomStage {
    /// `None`: waits for all above. Indices of stages above, and `must: run`.
    needs: Option<Vec<(usize, bool)>>,
    /// Its condition: none, one that holds, one that does not.
    when: Option<bool>,
}

fn random_stages() -> impl Strategy<Value = Vec<RandomStage>> {
    let stage = (
        proptest::option::weighted(
            0.7,
            proptest::collection::vec((any::<u16>(), any::<bool>()), 0..4),
        ),
        proptest::option::weighted(0.3, any::<bool>()),
    );
    proptest::collection::vec(stage, 1..24).prop_map(|stages| {
        let mut random = Vec::with_capacity(stages.len());
        for (at, (needs, when)) in stages.into_iter().enumerate() {
            let needs = needs.map(|needs: Vec<(u16, bool)>| {
                let above = needs.into_iter().filter(|_| at > 0);
                let mut needs: Vec<(usize, bool)> =
                    above.map(|(need, must)| (usize::from(need) % at, must)).collect();
                needs.sort_unstable();
                needs.dedup_by_key(|(need, _)| *need);
                needs
            });
            random.push(RandomStage { needs, when });
        }
        random
    })
}

fn written(stages: &[RandomStage]) -> String {
    let mut text = "image: debian:12\nstages:\n".to_owned();
    for (at, stage) in stages.iter().enumerate() {
        text.push_str(&format!("  s{at}:\n    run: make\n"));
        if let Some(needs) = &stage.needs {
            let needs: Vec<String> = needs
                .iter()
                .map(|(need, must)| match must {
                    true => format!("{{ stage: s{need}, must: run }}"),
                    false => format!("s{need}"),
                })
                .collect();
            text.push_str(&format!("    needs: [{}]\n", needs.join(", ")));
        }
        if let Some(holds) = stage.when {
            let branch = if holds { "main" } else { "other" };
            text.push_str(&format!("    when: {{ branch: {branch} }}\n"));
        }
    }
    text
}

/// §7, word by word: a stage is skipped when a need that must run is, or when its
/// own condition does not hold.
fn is_skipped(stages: &[RandomStage], at: usize) -> bool {
    let must = stages[at].needs.iter().flatten().filter(|(_, must)| *must);
    must.into_iter().any(|(need, _)| is_skipped(stages, *need)) || stages[at].when == Some(false)
}

/// Everything a stage waits for, however indirectly: without `needs`, all above it.
fn waits_for(stages: &[RandomStage], at: usize) -> Vec<bool> {
    let mut all = vec![false; stages.len()];
    let mut waiting = vec![at];
    while let Some(at) = waiting.pop() {
        let direct: Vec<usize> = match &stages[at].needs {
            None => (0..at).collect(),
            Some(needs) => needs.iter().map(|(need, _)| *need).collect(),
        };
        for need in direct {
            if !std::mem::replace(&mut all[need], true) {
                waiting.push(need);
            }
        }
    }
    all
}

/// What the edges of a plan say, however indirectly.
fn planned_waits(plan: &Plan, name: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut waiting = vec![name.to_owned()];
    while let Some(name) = waiting.pop() {
        for edge in &plan.stage(&name).unwrap().needs {
            if !all.contains(&edge.stage) {
                all.push(edge.stage.clone());
                waiting.push(edge.stage.clone());
            }
        }
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_topological_and_agrees_with_the_rules(stages in random_stages()) {
        let plan = planned(&written(&stages), &on_main());
        prop_assert_eq!(&plan.stages[0].name, "checkout");
        let position = |name: &str| plan.stages.iter().position(|stage| stage.name == name).unwrap();
        for (at, stage) in stages.iter().enumerate() {
            let name = format!("s{at}");
            let planned = plan.stage(&name).unwrap();
            for edge in &planned.needs {
                prop_assert!(position(&edge.stage) < position(&name), "{} before {name}", edge.stage);
            }
            prop_assert_eq!(planned.state == Decision::Skip, is_skipped(&stages, at), "{}", name);
            // Hiding redundant edges hides none that count.
            let mut waits: Vec<String> = waits_for(&stages, at)
                .iter()
                .enumerate()
                .filter(|(_, waits)| **waits)
                .map(|(at, _)| format!("s{at}"))
                .collect();
            waits.push("checkout".to_owned());
            waits.sort();
            prop_assert_eq!(planned_waits(&plan, &name), waits, "{}", name);
            let order = planned.needs.iter().any(|edge| edge.by == EdgeReason::Order);
            prop_assert!(!order || stage.needs.is_none() || planned.needs.len() == 1);
        }
    }

    #[test]
    fn the_order_of_the_file_is_kept_where_nothing_forbids_it(count in 1_usize..20) {
        let stages = vec![RandomStage { needs: Some(vec![]), when: None }; count];
        let plan = planned(&written(&stages), &on_main());
        let names: Vec<_> = plan.stages.iter().skip(1).map(|stage| stage.name.clone()).collect();
        let expected: Vec<_> = (0..count).map(|at| format!("s{at}")).collect();
        prop_assert_eq!(names, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(source) = SourceFile::from_bytes("a.yml", bytes) {
            let (document, diagnostics) = parse(&source);
            let (pipeline, more) = check(&document, &Bundled);
            prop_assert!(pipeline.is_none() || !diagnostics.has_errors() && !more.has_errors());
            let _ = (diagnostics.to_string(), more.to_string(), diagnostics.to_json());
        }
    }

    #[test]
    fn no_change_of_a_real_file_makes_it_panic(
        file in 0_usize..3,
        changes in proptest::collection::vec((any::<u32>(), 0_usize..3, 0_usize..24), 1..6),
    ) {
        const PIECES: &[&str] = &[
            "\n", " ", "\t", ":", "- ", "[", "]", "{", "}", "\"", "'", "#", "&a ", "*a", "<<: *a", "!x ",
            "${{ ", " }}", "|", "\u{202e}", "é", "off", "~", "12",
        ];
        let files = [
            include_str!("../../../../pipelines/full.yml"),
            include_str!("../../../../pipelines/c-service.yml"),
            include_str!("../../../../templates/pipelines/c-service/1/template.yml"),
        ];
        let mut text: Vec<char> = files[file].chars().collect();
        for (at, kind, piece) in changes {
            let at = usize::try_from(at).unwrap() % text.len();
            match kind {
                0 => { text.remove(at); }
                1 => { let end = (at + 7).min(text.len()); text.drain(at..end); }
                _ => { text.splice(at..at, PIECES[piece].chars()); }
            }
        }
        let text: String = text.into_iter().collect();
        let found = found_in(&text, &Bundled, &on_main());
        let _ = (found.to_string(), found.render(crate::Style::Coloured), found.to_json());
    }
}
