//! The keys of the language, place by place, with what each of them may be.
//!
//! One table for everybody: lowering takes the names from it, the JSON Schema and
//! the reference of the documentation are printed from it. What a key may be is
//! told by its [`Form`]; the exact rule and its errors are in lowering.

mod action;
mod deploy;
mod environment;
mod form;
mod notify;
mod rollout;
mod shared;
mod stage;
mod switch;
mod top;
mod trigger;

pub(crate) use action::{APPROVE, BUILD, PUSH, SCAN, TRIGGER, WHEN};
pub(crate) use deploy::{DEPLOY, EXPOSE, HEALTH, HOSTS, KUBERNETES};
pub(crate) use environment::{
    ENVIRONMENT, ONLY, REQUIREMENT, TARGET, TARGET_DOCKER, TARGET_HOST, TARGET_HOSTS,
    TARGET_KUBERNETES, TARGET_PROCESS, TARGET_SWARM,
};
pub(crate) use form::{Form, Make};
pub(crate) use notify::{CHANNEL, MAIL, NOTIFY};
pub(crate) use rollout::{CANARY, CANARY_STEP, METRIC, STRATEGY, VERIFY};
pub(crate) use shared::{ARTIFACTS, CACHE, CONCURRENCY, READY, REPORTS, RESOURCES, SERVICE};
pub(crate) use stage::{NEED, RETRY, RETRY_ON, SECRET, STAGE};
pub(crate) use switch::{
    SWITCH, SWITCH_HAPROXY, SWITCH_HOOK, SWITCH_NGINX, SWITCH_OF_UNITS, SWITCH_TRAEFIK,
};
pub(crate) use top::{CHECKOUT, DEFAULTS, TEMPLATE_FILE, TOP};
pub(crate) use trigger::{
    ON, ON_GERRIT, ON_MANUAL, ON_PULL_REQUEST, ON_PUSH, ON_SCHEDULE, ON_SVN, ON_TAG, PARAM,
};

use crate::expression::Site;

/// The keys of one kind of map.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The map's name in "belongs to", and in the documentation.
    pub(crate) name: &'static str,
    /// What the map is about, in half a sentence.
    pub(crate) about: &'static str,
    pub(crate) all: &'static [Key],
    /// Names beside the keys that the file chooses: the axes of a matrix.
    pub(crate) others: Option<&'static Form>,
}

/// One key of a map.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// What it means, in one or two sentences.
    pub(crate) about: &'static str,
    pub(crate) default: Default,
    /// Of a stage: the actions it belongs to; `None` when it belongs to all.
    pub(crate) actions: Option<&'static [&'static str]>,
    /// Codes that are about this key.
    pub(crate) codes: &'static [&'static str],
    /// Where its expressions stand; `None` when it takes none.
    pub(crate) site: Option<Site>,
    /// Values in YAML.
    pub(crate) examples: &'static [&'static str],
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    /// Nothing.
    None,
    /// It must be written.
    Required,
    /// A value in YAML.
    Value(&'static str),
    /// A rule, in words.
    Words(&'static str),
}

/// A key of which nothing but the form is known yet.
const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key {
        name,
        form,
        about,
        default: Default::None,
        actions: None,
        codes: &[],
        site: None,
        examples: &[],
    }
}

impl Key {
    const fn required(mut self) -> Self {
        self.default = Default::Required;
        self
    }

    const fn default(mut self, value: &'static str) -> Self {
        self.default = Default::Value(value);
        self
    }

    const fn otherwise(mut self, words: &'static str) -> Self {
        self.default = Default::Words(words);
        self
    }

    const fn of(mut self, actions: &'static [&'static str]) -> Self {
        self.actions = Some(actions);
        self
    }

    const fn codes(mut self, codes: &'static [&'static str]) -> Self {
        self.codes = codes;
        self
    }

    const fn at(mut self, site: Site) -> Self {
        self.site = Some(site);
        self
    }

    const fn examples(mut self, examples: &'static [&'static str]) -> Self {
        self.examples = examples;
        self
    }
}

impl Keys {
    pub(crate) fn get(&self, name: &str) -> Option<&'static Key> {
        self.all.iter().find(|key| key.name == name)
    }

    /// Whether a key belongs here.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// In the order in which they are told to people.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.all.iter().map(|key| key.name)
    }

    /// `after, allow-failure, …`.
    pub(crate) fn listed(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }
}

/// The actions; a stage has exactly one.
pub(crate) const ACTIONS: &[&str] = &["run", "build", "push", "deploy", "approve", "trigger"];

/// The actions a stage key belongs to; `None` when it belongs to all.
pub(crate) fn actions_of(key: &str) -> Option<&'static [&'static str]> {
    STAGE.get(key).and_then(|key| key.actions)
}

/// The place a key belongs to, when it is written at another one: `needs` inside
/// `deploy`, `environment` beside it.
pub(crate) fn belongs_to(keys: &Keys, key: &str) -> Option<String> {
    let inside = |places: &[&Keys]| {
        let homes: Vec<_> = places
            .iter()
            .filter(|home| home.name != keys.name && home.has(key))
            .map(|home| format!("`{}`", home.name))
            .collect();
        (!homes.is_empty()).then(|| homes.join(" or "))
    };
    match keys.name {
        "stage" => inside(&[&BUILD, &PUSH, &DEPLOY])
            .or_else(|| TOP.has(key).then(|| "the top level of the file".to_owned())),
        "top level" if TEMPLATE_FILE.has(key) => Some("a template file".to_owned()),
        "top level" => STAGE.has(key).then(|| "a stage".to_owned()),
        "build" | "push" | "deploy" | "when" | "approve" | "trigger" => {
            STAGE.has(key).then(|| "the stage itself".to_owned())
        }
        "deploy.expose" | "deploy.health" | "deploy.strategy" => {
            inside(&[&DEPLOY, &EXPOSE, &HEALTH, &STRATEGY])
        }
        "defaults" => STAGE.has(key).then(|| "a stage".to_owned()),
        _ => None,
    }
}

/// Every kind of map there is, in the order of the documentation: a map follows
/// the one that names it first.
pub(crate) fn every() -> Vec<&'static Keys> {
    fn walk(keys: &'static Keys, found: &mut Vec<&'static Keys>) {
        if found.iter().any(|known| known.name == keys.name) {
            return;
        }
        found.push(keys);
        for key in keys.all {
            form(&key.form, found);
        }
        if let Some(others) = keys.others {
            form(others, found);
        }
    }
    fn form(value: &'static Form, found: &mut Vec<&'static Keys>) {
        match value {
            Form::Map(keys) => walk(keys, found),
            Form::MapOf(_, inner) | Form::ListOf(inner) | Form::OneOrMany(inner) => {
                form(inner, found);
            }
            Form::OneOf(forms) => forms.iter().for_each(|inner| form(inner, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for root in [&TOP, &TEMPLATE_FILE] {
        walk(root, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_unique_as_they_are_listed_to_people() {
        for keys in every() {
            assert!(keys.names().is_sorted_by(|one, next| one < next), "{}", keys.name);
        }
    }

    #[test]
    fn every_key_is_described_in_whole_words_and_shown_by_an_example() {
        for keys in every() {
            assert!(!keys.about.is_empty() && !keys.about.ends_with('.'), "{}", keys.name);
            for key in keys.all {
                let place = format!("{}.{}", keys.name, key.name);
                assert!(!key.about.is_empty() && !key.about.ends_with('.'), "{place}");
                let simple = matches!(key.form, Form::Map(_) | Form::Bool | Form::Words(_));
                assert!(simple || !key.examples.is_empty(), "{place} has no example");
            }
        }
    }

    #[test]
    fn a_key_of_some_actions_names_actions_that_there_are() {
        for key in STAGE.all {
            for action in key.actions.unwrap_or_default() {
                assert!(ACTIONS.contains(action), "{}: {action}", key.name);
            }
        }
        assert!(ACTIONS.iter().all(|action| STAGE.has(action)));
    }

    #[test]
    fn a_key_at_the_wrong_place_knows_its_home() {
        assert_eq!(belongs_to(&STAGE, "environment").as_deref(), Some("`deploy`"));
        assert_eq!(belongs_to(&STAGE, "tags").as_deref(), Some("`build` or `push`"));
        assert_eq!(belongs_to(&DEPLOY, "needs").as_deref(), Some("the stage itself"));
        assert_eq!(belongs_to(&TOP, "run").as_deref(), Some("a stage"));
        assert_eq!(belongs_to(&TOP, "policy").as_deref(), Some("a template file"));
        assert_eq!(belongs_to(&TOP, "neds"), None);
    }
}
