//! The environment of a deploy: who defines it, and what it says.

use super::make::{Planner, Traces, builtin};
use super::{DeployWork, Origin, OriginKind};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{self, Stage};
use crate::source::FileId;
use crate::suggest::{closest, quoted};
use crate::{Environment, Place, Tier};

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
            let (replicas, origin) = match definition.as_ref().and_then(|found| found.replicas) {
                Some(replicas) => (replicas, self.environment_origin(&deploy.environment)),
                None => (1, builtin()),
            };
            deploy.replicas = replicas;
            traces.origins.entry("deploy.replicas".to_owned()).or_insert(origin);
        }
        // The stage's own variables stand above those of the environment.
        for (variable, value) in definition.map(|found| found.env).unwrap_or_default() {
            if !deploy.env.contains_key(&variable) {
                let origin = self.environment_origin(&deploy.environment);
                traces.origins.entry(format!("deploy.env.{variable}")).or_insert(origin);
                deploy.env.insert(variable, value);
            }
        }
        Some(())
    }

    /// Finds who defines the environment: the server where there is one, else the file.
    fn environment(&mut self, stage: &Stage, name: &str) -> Option<Option<Environment>> {
        let definition = match &self.context.place {
            Place::Server { environments } => environments.get(name).cloned(),
            Place::Local => match self.pipeline.environments.get(name) {
                Some(environment) => Some(self.file_environment(name, environment)),
                None => None,
            },
        };
        match definition {
            Some(definition) => {
                self.environments.insert(name.to_owned(), definition.clone());
                Some(Some(definition))
            }
            None if self.unknown_is_fine => Some(None),
            None => {
                self.unknown_environment(stage, name);
                None
            }
        }
    }

    fn unknown_environment(&mut self, stage: &Stage, name: &str) {
        let in_file = self.pipeline.environments.get(name);
        let span = stage.key_of("deploy", "environment").map_or(stage.span, |node| node.span);
        let place = self.pipeline.sources.place(span);
        let file: Vec<&str> = self.pipeline.environments.keys().map(String::as_str).collect();
        let stage = &stage.name;
        let diagnostic = match (&self.context.place, in_file) {
            (Place::Server { .. }, Some(environment)) if environment.known.tier == Tier::Prod => {
                let message = format!(
                    "stage `{stage}` deploys to the protected environment `{name}`, which the server does not define"
                );
                Diagnostic::error(Code::E063, message)
                    .at(place)
                    .label("define it on the server; the file alone cannot")
                    .related("in the file", self.pipeline.sources.place(environment.span))
            }
            (Place::Server { environments }, _) => {
                let known: Vec<&str> = environments.keys().map(String::as_str).collect();
                let message = format!(
                    "stage `{stage}` deploys to `{name}`, which the server does not define for this project"
                );
                let diagnostic = Diagnostic::error(Code::E062, message).at(place);
                let diagnostic =
                    diagnostic.note(format!("defined on the server: {}", or_none(&known)));
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

    fn file_environment(
        &mut self,
        name: &str,
        environment: &model::FileEnvironment,
    ) -> Environment {
        let what = format!("environment `{name}`");
        self.lowering(|lowering| lowering.environment(&what, &environment.node)).0
    }

    fn environment_origin(&self, name: &str) -> Origin {
        match (&self.context.place, self.pipeline.environments.get(name)) {
            (Place::Local, Some(environment)) => {
                let by = match environment.span.file {
                    FileId::PIPELINE => OriginKind::File,
                    _ => OriginKind::Template,
                };
                self.pipeline.sources.origin(environment.span, by)
            }
            _ => Origin { by: OriginKind::Server, ..builtin() },
        }
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
