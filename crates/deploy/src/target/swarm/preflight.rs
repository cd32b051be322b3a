//! What can be known before any change: is it a swarm, does it have nodes, can they have
//! the image, can they give units what is asked for.

use bollard::models::LocalNodeState;
use chrono::Utc;

use super::SwarmTarget;
use crate::target::docker::CALL;
use crate::target::docker::call::call;
use crate::target::docker::create::image_of;
use crate::target::docker::preflight::{low_port, skew, unlimited};
use crate::target::docker::settings::ports_misfit;
use crate::{Artifact, Check, Finding, Spec, TargetError};

/// What the swarm takes as the name of a service.
const NAME: usize = 63;
/// What is added to project and environment: slot, release and deployment.
const ADDED: usize = "-000-00000000-00000000".len();

impl SwarmTarget {
    pub(super) async fn findings(&self, spec: &Spec) -> Result<Vec<Finding>, TargetError> {
        let asked = Utc::now();
        let info = match call(CALL, "ask the engine", self.docker().info()).await {
            Ok(info) => info,
            Err(error) => {
                let fix = "look whether the engine runs, and whether this user may use it";
                return Ok(vec![Check::Engine.finding(error.message, fix)]);
            }
        };
        let swarm = info.swarm.as_ref();
        let is_in = swarm.and_then(|swarm| swarm.local_node_state) == Some(LocalNodeState::ACTIVE);
        if !is_in {
            return Ok(vec![Check::Engine.finding(
                "the engine is no part of a swarm",
                "make it one with `docker swarm init`, or name a manager of yours in `host`",
            )]);
        }
        if swarm.and_then(|swarm| swarm.control_available) != Some(true) {
            return Ok(vec![Check::Engine.finding(
                "the engine is a worker of its swarm, and takes no orders",
                "name a manager in `host`: `docker node ls` there tells which nodes are",
            )]);
        }
        let mut findings = Vec::from_iter(skew(&info, asked, Utc::now()));
        if self.nodes().await?.ready() == 0 {
            findings.push(Check::Engine.finding(
                "no node of the swarm takes tasks",
                "look at `docker node ls`; `docker node update --availability active NODE` opens one",
            ));
        }
        findings.extend(self.check_image(spec).await?);
        findings.extend(self.traffic.check(spec, &[]).await?);
        findings.extend(ports_misfit(spec));
        findings.extend(long_name(spec));
        findings.extend(self.unfit_networks(spec).await?);
        findings.extend(self.engine.is_root(spec).await?);
        findings.extend(unlimited(spec));
        findings.extend(low_port(spec));
        Ok(findings)
    }

    /// Finds what keeps the nodes from having the image.
    pub(super) async fn check_image(&self, spec: &Spec) -> Result<Option<Finding>, TargetError> {
        let nodes = self.nodes().await?.count();
        match &spec.artifact {
            Artifact::File { .. } | Artifact::Nothing => Ok(Some(Check::Artifact.finding(
                "a `swarm` target deploys images, and this is none",
                "name a `build` or `push` stage, or a reference, in `image`",
            ))),
            Artifact::ImageId(_) if nodes != 1 => Ok(Some(Check::Artifact.finding(
                format!(
                    "image `{}` was never pushed, and the {nodes} nodes of the swarm fetch from a registry",
                    image_of(&spec.artifact)
                ),
                "push it in a stage, and deploy that one",
            ))),
            Artifact::Digest { reference, .. } if nodes != 1 => {
                self.engine.check_registry(reference, &spec.artifact).await
            }
            _ => self.engine.check_image(spec).await,
        }
    }

    async fn unfit_networks(&self, spec: &Spec) -> Result<Vec<Finding>, TargetError> {
        if spec.unit.networks.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.engine.networks().await?;
        let found = spec.unit.networks.iter().filter_map(|name| {
            let fix = format!("make it with `docker network create -d overlay {name}`");
            let network = there.iter().find(|it| it.name.as_deref() == Some(name));
            match network.map(|network| network.scope.as_deref()) {
                Some(Some("swarm")) => None,
                Some(_) => Some(Check::Setting.finding(
                    format!("network `{name}` is of one engine, and units may run on any node"),
                    fix,
                )),
                None => Some(
                    Check::Setting.finding(format!("network `{name}` is not in the swarm"), fix),
                ),
            }
        });
        Ok(found.collect())
    }
}

fn long_name(spec: &Spec) -> Option<Finding> {
    let length = spec.route().len() + ADDED;
    (length > NAME).then(|| {
        Check::Setting.finding(
            format!(
                "`{}` is too long: names of services have {NAME} characters, and {ADDED} are added to it",
                spec.route()
            ),
            "give project or environment a shorter name",
        )
    })
}
