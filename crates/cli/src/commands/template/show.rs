//! `shipline template show`: a template as somebody reads it who is to choose it.

use std::path::Path;

use pipeline::{
    AboutParameter, AboutTemplate, Files as _, Library, NotFound, SourceFile, Template,
    TemplateReference,
};
use serde_json::json;

use crate::arguments::{TemplateFormat, TemplateShowArguments};
use crate::error::{CommandError, Kind};
use crate::{local, local_templates, text};

pub(super) async fn show(arguments: &TemplateShowArguments) -> Result<u8, CommandError> {
    let reference: TemplateReference = arguments.template.parse().map_err(|why: String| {
        CommandError::usage(why).hint("`shipline template list` lists them")
    })?;
    let (name, template, library) = find(reference, arguments.offline).await?;
    if arguments.source {
        super::super::print(template.source.text())?;
        return Ok(0);
    }
    let (document, mut found) = pipeline::parse(&template.source);
    let (about, more) = pipeline::check_template(&document, &library);
    found.extend(more);
    if found.has_errors() {
        local::report(&found);
    }
    let Some(about) = about else { return Err(CommandError::silent(Kind::Usage)) };
    match arguments.format {
        TemplateFormat::Json => {
            let value = json!({ "template": name, "version": template.version, "about": about });
            super::super::print(&format!("{value:#}\n"))?;
        }
        TemplateFormat::Text => super::super::print(&page(&name, &about))?,
        TemplateFormat::Markdown => super::super::print(&markdown(&about))?,
    }
    Ok(if found.has_errors() { 2 } else { 0 })
}

/// The template, and those that it lies over; without a version the newest.
async fn find(
    reference: TemplateReference,
    offline: bool,
) -> Result<(String, Template, Library), CommandError> {
    let mut named = reference.to_string();
    loop {
        let text = format!("template: {}", serde_json::Value::from(named.as_str()));
        let (document, _) = pipeline::parse(&SourceFile::new("the command line", text));
        let library = local_templates::look(&document, Path::new("."), offline).await?;
        let wanted: TemplateReference = named.parse().map_err(CommandError::usage)?;
        match library.find(&wanted) {
            Ok(template) => {
                let name = match &wanted {
                    TemplateReference::Named { name, .. } => format!("{name}@{}", template.version),
                    _ => template.source.name().to_owned(),
                };
                return Ok((name, template, library));
            }
            Err(NotFound::Version { versions })
                if wanted.version() == Some("") && !versions.is_empty() =>
            {
                named = format!("{named}@{}", versions.last().map_or("", String::as_str));
            }
            Err(_) => {
                // The check has the words for it.
                local::report(&pipeline::check(&document, &library).1);
                return Err(CommandError::silent(Kind::Usage));
            }
        }
    }
}

fn page(name: &str, about: &AboutTemplate) -> String {
    let mut page = match &about.description {
        Some(description) => format!("{name}: {}\n", text::plain(description)),
        None => format!("{name}\n"),
    };
    for below in &about.templates {
        page.push_str(&format!("lies over {below}\n"));
    }
    page.push_str("\nStages\n");
    let rows: Vec<Vec<String>> = about
        .stages
        .iter()
        .map(|stage| {
            let may = stage.may_change.as_deref().map(|keys| format!("may be changed: {keys}"));
            vec![
                format!("  {}", stage.name),
                stage.action.clone().unwrap_or_default(),
                text::plain(stage.description.as_deref().unwrap_or_default()),
                text::plain(&may.unwrap_or_default()),
            ]
        })
        .collect();
    page.push_str(&columns(&rows));
    if !about.params.is_empty() {
        page.push_str("\nParameters\n");
        let rows: Vec<Vec<String>> = about
            .params
            .iter()
            .map(|param| {
                vec![
                    format!("  {}", param.name),
                    text::plain(&param.takes),
                    text::plain(&default(param)),
                    text::plain(param.param.description.as_deref().unwrap_or_default()),
                ]
            })
            .collect();
        page.push_str(&columns(&rows));
    }
    page.push_str(&format!("\nIn .shipline.yml\n  template: {name}\n"));
    let required: Vec<&AboutParameter> =
        about.params.iter().filter(|param| param.param.required).collect();
    if !required.is_empty() {
        page.push_str("  with:\n");
        for param in required {
            page.push_str(&format!("    {}: …\n", param.name));
        }
    }
    page
}

/// Columns without a header.
fn columns(rows: &[Vec<String>]) -> String {
    let width = rows.first().map_or(0, Vec::len);
    let table = text::table(&vec![""; width], rows);
    table.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned())
}

fn default(param: &AboutParameter) -> String {
    match param.default_text().as_str() {
        "required" => "required".to_owned(),
        "none" => "no default".to_owned(),
        "" => "default \"\"".to_owned(),
        default => format!("default {default}"),
    }
}

/// A table for documents.
fn markdown(about: &AboutTemplate) -> String {
    let cell = |text: &str| text::plain(text).replace('|', "\\|");
    let mut table =
        "| Parameter | Takes | Default | Meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for param in &about.params {
        let default = match param.default_text().as_str() {
            word @ ("required" | "none") => word.to_owned(),
            value => format!("`{value}`"),
        };
        table.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            param.name,
            cell(&param.takes),
            cell(&default),
            cell(param.param.description.as_deref().unwrap_or_default())
        ));
    }
    table
}
