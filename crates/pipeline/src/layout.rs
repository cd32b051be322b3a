//! Which files are pipelines: `.shipline.yml`, or one per `.shipline/NAME.yml`.
//!
//! Whoever reads directories (the command line, the server) decides with these
//! what to read, and has the words when there is nothing, or too much.

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::suggest::{closest, quoted};

/// The file at the root of a repository.
pub const SINGLE_FILE: &str = ".shipline.yml";
/// The folder with one pipeline per file.
pub const FOLDER: &str = ".shipline";

/// Returns the name of the pipeline in a file of [`FOLDER`]: only `*.yml` directly
/// in it is read.
pub fn pipeline_of_file(file_name: &str) -> Option<&str> {
    let name = file_name.strip_suffix(".yml")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Where another CI system looks for its files.
#[derive(Clone, Copy, Debug)]
pub struct OtherSystem {
    pub name: &'static str,
    /// Relative to the root of a repository; a folder of `*.yml` ends with `/`.
    pub path: &'static str,
    /// `shipline import` is made for it.
    importable: bool,
}

const fn other(name: &'static str, path: &'static str, importable: bool) -> OtherSystem {
    OtherSystem { name, path, importable }
}

pub const OTHER_SYSTEMS: &[OtherSystem] = &[
    other("Jenkins", "Jenkinsfile", true),
    other("GitLab", ".gitlab-ci.yml", true),
    other("Woodpecker", ".woodpecker.yml", true),
    other("Woodpecker", ".woodpecker.yaml", true),
    other("Woodpecker", ".woodpecker/", true),
    other("Drone", ".drone.yml", true),
    other("GitHub Actions", ".github/workflows/", true),
    other("Gitea Actions", ".gitea/workflows/", true),
    other("Forgejo Actions", ".forgejo/workflows/", true),
    other("CircleCI", ".circleci/config.yml", false),
    other("Azure Pipelines", "azure-pipelines.yml", false),
    other("Bitbucket Pipelines", "bitbucket-pipelines.yml", false),
    other("Travis CI", ".travis.yml", false),
];

impl OtherSystem {
    /// Returns the system that a file belongs to, by its path.
    pub fn of(path: &str) -> Option<Self> {
        let below = |folder: &str| {
            let name = path.rsplit_once(folder).map(|(_, name)| name);
            name.is_some_and(|name| Self::is_file_of_folder(name) && !name.contains('/'))
        };
        let is = |known: &str| {
            path.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        let matches = |system: &&Self| {
            if system.path.ends_with('/') { below(system.path) } else { is(system.path) }
        };
        OTHER_SYSTEMS.iter().find(matches).copied()
    }

    /// Whether a file in the folder of a system is one of its pipelines.
    pub fn is_file_of_folder(name: &str) -> bool {
        [".yml", ".yaml"]
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|rest| !rest.is_empty()))
    }
}

/// E005: there is neither.
pub fn no_pipeline_file(looked_at: &[String]) -> Diagnostics {
    let diagnostic = Diagnostic::error(Code::E005, "there is no pipeline file");
    let diagnostic = looked_at
        .iter()
        .fold(diagnostic, |diagnostic, path| diagnostic.note(format!("looked at: {path}")));
    Diagnostics::from(diagnostic.help(format!("a smallest {SINGLE_FILE} is\n{SMALLEST}")))
}

const SMALLEST: &str = "image: debian:12\nstages:\n  build: make";

/// E005: a file was named, and there is none of this name.
pub fn no_such_file(path: &str, beside: &[String]) -> Diagnostics {
    let mut diagnostic = Diagnostic::error(Code::E005, format!("there is no file `{path}`"));
    if !beside.is_empty() {
        diagnostic = diagnostic
            .note(format!("files there are: {}", quoted(beside.iter().map(String::as_str))));
    }
    Diagnostics::from(match closest(path, beside.iter().map(String::as_str)) {
        Some(close) => diagnostic.help(format!("did you mean `{close}`?")),
        None => diagnostic,
    })
}

/// E080: there is no pipeline file, but there are files of other systems.
pub fn other_system(files: &[String], looked_at: &[String]) -> Diagnostics {
    let named = files.iter().filter_map(|file| Some((file, OtherSystem::of(file)?)));
    let named: Vec<(&String, OtherSystem)> = named.collect();
    let Some((first, system)) = named.first() else { return no_pipeline_file(looked_at) };
    let message =
        format!("there is no pipeline file, but `{first}`, which is a pipeline of {}", system.name);
    let mut diagnostic = Diagnostic::error(Code::E080, message);
    for (file, system) in &named[1..] {
        diagnostic = diagnostic.note(format!("also of {}: {file}", system.name));
    }
    for path in looked_at {
        diagnostic = diagnostic.note(format!("looked at: {path}"));
    }
    instead(diagnostic, first, *system)
}

/// E080: the file that was named belongs to another system.
pub fn file_of_other_system(path: &str, system: OtherSystem) -> Diagnostics {
    let message = format!("`{path}` is a pipeline of {}, not of Shipline", system.name);
    instead(Diagnostic::error(Code::E080, message), path, system)
}

/// What to do with a file of another system; the command is part of the language,
/// and not yet of this version.
fn instead(diagnostic: Diagnostic, file: &str, system: OtherSystem) -> Diagnostics {
    let import = if system.importable {
        format!("a later version converts it with: shipline import {file}")
    } else {
        format!("`shipline import` does not read files of {}", system.name)
    };
    let help = format!("write `{SINGLE_FILE}`; the smallest one is\n{SMALLEST}");
    Diagnostics::from(diagnostic.note(import).help(help))
}

/// E005: `.shipline.yml` and `.shipline/*.yml` are both there.
pub fn both_layouts(names: &[String]) -> Diagnostics {
    let files: Vec<String> = names.iter().map(|name| format!("{FOLDER}/{name}.yml")).collect();
    let all = quoted(files.iter().map(String::as_str));
    let message = format!("there are `{SINGLE_FILE}` and {all}; a repository has one or the other");
    let help = format!("move `{SINGLE_FILE}` to `{FOLDER}/NAME.yml`, or remove the folder's files");
    Diagnostics::from(Diagnostic::error(Code::E005, message).help(help))
}

/// E005: no pipeline has this name, or there are several and none was named
/// (`wanted` is empty).
pub fn unknown_pipeline(wanted: &str, names: &[String]) -> Diagnostics {
    let known = || names.iter().map(String::as_str);
    let message = match (wanted, names) {
        ("", _) => "there are several pipelines, and none was chosen".to_owned(),
        (wanted, []) => {
            format!(
                "there is no pipeline `{wanted}`: the repository has the one in `{SINGLE_FILE}`"
            )
        }
        (wanted, _) => format!("there is no pipeline `{wanted}`"),
    };
    let mut diagnostic = Diagnostic::error(Code::E005, message);
    if !names.is_empty() {
        diagnostic = diagnostic.note(format!("pipelines there are: {}", quoted(known())));
    }
    let help = match (closest(wanted, known()), wanted, names.first()) {
        (Some(close), ..) => format!("did you mean `{close}`?"),
        (None, "", Some(first)) => format!("choose one, for example `--pipeline {first}`"),
        (None, _, Some(_)) => "choose one of them".to_owned(),
        (None, _, None) => "leave `--pipeline` out".to_owned(),
    };
    Diagnostics::from(diagnostic.help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(diagnostics: &Diagnostics) -> String {
        diagnostics.to_string()
    }

    #[test]
    fn only_yml_files_directly_in_the_folder_are_pipelines() {
        assert_eq!(pipeline_of_file("release.yml"), Some("release"));
        for file in ["secrets.env", ".yml", "a.yaml", "out/a.yml"] {
            assert_eq!(pipeline_of_file(file), None, "{file}");
        }
    }

    #[test]
    fn a_file_of_another_system_is_known_by_its_place() {
        for (path, system) in [
            ("Jenkinsfile", Some("Jenkins")),
            ("ci/Jenkinsfile", Some("Jenkins")),
            (".github/workflows/ci.yaml", Some("GitHub Actions")),
            (".woodpecker/test.yml", Some("Woodpecker")),
            (".circleci/config.yml", Some("CircleCI")),
            ("MyJenkinsfile", None),
            (".github/workflows/deep/ci.yml", None),
            (".github/workflows/.yml", None),
            (".github/dependabot.yml", None),
        ] {
            assert_eq!(OtherSystem::of(path).map(|system| system.name), system, "{path}");
        }
    }

    #[test]
    fn another_system_is_named_with_what_to_do_instead() {
        let files = ["Jenkinsfile".to_owned(), ".travis.yml".to_owned()];
        assert_eq!(
            said(&other_system(&files, &["/a/.shipline.yml".to_owned()])),
            "error[E080]: there is no pipeline file, but `Jenkinsfile`, which is a pipeline of Jenkins
 |
 = also of Travis CI: .travis.yml
 = looked at: /a/.shipline.yml
 = a later version converts it with: shipline import Jenkinsfile
 = help: write `.shipline.yml`; the smallest one is
         image: debian:12
         stages:
           build: make
"
        );
        let travis = OtherSystem::of(".travis.yml").unwrap();
        let named = said(&file_of_other_system(".travis.yml", travis));
        assert!(named.contains("`shipline import` does not read files of Travis CI"), "{named}");
    }

    #[test]
    fn a_named_file_that_is_not_there_is_told_with_those_that_are() {
        let beside = ["ci/build.yml".to_owned(), "ci/release.yml".to_owned()];
        let told = said(&no_such_file("ci/relaese.yml", &beside));
        assert!(told.contains("error[E005]: there is no file `ci/relaese.yml`"), "{told}");
        assert!(told.contains("files there are: `ci/build.yml`, `ci/release.yml`"), "{told}");
        assert!(told.contains("did you mean `ci/release.yml`?"), "{told}");
    }

    #[test]
    fn nothing_both_and_unknown_are_told_apart() {
        let names = ["build".to_owned(), "release".to_owned()];
        let nothing = said(&no_pipeline_file(&["/a/.shipline.yml".to_owned()]));
        assert!(nothing.contains("error[E005]: there is no pipeline file"), "{nothing}");
        assert!(nothing.contains("looked at: /a/.shipline.yml"), "{nothing}");
        let both = said(&both_layouts(&names));
        assert!(both.contains("`.shipline/build.yml`, `.shipline/release.yml`"), "{both}");
        let unknown = said(&unknown_pipeline("realease", &names));
        assert!(unknown.contains("did you mean `release`?"), "{unknown}");
        let unchosen = said(&unknown_pipeline("", &names));
        assert!(unchosen.contains("choose one, for example `--pipeline build`"), "{unchosen}");
    }
}
