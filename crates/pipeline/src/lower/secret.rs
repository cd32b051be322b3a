//! `secrets`: which of them a stage gets, and as what.

use std::collections::BTreeMap;

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::name;
use crate::plan::SecretUse;
use crate::source::Span;
use crate::yaml::{Key, Map, Node, Value};

impl Lowering<'_> {
    /// Whether they are there is found out when a plan is made.
    pub(super) fn secrets(&mut self, map: &Map, of: &str) -> Vec<SecretUse> {
        let Some(node) = map.get("secrets") else { return Vec::new() };
        self.record("secrets", node);
        let Some(items) = node.as_list() else {
            if !node.value.is_reported() {
                let message = format!("`secrets` takes a list, not {}", node.value.kind());
                let written = self.sources.text(node.span).to_owned();
                let label = match node.scalar_text() {
                    // As GitHub has it; it would be the name of a secret.
                    Some(text) if text == "inherit" => {
                        "name each secret, for example `[NPM_TOKEN]`".to_owned()
                    }
                    Some(_) => format!("write `[{written}]`"),
                    None => "for example `[NPM_TOKEN]`".to_owned(),
                };
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label(label));
            }
            return Vec::new();
        };
        let mut names = BTreeMap::new();
        let mut variables = BTreeMap::new();
        let mut secrets = Vec::with_capacity(items.len());
        for item in items {
            let Some((secret, span)) = self.secret(item, of) else { continue };
            let key = Key { name: secret.name.clone(), span };
            if self.given_before(&mut names, &key, "secret") {
                continue;
            }
            if !secret.file {
                self.variable_of_secret(map, &secret, span, &mut variables);
            }
            secrets.push(secret);
        }
        secrets
    }

    fn secret(&mut self, node: &Node, of: &str) -> Option<(SecretUse, Span)> {
        let Value::Map(_) = &node.value else {
            let name = self.name_of_variable("secrets", node, "a secret")?;
            return Some((SecretUse { name, present: false, env: None, file: false }, node.span));
        };
        let what = format!("a secret of {of}");
        let map = self.fields(node, &keys::SECRET, &what)?;
        if self.lacks(map, &keys::SECRET, "name") {
            let error = self.error_at(Code::E014, format!("{what} has no `name`"), node);
            self.report(error.label("for example `name: NPM_TOKEN`"));
        }
        let name = map.get("name")?;
        let span = name.span;
        let name = self.name_of_variable("name", name, "a secret")?;
        let env = map.get("env").and_then(|node| self.name_of_variable("env", node, "a variable"));
        let file = map.get("file").is_some_and(|node| self.plain("file", node));
        if let (true, Some(entry)) = (file, map.entry("env")) {
            let message = format!("secret `{name}` is a file, so no variable holds it");
            let error = self.error(Code::E013, message, entry.key.span);
            self.report(error.label("remove `env`, or `file`").note(format!(
                "with `file: true` the secret is only the file `/run/secrets/{name}`"
            )));
        }
        let env = env.filter(|env| *env != name);
        Some((SecretUse { name, present: false, env, file }, span))
    }

    /// Nothing else may set the variable in which a secret arrives.
    fn variable_of_secret(
        &mut self,
        map: &Map,
        secret: &SecretUse,
        span: Span,
        variables: &mut BTreeMap<String, Span>,
    ) {
        let variable = secret.env.as_ref().unwrap_or(&secret.name);
        if variable.starts_with("SHIPLINE_") {
            let message = format!(
                "`{variable}` cannot be set: names that begin with `SHIPLINE_` are Shipline's"
            );
            let error = self.error(Code::E017, message, span);
            self.report(error.label(format!(
                "give the variable another name: `{{ name: {}, env: {} }}`",
                secret.name,
                variable.replacen("SHIPLINE_", "", 1)
            )));
        }
        let key = Key { name: variable.clone(), span };
        if self.given_before(variables, &key, "variable") {
            return;
        }
        let own = map.get("env").and_then(Node::as_map).and_then(|env| env.entry(variable));
        if let Some(entry) = own {
            let message = format!("`{variable}` is set by `env` and by a secret");
            let error = self.error(Code::E013, message, span);
            let place = self.sources.place(entry.key.span);
            self.report(error.label("keep one").related("also here", place));
        }
    }

    /// Reads the name of a secret, a variable or an output.
    pub(super) fn name_of_variable(
        &mut self,
        key: &'static str,
        node: &Node,
        what: &str,
    ) -> Option<String> {
        let before = self.found.len();
        let text: String = self.value(key, node, Site::Never(key));
        if self.found.len() > before {
            return None;
        }
        if name::is_variable(&text) {
            return Some(text);
        }
        let error = self.error_at(Code::E016, format!("{what} cannot be named `{text}`"), node);
        let label = format!("write for example `{}`", name::corrected_variable(&text));
        self.report(error.label(label).note(name::VARIABLE_RULE));
        None
    }
}
