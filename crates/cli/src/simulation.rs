//! The event a local plan is made for: as Git says, except for what was typed.

use std::collections::BTreeMap;
use std::path::Path;

use pipeline::{Git, PullRequest, TriggerEvent};
use runner::git::Base;
use serde_json::Value;

use crate::arguments::SimulationArguments;
use crate::error::{CommandError, Context as _};

/// The part of a plan's context that an event decides.
pub(crate) struct Event {
    pub(crate) event: TriggerEvent,
    pub(crate) git: Git,
    pub(crate) pull_request: Option<PullRequest>,
    pub(crate) params: BTreeMap<String, Value>,
    pub(crate) changed: Option<Vec<String>>,
}

/// Joins what Git says of `directory` with what was typed.
pub(crate) async fn event(
    simulation: &SimulationArguments,
    directory: &Path,
    mut git: Git,
) -> Result<Event, CommandError> {
    let event = kind(simulation)?;
    let params = params(&simulation.params)?;
    if let Some(branch) = named("--branch", simulation.branch.as_deref())? {
        git.branch = Some(branch);
    }
    if event == TriggerEvent::Tag {
        git.tag = Some(match named("--tag", simulation.tag.as_deref())? {
            Some(tag) => tag,
            None => tag_here(directory).await?,
        });
    }
    let pull_request = match event {
        TriggerEvent::PullRequest | TriggerEvent::Gerrit => Some(pull_request(simulation, &git)?),
        _ => None,
    };
    let changed = if simulation.changed.is_empty() {
        changed(simulation.event, event, directory, &git, pull_request.as_ref()).await?
    } else {
        let mut paths: Vec<String> = simulation.changed.iter().map(|path| relative(path)).collect();
        paths.sort();
        paths.dedup();
        Some(paths)
    };
    Ok(Event { event, git, pull_request, params, changed })
}

/// The event that was named, else the one that the other options belong to.
fn kind(simulation: &SimulationArguments) -> Result<TriggerEvent, CommandError> {
    let of_request = [
        ("--target-branch", simulation.target_branch.is_some()),
        ("--title", simulation.title.is_some()),
        ("--number", simulation.number.is_some()),
    ];
    let of_request = of_request.into_iter().find(|(_, given)| *given).map(|(option, _)| option);
    let tag = simulation.tag.is_some().then_some("--tag");
    let params = (!simulation.params.is_empty()).then_some("--param");
    let request: &[_] = &[TriggerEvent::PullRequest, TriggerEvent::Gerrit];
    let started: &[_] = &[TriggerEvent::Manual, TriggerEvent::Schedule, TriggerEvent::Trigger];
    let belongs = [
        (tag, &[TriggerEvent::Tag] as &[_], "a tag"),
        (of_request, request, "a pull request"),
        (params, started, "a run that somebody or something starts"),
    ];
    let mut given = belongs
        .into_iter()
        .filter_map(|(option, events, of)| option.map(|option| (option, events, of)));
    let Some((option, events, of)) = given.next() else {
        return Ok(simulation.event.unwrap_or_default());
    };
    if let Some((other, _, of_other)) = given.next() {
        return Err(CommandError::usage(format_args!(
            "`{option}` is of {of} and `{other}` of {of_other}; an event is one of them"
        ))
        .hint("leave one of the two out"));
    }
    match simulation.event {
        None => Ok(events[0]),
        Some(event) if events.contains(&event) => Ok(event),
        Some(event) => Err(CommandError::usage(format_args!(
            "`{option}` is of {of}, and the event is `{}`",
            event.name()
        ))
        .hint(format_args!("leave `{option}` out, or write `--event {}`", events[0].name()))),
    }
}

/// The value of an option that names something in Git.
fn named(option: &str, value: Option<&str>) -> Result<Option<String>, CommandError> {
    match value {
        Some(value) if value.trim().is_empty() => {
            Err(CommandError::usage(format_args!("`{option}` has no name")))
        }
        value => Ok(value.map(str::to_owned)),
    }
}

pub(crate) fn params(given: &[String]) -> Result<BTreeMap<String, Value>, CommandError> {
    let mut params = BTreeMap::new();
    for text in given {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(CommandError::usage(format_args!("`--param {text}` has no value"))
                .hint("write name and value as `--param NAME=VALUE`"));
        };
        if params.insert(name.to_owned(), Value::from(value)).is_some() {
            return Err(CommandError::usage(format_args!("`--param {name}` is given twice")));
        }
    }
    Ok(params)
}

async fn tag_here(directory: &Path) -> Result<String, CommandError> {
    let mut tags = runner::git::tags_here(directory).await.environment("cannot read the tags")?;
    match (tags.pop(), tags.is_empty()) {
        (Some(tag), true) => Ok(tag),
        (None, _) => Err(CommandError::usage("the event is `tag`, and the commit has no tag")
            .hint("name one, for example `--tag v1.0.0`")),
        (Some(tag), false) => Err(CommandError::usage("the commit has several tags")
            .hint(format_args!("name one of them, for example `--tag {tag}`"))),
    }
}

fn pull_request(simulation: &SimulationArguments, git: &Git) -> Result<PullRequest, CommandError> {
    let target = named("--target-branch", simulation.target_branch.as_deref())?;
    let target = target.or_else(|| Some(git.default_branch.clone()).filter(|it| !it.is_empty()));
    let Some(target_branch) = target else {
        return Err(CommandError::usage(
            "a pull request has a target, and the default branch is not known here",
        )
        .hint("name it, for example `--target-branch main`"));
    };
    let first_line = git.message.lines().next().unwrap_or_default();
    Ok(PullRequest {
        number: simulation.number.unwrap_or(1),
        title: simulation.title.clone().unwrap_or_else(|| first_line.to_owned()),
        target_branch,
        action: "opened".to_owned(),
    })
}

/// What Git says has changed. Events that bring no change of their own have none
/// on a server, and so have none here when somebody asks for one of them.
async fn changed(
    asked: Option<TriggerEvent>,
    event: TriggerEvent,
    directory: &Path,
    git: &Git,
    request: Option<&PullRequest>,
) -> Result<Option<Vec<String>>, CommandError> {
    let default_branch = Some(git.default_branch.as_str()).filter(|branch| !branch.is_empty());
    let base = match (asked, event, request) {
        (_, TriggerEvent::PullRequest, Some(request)) => Base::Target(&request.target_branch),
        (_, TriggerEvent::Push | TriggerEvent::Gerrit | TriggerEvent::Svn, _)
        | (None, TriggerEvent::Manual, _) => Base::Pushed { default_branch },
        _ => return Ok(None),
    };
    // Without a commit there is nothing to compare with, or no repository at all.
    if git.sha.is_empty() {
        return Ok(None);
    }
    runner::git::changed_files(directory, base).await.environment("cannot read what has changed")
}

/// A path as Git has it.
fn relative(path: &str) -> String {
    path.strip_prefix("./").unwrap_or(path).replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(simulation: &SimulationArguments) -> String {
        kind(simulation).expect_err("it is refused").to_string()
    }

    #[test]
    fn the_event_follows_from_what_belongs_to_it() {
        let none = SimulationArguments::default();
        assert_eq!(kind(&none).unwrap(), TriggerEvent::Manual);
        let tag = SimulationArguments { tag: Some("v1".to_owned()), ..Default::default() };
        assert_eq!(kind(&tag).unwrap(), TriggerEvent::Tag);
        let request = SimulationArguments { number: Some(7), ..Default::default() };
        assert_eq!(kind(&request).unwrap(), TriggerEvent::PullRequest);
        let params = SimulationArguments {
            event: Some(TriggerEvent::Schedule),
            params: vec!["a=b".to_owned()],
            ..Default::default()
        };
        assert_eq!(kind(&params).unwrap(), TriggerEvent::Schedule);
    }

    #[test]
    fn what_belongs_to_different_events_is_refused_in_words() {
        let tag = Some("v1".to_owned());
        let event = Some(TriggerEvent::Push);
        let simulation = SimulationArguments { tag: tag.clone(), event, ..Default::default() };
        assert_eq!(
            refused(&simulation),
            "error: `--tag` is of a tag, and the event is `push`\n  = help: leave `--tag` out, or write `--event tag`\n"
        );
        let simulation = SimulationArguments { tag, number: Some(1), ..Default::default() };
        assert_eq!(
            refused(&simulation),
            "error: `--tag` is of a tag and `--number` of a pull request; an event is one of them\n  = help: leave one of the two out\n"
        );
    }

    #[test]
    fn a_parameter_is_a_name_and_a_value_given_once() {
        let given = |texts: &[&str]| {
            params(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let two = given(&["a=1=2", "b="]).unwrap();
        assert_eq!(two, BTreeMap::from([("a".into(), "1=2".into()), ("b".into(), "".into())]));
        for (texts, says) in [
            (&["a"] as &[&str], "`--param a` has no value"),
            (&["=1"], "`--param =1` has no value"),
            (&["a=1", "a=2"], "`--param a` is given twice"),
        ] {
            let said = given(texts).expect_err("it is refused").to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
