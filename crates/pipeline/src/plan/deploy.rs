//! Plans a deploy: its environment, who defines it, and every value of the rollout.

use super::make::Planner;
use super::{DeployWork, Expose, Health, Origin, OriginKind, Probe, Strategy};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{self, Deploy, SettingOrigin, Stage};
use crate::scalar::Count;
use crate::suggest::{closest, quoted};
use crate::{Environment, Place, Tier};

impl Planner<'_> {
    pub(super) fn deploy(&mut self, stage: &Stage, deploy: &Deploy) -> Option<DeployWork> {
        let name = self.value("deploy.environment", &deploy.environment);
        let environment = name.and_then(|name| self.environment(stage, deploy, name));
        let image = self.image("deploy.image", &deploy.image);
        let given = deploy.replicas.as_ref().map(|setting| self.value("deploy.replicas", setting));
        let own = self.texts("deploy.env", &deploy.env);
        let expose = deploy.expose.as_ref().map(|expose| self.expose(expose));
        let health = deploy.health.as_ref().map(|health| self.health(health));
        let strategy = self.strategy(&deploy.strategy);
        let (environment, definition) = environment?;
        let replicas = match (given, definition.as_ref().and_then(|definition| definition.replicas))
        {
            (Some(given), _) => given?.0,
            (None, Some(replicas)) => {
                self.origins
                    .insert("deploy.replicas".to_owned(), self.environment_origin(&environment));
                replicas
            }
            (None, None) => {
                self.record("deploy.replicas", SettingOrigin { by: OriginKind::Builtin, at: None });
                1
            }
        };
        // The stage's own variables stand above those of the environment.
        let mut env = definition.map(|definition| definition.env).unwrap_or_default();
        for variable in env.keys() {
            let origin = self.environment_origin(&environment);
            self.origins.entry(format!("deploy.env.{variable}")).or_insert(origin);
        }
        env.extend(own?);
        Some(DeployWork {
            environment,
            image: image?,
            replicas,
            expose: transposed(expose)?,
            health: transposed(health)?,
            strategy: strategy?,
            env,
        })
    }

    /// Finds who defines the environment: the server where there is one, else the file.
    fn environment(
        &mut self,
        stage: &Stage,
        deploy: &Deploy,
        name: String,
    ) -> Option<(String, Option<Environment>)> {
        let definition = match &self.context.place {
            Place::Server { environments } => environments.get(&name).cloned(),
            Place::Local => match self.pipeline.environments.get(&name) {
                Some(environment) => Some(self.file_environment(environment)?),
                None => None,
            },
        };
        match definition {
            Some(definition) => {
                self.environments.insert(name.clone(), definition.clone());
                Some((name, Some(definition)))
            }
            None if self.unknown_is_fine => Some((name, None)),
            None => {
                self.unknown_environment(stage, deploy, &name);
                None
            }
        }
    }

    fn unknown_environment(&mut self, stage: &Stage, deploy: &Deploy, name: &str) {
        let in_file = self.pipeline.environments.get(name);
        let span = deploy.environment.span.unwrap_or(stage.span);
        let place = self.pipeline.sources.place(span);
        let file: Vec<&str> = self.pipeline.environments.keys().map(String::as_str).collect();
        let stage = &stage.name;
        let diagnostic = match (&self.context.place, in_file) {
            (Place::Server { .. }, Some(environment)) if environment.tier == Tier::Prod => {
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

    fn file_environment(&mut self, environment: &model::FileEnvironment) -> Option<Environment> {
        // Its values are not values of the stage.
        let origins = std::mem::take(&mut self.origins);
        let replicas = environment.replicas.as_ref().map(|setting| self.value("replicas", setting));
        let url = environment.url.as_ref().map(|setting| self.value("url", setting));
        let env = self.texts("env", &environment.env);
        self.origins = origins;
        Some(Environment {
            target: environment.target.clone(),
            tier: environment.tier,
            replicas: transposed(replicas)?.map(|count: Count| count.0),
            url: transposed(url)?,
            env: env?,
        })
    }

    fn environment_origin(&self, name: &str) -> Origin {
        let in_file = self.pipeline.environments.get(name);
        match (&self.context.place, in_file) {
            (Place::Local, Some(environment)) => self.origin(SettingOrigin {
                by: self.kind_of(environment.span),
                at: Some(environment.span),
            }),
            _ => self.origin(SettingOrigin { by: OriginKind::Server, at: None }),
        }
    }

    fn expose(&mut self, expose: &model::Expose) -> Option<Expose> {
        let port = self.value("deploy.expose.port", &expose.port);
        let host = self.value("deploy.expose.host", &expose.host);
        let path = self.value("deploy.expose.path", &expose.path);
        Some(Expose { port: port?.0, host: host?.0, path: path?.0 })
    }

    fn health(&mut self, health: &model::Health) -> Option<Health> {
        let probe = match &health.probe {
            model::Probe::Http { path, port } => {
                let path = self.value("deploy.health.http", path);
                let port = self.value("deploy.health.port", port);
                path.zip(port).map(|(path, port)| Probe::Http { path: path.0, port: port.0 })
            }
            model::Probe::Tcp(port) => {
                self.value("deploy.health.tcp", port).map(|port| Probe::Tcp(port.0))
            }
        };
        let interval = self.value("deploy.health.interval", &health.interval);
        let timeout = self.value("deploy.health.timeout", &health.timeout);
        let successes = self.value("deploy.health.successes", &health.successes);
        let failures = self.value("deploy.health.failures", &health.failures);
        let start_period = self.value("deploy.health.start-period", &health.start_period);
        let deadline = self.value("deploy.health.deadline", &health.deadline);
        Some(Health {
            probe: probe?,
            interval: interval?,
            timeout: timeout?,
            successes: successes?.0,
            failures: failures?.0,
            start_period: start_period?,
            deadline: deadline?,
        })
    }

    fn strategy(&mut self, strategy: &model::Strategy) -> Option<Strategy> {
        let batch = self.value("deploy.strategy.batch", &strategy.batch);
        let bake = self.value("deploy.strategy.bake", &strategy.bake);
        let drain = self.value("deploy.strategy.drain", &strategy.drain);
        Some(Strategy { batch: batch?.0, bake: bake?, drain: drain? })
    }
}

/// `Some(None)` is a value that is there and could not be read.
fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
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
