//! `shipline template test`: what the pipelines beside a template come to.

use std::path::{Path, PathBuf};

use pipeline::{Context as PlanContext, Git, Place, Style, TreeOptions, TriggerEvent};

use super::{files, read};
use crate::arguments::TemplateTestArguments;
use crate::error::{CommandError, Context as _};
use crate::local_templates;

/// Of the plans: the same on every machine.
const WIDTH: usize = 100;

pub(super) async fn test(arguments: &TemplateTestArguments) -> Result<u8, CommandError> {
    let (mut passed, mut failed) = (0, 0);
    for template in files(&arguments.paths)? {
        for case in cases(&template)? {
            let came = outcome(&case, arguments.offline).await?;
            let expected = case.with_extension("expected");
            let name = case.display();
            if arguments.update {
                std::fs::write(&expected, &came)
                    .environment(&format!("cannot write {}", expected.display()))?;
            }
            match std::fs::read_to_string(&expected) {
                Ok(text) if text == came => {
                    passed += 1;
                    super::super::print(&format!("ok      {name}\n"))?;
                }
                Ok(text) => {
                    failed += 1;
                    super::super::print(&format!("differs {name}\n{}", difference(&text, &came)))?;
                }
                Err(_) => {
                    failed += 1;
                    let text =
                        format!("new     {name}: `--update` writes {}\n", expected.display());
                    super::super::print(&text)?;
                }
            }
        }
    }
    if passed + failed == 0 {
        return Err(CommandError::usage("there is no test beside these templates")
            .hint("write `tests/NAME.yml`, a pipeline that uses the template"));
    }
    super::super::print(&format!("{passed} passed, {failed} failed\n"))?;
    Ok(if failed > 0 { 1 } else { 0 })
}

/// The pipelines in `tests/` beside a template, sorted.
fn cases(template: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let folder = template.with_file_name("tests");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&folder)
        .environment(&format!("cannot read the folder {}", folder.display()))?;
    let mut cases: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    cases.sort();
    Ok(cases)
}

/// The plan of a pipeline, or what is wrong with it.
async fn outcome(case: &Path, offline: bool) -> Result<String, CommandError> {
    // By its own name: where the repository lies is no part of what is expected.
    let source = match read(case)? {
        Ok(source) => source,
        Err(found) => return Ok(found.render(Style::Plain)),
    };
    let name = case.file_name().map(|name| name.to_string_lossy().into_owned());
    let source = pipeline::SourceFile::new(name.unwrap_or_default(), source.text());
    let (document, mut found) = pipeline::parse(&source);
    let folder = case.parent().unwrap_or(case);
    let library = local_templates::look(&document, folder, offline).await?;
    let (checked, more) = pipeline::check(&document, &library);
    found.extend(more);
    let Some(checked) = checked.filter(|_| !found.has_errors()) else {
        return Ok(found.render(Style::Plain));
    };
    Ok(match pipeline::plan(&checked, &context()) {
        Ok(plan) => {
            let options =
                TreeOptions { style: Style::Plain, width: Some(WIDTH), all: true, origins: false };
            pipeline::plan_text(&plan, &options)
        }
        Err(found) => found.render(Style::Plain),
    })
}

/// A push to `main` that is the same for ever.
fn context() -> PlanContext {
    PlanContext {
        event: TriggerEvent::Push,
        git: Git {
            sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            branch: Some("main".to_owned()),
            message: "Try the template".to_owned(),
            author: "Ada <ada@example.net>".to_owned(),
            default_branch: "main".to_owned(),
            url: "https://git.example.net/team/test.git".to_owned(),
            ..Git::default()
        },
        project: "test".to_owned(),
        trusted: true,
        place: Place::Local,
        ..PlanContext::default()
    }
}

/// The lines that differ, between those that both have at the beginning and the end.
fn difference(expected: &str, came: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), came.lines().collect());
    let first = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - first;
    let last =
        old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let minus = old[first..old.len() - last].iter().map(|line| format!("  - {line}\n"));
    let plus = new[first..new.len() - last].iter().map(|line| format!("  + {line}\n"));
    minus.chain(plus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(difference("a\nb\nc\n", "a\nx\nc\n"), "  - b\n  + x\n");
        assert_eq!(difference("a\na\n", "a\na\na\n"), "  + a\n");
        assert_eq!(difference("", "a\n"), "  + a\n");
    }
}
