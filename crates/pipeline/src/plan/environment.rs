//! The environment of a deploy: who defines it, and what it says.

use std::collections::BTreeMap;

use super::make::{Planner, Traces};
use super::{DeployWork, Origin, OriginKind};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{FileEnvironment, Stage};
use crate::source::{FileId, Place as SourcePlace};
use crate::suggest::{closest, quoted};
use crate::{Environment, Place};

/// An environment, with where its values come from when a file defines it.
pub(super) struct Definition {
    pub(super) environment: Environment,
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
                _ => Origin::builtin(),
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
        self.folder_of_hosts(stage, deploy, traces);
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
                let origin = Origin { by: OriginKind::Server, ..Origin::builtin() };
                Definition { environment: environment.clone(), origins: None, origin }
            }),
            Place::Local => {
                let found = self.pipeline.environments.get(name);
                found.map(|environment| self.file_environment(name, environment))
            }
        };
        match definition {
            Some(definition) => {
                let environment = || definition.environment.clone();
                self.environments.entry(name.to_owned()).or_insert_with(environment);
                Some(Some(definition))
            }
            None if self.unknown_is_fine || self.may_be_elsewhere(name) => Some(None),
            None => {
                self.unknown_environment(stage, name);
                None
            }
        }
    }

    /// A laptop does not know what a server defines: an environment that is none of
    /// the file's, and no slip for one of them, is taken for one of a server's. Only
    /// who would deploy to it from here needs its target.
    fn may_be_elsewhere(&self, name: &str) -> bool {
        let here = self.pipeline.environments.keys().map(String::as_str);
        matches!(self.context.place, Place::Local) && closest(name, here).is_none()
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
                    .note(format!("defined on the server: {}", or_none(known.iter().copied())))
                    .note(format!(
                        "defined in the file, for local runs: {}",
                        or_none(file.iter().copied())
                    ));
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
                    .note(format!("defined in the file: {}", or_none(file.iter().copied())))
                    .help(format!(
                        "define it for local runs, for example\nenvironments:\n  {name}: {{ target: {{ docker: {{ host: \"unix:///var/run/docker.sock\" }} }} }}"
                    ));
                suggest(diagnostic, name, &file)
            }
        };
        self.found.push(diagnostic);
    }

    pub(super) fn place_of(&self, stage: &Stage, key: &str) -> SourcePlace {
        let span = stage.key_of("deploy", key).map_or(stage.span, |node| node.span);
        self.pipeline.sources.place(span)
    }

    /// The place of a key of an environment that the file defines.
    pub(super) fn in_file(&self, name: &str, key: &str) -> Option<SourcePlace> {
        if !matches!(self.context.place, Place::Local) {
            return None;
        }
        let node = self.pipeline.environments.get(name)?.node.as_map()?.get(key)?;
        Some(self.pipeline.sources.place(node.span))
    }
}

/// `` `a`, `b` ``, or `none`.
pub(super) fn or_none<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let all = quoted(names);
    if all.is_empty() { "none".to_owned() } else { all }
}

fn suggest(diagnostic: Diagnostic, name: &str, known: &[&str]) -> Diagnostic {
    diagnostic.did_you_mean(closest(name, known.iter().copied()))
}
