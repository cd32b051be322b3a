//! Templates that ship inside the binary, filled with a view.

use handlebars::{Handlebars, html_escape, no_escape};
use serde::Serialize;

#[derive(rust_embed::Embed)]
#[folder = "../../templates/mail"]
struct Files;

pub(crate) struct Rendered {
    /// One line, whatever went in.
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// Fills the three templates of the folder `name`.
pub(crate) fn render<V: Serialize>(name: &str, view: &V) -> Rendered {
    // Escaping belongs to a registry, hence two.
    let subject = fill(&plain(), &file(name, "subject"), view);
    Rendered {
        subject: subject
            .split(['\r', '\n'])
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned(),
        text: fill(&plain(), &file(name, "text"), view),
        html: fill(&escaping(), &file(name, "html"), view),
    }
}

fn plain() -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_escape_fn(no_escape);
    registry
}

fn escaping() -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_escape_fn(html_escape);
    registry
}

fn file(name: &str, part: &str) -> String {
    let path = format!("{name}/{part}.hbs");
    let file =
        Files::get(&path).unwrap_or_else(|| panic!("template `{path}` is not in the binary"));
    String::from_utf8(file.data.into_owned()).expect("a template of ours is UTF-8")
}

fn fill<V: Serialize>(registry: &Handlebars<'_>, template: &str, view: &V) -> String {
    // Both are ours: a name the view does not have fails for every input, and
    // so in the tests.
    registry.render_template(template, view).expect("our template fits our view")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_html_is_escaped_and_a_missing_name_is_an_error() {
        let view = serde_json::json!({ "name": "<b>&" });
        assert_eq!(fill(&plain(), "{{name}}", &view), "<b>&");
        assert_eq!(fill(&escaping(), "{{name}}", &view), "&lt;b&gt;&amp;");
        plain().render_template("{{nmae}}", &view).expect_err("strict");
    }
}
