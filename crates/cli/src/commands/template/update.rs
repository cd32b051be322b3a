//! `shipline template update`: the lock moves, and everybody sees what that changes.

use std::path::Path;

use pipeline::{
    Diagnostics, Document, LOCK_FILE, Library, Lock, Plan, PlanChange, SourceFile,
    TemplateReference, plan_changes,
};
use serde_json::{Value, json};

use crate::arguments::{Format, SimulationArguments, TemplateUpdateArguments};
use crate::error::{CommandError, Context as _};
use crate::{local, local_templates, pipeline_file};

/// A pipeline file, before and after.
struct Pipeline {
    file: String,
    changes: Vec<PlanChange>,
    /// What is wrong with it, with the new templates.
    found: Diagnostics,
    /// It could be planned, and cannot any more.
    broken: bool,
}

pub(super) async fn update(arguments: &TemplateUpdateArguments) -> Result<u8, CommandError> {
    let root = local_templates::root(Path::new("."));
    let old = match local_templates::lock(&root).await? {
        Ok(lock) => lock,
        Err(found) => {
            // It is written anew, which is what the finding says to do.
            local::report(&found);
            Lock::default()
        }
    };
    let kept = kept(&old, &arguments.templates)?;
    let mut lock = Lock::default();
    let mut pipelines = Vec::new();
    for source in sources(&root)? {
        let (document, found) = pipeline::parse(&source);
        let library =
            local_templates::update(&document, &root, &kept, &mut lock, arguments.offline);
        let library = library.await?;
        if library.wanted(&document).is_none() && library.is_empty() {
            continue;
        }
        if let Some(missing) = library.missing() {
            let (_, mut told) = pipeline::check(&document, &library);
            told.extend(found);
            local::report(&told);
            return Err(CommandError::usage(format!(
                "template `{missing}` was not found, so `{LOCK_FILE}` stays as it was"
            )));
        }
        pipelines
            .push(compare(&root, &document, found, (&old, arguments.offline), &library).await?);
    }
    for pipeline in pipelines.iter().filter(|pipeline| pipeline.found.has_errors()) {
        local::report(&pipeline.found);
    }
    let broken: Vec<&str> =
        pipelines.iter().filter(|one| one.broken).map(|one| one.file.as_str()).collect();
    if !broken.is_empty() {
        return Err(CommandError::usage(format!(
            "with the newer templates {} cannot be planned any more, so `{LOCK_FILE}` stays as it was",
            broken.join(", ")
        ))
        .hint("change the pipeline first, or name an older version"));
    }
    let changed = old != lock;
    if changed && !arguments.check {
        local_templates::write_lock(&root, &lock)?;
    }
    tell(arguments, &old, &lock, &pipelines)?;
    Ok(if changed && arguments.check { 1 } else { 0 })
}

/// What stays as it is locked: everything that was not named, if something was.
fn kept(old: &Lock, named: &[String]) -> Result<Lock, CommandError> {
    let mut kept = Lock::default();
    if named.is_empty() {
        return Ok(kept);
    }
    let known: Vec<TemplateReference> =
        old.iter().filter_map(|(reference, _)| reference.parse().ok()).collect();
    let is_named = |reference: &TemplateReference| {
        named.iter().any(|name| reference.name() == name || reference.to_string() == *name)
    };
    for name in named {
        if !known.iter().any(|known| known.name() == name || known.to_string() == *name) {
            let all: Vec<&str> = old.iter().map(|(reference, _)| reference).collect();
            let error = CommandError::usage(format!("template `{name}` is not locked here"));
            return Err(match all.as_slice() {
                [] => error.hint("`shipline template update` locks every template that is used"),
                all => error.hint(format!("locked are {}", all.join(", "))),
            });
        }
    }
    for reference in known.iter().filter(|known| !is_named(known)) {
        if let Some(entry) = old.get(reference) {
            kept.insert(reference, entry.clone());
        }
    }
    Ok(kept)
}

/// Every pipeline file of the repository.
fn sources(root: &Path) -> Result<Vec<SourceFile>, CommandError> {
    let mut sources = Vec::new();
    for (name, path) in pipeline_file::all(root) {
        let bytes = std::fs::read(&path).environment(&format!("cannot read {}", path.display()))?;
        match SourceFile::from_bytes(name, bytes) {
            Ok(source) => sources.push(source),
            Err(found) => local::report(&found),
        }
    }
    if sources.is_empty() {
        return Err(CommandError::usage(format!(
            "{} has no pipeline file, so there are no templates to lock",
            root.display()
        ))
        .hint("`shipline init` writes one"));
    }
    Ok(sources)
}

async fn compare(
    root: &Path,
    document: &Document,
    mut found: Diagnostics,
    (old, offline): (&Lock, bool),
    library: &Library,
) -> Result<Pipeline, CommandError> {
    let before = local_templates::with_lock(document, root, old, offline).await?;
    let before = planned(root, document, &before, &mut Diagnostics::new()).await?;
    let after = planned(root, document, library, &mut found).await?;
    let changes = match (&before, &after) {
        (Some(before), Some(after)) => plan_changes(before, after),
        _ => Vec::new(),
    };
    let file = document.source().name().to_owned();
    Ok(Pipeline { file, changes, found, broken: before.is_some() && after.is_none() })
}

/// The plan for a push as the directory is now; `None` when there is something wrong.
async fn planned(
    root: &Path,
    document: &Document,
    library: &Library,
    found: &mut Diagnostics,
) -> Result<Option<Plan>, CommandError> {
    let (checked, more) = pipeline::check(document, library);
    found.extend(more);
    let Some(checked) = checked.filter(|_| !found.has_errors()) else { return Ok(None) };
    let simulation = SimulationArguments {
        event: Some(pipeline::TriggerEvent::Push),
        ..SimulationArguments::default()
    };
    let context = local::context(&checked, root, &simulation).await?;
    match pipeline::plan(&checked, &context) {
        Ok(plan) => Ok(Some(plan)),
        Err(more) => {
            found.extend(more);
            Ok(None)
        }
    }
}

fn tell(
    arguments: &TemplateUpdateArguments,
    old: &Lock,
    lock: &Lock,
    pipelines: &[Pipeline],
) -> Result<(), CommandError> {
    let version = |lock: &Lock, wanted: &str| {
        let mut entries = lock.iter().filter(|(reference, _)| *reference == wanted);
        entries.next().map(|(_, locked)| locked.clone())
    };
    let mut names: Vec<&str> = old.iter().chain(lock.iter()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let templates: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let (before, after) = (version(old, name), version(lock, name));
            let told = |locked: &Option<pipeline::Locked>| {
                locked.as_ref().map(|locked| {
                    json!({ "version": locked.version, "commit": locked.commit, "sha256": locked.sha256 })
                })
            };
            json!({ "template": name, "before": told(&before), "after": told(&after) })
        })
        .collect();
    let plans: Vec<Value> = pipelines
        .iter()
        .map(|pipeline| json!({ "file": pipeline.file, "changes": pipeline.changes }))
        .collect();
    let written = old != lock && !arguments.check;
    match arguments.format {
        Format::Json => {
            let value = json!({ "templates": templates, "plans": plans, "written": written });
            super::super::print(&format!("{value:#}\n"))
        }
        Format::Text => {
            let mut text: String = templates.iter().map(line).collect();
            for pipeline in pipelines.iter().filter(|pipeline| !pipeline.changes.is_empty()) {
                text.push_str(&format!("{}, what a push would do:\n", pipeline.file));
                for change in &pipeline.changes {
                    text.push_str(&format!("  {change}\n"));
                }
            }
            text.push_str(&match (old == lock, arguments.check) {
                (true, _) => format!("{LOCK_FILE} is up to date\n"),
                (false, true) => format!("{LOCK_FILE} would change\n"),
                (false, false) => format!("wrote {LOCK_FILE}; commit it\n"),
            });
            super::super::print(&text)
        }
    }
}

/// `java-service@2: 2.3.0 → 2.4.1`.
fn line(template: &Value) -> String {
    let shown = |side: &Value| {
        let version = side["version"].as_str().filter(|version| !version.is_empty());
        let digest = side["sha256"].as_str().map(|digest| digest[..8].to_owned());
        match (version, digest) {
            (Some(version), _) => version.to_owned(),
            (None, Some(digest)) => format!("sha256 {digest}…"),
            (None, None) => "(none)".to_owned(),
        }
    };
    let name = template["template"].as_str().unwrap_or_default();
    let (before, after) = (&template["before"], &template["after"]);
    match (before.is_null(), after.is_null()) {
        (true, _) => format!("{name}: locked at {}\n", shown(after)),
        (false, true) => format!("{name}: no longer used\n"),
        _ if before == after => format!("{name}: stays at {}\n", shown(after)),
        _ if before["version"] == after["version"] => {
            format!("{name}: {} with another text\n", shown(after))
        }
        _ => format!("{name}: {} → {}\n", shown(before), shown(after)),
    }
}
