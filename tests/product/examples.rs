//! What the documents show works: every pipeline in them is checked and planned.

use std::path::{Path, PathBuf};

use crate::harness::lab::{Lab, repository_root};

#[test]
fn every_pipeline_of_the_documents_is_checked_and_planned() {
    let root = repository_root();
    let mut documents = vec![root.join("README.md")];
    documents.extend(files(&root.join("docs"), "md"));
    let mut examples = 0;
    for document in &documents {
        let text = std::fs::read_to_string(document).expect("a document can be read");
        for (line, example) in fenced(&text, "yaml") {
            // Fragments say so; whole files have stages or a template.
            if !example.contains("stages:") && !example.contains("template:") {
                continue;
            }
            examples += 1;
            plan(&format!("{}:{line}", document.display()), &example);
        }
    }
    assert!(examples >= 2, "only {examples} examples were found");
}

#[test]
fn every_example_pipeline_is_checked_and_planned() {
    let pipelines = files(&repository_root().join("pipelines"), "yml");
    assert!(!pipelines.is_empty());
    for path in pipelines {
        plan(
            &path.display().to_string(),
            &std::fs::read_to_string(&path).expect("a pipeline can be read"),
        );
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let lab = Lab::new();
    let commands = [
        "init", "check", "plan", "run", "serve", "trigger", "runs", "logs", "status", "rollback",
        "clean", "proxy", "explain", "schema",
    ];
    for command in commands {
        let ran = lab.run(lab.path(), &[command, "--help"]).expect(0);
        assert!(ran.stdout.contains("Examples:"), "{command}:\n{}", ran.stdout);
    }
    let ran = lab.run(lab.path(), &["project", "create", "--help"]).expect(0);
    assert!(ran.stdout.contains("Examples:"), "{}", ran.stdout);
    assert!(lab.run(lab.path(), &["completions", "bash"]).expect(0).stdout.contains("shipline"));
    let pages = lab.folder("man");
    lab.run(lab.path(), &["man", &pages.display().to_string()]).expect(0);
    assert!(pages.join("shipline-run.1").is_file());
}

#[track_caller]
fn plan(name: &str, text: &str) {
    let lab = Lab::new();
    let folder = crate::local_run::repository(&lab, text);
    if text.contains("template:") {
        lab.lock(&folder);
    }
    let ran = lab.run(&folder, &["plan", "--branch", "main"]);
    assert_eq!(ran.code, 0, "{name}:\n{}{}", ran.stdout, ran.stderr);
}

/// Code blocks of a language, with the line they begin at.
fn fenced(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim_start().starts_with("```") => {
                blocks.extend(open.take());
            }
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim() == format!("```{language}") => {
                open = Some((index + 2, String::new()));
            }
            None => {}
        }
    }
    blocks
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
