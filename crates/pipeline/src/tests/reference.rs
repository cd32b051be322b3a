//! The tables of `docs/language/reference.md` are what the key table and the
//! catalogue say. Run with `SHIPLINE_UPDATE_DOCS=1` to write them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::CATALOGUE;
use crate::expression::{CONTEXTS, EVENT, GIT, RUN, Site, available, available_functions};
use crate::keys::{self, Default, Form, Key, Keys};

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->\n";

/// Every generated block by its name.
fn blocks() -> BTreeMap<String, String> {
    let mut blocks: BTreeMap<String, String> =
        keys::every().into_iter().map(|keys| (keys.name.to_owned(), table(keys))).collect();
    blocks.insert("codes".to_owned(), codes());
    blocks.insert("names".to_owned(), names());
    blocks.insert("places".to_owned(), places());
    blocks
}

/// The keys of one kind of map.
fn table(keys: &Keys) -> String {
    let of_actions = keys.all.iter().any(|key| key.actions.is_some());
    let mut table = match of_actions {
        true => "| key | for | value | default | expressions | meaning |\n| --- | --- | --- | --- | --- | --- |\n".to_owned(),
        false => "| key | value | default | expressions | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned(),
    };
    for key in keys.all {
        let actions = match key.actions {
            Some(actions) => format!(" {} |", actions.join(" ")),
            None if of_actions => " all |".to_owned(),
            None => String::new(),
        };
        let site = key.site.map_or("–", site);
        let _ = writeln!(
            table,
            "| `{}` |{actions} {} | {} | {site} | {} |",
            key.name,
            escaped(&value(&key.form)),
            escaped(&default(key)),
            escaped(&meaning(key)),
        );
    }
    if let Some(others) = keys.others {
        let _ = writeln!(table, "| any name | {} | – | file | an axis |", value(others));
    }
    table
}

/// The kinds of places that expressions stand at, and which keys have them.
const SITES: &[(Site, &str)] = &[
    (Site::Pipeline, "file"),
    (Site::Environment, "environment"),
    (Site::Plan, "plan"),
    (Site::Condition, "condition"),
    (Site::Value, "start"),
    (Site::Defaults, "defaults"),
    (Site::Cache, "cache"),
    (Site::Run, "command"),
    (Site::With, "with"),
];

/// Where a key's expressions stand, as the table of expressions names it.
fn site(site: Site) -> &'static str {
    SITES.iter().find(|(known, _)| *known == site).map_or("–", |(_, name)| name)
}

/// Which names can be read at which places.
fn places() -> String {
    let mut table = "| place |".to_owned();
    for context in CONTEXTS {
        let _ = write!(table, " `{context}` |");
    }
    let _ = writeln!(table, " `hash()` |\n|{}", " --- |".repeat(CONTEXTS.len() + 2));
    for (site, name) in SITES {
        let hash = available_functions(*site).contains(&"hash");
        let cells = CONTEXTS.iter().map(|context| available(*site, context)).chain([hash]);
        let cells: Vec<&str> = cells.map(|yes| if yes { "yes" } else { "–" }).collect();
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    }
    table
}

/// The names that have names of their own.
fn names() -> String {
    let mut table = "| name | |\n| --- | --- |\n".to_owned();
    for (context, names) in [("git", GIT), ("event", EVENT), ("run", RUN)] {
        let names: Vec<String> = names.iter().map(|name| format!("`{context}.{name}`")).collect();
        let _ = writeln!(table, "| `{context}` | {} |", names.join(" "));
    }
    table
}

fn meaning(key: &Key) -> String {
    let mut text = key.about.to_owned();
    if let [example, ..] = key.examples {
        let _ = write!(text, ". Example: `{}: {example}`", key.name);
    }
    if !key.codes.is_empty() {
        let _ = write!(text, ". {}", key.codes.join(", "));
    }
    text
}

fn default(key: &Key) -> String {
    match key.default {
        Default::None => "–".to_owned(),
        Default::Required => "required".to_owned(),
        Default::Value(value) => format!("`{value}`"),
        Default::Words(words) => words.to_owned(),
    }
}

/// A form in words.
fn value(form: &Form) -> String {
    match form {
        Form::Text => "text".to_owned(),
        Form::AnyText => "text, number, `true` or `false`".to_owned(),
        Form::Bool => "`true` or `false`".to_owned(),
        Form::Int { min: i64::MIN, .. } => "number".to_owned(),
        Form::Int { min, max } if min == max => format!("`{min}`"),
        Form::Int { min, max } => format!("number from {min} to {max}"),
        Form::Number => "number above 0".to_owned(),
        Form::Like(make) => make.name.to_owned(),
        Form::Word(word) => format!("`{word}`"),
        Form::Words(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
        }
        Form::Value => "any".to_owned(),
        Form::Map(keys) => format!("[map](#{})", anchor(keys.name)),
        Form::MapOf(make, form) => format!("map from {} to {}", make.name, value(form)),
        Form::ListOf(form) => format!("list of {}", value(form)),
        Form::OneOrMany(form) => format!("{}, or a list of it", value(form)),
        Form::OneOf(forms) => forms.iter().map(value).collect::<Vec<_>>().join(", or "),
    }
}

/// As a heading `## NAME` is linked to.
fn anchor(name: &str) -> String {
    let kept = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_ascii_lowercase().replace(' ', "-")
}

fn codes() -> String {
    let mut table = "| code | |\n| --- | --- |\n".to_owned();
    for explanation in CATALOGUE {
        let _ = writeln!(table, "| {} | {} |", explanation.code, explanation.title);
    }
    table
}

/// A bar ends a cell, also within code.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_reference_is_what_the_tables_say() {
    let path = super::cases::root().join("docs/language/reference.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let blocks = blocks();
    let mut names = Vec::new();
    let mut parts = written.split(BEGIN);
    let mut came = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->\n").unwrap();
        let (_, rest) = rest.split_once(END).unwrap_or_else(|| panic!("`{name}` has no end"));
        let block = blocks.get(name).unwrap_or_else(|| panic!("there is no table `{name}`"));
        names.push(name);
        came += &format!("{BEGIN}{name} -->\n{block}{END}{rest}");
    }
    names.sort_unstable();
    if std::env::var_os("SHIPLINE_UPDATE_DOCS").is_some() {
        // A new map: its heading may be moved to where it belongs.
        for (name, block) in blocks.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
            let _ = write!(came, "\n### {name}\n\n{BEGIN}{name} -->\n{block}{END}");
        }
        std::fs::write(&path, came).unwrap();
    } else {
        assert_eq!(names, blocks.keys().collect::<Vec<_>>(), "each table stands there once");
        assert!(written == came, "run again with SHIPLINE_UPDATE_DOCS=1, and read the difference");
    }
}

#[test]
fn every_map_of_the_reference_stands_below_a_heading_of_its_name() {
    let path = super::cases::root().join("docs/language/reference.md");
    let written = std::fs::read_to_string(&path).unwrap();
    for keys in keys::every() {
        let heading = format!("\n### {}\n", keys.name);
        let at = written.find(&heading).unwrap_or_else(|| panic!("no heading `{}`", keys.name));
        let block = written[at..].find(&format!("{BEGIN}{} -->", keys.name));
        let next = written[at + 4..].find("\n### ").unwrap_or(usize::MAX - 8);
        assert!(block.is_some_and(|block| block < next + 4), "{}", keys.name);
    }
}

#[test]
fn every_function_of_expressions_and_every_place_is_explained() {
    let path = super::cases::root().join("docs/language/reference.md");
    let written = std::fs::read_to_string(&path).unwrap();
    for function in available_functions(Site::Cache) {
        assert!(written.contains(&format!("| `{function}(")), "{function}");
    }
    for (_, name) in SITES {
        assert!(written.contains(&format!("\n- *{name}*: ")), "{name}");
    }
}

#[test]
fn every_link_of_the_language_leads_to_a_heading() {
    let root = super::cases::root().join("docs");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let anchors = |text: &str| -> Vec<String> {
        let headings = text.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches(['#', ' ']))).collect()
    };
    let (guide, reference) = (read("language.md"), read("language/reference.md"));
    for (text, own, other, prefix) in [
        (&guide, anchors(&guide), anchors(&reference), "language/reference.md"),
        (&reference, anchors(&reference), anchors(&guide), "../language.md"),
    ] {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (file, anchor) = link.0.split_once('#').unwrap_or((link.0, ""));
            let known = match file {
                "" => &own,
                _ if file == prefix => &other,
                _ => continue,
            };
            assert!(anchor.is_empty() || known.iter().any(|known| known == anchor), "{}", link.0);
        }
    }
    let mut sorted = anchors(&reference);
    sorted.sort_unstable();
    let count = sorted.len();
    sorted.dedup();
    assert_eq!(sorted.len(), count, "two headings have one name");
}
