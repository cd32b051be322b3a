//! What a deploy and its environment say, held against each other.

use super::environment::Definition;
use super::make::{Planner, Traces};
use super::{DeployWork, ImageSource, RolloutOrder, StrategyKind, Work};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::lower::Publishing;
use crate::model::Stage;
use crate::pattern::{Matching, Pattern};
use crate::suggest::quoted;
use crate::yaml::{Map, Node};
use crate::{Environment, InlineTarget, Place, TargetSpec, TriggerEvent};

impl Planner<'_> {
    /// E060 for a branch or tag that the environment does not allow.
    pub(super) fn may_deploy(&mut self, stage: &Stage, name: &str, environment: &Environment) {
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
    pub(super) fn fits_target(
        &mut self,
        stage: &Stage,
        deploy: &DeployWork,
        environment: &Environment,
    ) {
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
        // The files of an image are taken from the engine beside this one, and sent to hosts.
        let far = matches!(target, InlineTarget::Swarm { .. } | InlineTarget::Kubernetes { .. });
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

    /// The folder that a stage names becomes that of its environment: who looks at what runs
    /// there asks no stage. There is one, whoever names it.
    pub(super) fn folder_of_hosts(&mut self, stage: &Stage, deploy: &DeployWork, traces: &Traces) {
        const PATH: &str = "deploy.hosts.path";
        let hosts = deploy.hosts.as_ref();
        let Some(path) = hosts.and_then(|hosts| hosts.path.as_deref()) else { return };
        if traces.pending.iter().any(|pending| pending.path == PATH) {
            return;
        }
        let name = &deploy.environment;
        let Some(environment) = self.environments.get_mut(name) else { return };
        let TargetSpec::Inline(InlineTarget::Hosts { path: folder, .. }) = &mut environment.target
        else {
            return;
        };
        let other = match folder {
            None => {
                *folder = Some(path.to_owned());
                return;
            }
            Some(same) if *same == *path => return,
            Some(other) => other.clone(),
        };
        if self.unknown_is_fine {
            return;
        }
        let message = format!(
            "stage `{}` puts the releases of `{name}` into `{path}`, and they are in `{other}`",
            stage.name
        );
        let place = stage.key_of("deploy", "hosts").and_then(Node::as_map);
        let span = place.and_then(|map| map.get("path")).map_or(stage.span, |node| node.span);
        let diagnostic = Diagnostic::error(Code::E013, message)
            .at(self.pipeline.sources.place(span))
            .label("an environment has one folder: keep one, or make another environment");
        self.found.push(self.with_target(diagnostic, name));
    }

    fn with_target(&self, diagnostic: Diagnostic, name: &str) -> Diagnostic {
        match self.in_file(name, "target") {
            Some(place) => diagnostic.related("the target", place),
            None => diagnostic,
        }
    }

    /// The last word on `ports`, when strategy and replicas are known.
    pub(super) fn fits_ports(
        &mut self,
        stage: &Stage,
        deploy: &DeployWork,
        definition: &Definition,
        traces: &Traces,
    ) {
        if deploy.ports.is_empty() {
            return;
        }
        let Some(map) = stage.key("deploy").and_then(Node::as_map) else { return };
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
    pub(super) fn fits_canary(&mut self, stage: &Stage, deploy: &DeployWork) {
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
}
