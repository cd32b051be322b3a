//! Keys of stages that deploy: what the deploy engine has of them.

use pipeline::{
    DeployWork, InlineTarget, OnFailure, Plan, Probe, RolloutOrder, Strategy, StrategyKind,
    TargetSpec,
};

use super::Stage;

impl Stage<'_> {
    pub(super) fn deploy(&mut self, work: &DeployWork, plan: &Plan) {
        let DeployWork {
            environment,
            image,
            replicas: _,
            expose: _,
            ports,
            command,
            resources,
            volumes,
            networks,
            stop_timeout,
            health,
            strategy,
            canary,
            verify,
            // Equal to what is built in it is asked for all the same: nothing is kept.
            keep_warm: _,
            allow_mutable_tag,
            kubernetes,
            hosts,
            env: _,
            verify_env: _,
        } = work;
        let builtin = DeployWork::default();
        self.target(environment, plan);
        self.uses("deploy.kubernetes", kubernetes.is_some());
        self.uses("deploy.hosts", hosts.is_some());
        if image.is_none() && kubernetes.is_none() && hosts.is_none() {
            self.says("deploy.image", "deploys no `image`, and this version deploys nothing else");
        }
        self.uses("deploy.ports", !ports.is_empty());
        self.uses("deploy.command", !command.is_empty());
        self.uses("deploy.resources", !resources.is_empty());
        self.uses("deploy.volumes", !volumes.is_empty());
        self.uses("deploy.networks", !networks.is_empty());
        self.uses("deploy.stop-timeout", *stop_timeout != builtin.stop_timeout);
        let command = health.as_ref().is_some_and(|health| matches!(health.probe, Probe::Cmd(_)));
        self.uses("deploy.health.cmd", command);
        self.strategy(strategy);
        self.uses("deploy.canary", canary.is_some());
        self.uses("deploy.verify", !verify.is_empty());
        self.uses("deploy.keep-warm", self.is_written("deploy.keep-warm"));
        self.uses("deploy.allow-mutable-tag", *allow_mutable_tag);
    }

    /// A target that is named is one of the server's, which are all Docker engines.
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
        if !matches!(target, InlineTarget::Docker { .. }) {
            let what = format!(
                "deploys to `{environment}`, whose target is `{}`: this version deploys to `docker` only",
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

    fn strategy(&mut self, strategy: &Strategy) {
        let Strategy {
            kind,
            order,
            batch: _,
            batches,
            groups,
            parallel,
            max_unavailable,
            max_surge,
            tolerate,
            bake: _,
            drain: _,
            drain_websockets,
            on_failure,
            rollback_deadline,
        } = strategy;
        let builtin = Strategy::default();
        self.uses("deploy.strategy.kind", *kind != StrategyKind::Rolling);
        // All down, then all up, stops first without being told to.
        let rolling = *kind == StrategyKind::Rolling;
        self.uses("deploy.strategy.order", rolling && *order != RolloutOrder::StartFirst);
        self.uses("deploy.strategy.batches", !batches.is_empty());
        self.uses("deploy.strategy.groups", !groups.is_empty());
        self.uses("deploy.strategy.parallel", parallel.is_some());
        self.uses("deploy.strategy.max-unavailable", max_unavailable.is_some());
        self.uses("deploy.strategy.max-surge", max_surge.is_some());
        self.uses("deploy.strategy.tolerate", *tolerate > 0);
        self.uses(
            "deploy.strategy.drain-websockets",
            *drain_websockets != builtin.drain_websockets,
        );
        self.uses("deploy.strategy.on-failure", *on_failure != OnFailure::Rollback);
        self.uses(
            "deploy.strategy.rollback-deadline",
            *rollback_deadline != builtin.rollback_deadline,
        );
    }
}
