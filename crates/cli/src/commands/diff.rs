//! `shipline diff`: what a stage changed in the workspace, or what two of its attempts
//! made differently.

use event::RunState;
use runner::backend::LayerId;
use runner::backend::docker::{Change, FileChange, FileKind};
use runner::{layer_of, layers_below};
use serde_json::json;

use crate::arguments::DiffArguments;
use crate::error::{CommandError, Context as _};
use crate::former::Former;
use crate::home::Home;
use crate::local_run;
use crate::terminal::{Style, visible};

pub(super) async fn diff(arguments: &DiffArguments) -> Result<u8, CommandError> {
    let asked = Asked::of(&arguments.what)?;
    let home = Home::from_environment()?;
    let store = home.store().await?;
    let former = Former::find(&home, &store, asked.run).await?;
    let state = &former.state;
    let stage = former.stage(asked.stage)?;
    let below = layers_below(state, stage).unwrap_or_default();
    let of = |attempt: Option<u32>| layer(state, stage, attempt);
    let (old, new) = match asked.attempts {
        None => (None, of(None)?),
        Some((first, second)) => (Some(of(Some(first))?), of(Some(second))?),
    };
    let backend = local_run::connect(arguments.docker_host.as_deref()).await?;
    let instance = store.instance();
    let involved: Vec<LayerId> = old.iter().chain([&new]).chain(&below).copied().collect();
    let gone = backend.gone(instance, &involved).await.environment("cannot look for layers")?;
    if !gone.is_empty() {
        return Err(former.nothing_left(stage));
    }
    let over = |layer: Option<LayerId>| layer.into_iter().chain(below.clone()).collect::<Vec<_>>();
    let touched: Vec<LayerId> = old.iter().chain([&new]).copied().collect();
    let changes = backend.changes(instance, &over(old), &over(Some(new)), &touched).await;
    let changes = changes.environment("cannot compare the files")?;
    super::show(arguments.format, &json!(changes), |_| told(&changes))?;
    Ok(0)
}

fn layer(state: &RunState, stage: &str, attempt: Option<u32>) -> Result<LayerId, CommandError> {
    layer_of(state, stage, attempt).ok_or_else(|| {
        let attempts = state.stage(stage).map_or(0, |stage| stage.attempts.len());
        match (attempt, attempts) {
            (Some(attempt), 1..) => CommandError::usage(format_args!(
                "stage `{stage}` has {attempts} attempt{}, and no attempt {attempt}",
                if attempts == 1 { "" } else { "s" }
            )),
            _ => CommandError::usage(format_args!(
                "stage `{stage}` did not run, so it changed nothing"
            )),
        }
    })
}

/// What is to be compared: `[RUN] STAGE [ATTEMPT ATTEMPT]`.
struct Asked<'a> {
    run: Option<&'a str>,
    stage: &'a str,
    attempts: Option<(u32, u32)>,
}

impl<'a> Asked<'a> {
    fn of(words: &'a [String]) -> Result<Self, CommandError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = |word: &str| {
            word.parse().map_err(|_| {
                CommandError::usage(format_args!("`{word}` is no number of an attempt"))
                    .hint("write `shipline diff STAGE 1 2`")
            })
        };
        Ok(match words[..] {
            [stage] => Self { run: None, stage, attempts: None },
            [run, stage] => Self { run: Some(run), stage, attempts: None },
            [stage, first, second] => {
                Self { run: None, stage, attempts: Some((number(first)?, number(second)?)) }
            }
            [run, stage, first, second] => {
                Self { run: Some(run), stage, attempts: Some((number(first)?, number(second)?)) }
            }
            _ => {
                return Err(CommandError::usage(
                    "write `shipline diff [RUN] STAGE [ATTEMPT ATTEMPT]`",
                ));
            }
        })
    }
}

fn told(changes: &[FileChange]) -> String {
    let style = Style::of_stdout();
    if changes.is_empty() {
        return "nothing differs\n".to_owned();
    }
    let line = |change: &FileChange| {
        let sign = match change.change {
            Change::Added => style.result_colour("passed", "A"),
            Change::Deleted => style.result_colour("failed", "D"),
            Change::Modified => style.result_colour("warning", "M"),
        };
        let (end, size) = match change.kind {
            FileKind::Directory => ("/", String::new()),
            FileKind::File => ("", format!("  {}", runner::size_text(change.size))),
            FileKind::Link => (" ->", String::new()),
            FileKind::Other => (" (no file)", String::new()),
        };
        format!("{sign} {}{end}{}\n", visible(&change.path), style.dim(&size))
    };
    let lines: String = changes.iter().map(line).collect();
    let count = |of: Change| changes.iter().filter(|change| change.change == of).count();
    let words =
        [(Change::Added, "added"), (Change::Modified, "modified"), (Change::Deleted, "deleted")];
    let counts = words.map(|(of, word)| format!("{} {word}", count(of))).join(", ");
    format!("{lines}{}\n", style.dim(&counts))
}
