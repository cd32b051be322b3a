//! What verbs say of themselves: `--help` and manual pages, as files that
//! are read when they change. `SHIPLINE_UPDATE_CASES=1` writes them anew.

use std::path::Path;

use clap::{CommandFactory as _, ValueEnum as _};

use super::Arguments;

const VERBS: [&str; 18] = [
    "cancel",
    "clean",
    "deploy",
    "exec",
    "history",
    "lock",
    "logs",
    "releases",
    "restart",
    "rollback",
    "scale",
    "serve",
    "start",
    "status",
    "stop",
    "target bootstrap",
    "tests",
    "unlock",
];

/// Those whose codes scripts ask for.
const CODED: [&str; 14] = [
    "cancel", "deploy", "exec", "history", "lock", "releases", "restart", "rollback", "scale",
    "start", "status", "stop", "tests", "unlock",
];

fn command() -> clap::Command {
    let mut command = Arguments::command().term_width(100).disable_colored_help(true);
    command.build();
    command
}

/// The command of a verb, which may be of two words.
fn found(verb: &str) -> clap::Command {
    let find = |command: clap::Command, word: &str| {
        command.find_subcommand(word).expect("the verb is there").clone()
    };
    verb.split(' ').fold(command(), find)
}

/// The text that `shipline VERB --help` prints.
fn help(verb: &str) -> String {
    found(verb).render_long_help().to_string()
}

fn page(verb: &str) -> String {
    let verb = found(verb);
    let mut page = Vec::new();
    clap_mangen::Man::new(verb).render(&mut page).expect("it is written to memory");
    let page = String::from_utf8(page).expect("manual pages are text");
    page.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn what_the_verbs_say_of_themselves_is_what_was_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("help");
    let update = std::env::var_os("SHIPLINE_UPDATE_CASES").is_some();
    for verb in VERBS {
        let file = verb.replace(' ', "-");
        for (name, said) in [(format!("{file}.txt"), help(verb)), (format!("{file}.1"), page(verb))]
        {
            let path = folder.join(&name);
            if update {
                std::fs::create_dir_all(&folder).expect("the folder can be made");
                std::fs::write(&path, &said).expect("the case can be written");
            }
            let read = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(said, read, "{name}: SHIPLINE_UPDATE_CASES=1 writes it anew");
        }
    }
}

#[test]
fn exit_codes_and_examples_are_told() {
    for verb in CODED {
        let help = help(verb);
        assert!(help.contains("Exit codes: ") || help.contains("Exits as "), "{verb}: {help}");
    }
    for verb in VERBS {
        assert!(help(verb).contains("Examples:\n  shipline "), "{verb}");
    }
}

#[test]
fn every_shell_completes_the_verbs_and_their_options() {
    for shell in clap_complete::Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Arguments::command(), "shipline", &mut script);
        let script = String::from_utf8(script).expect("scripts are text");
        let options = ["only", "emergency", "image-only", "mine", "dry-run", "lock-wait"];
        for word in CODED.iter().chain(&options) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
