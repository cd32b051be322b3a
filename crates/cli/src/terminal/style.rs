//! What the terminal can do, and what somebody wants of it.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use event::StageResult;

/// Colours, or none: a pipe, `NO_COLOR` and a dumb terminal get none.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(super) colour: bool,
}

/// `--plain` was given.
static PLAIN: AtomicBool = AtomicBool::new(false);

/// Whether a run is shown as a tree that is drawn again and again, and not as lines.
pub(crate) fn shows_a_tree() -> bool {
    let continuous =
        std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    std::io::stdout().is_terminal() && can_move() && !continuous && !PLAIN.load(Ordering::Relaxed)
}

fn can_move() -> bool {
    std::env::var_os("TERM").is_some_and(|value| !value.is_empty() && value != "dumb")
}

impl Style {
    /// From now on nothing is coloured, and nothing drawn twice.
    pub(crate) fn plain() {
        PLAIN.store(true, Ordering::Relaxed);
    }

    pub(crate) fn of_stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    pub(crate) fn of_stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && can_move() && terminal && !PLAIN.load(Ordering::Relaxed) }
    }

    /// The same for what the language prints.
    pub(crate) const fn of_language(self) -> pipeline::Style {
        if self.colour { pipeline::Style::Coloured } else { pipeline::Style::Plain }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What is happening now.
    pub(super) fn busy(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// The word of a result in its colour.
    pub(crate) fn result(self, result: &str) -> String {
        self.result_colour(result, result)
    }

    /// A text in the colour of a result.
    pub(crate) fn result_colour(self, result: &str, text: &str) -> String {
        let code = match result {
            "passed" | "unchanged" | "succeeded" => "32",
            "warning" | "skipped" | "cancelled" => "33",
            "blocked" => "2",
            _ => "31",
        };
        self.paint(code, text)
    }
}

/// The sign of a result, each another one: colours may be missing.
pub(super) const fn sign(result: StageResult) -> &'static str {
    match result {
        StageResult::Passed => "✓",
        StageResult::Unchanged => "=",
        StageResult::Warning => "!",
        StageResult::Skipped => "○",
        StageResult::Blocked => "⊘",
        StageResult::Cancelled => "■",
        StageResult::Failed
        | StageResult::TimedOut
        | StageResult::ResourceLimit
        | StageResult::InfraError => "✗",
    }
}

/// Columns of the terminal that stdout is; `None` when it is none.
pub(crate) fn width_of_stdout() -> Option<usize> {
    let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width)).filter(|width| *width > 0)
}
