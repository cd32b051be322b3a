//! What a stage asks for and the place may not have: secrets, credentials, runners,
//! and what an administrator allows.
//!
//! A laptop knows little of this; what is `None` in [`Offers`](crate::Offers) is
//! not checked.

use std::collections::BTreeMap;

use super::environment::or_none;
use super::make::Planner;
use super::{ImageSource, PlannedStage, Resources, Verify, VerifyCheck, Work};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Pipeline, Stage};
use crate::pattern::{Matching, Pattern};
use crate::reference::Reference;
use crate::source::{FileId, Span};
use crate::suggest::{closest, quoted};
use crate::yaml::{Map, Node, Value};
use crate::{Place, SecretScope, StagePolicy};

impl Planner<'_> {
    /// Checks a planned stage that runs against [`Offers`](crate::Offers).
    pub(super) fn offered(&mut self, stage: &Stage, planned: &mut PlannedStage) {
        self.secrets_are_there(stage, planned);
        self.registry_is_known(stage, planned);
        self.a_runner_fits(stage, planned);
        if let Some(policy) = &self.context.offers.policy {
            self.policy_allows(policy, stage, planned);
        }
    }

    /// E060: the pipeline uses a template that an administrator wants to be used.
    pub(super) fn template_is_used(&mut self) {
        let Some(policy) = &self.context.offers.policy else { return };
        let used = &self.pipeline.templates;
        let is_one = |wanted: &String| used.iter().any(|used| used.is(wanted));
        if policy.templates.is_empty() || policy.templates.iter().any(is_one) {
            return;
        }
        let wanted = quoted(policy.templates.iter().map(String::as_str));
        let (message, span) = match used.first() {
            Some(used) => (format!("the pipeline uses the template `{}`", used.label), used.span),
            None => ("the pipeline uses no template".to_owned(), Span::new(FileId::PIPELINE, 0, 0)),
        };
        self.found.push(
            Diagnostic::error(Code::E060, message)
                .at(self.pipeline.sources.place(span))
                .label(format!("required: {wanted}"))
                .note(format!("set by {}", policy.set_by)),
        );
    }

    /// E050 and W052; a laptop only says which are present.
    fn secrets_are_there(&mut self, stage: &Stage, planned: &mut PlannedStage) {
        let Some(offered) = &self.context.offers.secrets else { return };
        let environment = match &planned.work {
            Work::Deploy(deploy) => Some(deploy.environment.clone()),
            _ => None,
        };
        let span = self.span_of(stage, "secrets");
        for secret in &mut planned.secrets {
            let scope = offered.get(&secret.name);
            secret.present = scope.is_some();
            if matches!(self.context.place, Place::Local) {
                continue;
            }
            let place = self.pipeline.sources.place(span);
            let name = &secret.name;
            let Some(scope) = scope else {
                let known = offered.keys().map(String::as_str);
                let message = format!(
                    "stage `{}` uses the secret `{name}`, which is not defined",
                    stage.name
                );
                let error = Diagnostic::error(Code::E050, message)
                    .at(place)
                    .note(format!("defined for this project: {}", or_none(known.clone())))
                    .help(format!("define `{name}` on the server, for this project"));
                self.found.push(error.did_you_mean(closest(name, known)));
                continue;
            };
            if let Some(refused) = self.out_of_scope(scope, environment.as_deref()) {
                let message =
                    format!("stage `{}` uses the secret `{name}`, which {refused}", stage.name);
                self.found.push(
                    Diagnostic::error(Code::E050, message)
                        .at(place)
                        .note(format!("defined in {}; {}", scope.defined_in, scopes(scope)))
                        .help(
                            "give the stage a `when` that fits, or widen the scope of the secret",
                        ),
                );
            } else if let Some(rule) = &scope.masks_badly {
                let message = format!("the secret `{name}` cannot be masked well: {rule}");
                self.warnings.push(
                    Diagnostic::warning(Code::W052, message)
                        .at(place)
                        .label("store a longer value of one line, or use it with `file: true`"),
                );
            }
        }
    }

    /// Why a secret is not for this run, as the rest of "which …".
    fn out_of_scope(&self, scope: &SecretScope, environment: Option<&str>) -> Option<String> {
        let context = self.context;
        if !context.trusted && !scope.untrusted {
            return Some("is not for runs of people who may not push".to_owned());
        }
        if !scope.events.is_empty() && !scope.events.contains(&context.event) {
            return Some(format!("is not for the event `{}`", context.event.name()));
        }
        let matches = |globs: &[String], text: &str| {
            let patterns: Vec<Pattern> =
                globs.iter().filter_map(|glob| Pattern::parse(glob).ok()).collect();
            Matching::new(text).any(&patterns)
        };
        if !scope.branches.is_empty() {
            match context.git.branch.as_deref() {
                Some(branch) if matches(&scope.branches, branch) => {}
                Some(branch) => return Some(format!("is not for the branch `{branch}`")),
                None => return Some("is only for certain branches, and there is none".to_owned()),
            }
        }
        if !scope.environments.is_empty() {
            match environment {
                Some(name) if matches(&scope.environments, name) => {}
                Some(name) => return Some(format!("is not for the environment `{name}`")),
                None => return Some("is only for deploys to certain environments".to_owned()),
            }
        }
        None
    }

    /// E065; on a laptop Docker's own configuration may know the host.
    fn registry_is_known(&mut self, stage: &Stage, planned: &PlannedStage) {
        let (Some(known), Work::Push(push)) = (&self.context.offers.registries, &planned.work)
        else {
            return;
        };
        let pending = planned.pending.iter().any(|value| value.path == "push.registry");
        if pending || matches!(self.context.place, Place::Local) || known.contains(&push.registry) {
            return;
        }
        let span = stage.key_of("push", "registry").map_or(stage.span, |node| node.span);
        let names = known.iter().map(String::as_str);
        let message = format!(
            "stage `{}` pushes with the credential `{}`, which this server does not have",
            stage.name, push.registry
        );
        let error = Diagnostic::error(Code::E065, message)
            .at(self.pipeline.sources.place(span))
            .note(format!("credentials of the server: {}", or_none(names.clone())))
            .help(format!(
                "define it in the server's configuration\n[registries.{}]\nhost = \"harbor.corp.example\"",
                push.registry
            ));
        self.found.push(error.did_you_mean(closest(&push.registry, names)));
    }

    /// E064.
    fn a_runner_fits(&mut self, stage: &Stage, planned: &PlannedStage) {
        let Some(runners) = &self.context.offers.runners else { return };
        let fits = |labels: &std::collections::BTreeSet<String>| {
            planned.runner.iter().all(|wanted| labels.contains(wanted))
        };
        if planned.runner.is_empty() || runners.iter().any(fits) {
            return;
        }
        let mut labels: Vec<&str> = runners.iter().flatten().map(String::as_str).collect();
        labels.sort_unstable();
        labels.dedup();
        let wanted = quoted(planned.runner.iter().map(String::as_str));
        let message =
            format!("stage `{}` needs a runner with {wanted}, and there is none", stage.name);
        let unknown = planned.runner.iter().find(|label| !labels.contains(&label.as_str()));
        let close = unknown.and_then(|label| closest(label, labels.iter().copied()));
        let error = Diagnostic::error(Code::E064, message)
            .at(self.pipeline.sources.place(self.span_of(stage, "runner")))
            .note(format!("labels of the runners: {}", or_none(labels.iter().copied())));
        self.found.push(match (close, unknown) {
            (Some(close), _) => error.label(format!("did you mean `{close}`?")),
            (None, None) => error.label("no runner has all of them at once"),
            (None, Some(_)) => error,
        });
    }

    /// E060 and W074.
    fn policy_allows(&mut self, policy: &StagePolicy, stage: &Stage, planned: &PlannedStage) {
        let mut refuse = |span: Span, what: String, allowed: String| {
            let message = format!("stage `{}` {what}", stage.name);
            self.found.push(
                Diagnostic::error(Code::E060, message)
                    .at(self.pipeline.sources.place(span))
                    .label(allowed)
                    .note(format!("set by {}", policy.set_by)),
            );
        };
        // What nobody knows yet would be held against nothing, so it cannot be allowed.
        for pending in planned.pending.iter().filter(|pending| is_limited(policy, &pending.path)) {
            let (span, path) =
                (pending_span(stage, &self.pipeline.defaults, &pending.path), &pending.path);
            let what = format!("has a value of `{path}` that is known only when it starts");
            refuse(span, what, "write a value that is known when the plan is made".to_owned());
        }
        let span_of = |key: &str| {
            let own = stage.key(key).or_else(|| self.pipeline.defaults.get(key));
            own.map_or(stage.span, |node| node.span)
        };
        for (what, span, resources) in asked(planned, span_of("resources"), span_of("services")) {
            let over_cpu = resources.cpu.zip(policy.max_cpu).filter(|(asked, most)| asked > most);
            if let Some((asked, most)) = over_cpu {
                refuse(span, format!("asks for {asked} cores{what}"), format!("at most {most}"));
            }
            let over_memory =
                resources.memory.zip(policy.max_memory).filter(|(asked, most)| asked > most);
            if let Some((asked, most)) = over_memory {
                let mebibytes = |bytes: u64| bytes >> 20;
                refuse(
                    span,
                    format!("asks for {} MiB of memory{what}", mebibytes(asked)),
                    format!("at most {}Mi", mebibytes(most)),
                );
            }
            let over_pids =
                resources.pids.zip(policy.max_pids).filter(|(asked, most)| asked > most);
            if let Some((asked, most)) = over_pids {
                refuse(
                    span,
                    format!("asks for {asked} processes{what}"),
                    format!("at most {most}"),
                );
            }
        }
        let waits = planned.pending.iter().any(|pending| pending.path == "user");
        if let (Some(users), Work::Run(run), false) = (&policy.users, &planned.work, waits) {
            let user = run.user.as_deref().unwrap_or("root");
            if !users.iter().any(|allowed| allowed == user) {
                refuse(
                    span_of("user"),
                    format!("runs as `{user}`"),
                    format!("allowed: {}", quoted(users.iter().map(String::as_str))),
                );
            }
        }
        for (image, node) in images(stage, planned, self.pipeline) {
            let Ok(reference) = Reference::parse(image) else { continue };
            let span = node.map_or(stage.span, |node| node.span);
            let host = host(reference.repository);
            if let Some(hosts) = &policy.registries
                && !hosts.iter().any(|allowed| allowed == host)
            {
                refuse(
                    span,
                    format!("takes the image `{image}` from `{host}`"),
                    format!("allowed: {}", quoted(hosts.iter().map(String::as_str))),
                );
            }
            if policy.digests && reference.digest.is_none() {
                self.warnings.push(
                    Diagnostic::warning(
                        Code::W074,
                        format!(
                            "stage `{}` names the image `{image}` without its digest",
                            stage.name
                        ),
                    )
                    .at(self.pipeline.sources.place(span))
                    .label(format!("write `{image}@sha256:…`"))
                    .help(format!(
                        "{} asks for digests; this prints the one of today\n\
                         docker buildx imagetools inspect {image}",
                        policy.set_by
                    )),
                );
            }
        }
    }

    fn span_of(&self, stage: &Stage, key: &str) -> Span {
        let node = stage.key(key).or_else(|| self.pipeline.defaults.get(key));
        node.map_or(stage.span, |node| node.span)
    }
}

/// Whether an administrator has a say about the value at this path of a stage.
fn is_limited(policy: &StagePolicy, path: &str) -> bool {
    let parts: Vec<&str> = path.split('.').collect();
    let [.., map, key] = parts.as_slice() else {
        return match path {
            "user" => policy.users.is_some(),
            "image" => policy.registries.is_some() || policy.digests,
            _ => false,
        };
    };
    match (parts[0], *map, *key) {
        ("resources" | "services" | "deploy", "resources", "cpu") => policy.max_cpu.is_some(),
        ("resources" | "services" | "deploy", "resources", "memory") => policy.max_memory.is_some(),
        ("resources" | "services" | "deploy", "resources", "pids") => policy.max_pids.is_some(),
        ("services" | "push" | "deploy", _, "image") => {
            policy.registries.is_some() || policy.digests
        }
        _ => false,
    }
}

/// Where the key of a stage stands that a pending value is in.
fn pending_span(stage: &Stage, defaults: &Map, path: &str) -> Span {
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default();
    let mut node = stage.key(first).or_else(|| defaults.get(first));
    while let (Some(found), Some(part)) = (node, parts.next()) {
        let inner = match &found.value {
            Value::List(items) => part.parse().ok().and_then(|at: usize| items.get(at)),
            _ => found.as_map().and_then(|map| map.get(part)),
        };
        if inner.is_none() {
            break;
        }
        node = inner;
    }
    node.map_or(stage.span, |node| node.span)
}

/// Resources the stage asks for, in its own name and in that of its services.
fn asked(planned: &PlannedStage, own: Span, services: Span) -> Vec<(String, Span, Resources)> {
    let mut all = vec![(String::new(), own, planned.resources.clone())];
    match &planned.work {
        Work::Run(run) => all.extend(run.services.iter().map(|(name, service)| {
            (format!(" for its service `{name}`"), services, service.resources.clone())
        })),
        Work::Deploy(deploy) => {
            all.push((" for the deployed service".to_owned(), own, deploy.resources.clone()));
        }
        _ => {}
    }
    all
}

/// Images the stage takes from registries, and where they are written.
fn images<'a>(
    stage: &'a Stage,
    planned: &'a PlannedStage,
    pipeline: &'a Pipeline,
) -> Vec<(&'a str, Option<&'a Node>)> {
    let key = |key: &str| stage.key(key).or_else(|| pipeline.defaults.get(key));
    match &planned.work {
        Work::Run(run) => {
            let services = run.services.values();
            let services = services.map(|service| (service.image.as_str(), key("services")));
            std::iter::once((run.image.as_str(), key("image"))).chain(services).collect()
        }
        work => {
            let node = stage.key_of(work.action().name(), "image");
            let own = match work.image() {
                Some(ImageSource::Reference(image)) => Some((image.as_str(), node)),
                _ => None,
            };
            own.into_iter().chain(checks(stage, work, &pipeline.suites)).collect()
        }
    }
}

/// Images of the containers that check what was deployed.
fn checks<'a>(
    stage: &'a Stage,
    work: &'a Work,
    suites: &'a BTreeMap<String, Vec<Verify>>,
) -> Vec<(&'a str, Option<&'a Node>)> {
    let Work::Deploy(deploy) = work else { return Vec::new() };
    let steps = deploy.canary.iter().flat_map(|canary| &canary.steps);
    let steps = steps.flat_map(|step| &step.verify).map(|verify| (verify, "canary"));
    let all = deploy.verify.iter().map(|verify| (verify, "verify")).chain(steps);
    let written_out = all.flat_map(|(verify, key)| {
        let checks = match &verify.check {
            VerifyCheck::Suite { suite } => suites.get(suite).map_or(&[][..], Vec::as_slice),
            VerifyCheck::Http(_) | VerifyCheck::Run(_) => std::slice::from_ref(verify),
        };
        checks.iter().map(move |check| (check, key))
    });
    written_out
        .filter_map(|(verify, key)| match &verify.check {
            VerifyCheck::Run(run) => Some((run.image.as_str(), stage.key_of("deploy", key))),
            VerifyCheck::Suite { .. } | VerifyCheck::Http(_) => None,
        })
        .collect()
}

/// The registry of a repository; Docker Hub has none in its names.
fn host(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn scopes(scope: &SecretScope) -> String {
    let mut parts = Vec::new();
    let listed = |what: &str, names: Vec<&str>| format!("{what} {}", quoted(names));
    if !scope.branches.is_empty() {
        parts.push(listed("branches", scope.branches.iter().map(String::as_str).collect()));
    }
    if !scope.events.is_empty() {
        parts.push(listed("events", scope.events.iter().map(|event| event.name()).collect()));
    }
    if !scope.environments.is_empty() {
        parts.push(listed("environments", scope.environments.iter().map(String::as_str).collect()));
    }
    if !scope.untrusted {
        parts.push("trusted runs only".to_owned());
    }
    if parts.is_empty() { "for every run".to_owned() } else { parts.join(", ") }
}
