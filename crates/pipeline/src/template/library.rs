//! What was fetched before a check: every template that a file needs, or why not.

use std::collections::BTreeMap;

use super::{DEPTH_LIMIT, Files, NotFound, Template, TemplateReference};
use crate::document::{Document, parse};
use crate::yaml::{Node, Value};

/// Templates by the reference that names them.
///
/// Whoever fetches asks [`Library::wanted`] what is missing, fetches that, and puts
/// the answer in, until nothing is: templates may name templates.
#[derive(Clone, Debug, Default)]
pub struct Library(BTreeMap<TemplateReference, Result<Template, NotFound>>);

impl Library {
    pub fn insert(&mut self, reference: TemplateReference, found: Result<Template, NotFound>) {
        self.0.insert(reference, found);
    }

    /// Returns the first template that `document`, or a template of it, names and
    /// that is not here. What cannot be fetched at all is left for the check to tell.
    pub fn wanted(&self, document: &Document) -> Option<TemplateReference> {
        let mut reference = named(document.root.as_ref()?, None)?;
        for _ in 0..=DEPTH_LIMIT {
            let template = match self.0.get(&reference) {
                None => return Some(reference),
                Some(Err(_)) => return None,
                Some(Ok(template)) => template,
            };
            let (document, _) = parse(&template.source);
            reference = named(document.root.as_ref()?, Some(&reference))?;
        }
        None
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first template that was looked for and not found.
    pub fn missing(&self) -> Option<&TemplateReference> {
        self.0.iter().find(|(_, found)| found.is_err()).map(|(reference, _)| reference)
    }
}

/// The template that a file names, if it names one that can be looked for.
fn named(root: &Node, of: Option<&TemplateReference>) -> Option<TemplateReference> {
    match &root.as_map()?.get("template")?.value {
        Value::Text(text) => TemplateReference::parse(text, of).ok(),
        _ => None,
    }
}

impl Files for Library {
    fn find(&self, reference: &TemplateReference) -> Result<Template, NotFound> {
        self.0.get(reference).cloned().unwrap_or_else(|| {
            let searched = vec!["nobody looked for it".to_owned()];
            Err(NotFound::Unknown { searched, names: Vec::new() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    fn template(text: &str) -> Result<Template, NotFound> {
        Ok(Template { version: "1".to_owned(), source: SourceFile::new("t.yml", text) })
    }

    #[test]
    fn what_templates_name_is_wanted_one_after_the_other() {
        let document = parse(&SourceFile::new(".shipline.yml", "template: ./ci/java.yml")).0;
        let mut library = Library::default();
        let mut asked = Vec::new();
        while let Some(reference) = library.wanted(&document) {
            asked.push(reference.to_string());
            let next = match asked.len() {
                1 => template("template: https://git.example/t.git//java@2"),
                2 => template("template: ./base.yml"),
                _ => template("stages: { a: make }"),
            };
            library.insert(reference, next);
        }
        assert_eq!(
            asked,
            [
                "./ci/java.yml",
                "https://git.example/t.git//java@2",
                "https://git.example/t.git//java@2 ./base.yml"
            ]
        );
    }

    #[test]
    fn a_chain_without_an_end_is_fetched_no_deeper_than_it_may_be() {
        let document = parse(&SourceFile::new(".shipline.yml", "template: a0@1")).0;
        let mut library = Library::default();
        let mut fetched = 0;
        while let Some(reference) = library.wanted(&document) {
            fetched += 1;
            library.insert(reference, template(&format!("template: a{fetched}@1")));
        }
        assert_eq!(fetched, DEPTH_LIMIT + 1);
    }
}
