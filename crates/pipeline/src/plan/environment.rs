//! The environment of a deploy: who defines it, what it says, and what it allows.

use std::collections::BTreeMap;

use super::make::{Planner, Traces, builtin};
use super::{DeployWork, ImageSource, Origin, OriginKind, RolloutOrder, StrategyKind, Work};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::lower::Publishing;
use crate::model::{FileEnvironment, Stage};
use crate::pattern::{Matching, Pattern};
use crate::source::{FileId, Place as SourcePlace};
use crate::suggest::{closest, quoted};
use crate::yaml::Map;
use crate::{Environment, InlineTarget, Place, TargetSpec, TriggerEvent};

/// An environment, with where its values come from when a file defines it.
struct Definition {
    environment: Environment,
    /// By dotted path; `None` when it is not the file's. Nothing of an environment
    /// waits for the run, so there is nothing pending.
    origins: Option<BTreeMap<String, Origin>>,
    /// Where its values come from, when it is not known more exactly.
    origin: Origin,
}

impl Definition {
    fn origin(&self, path: &str) -> Origin {
        let exact = self.origins.as_ref().and_then(|origins| origins.get(path));
        exact.unwrap_or(&self.origin).clone()
    }
}

impl Planner<'_> {
    /// Adds what the environment says to what the stage says.
    pub(super) fn deploy(
        &mut self,
        stage: &Stage,
        deploy: &mut DeployWork,
        traces: &mut Traces,
    ) -> Option<()> {
        let definition = self.environment(stage, &deploy.environment)?;
        if deploy.replicas == 0 {
            let said = definition.as_ref().and_then(|found| found.environment.replicas);
            deploy.replicas = said.unwrap_or(1);
            let origin = match &definition {
                Some(definition) if said.is_some() => definition.origin("replicas"),
                _ => builtin(),
            };
            traces.origins.entry("deploy.replicas".to_owned()).or_insert(origin);
        }
        if stage.key_of("deploy", "strategy").is_none() {
            self.strategy(&definition, deploy, traces);
        }
        let Some(definition) = definition else { return Some(()) };
        // The stage's own variables stand above those of the environment.
        for (variable, value) in &definition.environment.env {
            if !deploy.env.contains_key(variable) {
                let path = format!("env.{variable}");
                let origin = definition.origin(&path);
                traces.origins.entry(format!("deploy.{path}")).or_insert(origin);
                deploy.env.insert(variable.clone(), value.clone());
            }
        }
        if !self.unknown_is_fine {
            self.may_deploy(stage, &deploy.environment, &definition.environment);
            self.fits_target(stage, deploy, &definition.environment);
            self.fits_ports(stage, deploy, &definition, traces);
            self.fits_canary(stage, deploy);
        }
        Some(())
    }

    /// The strategy of a stage that names none.
    fn strategy(
        &mut self,
        definition: &Option<Definition>,
        deploy: &mut DeployWork,
        traces: &mut Traces,
    ) {
        let said = definition.as_ref().and_then(|found| found.environment.strategy.clone());
        let (Some(definition), Some(strategy)) = (definition, said) else {
            let builtin = self.lowering(|lowering| lowering.builtin_strategy("deploy.strategy")).1;
            for (path, origin) in builtin.origins {
                traces.origins.entry(path).or_insert(origin);
            }
            return;
        };
        deploy.strategy = strategy;
        match &definition.origins {
            Some(origins) => {
                for (path, origin) in origins {
                    if path.starts_with("strategy.") {
                        let path = format!("deploy.{path}");
                        traces.origins.entry(path).or_insert_with(|| origin.clone());
                    }
                }
            }
            None => {
                let path = "deploy.strategy".to_owned();
                traces.origins.entry(path).or_insert_with(|| definition.origin.clone());
            }
        }
    }

    /// Finds who defines the environment: the server where there is one, else the file.
    fn environment(&mut self, stage: &Stage, name: &str) -> Option<Option<Definition>> {
        let definition = match &self.context.place {
            Place::Server { environments } => environments.get(name).map(|environment| {
                let origin = Origin { by: OriginKind::Server, ..builtin() };
                Definition { environment: environment.clone(), origins: None, origin }
            }),
            Place::Local => {
                let found = self.pipeline.environments.get(name);
                found.map(|environment| self.file_environment(name, environment))
            }
        };
        match definition {
            Some(definition) => {
                self.environments.insert(name.to_owned(), definition.environment.clone());
                Some(Some(definition))
            }
            None if self.unknown_is_fine => Some(None),
            None => {
                self.unknown_environment(stage, name);
                None
            }
        }
    }

    fn file_environment(&mut self, name: &str, environment: &FileEnvironment) -> Definition {
        let what = format!("environment `{name}`");
        let (read, traces) =
            self.lowering(|lowering| lowering.environment(&what, &environment.node));
        let by = match environment.span.file {
            FileId::PIPELINE => OriginKind::File,
            _ => OriginKind::Template,
        };
        let origin = self.pipeline.sources.origin(environment.span, by);
        Definition { environment: read, origins: Some(traces.origins), origin }
    }

    /// E062, or E063 when only the server may define it.
    fn unknown_environment(&mut self, stage: &Stage, name: &str) {
        let in_file = self.pipeline.environments.get(name);
        let place = self.place_of(stage, "environment");
        let file: Vec<&str> = self.pipeline.environments.keys().map(String::as_str).collect();
        let stage = &stage.name;
        let diagnostic = match (&self.context.place, in_file) {
            (Place::Server { .. }, Some(environment)) if environment.known.is_protected() => {
                let message = format!(
                    "stage `{stage}` deploys to the protected environment `{name}`, which the server does not define"
                );
                Diagnostic::error(Code::E063, message)
                    .at(place)
                    .label("define it on the server; the file alone cannot")
                    .help("the definition in the file counts for local runs, on the word of the person who starts them")
                    .related("in the file", self.pipeline.sources.place(environment.span))
            }
            (Place::Server { environments }, _) => {
                let known: Vec<&str> = environments.keys().map(String::as_str).collect();
                let message = format!(
                    "stage `{stage}` deploys to `{name}`, which the server does not define for this project"
                );
                let diagnostic = Diagnostic::error(Code::E062, message)
                    .at(place)
                    .note(format!("defined on the server: {}", or_none(&known)))
                    .note(format!("defined in the file, for local runs: {}", or_none(&file)));
                let diagnostic = match in_file {
                    Some(_) => diagnostic.label("define it on the server, too"),
                    None => diagnostic,
                };
                suggest(diagnostic, name, &known)
            }
            (Place::Local, _) => {
                let message =
                    format!("stage `{stage}` deploys to `{name}`, which is not an environment");
                let diagnostic = Diagnostic::error(Code::E062, message)
                    .at(place)
                    .note(format!("defined in the file: {}", or_none(&file)))
                    .help(format!(
                        "define it for local runs, for example\nenvironments:\n  {name}: {{ target: {{ docker: {{ host: \"unix:///var/run/docker.sock\" }} }} }}"
                    ));
                suggest(diagnostic, name, &file)
            }
        };
        self.found.push(diagnostic);
    }

    /// E060 for a branch or tag that the environment does not allow.
    fn may_deploy(&mut self, stage: &Stage, name: &str, environment: &Environment) {
        if environment.allow.is_empty() {
            return;
        }
        let git = &self.context.git;
        let patterns: Vec<Pattern> =
            environment.allow.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        let mut refs = [("tag", &git.tag), ("branch", &git.branch)]
            .into_iter()
            .filter_map(|(kind, name)| Some((kind, name.as_deref()?)));
        // Somebody who may not push can still name a branch of their own `main`.
        let foreign = self.context.event == TriggerEvent::PullRequest && !self.context.trusted;
        if !foreign && refs.clone().any(|(_, name)| Matching::new(name).any(&patterns)) {
            return;
        }
        let who = match refs.next() {
            _ if foreign => "a pull request of somebody who may not push".to_owned(),
            Some((kind, name)) => format!("{kind} `{name}`"),
            None => "a commit without branch and tag".to_owned(),
        };
        let allowed = quoted(environment.allow.iter().map(String::as_str));
        let message = format!("stage `{}` deploys to `{name}`, and {who} may not", stage.name);
        let diagnostic = Diagnostic::error(Code::E060, message)
            .at(self.place_of(stage, "environment"))
            .label(format!("allowed: {allowed}"))
            .help("start the run from one of these, or give the stage a `when` that skips it elsewhere");
        let file = self.pipeline.environments.get(name);
        let diagnostic = match (&self.context.place, file) {
            (Place::Local, Some(environment)) => {
                let allow = environment.node.as_map().and_then(|map| map.get("allow"));
                let span = allow.map_or(environment.span, |node| node.span);
                diagnostic.related(
                    format!("`allow` of environment `{name}` says so"),
                    self.pipeline.sources.place(span),
                )
            }
            _ => diagnostic.note(format!(
                "`allow` of environment `{name}` says so, in the configuration of the server"
            )),
        };
        self.found.push(diagnostic);
    }

    /// What a target that is written out cannot do.
    fn fits_target(&mut self, stage: &Stage, deploy: &DeployWork, environment: &Environment) {
        let TargetSpec::Inline(target) = &environment.target else { return };
        let (name, kind) = (&deploy.environment, target.name());
        let keys = [("kubernetes", deploy.kubernetes.is_some()), ("hosts", deploy.hosts.is_some())];
        for (key, _) in keys.iter().filter(|(key, used)| *used && *key != kind) {
            let message = format!(
                "stage `{}` deploys to `{name}`, whose target is `{kind}`, and `{key}` is for \
                 another kind of target",
                stage.name
            );
            let diagnostic = Diagnostic::error(Code::E013, message)
                .at(self.place_of(stage, key))
                .label("remove it, or name another environment");
            self.found.push(self.with_target(diagnostic, name));
        }
        let far = !matches!(target, InlineTarget::Docker { .. } | InlineTarget::Process { .. });
        if let (true, Some(ImageSource::Stage(maker))) = (far, &deploy.image)
            && let Some(maker) = self.pipeline.stages.iter().find(|stage| stage.name == *maker)
            && matches!(maker.body.work, Work::Build(_))
        {
            let message = format!(
                "stage `{}` deploys the image of `{}`, which is on the machine that built it, \
                 to a `{kind}` target, which fetches images from a registry",
                stage.name, maker.name
            );
            let diagnostic = Diagnostic::error(Code::E013, message)
                .at(self.place_of(stage, "image"))
                .label("push it in a stage, and name that stage");
            self.found.push(self.with_target(diagnostic, name));
        }
    }

    fn with_target(&self, diagnostic: Diagnostic, name: &str) -> Diagnostic {
        match self.in_file(name, "target") {
            Some(place) => diagnostic.related("the target", place),
            None => diagnostic,
        }
    }

    /// The last word on `ports`, when strategy and replicas are known.
    fn fits_ports(
        &mut self,
        stage: &Stage,
        deploy: &DeployWork,
        definition: &Definition,
        traces: &Traces,
    ) {
        if deploy.ports.is_empty() {
            return;
        }
        let Some(map) = stage.key("deploy").and_then(|node| node.as_map()) else { return };
        let open = |path: &str| traces.pending.iter().any(|pending| pending.path.starts_with(path));
        let order = (!open("deploy.strategy")).then_some(deploy.strategy.order);
        let replicas = (!open("deploy.replicas")).then_some(deploy.replicas);
        let Environment { strategy, replicas: said, .. } = &definition.environment;
        // One finding per cause: each with the place of its own key.
        for (order, replicas, key, is_said) in [
            (order, None, "strategy", strategy.is_some()),
            (None, replicas, "replicas", said.is_some()),
        ] {
            let place = self.in_file(&deploy.environment, key);
            let environment = is_said.then_some(("the environment says so", place));
            self.report_ports(&stage.name, map, &Publishing { order, replicas, environment });
        }
    }

    fn report_ports(&mut self, stage: &str, map: &Map, publishing: &Publishing<'_>) {
        let stops = publishing.order != Some(RolloutOrder::StartFirst);
        if stops && publishing.replicas.is_none_or(|replicas| replicas < 2) {
            return;
        }
        self.lowering(|lowering| lowering.ports_fit(stage, map, publishing));
    }

    /// A canary beside the strategy of the environment; beside that of the stage it
    /// was judged with the check.
    fn fits_canary(&mut self, stage: &Stage, deploy: &DeployWork) {
        let recreates = deploy.strategy.kind == StrategyKind::Recreate;
        if deploy.canary.is_none() || !recreates || stage.key_of("deploy", "strategy").is_some() {
            return;
        }
        let message = format!(
            "stage `{}` has a `canary`, and environment `{}` a strategy that takes all units down \
             at once",
            stage.name, deploy.environment
        );
        let diagnostic = Diagnostic::error(Code::E013, message)
            .at(self.place_of(stage, "canary"))
            .label("write `strategy: rolling` beside it");
        self.found.push(match self.in_file(&deploy.environment, "strategy") {
            Some(place) => diagnostic.related("the strategy", place),
            None => diagnostic,
        });
    }

    fn place_of(&self, stage: &Stage, key: &str) -> SourcePlace {
        let span = stage.key_of("deploy", key).map_or(stage.span, |node| node.span);
        self.pipeline.sources.place(span)
    }

    /// The place of a key of an environment that the file defines.
    fn in_file(&self, name: &str, key: &str) -> Option<SourcePlace> {
        if !matches!(self.context.place, Place::Local) {
            return None;
        }
        let node = self.pipeline.environments.get(name)?.node.as_map()?.get(key)?;
        Some(self.pipeline.sources.place(node.span))
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { quoted(names.iter().copied()) }
}

fn suggest(diagnostic: Diagnostic, name: &str, known: &[&str]) -> Diagnostic {
    match closest(name, known.iter().copied()) {
        Some(close) => diagnostic.label(format!("did you mean `{close}`?")),
        None => diagnostic,
    }
}
