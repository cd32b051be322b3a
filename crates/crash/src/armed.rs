use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

static ARMED: OnceLock<Armed> = OnceLock::new();

struct Armed {
    at: Option<At>,
    passed: Mutex<Passed>,
}

#[derive(Debug, PartialEq, Eq)]
enum At {
    Number(u64),
    /// Of its name.
    Named(String, u64),
}

#[derive(Default)]
struct Passed {
    all: u64,
    of_name: HashMap<String, u64>,
    log: Option<File>,
}

/// Reads from the variables of the process where it is to die. Once.
pub fn arm(variable: impl Fn(&str) -> Option<String>) {
    let at = variable("SHIPLINE_CRASH_AT").as_deref().map(parse);
    let log = variable("SHIPLINE_CRASH_LOG");
    if at.is_none() && log.is_none() {
        return;
    }
    let log = log.map(|path| {
        let file = File::options().create(true).append(true).open(&path);
        file.unwrap_or_else(|error| panic!("SHIPLINE_CRASH_LOG={path}: {error}"))
    });
    let passed = Mutex::new(Passed { log, ..Passed::default() });
    assert!(ARMED.set(Armed { at, passed }).is_ok(), "a process is armed once");
}

/// Just before the effect of `what`.
pub fn before(what: impl FnOnce() -> String) {
    pass(what, "before");
}

/// Just after the effect of `what`, which nobody has taken note of yet.
pub fn after(what: impl FnOnce() -> String) {
    pass(what, "after");
}

fn pass(what: impl FnOnce() -> String, when: &str) {
    let Some(armed) = ARMED.get() else { return };
    let name = format!("{when} {}", what());
    let mut passed = armed.passed.lock().unwrap_or_else(PoisonError::into_inner);
    passed.all += 1;
    let count = passed.of_name.entry(name.clone()).or_default();
    *count += 1;
    let of_name = *count;
    let all = passed.all;
    if let Some(log) = &mut passed.log {
        // Whoever counts sees that a line is missing.
        let _ = writeln!(log, "{all} {name}#{of_name}");
    }
    let here = match &armed.at {
        None => false,
        Some(At::Number(number)) => *number == all,
        Some(At::Named(wanted, number)) => *wanted == name && *number == of_name,
    };
    if here {
        // Nobody passes another place meanwhile: the lock is held.
        die();
    }
}

fn die() -> ! {
    let killed =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    unreachable!("nobody survives SIGKILL: {killed:?}")
}

fn parse(text: &str) -> At {
    if let Ok(number) = text.parse() {
        return At::Number(number);
    }
    match text.rsplit_once('#').map(|(name, number)| (name, number.parse())) {
        Some((name, Ok(number))) => At::Named(name.to_owned(), number),
        _ => At::Named(text.to_owned(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_by_its_number_or_its_name() {
        assert_eq!(parse("17"), At::Number(17));
        assert_eq!(parse("after wait"), At::Named("after wait".to_owned(), 1));
        assert_eq!(parse("after wait#3"), At::Named("after wait".to_owned(), 3));
    }
}
