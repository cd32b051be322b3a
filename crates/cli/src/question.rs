//! Questions to whoever sits at the terminal.

use std::io::{IsTerminal as _, Write as _};

use crate::error::{CommandError, Context as _};

/// Whether somebody is there to answer.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a line; an empty one is the default.
pub(crate) fn ask(question: &str, default: &str) -> Result<String, CommandError> {
    let mut stderr = std::io::stderr().lock();
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    write!(stderr, "{question}{shown}: ")
        .and_then(|()| stderr.flush())
        .environment("cannot ask")?;
    drop(stderr);
    let mut line = String::new();
    let count = std::io::stdin().read_line(&mut line).environment("cannot read the answer")?;
    if count == 0 {
        return Err(CommandError::usage("nobody answers")
            .hint("`--yes` asks nothing, and options give the answers"));
    }
    let answer = line.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}
