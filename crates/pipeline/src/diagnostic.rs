//! What there is to say about a pipeline: every finding with its place, all at once.

use serde::Serialize;

use crate::codes::Code;
use crate::name::visible;
use crate::source::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One finding: what, where, why, what now.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    pub message: String,
    /// `None` when it is about the absence of a file.
    pub place: Option<Place>,
    /// Stands at the caret; short.
    pub label: Option<String>,
    /// Stands below the excerpt.
    pub help: Option<String>,
    /// Further places that belong to it.
    pub related: Vec<Related>,
    /// Facts below the excerpt, such as the keys there are.
    pub notes: Vec<String>,
    /// The excerpt is left out where the notes name places of their own.
    pub(crate) excerpt: bool,
}

#[derive(Clone, Debug)]
pub struct Related {
    pub message: String,
    pub place: Place,
}

impl Diagnostic {
    pub(crate) fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, visible(&message.into()))
    }

    pub(crate) fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, visible(&message.into()))
    }

    const fn new(code: Code, severity: Severity, message: String) -> Self {
        Self {
            code,
            severity,
            message,
            place: None,
            label: None,
            help: None,
            related: Vec::new(),
            notes: Vec::new(),
            excerpt: true,
        }
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Asks for the name that was probably meant, where one is close.
    pub(crate) fn did_you_mean(self, close: Option<&str>) -> Self {
        match close {
            Some(close) => self.label(format!("did you mean `{close}`?")),
            None => self,
        }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(visible(&label.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(visible(&help.into()));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(visible(&note.into()));
        self
    }

    pub(crate) fn related(mut self, message: impl Into<String>, place: Place) -> Self {
        self.related.push(Related { message: visible(&message.into()), place });
        self
    }

    /// Adds it to what was found.
    pub(crate) fn tell(self, found: &mut Vec<Self>) {
        found.push(self);
    }

    pub(crate) fn without_excerpt(mut self) -> Self {
        self.excerpt = false;
        self
    }

    /// Whether it says the same about the same text. A key's message has the stage
    /// that it came to, too.
    fn is_same(&self, other: &Self) -> bool {
        let text = self.message == other.message || self.code == Code::E010;
        let place = match (&self.place, &other.place) {
            (Some(own), Some(others)) => own.is(others),
            _ => false,
        };
        place && text && self.code == other.code && self.label == other.label
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The advice in one line: the label and the help are one thing in machine output.
    fn advice(&self) -> Option<String> {
        match (&self.label, &self.help) {
            (Some(label), Some(help)) => Some(format!("{label}; {help}")),
            (one, other) => one.clone().or_else(|| other.clone()),
        }
    }

    /// The form of `check --format json`.
    pub fn to_json(&self) -> serde_json::Value {
        let place = self.place.as_ref();
        let start = place.map(Place::start);
        let end = place.map(Place::end);
        let mut json = serde_json::json!({
            "code": self.code, "severity": self.severity, "message": self.message,
            "file": place.map(Place::file),
            "line": start.map(|(line, _)| line), "column": start.map(|(_, column)| column),
            "end_line": end.map(|(line, _)| line), "end_column": end.map(|(_, column)| column),
            "help": self.advice(),
        });
        if !self.related.is_empty() {
            json["related"] = self
                .related
                .iter()
                .map(|related| {
                    let (line, column) = related.place.start();
                    serde_json::json!({
                        "message": related.message, "file": related.place.file(),
                        "line": line, "column": column,
                    })
                })
                .collect();
        }
        json
    }
}

/// Findings at one place, at most, among which a repeated one is looked for.
const SIDE_BY_SIDE: usize = 8;

/// Findings, sorted by place.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
        self.sort();
    }

    /// Adds the findings of a later step, or of another file.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
        self.sort();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    pub fn errors(&self) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    pub fn warnings(&self) -> usize {
        self.0.len() - self.errors()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// The array of `check --format json`; nothing is left out.
    pub fn to_json(&self) -> Vec<serde_json::Value> {
        self.0.iter().map(Diagnostic::to_json).collect()
    }

    fn sort(&mut self) {
        // Stable: findings at one place stay in the order they were made.
        self.0.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        self.join();
    }

    /// What an alias brings to several places is one mistake: told once, with every use.
    fn join(&mut self) {
        let mut joined: Vec<Diagnostic> = Vec::with_capacity(self.0.len());
        for finding in self.0.drain(..) {
            match joined.iter_mut().rev().take(SIDE_BY_SIDE).find(|known| known.is_same(&finding)) {
                Some(known) => {
                    for related in finding.related {
                        if !known.related.iter().any(|told| told.place.is(&related.place)) {
                            known.related.push(related);
                        }
                    }
                }
                None => joined.push(finding),
            }
        }
        self.0 = joined;
    }
}

fn sort_key(diagnostic: &Diagnostic) -> (u16, &str, usize) {
    diagnostic
        .place
        .as_ref()
        .map_or((0, "", 0), |place| (place.order, place.file(), place.bytes().start))
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(list: Vec<Diagnostic>) -> Self {
        let mut diagnostics = Self(list);
        diagnostics.sort();
        diagnostics
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
