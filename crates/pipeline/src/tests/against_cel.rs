//! The evaluator against that of the CEL library, which is slow, unbounded and right.

use proptest::prelude::*;

use super::*;

/// What the library says of an expression of text.
fn library(expression: &str) -> Option<String> {
    let program = cel::Program::compile(&format!("string({expression})")).ok()?;
    let mut context = cel::Context::default();
    let git = std::collections::HashMap::from([("sha", "0123456789"), ("branch", "release/1")]);
    context.add_variable_from_value("git", git);
    match program.execute(&context) {
        Ok(cel::Value::String(text)) => Some(text.to_string()),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}

/// What we say.
fn ours(expression: &str) -> Result<String, String> {
    let text = format!(
        "image: debian:12\nstages: {{ a: {{ run: make, env: {{ A: {} }} }} }}\n",
        serde_json::to_string(&format!("${{{{ string({expression}) }}}}")).unwrap()
    );
    let mut context = on_branch("release/1");
    context.git.sha = "0123456789".to_owned();
    let (pipeline, found) = checked(&text, &Bundled);
    let pipeline = pipeline.ok_or_else(|| lines(&found))?;
    match plan(&pipeline, &context) {
        Ok(plan) => match &plan.stages[1].work {
            crate::Work::Run(run) => Ok(run.env["A"].clone()),
            other => panic!("{other:?}"),
        },
        Err(found) => Err(lines(&found)),
    }
}

/// Expressions of any type, right and wrong ones.
fn expressions() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        Just("git.sha"),
        Just("git.branch"),
        Just("'a'"),
        Just("''"),
        Just("1"),
        Just("0"),
        Just("-3"),
        Just("9223372036854775807"),
        Just("2.5"),
        Just("true"),
        Just("false"),
        Just("null"),
        Just("[]"),
        Just("['a', 'b']"),
        Just("[1, 2, 0]"),
        Just("{'a': 1}"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 10, 3, |inner| {
        let operator = prop_oneof![
            Just("+"), Just("-"), Just("*"), Just("/"), Just("%"), Just("=="), Just("!="), Just("<"), Just("<="),
            Just(">"), Just(">="), Just("&&"), Just("||"), Just("in"),
        ];
        let method = prop_oneof![Just("startsWith"), Just("endsWith"), Just("contains"), Just("matches")];
        let function = prop_oneof![Just("size"), Just("string"), Just("int"), Just("double")];
        let macros = prop_oneof![
            Just(("map", "x")), Just(("map", "[x]")), Just(("filter", "x == 1")), Just(("all", "x != 'a'")),
            Just(("exists", "x == 'a'")), Just(("exists", "1 / x == 1")), Just(("all", "1 / x == 1")), Just(("exists_one", "x == 1")),
        ];
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            1 => (inner.clone(), method, inner.clone()).prop_map(|(a, m, b)| format!("{a}.{m}({b})")),
            1 => (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            1 => (inner.clone(), macros).prop_map(|(a, (m, b))| format!("{a}.{m}(x, {b})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => inner.clone().prop_map(|a| format!("!{a}")),
            1 => inner.prop_map(|a| format!("size([{a}].map(y, y))")),
        ]
    })
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where both give a value, it is the same. Numbers of different types go
    /// together here and not there, and types that can never go together are refused
    /// here before anything is evaluated; so one side may have no value.
    #[test]
    fn both_give_the_same_value(expression in expressions()) {
        let (theirs, ours) = (library(&expression), ours(&expression));
        match (theirs, ours) {
            (Some(theirs), Ok(ours)) => prop_assert_eq!(theirs, ours, "{}", expression),
            (Some(theirs), Err(found)) => {
                let known = ["E046", "cannot be evaluated", "no value", "E040"];
                prop_assert!(known.iter().any(|known| found.contains(known)), "{}: {} against {}", expression, theirs, found);
            }
            (None, _) => {}
        }
    }
}
