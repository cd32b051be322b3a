//! Errors of a command: what kind, why, and what to do now.

use std::fmt;

/// The kind decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Arguments, configuration or the pipeline file; 2.
    Usage,
    /// Docker, the server, the network, the disk; 3.
    Environment,
}

#[derive(Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

impl CommandError {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), hints: Vec::new() }
    }

    /// For what has been said already, as diagnostics are.
    pub(crate) const fn silent(kind: Kind) -> Self {
        Self { kind, message: String::new(), hints: Vec::new() }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn environment(message: impl fmt::Display) -> Self {
        Self::new(Kind::Environment, message)
    }

    /// Keeps the whole chain of causes: `cannot open the store: disk full`.
    pub(crate) fn caused(
        kind: Kind,
        what: &str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let caused = Self::new(kind, format_args!("{what}: {}", runner::causes(error)));
        if !store::is_full(error) {
            return caused;
        }
        caused.hint("make room on the disk; `SHIPLINE_HOME` puts the state on another one")
    }

    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Says first what it was a part of.
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Environment => 3,
        }
    }

    pub(crate) fn print(&self) {
        self.print_as("error");
    }

    /// For what went wrong beside what the user asked for.
    pub(crate) fn warn(&self) {
        self.print_as("warning");
    }

    fn print_as(&self, weight: &str) {
        // A closed stderr must not turn an error into a panic.
        use std::io::Write as _;
        let _ = std::io::stderr().write_all(self.text(weight).as_bytes());
    }

    fn text(&self, weight: &str) -> String {
        let mut text = if self.message.starts_with("error[") {
            // Diagnostics that a server answers with say `error` themselves.
            format!("{}\n", self.message.trim_end())
        } else if self.message.is_empty() {
            String::new()
        } else {
            format!("{weight}: {}\n", self.message)
        };
        for hint in &self.hints {
            text.push_str(&format!("  = help: {hint}\n"));
        }
        text
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text("error"))
    }
}

/// Turns any error into an environment error, with what was tried.
pub(crate) trait Context<T> {
    fn environment(self, what: &str) -> Result<T, CommandError>;
}

impl<T, E: std::error::Error + 'static> Context<T> for Result<T, E> {
    fn environment(self, what: &str) -> Result<T, CommandError> {
        self.map_err(|error| CommandError::caused(Kind::Environment, what, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostics_of_a_server_are_printed_as_its_own_would_be() {
        let answered = CommandError::usage("error[E010]: unknown key `neds`\n --> a.yml:1:1\n\n");
        assert_eq!(answered.text("error"), "error[E010]: unknown key `neds`\n --> a.yml:1:1\n");
        let plain = CommandError::usage("no such run").hint("`shipline runs` lists them");
        assert_eq!(
            plain.text("error"),
            "error: no such run\n  = help: `shipline runs` lists them\n"
        );
    }
}
