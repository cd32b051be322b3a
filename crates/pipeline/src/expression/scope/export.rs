//! What a plan keeps of a scope, for values that are known only when a stage starts.

use super::Shared;
use crate::plan::{PendingPart, Scopes};
use crate::source::FileId;
use crate::yaml::Value;

/// Collects what pending expressions read.
pub(super) struct Export<'s, 'a> {
    pub(super) shared: &'s Shared<'a>,
    pub(super) scopes: Scopes,
}

impl Export<'_, '_> {
    pub(super) fn part(&mut self, part: &PendingPart) {
        let PendingPart::Expression { source, file } = part else { return };
        let Some(program) = self.shared.programs.get(source) else { return };
        if program.reads_changes {
            self.scopes.changed.clone_from(&self.shared.changed);
        }
        for reference in &program.references {
            match reference.name.root.as_str() {
                "params" => {
                    if let Some(values) = self.shared.parameters.get(&FileId(*file)) {
                        self.scopes.params.entry(*file).or_insert_with(|| values.to_json());
                    }
                }
                "env" => {
                    let variables: Vec<&str> = match reference.name.field() {
                        Some(field) => vec![field],
                        None => self.shared.env.keys().copied().collect(),
                    };
                    for variable in variables {
                        self.variable(variable);
                    }
                }
                root => {
                    if let Some(value) = self.shared.names.get(root) {
                        self.scopes.names.entry(root.to_owned()).or_insert_with(|| value.to_json());
                    }
                }
            }
        }
    }

    fn variable(&mut self, name: &str) {
        let Some(node) = self.shared.env.get(name) else { return };
        if self.scopes.variables.contains_key(name) {
            return;
        }
        let parts: Vec<PendingPart> = match &node.value {
            Value::Mixed(pieces) => pieces.iter().map(PendingPart::from).collect(),
            _ => node
                .scalar_text()
                .map(|text| PendingPart::Text(text.into_owned()))
                .into_iter()
                .collect(),
        };
        self.scopes.variables.insert(name.to_owned(), parts.clone());
        parts.iter().for_each(|part| self.part(part));
    }
}
