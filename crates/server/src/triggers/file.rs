//! The pipeline files of a commit, and the plan of one of them.

use std::path::Path;

use pipeline::{
    Context, Diagnostics, Document, FOLDER, Library, Pipeline, Plan, SINGLE_FILE, SourceFile,
    both_layouts, pipeline_of_file,
};
use runner::git::{self, GitError, Sha};
use runner::template::{self, TemplateError, TemplateSources};

/// What a commit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    None,
    /// Paths of pipeline files, sorted; at least one.
    Files(Vec<String>),
    /// Both layouts at once; the text of E005.
    Both(String),
}

/// What a file says to an event.
pub(super) enum Answer {
    Plan {
        plan: Box<Plan>,
        /// Why the event starts it.
        reason: String,
    },
    /// No trigger of the file matches; the sentence says why.
    NotForIt(String),
    /// The file cannot be used; this is what there is to say about it.
    Invalid(String),
}

pub(super) async fn layout(mirror: &Path, sha: &Sha) -> Result<Layout, GitError> {
    let single = git::list_files(mirror, sha, "").await?.iter().any(|name| name == SINGLE_FILE);
    let listed = git::list_files(mirror, sha, FOLDER).await?;
    let in_folder = |path: &String| {
        let file = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
        pipeline_of_file(file).map(str::to_owned)
    };
    let mut names: Vec<String> = listed.iter().filter_map(in_folder).collect();
    names.sort();
    Ok(match (single, names.is_empty()) {
        (false, true) => Layout::None,
        (true, true) => Layout::Files(vec![SINGLE_FILE.to_owned()]),
        (false, false) => {
            Layout::Files(names.iter().map(|name| format!("{FOLDER}/{name}.yml")).collect())
        }
        (true, false) => Layout::Both(both_layouts(&names).to_string()),
    })
}

/// Reads one file of the commit and plans it for the event of `context`.
pub(super) async fn answer(
    mirror: &Path,
    sha: &Sha,
    path: &str,
    context: &Context,
    sources: &TemplateSources<'_>,
) -> Result<Answer, TemplateError> {
    let Some(bytes) = git::read_file(mirror, sha, path).await? else {
        return Ok(Answer::Invalid(format!("error[E005]: `{path}` is not a plain file")));
    };
    Ok(plan(path, bytes, context, sources)
        .await?
        .unwrap_or_else(|diagnostics| Answer::Invalid(diagnostics.to_string())))
}

async fn plan(
    path: &str,
    bytes: Vec<u8>,
    context: &Context,
    sources: &TemplateSources<'_>,
) -> Result<Result<Answer, Diagnostics>, TemplateError> {
    let source = match SourceFile::from_bytes(path, bytes) {
        Ok(source) => source,
        Err(diagnostics) => return Ok(Err(diagnostics)),
    };
    let (document, diagnostics) = pipeline::parse(&source);
    let mut library = Library::default();
    if library.wanted(&document).is_some() {
        library = match template::lock(&sources.tree).await? {
            Ok(lock) => template::fetch(&document, &lock, sources).await?,
            Err(diagnostics) => return Ok(Err(diagnostics)),
        };
    }
    Ok(answered(&document, diagnostics, &library, context))
}

fn answered(
    document: &Document,
    mut diagnostics: Diagnostics,
    library: &Library,
    context: &Context,
) -> Result<Answer, Diagnostics> {
    let (pipeline, more) = pipeline::check(document, library);
    diagnostics.extend(more);
    let Some(pipeline) = pipeline.filter(|_| !diagnostics.has_errors()) else {
        return Err(diagnostics);
    };
    match pipeline::triggers(&pipeline, context) {
        Ok(start) => {
            let plan = Box::new(pipeline::plan(&pipeline, context)?);
            Ok(Answer::Plan { plan, reason: start.reason })
        }
        Err(reason) => Ok(Answer::NotForIt(match unheard(&pipeline) {
            Some(unheard) => format!("{reason}; {unheard}"),
            None => reason,
        })),
    }
}

/// Whoever waits for a run that never starts reads why.
fn unheard(pipeline: &Pipeline) -> Option<String> {
    let events: Vec<_> =
        pipeline.unheard().iter().map(|event| format!("`{}`", event.name())).collect();
    (!events.is_empty()).then(|| {
        format!("its trigger {} is not received by this version of Shipline", events.join(" and "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_that_waits_for_gerrit_says_that_nobody_hears_of_it() {
        let text = "name: orders\non: { gerrit: , tag: }\nimage: debian:12\nstages: { a: make }\n";
        let (document, diagnostics) = pipeline::parse(&SourceFile::new(SINGLE_FILE, text));
        let context = Context { event: pipeline::TriggerEvent::Push, ..Context::default() };
        let answer = answered(&document, diagnostics, &Library::default(), &context);
        let Ok(Answer::NotForIt(reason)) = answer else { panic!("it starts nothing") };
        assert_eq!(
            reason,
            "pipeline `orders` has no trigger `push`; its trigger `gerrit` is not received by this version of Shipline"
        );
    }
}
