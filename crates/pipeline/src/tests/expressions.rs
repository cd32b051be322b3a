//! Expressions in their places, with their values.

use super::*;
use crate::Work;

/// Evaluates an expression as the value of a variable, or says what is wrong.
fn value(expression: &str, context: &Context) -> String {
    let text = format!(
        "image: debian:12\nstages:\n  a:\n    run: make\n    env: {{ A: {} }}\n",
        serde_json::to_string(expression).unwrap()
    );
    let (pipeline, found) = checked(&text, &Bundled);
    let Some(pipeline) = pipeline else { return lines(&found) };
    match plan(&pipeline, context) {
        Ok(plan) => match &plan.stages[1].work {
            Work::Run(run) => run.env["A"].clone(),
            other => panic!("{other:?}"),
        },
        Err(found) => lines(&found),
    }
}

#[test]
fn every_name_of_the_event_can_be_read() {
    let context = on_branch("feature/X-1");
    for (expression, expected) in [
        ("${{ git.sha }}", "0123456789abcdef0123456789abcdef01234567"),
        ("${{git.sha_short}}", "01234567"),
        ("${{ git.branch }}", "feature/X-1"),
        ("${{ git.message }} by ${{ git.author }}", "Fix it by Ada <ada@corp.example>"),
        ("${{ git.default_branch }}", "main"),
        ("${{ git.url }}", "https://git.corp.example/team/orders"),
        ("${{ event.name }}", "push"),
        ("${{ event.trusted }}", "true"),
        ("${{ pipeline.name }}/${{ project.name }}", "orders/orders"),
        ("v${{ slug(git.branch) }}-${{ 1 + 2 }}", "vfeature-x-1-3"),
        ("${{ git.branch.startsWith('feature/') ? 'f' : 'm' }}", "f"),
        ("${{ git['branch'] }}", "feature/X-1"),
        ("${{ has(git.tag) && git.tag != null }}", "false"),
        ("${{ ['a', 'b'].exists(x, x == 'b') }}", "true"),
        ("${{ size(git.sha) }}", "40"),
    ] {
        assert_eq!(value(expression, &context), expected, "{expression}");
    }
}

#[test]
fn what_an_expression_yields_is_never_looked_at_again() {
    let mut context = on_main();
    context.git.message = "${{ git.sha }} x: y # z\n  privileged: true".to_owned();
    assert_eq!(value("${{ git.message }}", &context), context.git.message);
    assert_eq!(value("<${{ git.message }}>", &context), format!("<{}>", context.git.message));
}

#[test]
fn a_scalar_of_one_expression_keeps_its_type() {
    let text = "environments: { demo: { target: house } }\nstages:\n  image: { build: {} }\n  deploy:\n    timeout: 1m\n    \
                deploy: { environment: demo, image: image, replicas: \"${{ git.branch == 'main' ? 3 : 1 }}\" }\n";
    let replicas = |branch: &str| match &planned(text, &on_branch(branch)).stages[2].work {
        Work::Deploy(deploy) => deploy.replicas,
        other => panic!("{other:?}"),
    };
    assert_eq!((replicas("main"), replicas("x")), (3, 1));
    let text = text.replace("${{ git", "0${{ git");
    let found = lines(&found_in(&text, &Bundled, &on_main()));
    assert_eq!(
        found,
        "E042 6:58 `replicas` takes a whole number, not text | the expression gives text"
    );
}

#[test]
fn a_bad_value_of_an_expression_is_found_when_it_is_known() {
    let text = "image: \"debian:${{ git.branch }}\"\nstages: { a: make }";
    assert!(found_in(text, &Bundled, &on_branch("12")).is_empty());
    assert_eq!(
        lines(&found_in(text, &Bundled, &on_branch("a/b"))),
        "E015 1:8 `image` is no image reference: `debian:a/b` | this is not a port"
    );
}

#[test]
fn hostile_expressions_are_refused_before_they_cost_anything() {
    let context = on_main();
    for (expression, expected) in [
        ("(".repeat(4000), "E046"),
        (format!("{}1{}", "(".repeat(2000), ")".repeat(2000)), "E046"),
        (format!("{}1{}", "[".repeat(90), "]".repeat(90)), "E046"),
        (format!("{}true", "!".repeat(4000)), "true"),
        (format!("1{}", "+1".repeat(2000)), "E046"),
        (format!("true{}", "&&true".repeat(600)), "true"),
        (format!("true{}", "?true:true".repeat(400)), "E046"),
        (format!("{}1{}", "slug(".repeat(600), ")".repeat(600)), "E046"),
        (format!("git{}", ".sha".repeat(1000)), "E042"),
        (format!("git{}", "['sha']".repeat(500)), "E046"),
        ("'".repeat(4000), "E040"),
        // Each loop doubles the text.
        ("['a'].map(x, x+x).map(x, x+x).map(x, x+x)[0]".to_owned(), "E046"),
        ("[1, 2].map(x, [3, 4].map(y, x * y)).size()".to_owned(), "2"),
    ] {
        let said = value(&format!("${{{{ {expression} }}}}"), &context);
        assert!(said.starts_with(expected), "{expression:.60}: {said:.200}");
    }
}

#[test]
fn loops_in_loops_over_long_parameters_are_refused() {
    let numbers = vec!["1"; 2_000].join(", ");
    let files = TestFiles(&[(
        "long",
        "1",
        "params: { l: { type: list, of: int } }\nimage: debian:12\nstages: { a: { run: make, env: { A: \"${{ params.l.map(x, params.l.map(y, x + y)).size() }}\" } } }",
    )]);
    let said = lines(&found_in(
        &format!("template: long@1\nwith: {{ l: [{numbers}] }}"),
        &files,
        &on_main(),
    ));
    assert!(
        said.contains("E046") && said.ends_with("it takes more than the limit of 100000 steps"),
        "{said}"
    );
}
