//! Keys of stages that deploy: what the deploy engine has of them.

use pipeline::{DeployWork, InlineTarget, Plan, TargetSpec};

use super::Stage;

impl Stage<'_> {
    pub(super) fn deploy(&mut self, work: &DeployWork, plan: &Plan) {
        let DeployWork {
            environment,
            image,
            replicas: _,
            expose: _,
            ports: _,
            command: _,
            resources: _,
            volumes: _,
            networks: _,
            stop_timeout: _,
            health: _,
            strategy: _,
            canary,
            verify: _,
            keep_warm: _,
            allow_mutable_tag: _,
            kubernetes,
            hosts,
            env: _,
            verify_env: _,
        } = work;
        self.target(environment, plan);
        self.uses("deploy.kubernetes", kubernetes.is_some());
        if let Some(hosts) = hosts {
            self.folder(environment, hosts.path.as_deref(), plan);
        }
        let brings_files = hosts.as_ref().is_some_and(|hosts| !hosts.artifact.is_empty());
        if image.is_some() && brings_files {
            let what =
                "deploys an `image` and files of the workspace, and a release is one of both";
            self.says("deploy.hosts.artifact", what);
        }
        if image.is_none() && kubernetes.is_none() && !brings_files {
            self.says("deploy.image", "deploys no `image`, and this version deploys nothing else");
        }
        self.uses("deploy.canary", canary.is_some());
    }

    /// A folder that a stage names is that of its environment where the file defines that;
    /// what a server defines has its own.
    fn folder(&mut self, environment: &str, path: Option<&str>, plan: &Plan) {
        let target = plan.environments.get(environment).map(|found| &found.target);
        let known = match target {
            Some(TargetSpec::Inline(InlineTarget::Hosts { path, .. })) => path.as_deref(),
            _ => None,
        };
        if path.is_some() && path != known {
            let what = "names the folder of its releases, which is the target's: what is \
                        deployed is looked at without a stage";
            self.says("deploy.hosts.path", what);
            if let Some(last) = self.found.last_mut() {
                last.help = "write `path` in `hosts` of the target".to_owned();
            }
        }
    }

    /// A target that is named is one of the server's, which all can be deployed to.
    fn target(&mut self, environment: &str, plan: &Plan) {
        let Some(found) = plan.environments.get(environment) else {
            self.elsewhere(environment);
            return;
        };
        if let Some(gate) = found.gates.keys().next() {
            let what = format!(
                "deploys to `{environment}`, which has the gate `{gate}`: this version asks no gates, and does not pass them unasked"
            );
            self.says("deploy.environment", &what);
        }
        let TargetSpec::Inline(target) = &found.target else { return };
        if matches!(target, InlineTarget::Swarm { .. } | InlineTarget::Kubernetes { .. }) {
            let what = format!(
                "deploys to `{environment}`, whose target is `{}`: this version deploys to `docker`, `hosts` and `process`",
                target.name()
            );
            self.says("deploy.environment", &what);
        }
    }

    /// The file of a local run does not define the environment.
    fn elsewhere(&mut self, environment: &str) {
        let what = format!(
            "deploys to `{environment}`, which the file does not define: a deploy from here needs its target"
        );
        self.says("deploy.environment", &what);
        if let Some(last) = self.found.last_mut() {
            last.code = "E062";
            last.help = format!(
                "define it for local runs, for example\n           environments:\n             \
                 {environment}: {{ target: {{ docker: {{ host: \"unix:///var/run/docker.sock\" }} }} }}"
            );
        }
    }
}
