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

/// A manual run with parameters, of a change that asks to be merged.
fn manual() -> Context {
    let mut context = on_branch("feature/X-1");
    context.event = crate::TriggerEvent::Manual;
    context.params = BTreeMap::from([
        ("target".to_owned(), "prod".into()),
        ("count".to_owned(), 3.into()),
        ("hosts".to_owned(), serde_json::json!(["a", "b"])),
    ]);
    context.pull_request = Some(crate::PullRequest {
        number: 12,
        title: "Add x".to_owned(),
        target_branch: "main".to_owned(),
        action: "opened".to_owned(),
    });
    context.changed = Some(vec!["src/main.rs".to_owned(), "README.md".to_owned()]);
    context
}

/// Evaluates an expression beside parameters, variables and a matrix of one cell.
fn given(expression: &str, context: &Context) -> String {
    let text = format!(
        "image: debian:12\non: {{ manual: {{ params: {{ target: {{ type: string }}, count: {{ type: int }}, hosts: {{ type: list, of: string }}, missing: {{ type: string }} }} }} }}\n\
         env: {{ PLAIN: v, SHA: 'x-${{{{ git.sha_short }}}}', N: 3, CELL: '${{{{ default(matrix.db, \"-\") }}}}' }}\n\
         stages:\n  a:\n    run: make\n    matrix: {{ db: ['mysql:8'], n: [1] }}\n    env: {{ A: {} }}\n",
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
fn every_context_of_a_plan_can_be_read() {
    let context = manual();
    for (expression, expected) in [
        ("${{ event.name }} ${{ event.number }} ${{ event.title }}", "manual 12 Add x"),
        ("${{ event.target_branch }}", "main"),
        ("${{ params.target }}/${{ params.count + 1 }}", "prod/4"),
        ("${{ params.hosts[1] }}", "b"),
        ("${{ params.hosts.join('+') }}", "a+b"),
        ("${{ env.PLAIN }} ${{ env.SHA }} ${{ env.N + '!' }}", "v x-01234567 3!"),
        ("${{ matrix.db }} ${{ matrix.n + 1 }}", "mysql:8 2"),
        ("${{ env.CELL }}", "mysql:8"),
        ("${{ default(params.missing, 'none') }}", "none"),
        ("${{ has(params.missing) }} ${{ has(params.target) }}", "false true"),
    ] {
        assert_eq!(given(expression, &context), expected, "{expression}");
    }
    assert_eq!(
        given("${{ params.missing }}", &context),
        "E042 8:16 `params.missing` has no value here | if it may be missing, write `default(params.missing, '…')`"
    );
}

#[test]
fn every_function_gives_what_the_language_says() {
    let context = manual();
    for (expression, expected) in [
        ("default(git.tag, 'none')", "none"),
        ("default(git.branch, 'none')", "feature/X-1"),
        ("default(default(git.tag, params.missing), 'z')", "z"),
        ("default(params.hosts[7], 'z')", "z"),
        ("default({'a': 1}.b, 2)", "2"),
        // What is not needed is not looked at.
        ("default('a', string(1 / 0))", "a"),
        ("slug('Feature/JIRA-12')", "feature-jira-12"),
        ("lower('ÄB') + upper('äb') + trim('  x ')", "äbÄBx"),
        ("'ab'.upper()", "AB"),
        ("replace('a.b.c', '.', '-')", "a-b-c"),
        ("'a.b'.replace('.', '')", "ab"),
        ("split('a,b,c', ',')[2]", "c"),
        ("split('', ',').size()", "1"),
        ("['a', 'b'].join()", "ab"),
        ("join(split('a/b', '/'), ' ')", "a b"),
        ("semver('v1.20.3-rc.1').minor", "20"),
        ("semver('1.2.3').pre + semver('1.2.3-rc.1').pre", "rc.1"),
        ("semver('1.10.0').minor > semver('1.9.0').minor", "true"),
        ("changed('src/**')", "true"),
        ("changed('docs/**', '*.md')", "true"),
        ("changed('docs/**')", "false"),
        ("size('äbc') + size([1]) + size({'a': 1})", "5"),
        ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", "true"),
        ("'v12'.matches('^v[0-9]+$')", "true"),
        ("int('12') + int(1.9) + int(true)", "14"),
        ("double('1.5') + 1", "2.5"),
        ("bool('true') ? 'y' : 'n'", "y"),
        ("string(1.5) + string(true)", "1.5true"),
        ("type(1) == type(2)", "true"),
        ("7 / 2 + 7 % 2 - -1", "5"),
        ("1 < 2 && 'a' < 'b' && 1.5 >= 1", "true"),
        ("1 == 1.0 && [1, 'a'] == [1, 'a'] && {'a': [1]} == {'a': [1]}", "true"),
        ("'a' in ['a'] && 'k' in {'k': 1} && !(2 in [1])", "true"),
        ("(git.tag == null || 1 / 0 == 1) ? 'absorbed' : ''", "absorbed"),
        ("(1 / 0 == 1 || true) ? 'absorbed' : ''", "absorbed"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[1, 2, 3].filter(x, x > 1).map(x, string(x)).join(',')", "2,3"),
        ("[1, 2, 3].map(x, x > 1, x * 2)[1]", "6"),
        ("[1, 2].all(x, x > 0) && [1, 2].exists_one(x, x == 1)", "true"),
        ("{'a': 1, 'b': 2}.map(k, k).join('')", "ab"),
    ] {
        assert_eq!(given(&format!("${{{{ {expression} }}}}"), &context), expected, "{expression}");
    }
    let mut unknown = context;
    unknown.changed = None;
    assert_eq!(given("${{ changed('docs/**') }}", &unknown), "true");
}

#[test]
fn a_fault_names_the_place_and_what_is_wrong() {
    let context = manual();
    for (expression, expected) in [
        (
            "semver('1.2').pre",
            "E042 8:16 `semver('1.2').pre` cannot be evaluated: `1.2` is no version such as `1.2.3` or `v1.2.3-rc.1`",
        ),
        ("int('x')", "E042 8:16 `int('x')` cannot be evaluated: `x` is not a whole number"),
        ("1 / 0", "E042 8:16 `1 / 0` cannot be evaluated: there is no division by zero"),
        (
            "9223372036854775807 + 1",
            "E042 8:16 `9223372036854775807 + 1` cannot be evaluated: the number is too large",
        ),
        (
            "params.hosts[2]",
            "E042 8:16 `params.hosts[2]` cannot be evaluated: there is no item 2, the list has 2 items",
        ),
        ("'x'.matches('(')", "E042 8:24 `(` is no regular expression: unclosed group"),
        ("replace('a', 'b')", "E042 8:20 `replace` takes 3 values, and here are 2"),
        (
            "lower(params.count)",
            "E042 8:20 `lower(params.count)` cannot be evaluated: `lower` takes text, not a number",
        ),
        (
            "git.sha - 1",
            "E042 8:28 `git.sha - 1` cannot be evaluated: `-` does not go with text and a number",
        ),
        (
            "git.sha ? 1 : 2",
            "E042 8:20 `git.sha ? 1 : 2` cannot be evaluated: `?` takes true or false, and this is text",
        ),
        ("upcase('a')", "E041 8:20 unknown function `upcase`"),
        ("lowr('a')", "E041 8:20 unknown function `lowr` | did you mean `lower`?"),
        ("matrix.bd", "E041 8:20 unknown name `matrix.bd` | did you mean `matrix.db`?"),
        ("params.tarket", "E041 8:20 unknown name `params.tarket` | did you mean `params.target`?"),
        ("run.numbr", "E041 8:20 unknown name `run.numbr` | did you mean `run.number`?"),
        (
            "secrets.TOKEN",
            "E041 8:20 unknown name `secrets.TOKEN` | secrets are not read by expressions | name the secret under the key `secrets` of the stage",
        ),
        (
            "stages",
            "E041 8:20 `stages` is read without the name of a stage | write for example `stages.NAME.outputs.VERSION`",
        ),
        (
            "stages.a.output.x",
            "E041 8:20 unknown name `stages.a.output.x` | did you mean `stages.a.outputs`?",
        ),
        ("b'abc'", "E040 8:20 this is not an expression: there are no texts of bytes (`b'…'`)"),
    ] {
        let said = given(&format!("${{{{ {expression} }}}}"), &context);
        let said = said.lines().next().unwrap_or_default();
        assert_eq!(said, expected, "{expression}");
    }
}

#[test]
fn no_evaluation_takes_more_than_its_steps() {
    let context = on_main();
    let long = format!("'{}'", "a".repeat(1000));
    for expression in [
        // 40 elements in a loop in a loop are fine, 400 are not.
        format!("split({long}, '').map(x, split({long}, '').map(y, x + y)).size()"),
        format!("split({long}, '').map(x, {long}.replace('a', {long})).size()"),
        format!("split({long}, '').all(x, x.matches(x + '|b'))"),
        format!("{long}.replace('', {long}).replace('', {long}).replace('', {long})"),
        format!(
            "split({long}, '').exists(x, split({long}, '') == ['b'] || split({long}, '') == split({long}, '').map(y, 'b'))"
        ),
    ] {
        let said = value(&format!("${{{{ {expression} }}}}"), &context);
        assert!(
            said.starts_with("E046") || said.starts_with("E040"),
            "{expression:.80}: {said:.200}"
        );
    }
    for (expression, expected) in [
        ("'a'.matches('(\\\\w{1000}){1000}')", "E042"),
        (&*format!("'a'.matches('{}')", "a".repeat(300)), "E042"),
        (
            "split('aaaaaaaaaaaaaaaaaaaa', '').map(x, split('aaaaaaaaaaaaaaaaaaaa', '').map(y, x + y)).size()",
            "20",
        ),
    ] {
        let said = value(&format!("${{{{ {expression} }}}}"), &context);
        assert!(said.starts_with(expected), "{expression:.80}: {said:.200}");
    }
}
