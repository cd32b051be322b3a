//! A stage that failed: the code, the place in the file, an excerpt, the cause, the way
//! out, and the last lines of its output (language.md §10).

use event::{Attempt, RunState};
use pipeline::{Failure, Origin, OriginKind, PlannedStage, SourceFile};

use super::output::{LAST_LINES, Output, overwritten};
use super::style::Style;
use super::visible::{colourless, visible};

/// The texts a plan was made from, as far as they are at hand, and how wide an excerpt of
/// them may be.
#[derive(Default)]
pub(crate) struct Excerpts {
    pub(crate) files: Vec<SourceFile>,
    /// Of the terminal, where there is one.
    pub(crate) columns: Option<usize>,
}

/// Columns before an error below the line of its stage.
const INDENT: usize = 2;

/// What is to be said below the line of a stage that failed.
pub(super) fn failure(
    style: Style,
    excerpts: &Excerpts,
    state: &RunState,
    name: &str,
    reason: Option<&str>,
    output: Option<&Output>,
) -> Vec<String> {
    let planned = state.plan.as_deref().and_then(|plan| plan.stage(name));
    let attempt = state.stage(name).and_then(|stage| stage.attempts.last());
    let code = attempt.and_then(|attempt: &Attempt| attempt.code.as_deref());
    let place = place(planned, code, reason);
    let mut lines: Vec<String> = Vec::new();
    match code {
        Some(code) => lines.extend(error(style, excerpts, code, reason, place.as_ref())),
        None => {
            // The first line of the cause stands in the line of the stage.
            let place = place.map(|Origin { file, line, column, .. }| {
                visible(&format!("{file}:{line}:{column}"))
            });
            lines.extend(place.map(|place| format!("   {} {place}", style.dim("-->"))));
            let causes = reason.into_iter().flat_map(str::lines).skip(1);
            lines.extend(causes.map(|cause| format!("    {} {}", style.dim("="), visible(cause))));
        }
    }
    lines.extend(last_lines(style, state, name, output));
    lines
}

/// The error in the form of those of `check`.
fn error(
    style: Style,
    excerpts: &Excerpts,
    code: &str,
    reason: Option<&str>,
    origin: Option<&Origin>,
) -> Vec<String> {
    let mut causes = reason.into_iter().flat_map(str::lines).map(colourless);
    let message = causes.next().unwrap_or_default();
    // In a line of the stage they are indented.
    let notes: Vec<String> = causes.map(|cause| cause.trim_start().to_owned()).collect();
    let innocent = if code == "E099" { "the pipeline is not at fault; " } else { "" };
    let help = format!("{innocent}`shipline explain {code}` tells more");
    let failure = Failure { code, message: &message, origin, notes: &notes, help: &help };
    let columns = excerpts.columns.map(|columns| columns.saturating_sub(INDENT));
    let text = failure.render(&excerpts.files, style.of_language(), columns);
    text.lines().map(|line| format!("{:INDENT$}{line}", "")).collect()
}

fn last_lines(style: Style, state: &RunState, name: &str, output: Option<&Output>) -> Vec<String> {
    let Some(output) = output.filter(|output| output.count > 0) else { return Vec::new() };
    let run = state.run.map(|run| run.short()).unwrap_or_default();
    let all = format!("`shipline logs {run} {}`", quoted(&visible(name)));
    let title = if output.count > LAST_LINES as u64 {
        format!("  last {LAST_LINES} of {} lines, {all} has them all", output.count)
    } else {
        format!("  output, again with {all}")
    };
    let bar = style.dim("│");
    let shown = output.last().map(|line| {
        let line = overwritten(line);
        let line =
            if style.colour { format!("{}\x1b[0m", visible(line)) } else { colourless(line) };
        format!("  {bar} {line}")
    });
    std::iter::once(style.dim(&title)).chain(shown).collect()
}

/// The name of a stage as a shell takes it: brackets are patterns there.
pub(super) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if name.chars().all(plain) { name.to_owned() } else { format!("'{name}'") }
}

/// Where the file says what failed: the value that is named, or the one that the code is
/// about, or what the stage does.
fn place(stage: Option<&PlannedStage>, code: Option<&str>, reason: Option<&str>) -> Option<Origin> {
    if let Some(named) = reason.and_then(named_place) {
        return Some(named);
    }
    let stage = stage?;
    if matches!(code, Some("E090" | "E097"))
        && let Some(named) = reason.and_then(|reason| named_key(stage, reason))
    {
        return Some(named.clone());
    }
    let action = stage.work.action().name();
    let about = match code {
        Some("E050") => "secrets",
        Some("E090") => "image",
        Some("E099") if reason.is_some_and(|reason| reason.starts_with("registry: image `")) => {
            "image"
        }
        Some("E091") => reason.and_then(not_begun).unwrap_or(action),
        Some("E092") => "resources",
        Some("E093") => "timeout",
        Some("E094") => "services",
        Some("E095") => "merge",
        Some("E096") => "outputs",
        _ => action,
    };
    origin(stage, about).or_else(|| origin(stage, action)).cloned()
}

/// The key that kept the commands from beginning, by what PID 1 of the stage says.
fn not_begun(reason: &str) -> Option<&'static str> {
    let (_, why) = reason.split_once(": ")?;
    match why.split(' ').next()? {
        "user" | "group" => Some("user"),
        "the" => why.starts_with("the working directory").then_some("workdir"),
        shell if shell.starts_with('`') && !why.contains(" of image ") => Some("shell"),
        _ => None,
    }
}

/// The place of the key in a reason like ``the pattern of `reports.junit` matches no file``.
fn named_key<'a>(stage: &'a PlannedStage, reason: &str) -> Option<&'a Origin> {
    let named = reason.lines().next()?.split(" of `").skip(1);
    let mut keys = named.filter_map(|rest| rest.split('`').next());
    keys.find_map(|key| {
        // A pattern that has not got a key of its own stands in its map.
        origin(stage, key).or_else(|| origin(stage, key.split_once('.')?.0))
    })
}

fn origin<'a>(stage: &'a PlannedStage, key: &str) -> Option<&'a Origin> {
    let inside = format!("{key}.");
    let mut origins = stage.origins.iter();
    let found = origins.find(|(path, origin)| {
        (*path == key || path.starts_with(&inside)) && !origin.file.is_empty()
    });
    found.map(|(_, origin)| origin)
}

/// `FILE:LINE:COLUMN` in brackets at the end of a reason.
fn named_place(reason: &str) -> Option<Origin> {
    let (_, place) = reason.lines().next()?.strip_suffix(')')?.rsplit_once(" (")?;
    let mut parts = place.rsplitn(3, ':');
    let column = parts.next()?.parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    // It may say first which key it is: "`timeout` at .shipline.yml:3:5".
    let file = parts.next()?.rsplit(' ').next().filter(|file| !file.is_empty())?;
    Some(Origin { file: file.to_owned(), line, column, by: OriginKind::File })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_may_name_its_place() {
        let named = |reason| {
            let origin = named_place(reason)?;
            Some(format!("{}:{}:{}", origin.file, origin.line, origin.column))
        };
        let place = Some(".shipline.yml:3:5".to_owned());
        assert_eq!(named("no output `x` (.shipline.yml:3:5)\nmore"), place);
        assert_eq!(named("took too long (`timeout` at .shipline.yml:3:5)"), place);
        assert_eq!(named("out of memory: the container reached its limit (exit 137)"), None);
        assert_eq!(named("exit 1"), None);
    }

    #[test]
    fn what_is_wrong_with_a_stage_may_be_told_from_its_reason() {
        let begun = |reason| not_begun(reason);
        assert_eq!(begun("exit 126: user `x` is not in the image `busybox:1`"), Some("user"));
        let directory = "exit 126: the working directory `/x` does not exist in image `busybox:1`";
        assert_eq!(begun(directory), Some("workdir"));
        assert_eq!(begun("exit 127: `bash` is not in the image `busybox:1`"), Some("shell"));
        assert_eq!(begun("exit 127: a command of `x` is not found in image `busybox:1`"), None);
        assert_eq!(begun("exit 127: the last command is not found in image `busybox:1`"), None);
    }

    #[test]
    fn a_reason_may_name_the_key_that_it_is_about() {
        let mut stage = PlannedStage::new("a", pipeline::Work::Run(Box::default()));
        for (line, key) in (1..).zip(["artifacts.paths", "build.file", "push.image", "push.tags"]) {
            let origin = Origin { line, file: "f".to_owned(), column: 1, by: OriginKind::File };
            stage.origins.insert(key.to_owned(), origin);
        }
        let line = |reason| named_key(&stage, reason).map(|origin| origin.line);
        assert_eq!(line("`out/*` of `artifacts` matches no file; `out/` has `b`"), Some(1));
        assert_eq!(line("`D` of `build.file` is not in the workspace"), Some(2));
        assert_eq!(line("`web` of `build.context` is no directory"), Some(2));
        assert_eq!(line("the layers of `x` and `h/a:1` of `push.tags` is not on h"), Some(4));
        assert_eq!(line("`x` of `reports.junit` matches no file"), None);
    }

    #[test]
    fn a_cell_is_quoted_for_a_shell() {
        assert_eq!([quoted("unit-test"), quoted("t[db=a:1]")], ["unit-test", "'t[db=a:1]'"]);
    }
}
