//! A stage: its name, its action, and what every action has.

use std::borrow::Cow;

use super::Lowering;
use super::draft::Draft;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys::{self, ACTIONS};
use crate::model::When;
use crate::name::{self, CHECKOUT};
use crate::plan::{PlannedStage, Resources, Retry, RunOn, Work, default_cancel_grace};
use crate::scalar::{ApprovalTimeout, Timeout};
use crate::source::FileId;
use crate::suggest::{closest, quoted, translated};
use crate::yaml::{Entry, Map, Value};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Of an approval.
const APPROVE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl Lowering<'_> {
    /// Reads a stage whole, to check it.
    pub(super) fn stage(&mut self, entry: &Entry) -> Draft {
        self.with_its_defaults(entry, |lowering| lowering.draft(entry))
    }

    fn draft(&mut self, entry: &Entry) -> Draft {
        let name = entry.key.name.as_str();
        self.stage_name(entry);
        let mut draft = Draft::new(entry);
        let Some(map) = self.stage_map(entry) else { return draft };
        let what = format!("stage `{name}`");
        for entry in &map.0 {
            self.key(&entry.key, &keys::STAGE, &what);
        }
        draft.needs = self.needs(name, &map);
        draft.when = map.get("when").map_or(When::Always, |node| self.when(node));
        draft.run_on =
            self.optional(&map, "run-on", Site::Never("run-on")).unwrap_or(RunOn::Success);
        draft.matrix = map.entry("matrix").and_then(|entry| self.matrix(name, entry));
        if let Some(action) = self.action(entry, &map) {
            self.keys_of_action(name, &action.key.name, &map);
            draft.image = self.used_image(name, action);
            draft.body = self.body(entry, &map, action);
        } else {
            // What it does is not known; what is wrong with its keys is told all the same.
            drop(self.shared(&map, None, &what));
            self.run_settings(&map, &what);
        }
        draft.reads = self.take_reads();
        draft
    }

    /// Reads the keys of a stage again, with the values of one event and cell.
    /// Only a stage that was checked comes here.
    pub(crate) fn stage_again(&mut self, entry: &Entry) -> Option<PlannedStage> {
        let map = self.stage_map(entry)?;
        let action = map.0.iter().find(|entry| ACTIONS.contains(&entry.key.name.as_str()))?;
        self.with_its_defaults(entry, |lowering| lowering.body(entry, &map, action))
    }

    /// Not every default reaches a stage that a template has sealed.
    fn with_its_defaults<T>(&mut self, entry: &Entry, read: impl FnOnce(&mut Self) -> T) -> T {
        let all = self.defaults;
        self.defaults = self.sealed.get(&entry.key.name).unwrap_or(all);
        let value = read(self);
        self.defaults = all;
        value
    }

    /// The keys of a stage; a command in place of a stage is its `run`.
    fn stage_map<'n>(&mut self, entry: &'n Entry) -> Option<Cow<'n, Map>> {
        let name = entry.key.name.as_str();
        match &entry.value.value {
            Value::Map(map) => return Some(Cow::Borrowed(map)),
            // It has an error already.
            value if value.is_reported() => {}
            Value::Text(text) if text == "off" => {
                let error = self.error_at(
                    Code::E011,
                    format!("`off` removes a stage of a template, and `{name}` is none"),
                    &entry.value,
                );
                self.report(error.label("remove the line, or write what to run"));
            }
            Value::Text(_) | Value::Mixed(_) | Value::List(_) => {
                let key = crate::yaml::Key { name: "run".to_owned(), span: entry.value.span };
                let run = Entry { key, value: entry.value.clone() };
                return Some(Cow::Owned(Map(vec![run])));
            }
            other => {
                let message = format!(
                    "stage `{name}` takes a map, a command or a list of commands, not {}",
                    other.kind()
                );
                let error = self.error(Code::E012, message, entry.key.span);
                self.report(match other {
                    Value::Null => error
                        .label(format!("write `{name}: make`, or its keys below it"))
                        .help("the keys of a stage are indented further than its name"),
                    _ => error.label(format!("for example `{name}: make`")),
                });
            }
        }
        None
    }

    fn body(&mut self, entry: &Entry, map: &Map, action: &Entry) -> Option<PlannedStage> {
        let name = entry.key.name.as_str();
        let of = format!("stage `{name}`");
        let what = format!("`{}` of {of}", action.key.name);
        let body = self.shared(map, Some(action), &of);
        Some(body(match action.key.name.as_str() {
            "run" => Work::Run(Box::new(self.run(entry, action, map)?)),
            "build" => Work::Build(self.build(action, map, &what)?),
            "push" => Work::Push(self.push(action, &what)?),
            "deploy" => Work::Deploy(Box::new(self.deploy(name, action, map, &what)?)),
            "approve" => Work::Approve(self.approve(action, &what)?),
            _ => Work::Trigger(self.trigger_stage(action, &what)?),
        }))
    }

    /// Keys that several actions have; what is missing for a body is the action.
    fn shared(
        &mut self,
        map: &Map,
        action: Option<&Entry>,
        of: &str,
    ) -> impl FnOnce(Work) -> PlannedStage + use<> {
        // Whether the action has a key, so that a default of it counts.
        let has = |key| match (action, keys::actions_of(key)) {
            (Some(action), Some(actions)) => actions.contains(&action.key.name.as_str()),
            _ => true,
        };
        let description = map.get("description").map(|node| self.plain("description", node));
        let timeout = self.timeout(map, action);
        let cancel_grace = match self.own_or_default(map, "cancel-grace") {
            Some((node, false)) => self.value("cancel-grace", node, Site::Plan),
            Some((node, true)) if has("cancel-grace") => {
                self.of_defaults(|lowering| lowering.value("cancel-grace", node, Site::Plan))
            }
            _ => default_cancel_grace(),
        };
        let secrets = self.secrets(map, of);
        let allow_failure = map.get("allow-failure").and_then(|node| self.allow_failure(node));
        let retry = if has("retry") { self.retry(map, of) } else { Retry::builtin() };
        let concurrency =
            map.get("concurrency").and_then(|node| self.concurrency(node, Site::Value));
        let runner = if has("runner") { self.runner(map) } else { Vec::new() };
        let resources =
            if has("resources") { self.stage_resources(map) } else { Resources::default() };
        let cache = self.caches(map, of);
        let inputs = self.inputs(map);
        let artifacts = map.get("artifacts").and_then(|node| self.artifacts(node, of));
        let merge = map.get("merge").and_then(|node| self.merge(node));
        move |work| PlannedStage {
            description,
            secrets,
            timeout,
            cancel_grace,
            allow_failure,
            retry,
            concurrency,
            runner,
            resources,
            cache,
            inputs,
            artifacts,
            merge,
            ..PlannedStage::new("", work)
        }
    }

    /// How long an attempt may take; of an approval, how long people may. Those may
    /// write it inside `approve`, too.
    fn timeout(&mut self, map: &Map, action: Option<&Entry>) -> Duration {
        let Some(action) = action.filter(|action| action.key.name == "approve") else {
            return match self.own_or_default(map, "timeout") {
                Some((node, false)) => self.value::<Timeout>("timeout", node, Site::Plan).0,
                Some((node, true)) => {
                    self.of_defaults(|lowering| {
                        lowering.value::<Timeout>("timeout", node, Site::Plan)
                    })
                    .0
                }
                None => {
                    self.record_builtin("timeout");
                    DEFAULT_TIMEOUT
                }
            };
        };
        let inside = action.value.as_map().and_then(|map| map.entry("timeout"));
        let beside = map.entry("timeout");
        if let (Some(inside), Some(beside)) = (inside, beside) {
            let message = "`timeout` is given in `approve` and beside it";
            let error = self.error(Code::E013, message, inside.key.span);
            let place = self.sources.place(beside.key.span);
            self.report(error.label("they are the same; keep one").related("also here", place));
        }
        match inside.or(beside) {
            Some(entry) => self.value::<ApprovalTimeout>("timeout", &entry.value, Site::Plan).0,
            None => {
                self.record_builtin("timeout");
                APPROVE_TIMEOUT
            }
        }
    }

    fn stage_name(&mut self, entry: &Entry) {
        let name = entry.key.name.as_str();
        if name == CHECKOUT {
            let message =
                "`checkout` is the engine's own first stage, and cannot be the name of another";
            let error = self.error(Code::E016, message, entry.key.span);
            self.report(error.label("choose another name").help(
                "how the source is checked out is said by `checkout` at the top level of the file",
            ));
        } else if !name::is_stage_name(name) {
            let message = format!("a stage cannot be named `{name}`");
            let error = self.error(Code::E016, message, entry.key.span);
            let label = format!("write for example `{}`", name::corrected(name));
            self.report(error.label(label).note(name::STAGE_RULE));
        }
    }

    fn action<'m>(&mut self, entry: &Entry, map: &'m Map) -> Option<&'m Entry> {
        let name = entry.key.name.as_str();
        let found: Vec<&Entry> =
            map.0.iter().filter(|entry| ACTIONS.contains(&entry.key.name.as_str())).collect();
        match found.as_slice() {
            [] => {
                self.no_action(entry, map);
                None
            }
            [action] => Some(*action),
            [first, second, ..] => {
                let names = quoted(found.iter().map(|entry| entry.key.name.as_str()));
                let message = format!("stage `{name}` has {} actions: {names}", found.len());
                let error = self.error(Code::E013, message, second.key.span);
                let place = self.sources.place(first.key.span);
                self.report(
                    error
                        .label("a stage has exactly one action")
                        .related("the first", place)
                        .note(format!("possible: {}", quoted(ACTIONS.iter().copied()))),
                );
                None
            }
        }
    }

    /// E013, or E036 when it was meant to change a stage of the template.
    fn no_action(&mut self, entry: &Entry, map: &Map) {
        let name = entry.key.name.as_str();
        let possible = format!("possible: {}", quoted(ACTIONS.iter().copied()));
        // For a slip or a foreign word, such as `script`, the action has been suggested.
        let meant = map.0.iter().map(|entry| entry.key.name.as_str()).any(|key| {
            let unknown = !keys::STAGE.has(key);
            unknown
                && (translated(key, ACTIONS.iter().copied()).is_some()
                    || closest(key, ACTIONS.iter().copied()).is_some())
        });
        if meant {
            return;
        }
        match &self.names.template_stages {
            Some(stages) if entry.key.span.file == FileId::PIPELINE => {
                let message =
                    format!("the template has no stage `{name}`, and this one has no action");
                let close = closest(name, stages.iter().map(String::as_str)).map(str::to_owned);
                let error = self.error(Code::E036, message, entry.key.span);
                let error = match close {
                    Some(close) => error.label(format!("did you mean `{close}`?")),
                    None => error.label("new stage? add `run`"),
                };
                let known = quoted(stages.iter().map(String::as_str));
                self.report(error.note(format!("stages of the template: {known}")));
            }
            _ => {
                let message = format!("stage `{name}` has no action");
                let error = self.error(Code::E013, message, entry.key.span);
                self.report(
                    error.label("add what it does, for example `run: make`").note(possible),
                );
            }
        }
    }

    /// Keys of the wrong action (E011).
    fn keys_of_action(&mut self, name: &str, action: &str, map: &Map) {
        for entry in &map.0 {
            let key = entry.key.name.as_str();
            let belongs = keys::actions_of(key);
            if belongs.is_some_and(|actions| !actions.contains(&action)) {
                let actions = quoted(belongs.unwrap_or_default().iter().copied());
                let message =
                    format!("`{key}` does not belong to the `{action}` of stage `{name}`");
                let error = self.error(Code::E011, message, entry.key.span);
                self.report(error.label(format!("belongs to {actions}")));
            } else if matches!(key, "run-before" | "run-after") {
                let message = format!(
                    "`{key}` extends the `run` of a template, and `{name}` is none of its stages"
                );
                let error = self.error(Code::E011, message, entry.key.span);
                self.report(error.label("write the commands into `run`"));
            }
        }
        if self.names.template_stages.is_none() {
            for key in ["after", "before"] {
                if let Some(entry) = map.entry(key) {
                    let message = format!(
                        "`{key}` places a stage among those of a template, and there is none"
                    );
                    let error = self.error(Code::E011, message, entry.key.span);
                    self.report(error.label("write `needs`"));
                }
            }
        }
    }
}
