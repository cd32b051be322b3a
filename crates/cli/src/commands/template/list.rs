//! `shipline template list`: what there is to choose from.

use std::path::Path;

use pipeline::{Bundled, Files as _, TemplateReference};
use serde_json::{Value, json};

use crate::arguments::TemplateListArguments;
use crate::error::CommandError;
use crate::{local, local_templates, text};

pub(super) async fn list(arguments: &TemplateListArguments) -> Result<u8, CommandError> {
    let mut rows: Vec<Value> =
        Bundled::all().iter().map(|(name, versions)| bundled(name, versions)).collect();
    match local_templates::lock(Path::new(".")).await? {
        Ok(lock) => rows.extend(lock.iter().filter_map(|(reference, locked)| {
            let git = locked.commit.is_some();
            git.then(|| {
                json!({
                    "template": reference, "versions": [locked.version], "source": "git",
                    "description": "locked by this repository",
                })
            })
        })),
        // What comes with Shipline can be shown all the same.
        Err(found) => local::report(&found),
    }
    crate::commands::show(arguments.format, &Value::from(rows), table)?;
    Ok(0)
}

fn bundled(name: &str, versions: &[String]) -> Value {
    let version = versions.last().cloned().unwrap_or_default();
    let reference = TemplateReference::Named { name: name.to_owned(), version };
    let description = Bundled.find(&reference).ok().and_then(|template| {
        let (document, _) = pipeline::parse(&template.source);
        pipeline::check_template(&document, &Bundled).0?.description
    });
    json!({
        "template": name, "versions": versions, "source": "bundled", "description": description,
    })
}

fn table(rows: &Value) -> String {
    let text = |value: &Value| text::plain(value.as_str().unwrap_or_default());
    let rows = rows.as_array().into_iter().flatten().map(|row| {
        let versions: Vec<String> =
            row["versions"].as_array().into_iter().flatten().map(text).collect();
        vec![
            text(&row["template"]),
            versions.join(", "),
            text(&row["source"]),
            text(&row["description"]),
        ]
    });
    text::table(&["TEMPLATE", "VERSIONS", "FROM", "FOR"], &rows.collect::<Vec<_>>())
}
