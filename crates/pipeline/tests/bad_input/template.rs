//! Templates, and what is given to them (rows B of the table of bad input).

use std::cell::Cell;

use shipline_pipeline::{
    Context, Files, Git, NotFound, Plan, SourceFile, Template, TemplateReference, Work, check,
    check_template, parse, plan,
};

use super::{on_main, peak_of, said_with};

/// Templates by the text that names them; it counts how often one was asked for.
#[derive(Default)]
struct Texts {
    all: Vec<(String, String)>,
    asked: Cell<usize>,
}

impl Texts {
    fn one(text: impl Into<String>) -> Self {
        Self { all: vec![("t@1".to_owned(), text.into())], ..Self::default() }
    }

    fn and(mut self, reference: &str, text: impl Into<String>) -> Self {
        self.all.push((reference.to_owned(), text.into()));
        self
    }
}

impl Files for Texts {
    fn find(&self, reference: &TemplateReference) -> Result<Template, NotFound> {
        self.asked.set(self.asked.get() + 1);
        let name = reference.to_string();
        let Some((_, text)) = self.all.iter().find(|(known, _)| *known == name) else {
            return Err(NotFound::Unknown { searched: Vec::new(), names: Vec::new() });
        };
        let source = SourceFile::from_bytes(name, text.as_bytes().to_vec());
        let source = source.map_err(|found| NotFound::Unreadable { why: found.to_string() })?;
        Ok(Template { version: "1".to_owned(), source })
    }
}

const STAGES: &str = "image: debian:12\nstages: { a: make }\n";

/// One finding, with this code and these words.
#[track_caller]
fn only(said: &[String], code: &str, words: &str) {
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with(code) && said[0].contains(words), "{said:#?}");
}

#[test]
fn b_1_no_path_leaves_the_tree_that_it_is_in() {
    let git = "https://git.example/t.git";
    for path in [
        "./../x.yml",
        "./a/../../x.yml",
        "./%2e%2e/x.yml",
        "./..%2fx.yml",
        "./a\\..\\..\\x.yml",
        "./.",
        "../x.yml",
        "/etc/passwd",
        "//etc/passwd",
        ".\\x.yml",
    ] {
        // Of the commit, and beside a template of Git.
        let named = format!("template: {}\n", serde_json::Value::from(path));
        let files = Texts::default().and(&format!("{git}//java@1"), named.clone());
        only(&said_with(named, &files), "E015 1:", "is not a path of a template");
        assert_eq!(files.asked.get(), 0, "{path}");
        let said = said_with(format!("template: {git}//java@1"), &files);
        only(&said, "E015 1:", "is not a path of a template");
        assert_eq!(files.asked.get(), 1, "{path}");
    }
    for path in ["../x", "a/../../x", "%2e%2e/x", "a\\..\\x", "/etc/passwd", "./x", "a//b"] {
        let address = serde_json::Value::from(format!("{git}//{path}@1"));
        let files = Texts::default();
        let said = said_with(format!("template: {address}"), &files);
        only(&said, "E015 1:", "is not the address of a template");
        assert_eq!(files.asked.get(), 0, "{path}");
    }
}

#[test]
fn b_2_a_chain_ends_at_ten_and_a_circle_where_it_closes() {
    let chain = (1..=50).fold(Texts::default(), |files, number| {
        let next = format!("template: t{}@1\n", number + 1);
        files.and(&format!("t{number}@1"), next)
    });
    let said = said_with("template: t1@1", &chain);
    only(&said, "E038 1:11 ", "templates lie 11 deep in one another, the limit is 10");
    assert_eq!(chain.asked.get(), 11);

    let circle = Texts::one("template: u@1\n").and("u@1", "template: t@1\n");
    let said = said_with("template: t@1", &circle);
    only(&said, "E038 1:11 ", "templates use each other in a circle");
    assert_eq!(circle.asked.get(), 3);
}

/// The work of stage `a`, with this value of the parameter `x`.
fn with_value(value: &serde_json::Value, context: &Context) -> Plan {
    let files = Texts::one(
        "params: { x: { type: string } }\nimage: debian:12\nstages: { a: { env: { X: '${{ params.x }}', Y: 'a ${{ params.x }} b' }, run: make } }\n",
    );
    let text = format!("template: t@1\nwith: {{ x: {value} }}\n");
    let (document, found) = parse(&SourceFile::new(".shipline.yml", text));
    assert!(found.is_empty(), "{found}");
    let (pipeline, found) = check(&document, &files);
    plan(&pipeline.unwrap_or_else(|| panic!("{found}")), context).unwrap()
}

fn env(plan: &Plan) -> (String, String) {
    let Work::Run(run) = &plan.stage("a").unwrap().work else { panic!("no run") };
    (run.env["X"].clone(), run.env["Y"].clone())
}

#[test]
fn b_3_a_value_that_would_be_yaml_or_shell_is_one_text() {
    for value in [
        "x: y # z",
        "a\n    privileged: true",
        "a\nstages:\n  evil: rm",
        "'; rm -rf /; '",
        "\"; rm -rf /; \"",
        "$(id) `id` ${IFS}",
        "{ a: b }",
        "[a, b]",
        "*alias",
        "&anchor",
        "!!python/object:os.system x",
        "--- x",
        "<<",
        "null",
        "true",
        "012",
    ] {
        let plan = with_value(&value.into(), &on_main());
        assert_eq!(env(&plan), (value.to_owned(), format!("a {value} b")));
        assert_eq!(plan.stages.len(), 2, "{value}");
    }
}

#[test]
fn b_3_what_an_expression_yields_is_never_an_expression_again() {
    let evil = "${{ git.sha }} ${{ secrets.TOKEN }} ${{ params.x }}";
    let context = Context { git: Git { message: evil.to_owned(), ..on_main().git }, ..on_main() };
    let plan = with_value(&"${{ git.message }}".into(), &context);
    assert_eq!(env(&plan), (evil.to_owned(), format!("a {evil} b")));
}

#[test]
fn b_3_no_value_becomes_a_part_of_a_condition() {
    let files = Texts::one(
        "params: { x: { type: string } }\nimage: debian:12\nstages: { a: { when: { if: \"git.branch == '${{ params.x }}'\" }, run: make } }\n",
    );
    let said = said_with("template: t@1\nwith: { x: \"' || true || '\" }\n", &files);
    assert!(said.iter().any(|said| said.starts_with("E0")), "{said:#?}");
}

#[test]
fn b_3_ten_thousand_parameters_are_read_and_given() {
    let declared: String =
        (0..10_000).map(|number| format!("  p{number}: {{ type: string }}\n")).collect();
    let given: String = (0..10_000).map(|number| format!("  p{number}: v\n")).collect();
    let files = Texts::one(format!("params:\n{declared}{STAGES}"));
    assert_eq!(said_with(format!("template: t@1\nwith:\n{given}"), &files), Vec::<String>::new());
    let said = said_with(format!("template: t@1\nwith:\n{given}  q: v\n"), &files);
    only(&said, "E032 10003:3 ", "has no parameter `q`");
}

#[test]
fn b_3_many_names_that_are_not_there_are_told_in_little_memory() {
    let names = |name: &str| -> String {
        (0..5_000).map(|number| format!("  {name}{number}: {{ type: string }}\n")).collect()
    };
    let files = Texts::one(format!("params:\n{}{STAGES}", names("declared")));
    let said = said_with(format!("template: t@1\nwith:\n{}", names("given")), &files);
    assert_eq!(said.len(), 5_000);

    let stages = |name: &str, value: &str| -> String {
        (0..5_000).map(|number| format!("  {name}{number}: {value}\n")).collect()
    };
    let policy = stages("open", "locked");
    let template = format!("image: debian:12\nstages:\n{}", stages("stage", "make"));
    let files = Texts::one(&*template);
    let text = format!("template: t@1\nstages:\n{}", stages("other", "off"));
    assert_eq!(said_with(text, &files).len(), 5_000);
    let files = Texts::one(format!("{template}policy:\n{policy}"));
    assert_eq!(said_with("template: t@1\n", &files).len(), 5_000);
}

#[test]
fn b_3_thousands_of_removed_stages_take_little_memory() {
    let stages = |stage: &dyn Fn(usize) -> String, count: usize| -> String {
        (0..count).map(|number| format!("  s{number}: {}\n", stage(number))).collect()
    };
    // All wait for all above them, and all go but the last half, which needs them.
    let half = 2_000;
    let stage = |number: usize| {
        if number < half {
            "make".to_owned()
        } else {
            format!("{{ run: x, needs: [s{}] }}", half - 1)
        }
    };
    let files = Texts::one(format!("image: debian:12\nstages:\n{}", stages(&stage, 2 * half)));
    let off = stages(&|_| "off".to_owned(), half);
    let said = said_with(format!("template: t@1\nstages:\n{off}"), &files);
    only(&said, "E003 3:3 ", "are more than 100000, which is the limit");
}

#[test]
fn b_3_patterns_are_compiled_once_and_are_small() {
    let items = vec!["a"; 40_000].join(", ");
    let files = Texts::one(format!(
        "params: {{ x: {{ type: list, of: string, pattern: '^[a-z]{{90}}$' }} }}\n{STAGES}"
    ));
    let said = said_with(format!("template: t@1\nwith: {{ x: [{items}] }}"), &files);
    only(&said, "E034 ", "cannot be");
    // Thousands of them are read in time.
    let declared: String = (0..5_000)
        .map(|number| format!("  p{number}: {{ type: string, pattern: '^[a-z]{{90}}$' }}\n"))
        .collect();
    said_with("template: t@1\n", &Texts::one(format!("params:\n{declared}{STAGES}")));
}

#[test]
fn b_3_a_template_has_a_mebibyte_and_no_byte_more() {
    let whole = 1 << 20;
    let padded = |bytes: usize| format!("{STAGES}#{}", "x".repeat(bytes - STAGES.len() - 1));
    let text = "template: t@1\n";
    assert_eq!(said_with(text, &Texts::one(padded(whole))), Vec::<String>::new());
    let said = said_with(text, &Texts::one(padded(whole + 1)));
    only(&said, "E003 ", "1048577 bytes, the limit is 1048576");
}

#[test]
fn b_3_depth_is_that_of_all_together() {
    let deep = |levels: usize| format!("{}x{}", "[".repeat(levels), "]".repeat(levels));
    let template = |levels: usize| {
        let (open, close) = ("{ k: ".repeat(levels), " }".repeat(levels));
        Texts::one(format!(
            "params: {{ x: {{ type: map }} }}\nx-a: {open}'${{{{ params.x }}}}'{close}\n{STAGES}"
        ))
    };
    let said = said_with(format!("template: t@1\nwith: {{ x: {} }}", deep(100)), &template(1));
    only(&said, "E003 ", "the limit is 64");
    let inside = format!("template: t@1\nwith: {{ x: {{ k: {} }} }}", deep(40));
    assert_eq!(said_with(inside.clone(), &template(10)), Vec::<String>::new());
    only(
        &said_with(inside, &template(40)),
        "E003 1:11 ",
        "82 levels of lists and maps, the limit is 64",
    );
}

/// Nine times nine, four deep, below the key `k`: 7,381 values.
fn bomb(levels: usize) -> String {
    let mut bomb = "x-0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..levels {
        let nine = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("x-{level}: &a{level} [{nine}]\n"));
    }
    bomb
}

#[test]
fn b_3_values_do_not_multiply_without_end() {
    // A bomb in the file, and in a default.
    let files = Texts::one(format!("params: {{ x: {{ type: list }} }}\n{STAGES}"));
    let said = said_with(format!("{}template: t@1\nwith: {{ x: *a8 }}\n", bomb(9)), &files);
    only(&said, "E003 ", "the limit is 100000");
    let default = "params: { x: { type: map, default: { k: *a8 } } }\n";
    let files = Texts::one(format!("{}{default}{STAGES}", bomb(9)));
    only(&said_with("template: t@1\n", &files), "E003 ", "the limit is 100000");
    // One that is small by itself, and put in ten thousand times.
    let uses = "'${{ params.x }}', ".repeat(10_000);
    let many = |kind: &str| {
        Texts::one(format!("params: {{ x: {{ type: {kind} }} }}\nx-a: [{uses}]\n{STAGES}"))
    };
    let list = format!("[{}]", vec!["x"; 9_000].join(", "));
    let said = said_with(format!("template: t@1\nwith: {{ x: {list} }}\n"), &many("list"));
    only(&said, "E003 1:11 ", "values, the limit is 100000");
    let text = "x".repeat(500_000);
    let said = said_with(format!("template: t@1\nwith: {{ x: {text} }}\n"), &many("string"));
    only(&said, "E003 1:11 ", "bytes, the limit is 4194304");
    // Each of a chain makes it nine times as large.
    let nine: String = (0..9).map(|key| format!("k{key}: '${{{{ params.x }}}}', ")).collect();
    let chain = (1..9).fold(
        Texts::one(format!("params: {{ x: {{ type: map }} }}\n{STAGES}")),
        |files, number| {
            let below = if number == 1 { "t@1".to_owned() } else { format!("u{}@1", number - 1) };
            let text = format!(
                "template: {below}\nparams: {{ x: {{ type: map }} }}\nwith: {{ x: {{ {nine} }} }}\n"
            );
            files.and(&format!("u{number}@1"), text)
        },
    );
    let said = said_with("template: u8@1\nwith: { x: { a: b } }\n", &chain);
    only(&said, "E003 1:11 ", "values, the limit is 100000");
}

#[test]
fn b_3_a_template_by_itself_has_the_same_limits() {
    let uses = "'${{ params.x }}', ".repeat(10_000);
    let list = format!("[{}]", vec!["x"; 9_000].join(", "));
    let text =
        format!("params: {{ x: {{ type: list, default: {list} }} }}\nx-a: [{uses}]\n{STAGES}");
    let (document, _) = parse(&SourceFile::new("template.yml", text));
    let ((_, found), peak) = peak_of(|| check_template(&document, &Texts::default()));
    assert!(found.to_string().contains("values, the limit is 100000"), "{found}");
    assert!(peak <= super::MOST_BYTES, "{} MiB", peak >> 20);
}

/// Inputs the fuzz target of templates found, in its form.
#[test]
fn what_the_fuzzer_found_of_templates_stays_mended() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/template");
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut parts = text.splitn(4, "\n====\n");
        let mut part = || parts.next().map(str::to_owned);
        let (template, with, changes) = (part(), part(), part());
        let template = template.unwrap_or_default();
        let files = match part() {
            Some(base) => Texts::one(format!("template: base@1\n{template}")).and("base@1", base),
            None => Texts::one(template),
        };
        let (with, changes) = (with.unwrap_or_default(), changes.unwrap_or_default());
        said_with(format!("template: t@1\n{with}\n{changes}\n"), &files);
        let (document, _) = parse(&SourceFile::new("template.yml", files.all[0].1.as_str()));
        check_template(&document, &files);
    }
}
