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
        let mut message = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.ends_with(&cause_text) {
                message.push_str(": ");
                message.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self::new(kind, message)
    }

    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Environment => 3,
        }
    }

    pub(crate) fn print(&self) {
        // A closed stderr must not turn an error into a panic.
        use std::io::Write as _;
        let mut stderr = std::io::stderr().lock();
        if !self.message.is_empty() {
            let _ = writeln!(stderr, "error: {}", self.message);
        }
        for hint in &self.hints {
            let _ = writeln!(stderr, "  = help: {hint}");
        }
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
