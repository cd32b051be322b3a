//! The cases under `tests/cases`: a folder each, a pipeline and what comes of it.
//!
//! `expected.txt` holds the diagnostics as `check` prints them, `plan.txt` the
//! tree and `plan.json` the plan; a folder has those that exist for it. What the
//! event is says `context.json`, else it is a local push to `main`; folders inside
//! the folder are further events for the same pipeline. Run with
//! `SHIPLINE_UPDATE_CASES=1` to write what came out, and read the difference.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;
use crate::{TreeOptions, plan_text};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct CaseContext {
    event: Option<TriggerEvent>,
    /// `null` is an event without a branch.
    branch: Option<Option<String>>,
    tag: Option<String>,
    changed: Option<Vec<String>>,
    params: BTreeMap<String, serde_json::Value>,
    /// Environments of a server; without them the run is local.
    server: Option<BTreeMap<String, Environment>>,
}

impl CaseContext {
    fn context(self) -> Context {
        let mut context = on_main();
        context.event = self.event.unwrap_or(context.event);
        context.git.branch = self.branch.unwrap_or(context.git.branch);
        context.git.tag = self.tag;
        context.changed = self.changed;
        context.params = self.params;
        if let Some(environments) = self.server {
            context.place = Place::Server { environments };
        }
        context
    }
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(super) fn folders(of: &str) -> Vec<PathBuf> {
    all_in(&root().join(of))
}

fn all_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn compare(path: &Path, came: &str, update: bool, wrong: &mut Vec<String>) {
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == came {
        return;
    }
    if update {
        match came {
            "" => std::fs::remove_file(path).unwrap(),
            _ => std::fs::write(path, came).unwrap(),
        }
    } else {
        wrong.push(format!("{}\n--- expected\n{expected}\n--- came\n{came}", path.display()));
    }
}

fn case(text: &str, folder: &Path, update: bool, wrong: &mut Vec<String>) {
    let context = std::fs::read_to_string(folder.join("context.json"))
        .map_or_else(|_| CaseContext::default(), |json| serde_json::from_str(&json).unwrap());
    let context = context.context();
    let (pipeline, mut diagnostics) = checked(text, &Bundled);
    let plan = pipeline.and_then(|pipeline| {
        plan(&pipeline, &context).map_err(|more| diagnostics.extend(more)).ok()
    });
    let (tree, json) = match &plan {
        Some(plan) => (
            plan_text(plan, &TreeOptions::default()),
            serde_json::to_string_pretty(plan).unwrap() + "\n",
        ),
        None => (String::new(), String::new()),
    };
    compare(&folder.join("expected.txt"), &diagnostics.to_string(), update, wrong);
    compare(&folder.join("plan.txt"), &tree, update, wrong);
    compare(&folder.join("plan.json"), &json, update, wrong);
    if let Some(plan) = plan {
        let again: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(again, plan, "a plan reads back as it was written");
    }
}

#[test]
fn every_case_gives_what_its_folder_says() {
    let update = std::env::var_os("SHIPLINE_UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    let folders = folders("tests/cases");
    assert!(folders.len() >= 10, "the cases are not where they were");
    for folder in folders {
        let text = std::fs::read_to_string(folder.join("pipeline.yml")).unwrap();
        let mut events = all_in(&folder);
        events.retain(|path| path.is_dir());
        if events.is_empty() {
            events.push(folder);
        }
        for event in events {
            case(&text, &event, update, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_example_pipelines_are_without_findings_and_can_be_planned() {
    let paths = folders("pipelines");
    assert!(!paths.is_empty());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (pipeline, diagnostics) = checked(&text, &Bundled);
        assert!(diagnostics.is_empty(), "{}\n{diagnostics}", path.display());
        let pipeline = pipeline.unwrap();
        for branch in ["main", "release/1.4", "topic"] {
            let plan = plan(&pipeline, &on_branch(branch))
                .unwrap_or_else(|found| panic!("{} on {branch}\n{found}", path.display()));
            assert!(plan.stages.len() >= 4, "{}", path.display());
        }
    }
}

/// The fenced blocks of a document that are pipelines.
pub(super) fn pipelines_in(document: &str) -> Vec<String> {
    document
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| flush(block))
        .filter(|block| {
            block.lines().any(|line| line.starts_with("stages:") || line.starts_with("template:"))
        })
        .collect()
}

/// Everything that is written for users.
pub(super) fn documents() -> Vec<PathBuf> {
    let mut documents = folders("docs");
    documents.extend(folders("docs/language"));
    documents.push(root().join("README.md"));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents
}

#[test]
fn the_pipelines_of_the_documentation_are_without_errors_and_can_be_planned() {
    let mut blocks = 0;
    for path in documents() {
        for block in pipelines_in(&std::fs::read_to_string(&path).unwrap()) {
            let found = found_in(&block, &Bundled, &on_main());
            assert!(!found.has_errors(), "{}\n{block}\n{found}", path.display());
            blocks += 1;
        }
    }
    assert!(blocks >= 3, "the blocks are not where they were");
}
