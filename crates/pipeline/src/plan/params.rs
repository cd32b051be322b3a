//! Parameters of a run: what was given, checked, and the defaults (E066).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::make::Planner;
use crate::TriggerEvent;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::lower::param;
use crate::suggest::{closest, quoted};

impl Planner<'_> {
    /// Returns the value of every parameter that has one: that of the event, else
    /// the default.
    pub(super) fn params(&mut self) -> BTreeMap<String, Json> {
        let declared = &self.pipeline.on.params;
        let given = &self.context.params;
        for (name, value) in given {
            if !declared.contains_key(name) {
                let unknown = self.unknown_param(name, value);
                self.found.push(unknown);
            }
        }
        let mut values = BTreeMap::new();
        for (name, declaration) in declared {
            let value = match given.get(name) {
                Some(value) => match param::given(declaration, value) {
                    Ok(value) => Some(value),
                    Err(rule) => {
                        let shown = param::shown_json(value);
                        let message = format!("parameter `{name}` cannot be {shown}");
                        let error = self.about_param(name, message).label(rule);
                        self.found.push(error);
                        None
                    }
                },
                None => {
                    if declaration.required && self.asks_for_params() {
                        let message = format!("parameter `{name}` is required, and not given");
                        let expected = format!("give {}", param::expected(declaration));
                        let mut error = self.about_param(name, message).label(expected);
                        if let Some(description) = &declaration.description {
                            error = error.note(format!("{name}: {description}"));
                        }
                        self.found.push(error);
                    }
                    declaration.default.clone()
                }
            };
            values.extend(value.map(|value| (name.clone(), value)));
        }
        values
    }

    /// Nobody could give a value to the run of a push.
    const fn asks_for_params(&self) -> bool {
        matches!(
            self.context.event,
            TriggerEvent::Manual | TriggerEvent::Schedule | TriggerEvent::Trigger
        )
    }

    fn unknown_param(&self, name: &str, value: &Json) -> Diagnostic {
        let names = || self.pipeline.on.params.keys().map(String::as_str);
        let shown = param::shown_json(value);
        let message = if names().next().is_none() {
            format!("`{name}` was given ({shown}), and this pipeline has no parameters")
        } else {
            format!("`{name}` was given ({shown}), and there is no such parameter")
        };
        let manual = self.pipeline.on.manual.and_then(|manual| manual.span);
        let mut error = Diagnostic::error(Code::E066, message);
        if let Some(span) = manual {
            error = error.at(self.pipeline.sources.place(span));
        }
        if let Some(close) = closest(name, names()) {
            error = error.label(format!("did you mean `{close}`?"));
        }
        match names().next() {
            Some(_) => error.note(format!("parameters there are: {}", quoted(names()))),
            None => error.help("parameters are declared by `on.manual.params`"),
        }
    }

    /// An error at the declaration of a parameter.
    fn about_param(&self, name: &str, message: String) -> Diagnostic {
        let error = Diagnostic::error(Code::E066, message);
        match self.pipeline.on.declared.get(name) {
            Some(span) => error.at(self.pipeline.sources.place(*span)),
            None => error,
        }
    }
}
