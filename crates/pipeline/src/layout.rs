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

/// E005: there is neither.
pub fn no_pipeline_file(looked_at: &[String]) -> Diagnostics {
    let diagnostic = Diagnostic::error(Code::E005, "there is no pipeline file");
    let diagnostic = looked_at
        .iter()
        .fold(diagnostic, |diagnostic, path| diagnostic.note(format!("looked at: {path}")));
    Diagnostics::from(
        diagnostic
            .help(format!("a smallest {SINGLE_FILE} is\nimage: debian:12\nstages:\n  build: make")),
    )
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
