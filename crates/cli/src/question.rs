//! Questions to whoever sits at the terminal.

use std::io::IsTerminal as _;

use event::Decision;

use crate::error::CommandError;
use crate::keyboard;

/// Whether somebody is there to answer.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks what becomes of a deployment that is held, until the answer is one of the two.
/// `None` is the end of what is typed: whoever is asked elsewhere may still decide.
pub(crate) async fn choose() -> Option<Decision> {
    loop {
        match keyboard::line("continue or rollback", "").await.ok().flatten()?.as_str() {
            "c" | "continue" => return Some(Decision::Continue),
            "r" | "rollback" => return Some(Decision::Rollback),
            _ => {}
        }
    }
}

/// Asks for a line that has to be answered; an empty one is the default.
pub(crate) async fn ask(question: &str, default: &str) -> Result<String, CommandError> {
    keyboard::line(question, default).await?.ok_or_else(|| {
        CommandError::usage("nobody answers")
            .hint("`--yes` asks nothing, and options give the answers")
    })
}
