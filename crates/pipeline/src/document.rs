//! A parsed file: its tree, or nothing where it is not YAML.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expression;
use crate::source::{FileId, SourceFile, Sources};
use crate::yaml::{self, Node};

/// What [`parse`] made of a file. It is checked by [`check`](crate::check).
#[derive(Clone, Debug)]
pub struct Document {
    pub(crate) sources: Sources,
    pub(crate) root: Option<Node>,
    /// There were errors that left a tree behind, such as a key given twice. Such
    /// a file must not run, whatever the rest of it says.
    pub(crate) broken: bool,
}

impl Document {
    pub fn source(&self) -> &SourceFile {
        self.sources.file(FileId::PIPELINE)
    }
}

/// Reads the text of a file. Errors of YAML are all it can find.
pub fn parse(source: &SourceFile) -> (Document, Diagnostics) {
    let sources = Sources::one(source.clone());
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut root = yaml::read(&sources, FileId::PIPELINE, &mut found);
    if let Some(root) = &mut root {
        expression::scan(root, &sources, &mut found);
    }
    let broken = !found.is_empty();
    (Document { sources, root, broken }, Diagnostics::from(found))
}
