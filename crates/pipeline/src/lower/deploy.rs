//! `deploy`: what is wanted at which place; how it gets there is in
//! [`strategy`](super::strategy), [`health`](super::health), [`canary`](super::canary)
//! and [`verify`](super::verify).

use super::{Lowering, Pass, last};
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::name;
use crate::plan::{
    DeployWork, Expose, HostsDeploy, ImageSource, KubernetesDeploy, RolloutOrder, StrategyKind,
    default_keep_warm, default_stop_timeout,
};
use crate::reference::Reference;
use crate::scalar::{
    AbsolutePath, Count, Host, KubernetesName, Label, Network, Port, PortPair, Reload, Scalar,
    UrlPath, Volume, WorkspacePattern,
};
use crate::source::Place;
use crate::yaml::{Entry, Map, Node, Value};

/// What decides whether ports of a host can be published; `None` is not known yet.
#[derive(Debug)]
pub(crate) struct Publishing<'a> {
    pub(crate) order: Option<RolloutOrder>,
    pub(crate) replicas: Option<u32>,
    /// What the environment says of it, and where.
    pub(crate) environment: Option<(&'a str, Option<Place>)>,
}

impl Lowering<'_> {
    pub(super) fn deploy(
        &mut self,
        name: &str,
        action: &Entry,
        stage: &Map,
        what: &str,
    ) -> Option<DeployWork> {
        let before = self.found.len();
        let map = self.fields(&action.value, &keys::DEPLOY, what)?;
        self.required_of_deploy(action, map, what);
        let environment = map.get("environment").map(|node| self.environment_name(node));
        let image = map.get("image").map(|node| self.image_source("deploy.image", node));
        let allow_mutable_tag = self.mutable_tag(map, image.as_ref());
        // 0: what the environment says, else 1.
        let replicas: Option<Count> = self.optional(map, "deploy.replicas", Site::Value);
        let expose = map.get("expose").and_then(|node| self.expose(name, node));
        let ports = self.ports(map);
        let command = map.get("command").map(|node| self.command("deploy.command", node));
        let volumes = self.volumes(map);
        let networks: Vec<Network> = self.items(map, "deploy.networks");
        let stop_timeout =
            self.or_builtin(map, "deploy.stop-timeout", Site::Value, default_stop_timeout());
        let health = map.get("health").and_then(|node| self.health(name, node, expose.as_ref()));
        let strategy = map.get("strategy").map(|node| {
            let what = format!("`strategy` of stage `{name}`");
            self.strategy(&what, "deploy.strategy", node, Site::Value)
        });
        let canary = map.get("canary").and_then(|node| self.canary(name, node));
        if let (Some(entry), Some(strategy)) = (map.entry("canary"), &strategy)
            && strategy.kind == StrategyKind::Recreate
        {
            let message = format!(
                "stage `{name}` has a `canary`, and a strategy that takes all units down at once"
            );
            let error = self.error(Code::E013, message, entry.key.span);
            let place = self.sources.place(map.get("strategy").map_or(entry.key.span, |n| n.span));
            self.report(error.label("write `strategy: rolling`").related("the strategy", place));
        }
        let verify = map.get("verify").map(|node| {
            let what = format!("`verify` of stage `{name}`");
            self.verify(&what, "deploy.verify", node)
        });
        let kubernetes = map.get("kubernetes").and_then(|node| self.kubernetes(name, map, node));
        let hosts = map.get("hosts").and_then(|node| self.hosts(name, map, node));
        let env = map.get("env").map(|node| self.texts("deploy.env", node, Site::Value));
        if self.is_check() && self.found.len() == before {
            let order = strategy.as_ref().filter(|_| {
                map.get("strategy").is_some_and(|node| self.has_no_expression(node, "order"))
            });
            let own =
                map.get("replicas").is_some_and(|node| !matches!(node.value, Value::Mixed(_)));
            let fit = Publishing {
                order: order.map(|strategy| strategy.order),
                replicas: replicas.filter(|_| own).map(|count| count.0),
                environment: None,
            };
            self.ports_fit(name, map, &fit);
        }
        Some(DeployWork {
            environment: environment?,
            image,
            replicas: replicas.map_or(0, |count| count.0),
            expose,
            ports,
            command: command.unwrap_or_default(),
            resources: self.resources(map, "deploy.resources", Site::Value),
            volumes,
            networks: networks.into_iter().map(|network| network.0).collect(),
            stop_timeout,
            health,
            strategy: strategy.unwrap_or_default(),
            canary,
            verify: verify.unwrap_or_default(),
            keep_warm: self.or_builtin(map, "deploy.keep-warm", Site::Value, default_keep_warm()),
            allow_mutable_tag,
            kubernetes,
            hosts,
            env: env.unwrap_or_default(),
            verify_env: self.env(stage),
        })
    }

    /// Whether a value is known for good: it stands in the file, or its expression
    /// has been evaluated.
    pub(super) fn is_settled(&self, path: &str, node: &Node) -> bool {
        let evaluated = matches!(self.pass, Pass::Plan { unknown_is_fine: false, .. });
        !matches!(node.value, Value::Mixed(_))
            || evaluated && !self.pending.iter().any(|pending| pending.path == path)
    }

    /// Reads the list behind the last key of `path`; without the key it is empty.
    pub(super) fn items<T: Scalar>(&mut self, map: &Map, path: &str) -> Vec<T> {
        match map.get(last(path)) {
            Some(node) => self.list(path, node, Site::Value, false),
            None => Vec::new(),
        }
    }

    fn required_of_deploy(&mut self, action: &Entry, map: &Map, what: &str) {
        if self.lacks(map, &keys::DEPLOY, "environment") {
            let message = format!("{what} has no `environment`");
            let error = self.error(Code::E014, message, action.key.span);
            self.report(error.label("add `environment: demo`"));
        }
        let sources = ["image", "kubernetes", "hosts"];
        if sources.iter().all(|key| self.lacks(map, &keys::DEPLOY, key)) {
            let error = self.error(Code::E014, format!("{what} has no `image`"), action.key.span);
            self.report(error.label("add `image: NAME_OF_A_STAGE`").help(
                "only a deploy with `hosts` or `kubernetes` can do without, \
                 where files or manifests are the release",
            ));
        }
        if let (Some(kubernetes), Some(hosts)) = (map.entry("kubernetes"), map.entry("hosts")) {
            let message = format!("{what} has `kubernetes` and `hosts`");
            let (first, second) = if kubernetes.key.span.start < hosts.key.span.start {
                (kubernetes, hosts)
            } else {
                (hosts, kubernetes)
            };
            let error = self.error(Code::E013, message, second.key.span);
            let place = self.sources.place(first.key.span);
            self.report(
                error.label("keep the one that fits the environment").related("also here", place),
            );
        }
    }

    pub(crate) fn environment_name(&mut self, node: &Node) -> String {
        let text: String = self.value("deploy.environment", node, Site::Environment);
        let written = matches!(node.value, Value::Text(_));
        if (written || !self.is_check()) && !name::is_label(&text) && !self.is_skipped() {
            let message = format!("an environment cannot be named `{text}`");
            let error = self.error_at(Code::E016, message, node);
            self.report(error.note(name::LABEL_RULE));
        }
        text
    }

    /// Reads `allow-mutable-tag`, and says when an image would need it.
    fn mutable_tag(&mut self, map: &Map, image: Option<&ImageSource>) -> bool {
        let path = "deploy.allow-mutable-tag";
        let allowed: bool = self.optional(map, path, Site::Value).unwrap_or_default();
        let undecided =
            map.get("allow-mutable-tag").is_some_and(|node| !self.is_settled(path, node));
        let (Some(node), Some(ImageSource::Reference(text))) = (map.get("image"), image) else {
            return allowed;
        };
        let digest = Reference::parse(text).map_or(true, |reference| reference.digest.is_some());
        if allowed || undecided || digest || !self.is_settled("deploy.image", node) {
            return allowed;
        }
        let message = format!(
            "`image` of a deploy names what cannot change, and the tag of `{text}` can be moved"
        );
        let error = self.error_at(Code::E015, message, node);
        self.report(error.label("name its digest: `…@sha256:…`").help(
            "or deploy the image of a `push` or `build` stage, by the name of the stage\n\
             or let the tag be looked up when the stage starts: allow-mutable-tag: true",
        ));
        allowed
    }

    fn expose(&mut self, name: &str, node: &Node) -> Option<Expose> {
        let what = format!("`expose` of stage `{name}`");
        let map = self.fields(node, &keys::EXPOSE, &what)?;
        let host = self.or_builtin(map, "deploy.expose.host", Site::Value, Host("*".to_owned()));
        let path = self.or_builtin(map, "deploy.expose.path", Site::Value, UrlPath("/".to_owned()));
        if self.lacks(map, &keys::EXPOSE, "port") {
            let error = self.error_at(Code::E014, format!("{what} has no `port`"), node);
            self.report(
                error.label("add the port the service listens at, for example `port: 8080`"),
            );
        }
        let port = map.get("port")?;
        let port: Port = self.value("deploy.expose.port", port, Site::Value);
        Some(Expose { port: port.0, host: host.0, path: path.0 })
    }

    fn ports(&mut self, map: &Map) -> Vec<String> {
        let ports: Vec<PortPair> = self.items(map, "deploy.ports");
        let nodes = map.get("ports").and_then(Node::as_list).unwrap_or_default();
        for (at, port) in ports.iter().enumerate() {
            let written =
                |at: usize| nodes.get(at).filter(|node| matches!(node.value, Value::Text(_)));
            let (Some(node), Some(first)) =
                (written(at), ports[..at].iter().position(|other| other.host() == port.host()))
            else {
                continue;
            };
            let Some(first) = written(first) else { continue };
            let message = format!("`ports` gives port {} of the host away twice", port.host());
            let error = self.error_at(Code::E013, message, node);
            let place = self.sources.place(first.span);
            self.report(error.label("choose another port").related("also here", place));
        }
        ports.into_iter().map(|port| port.0).collect()
    }

    fn volumes(&mut self, map: &Map) -> Vec<String> {
        let volumes: Vec<Volume> = self.items(map, "deploy.volumes");
        let nodes = map.get("volumes").and_then(Node::as_list).unwrap_or_default();
        let path = |volume: &Volume| volume.0.split_once(':').map(|(_, path)| path.to_owned());
        for (at, volume) in volumes.iter().enumerate() {
            let same = volumes[..at].iter().position(|other| path(other) == path(volume));
            let written =
                |at: usize| nodes.get(at).filter(|node| matches!(node.value, Value::Text(_)));
            let (Some(node), Some(first)) = (written(at), same.and_then(written)) else { continue };
            let Some(path) = path(volume) else { continue };
            let message = format!("`volumes` mounts two volumes at `{path}`");
            let error = self.error_at(Code::E013, message, node);
            let place = self.sources.place(first.span);
            self.report(error.label("choose another path").related("also here", place));
        }
        volumes.into_iter().map(|volume| volume.0).collect()
    }

    fn kubernetes(&mut self, name: &str, deploy: &Map, node: &Node) -> Option<KubernetesDeploy> {
        let what = format!("`kubernetes` of stage `{name}`");
        let map = self.fields(node, &keys::KUBERNETES, &what)?;
        let namespace: Option<KubernetesName> =
            self.optional(map, "deploy.kubernetes.namespace", Site::Value);
        let manifests: Vec<WorkspacePattern> = match map.get("manifests") {
            Some(node) => self.list("deploy.kubernetes.manifests", node, Site::Value, true),
            None => Vec::new(),
        };
        let set_image: Option<KubernetesName> =
            self.optional(map, "deploy.kubernetes.set-image", Site::Value);
        if let Some(entry) = map.entry("set-image")
            && deploy.get("image").is_none()
        {
            let message = format!("{what} sets an image, and the deploy names none");
            let error = self.error(Code::E014, message, entry.key.span);
            self.report(error.label("add `image` to `deploy`, beside `kubernetes`"));
        } else if deploy.get("image").is_none() && self.lacks(map, &keys::KUBERNETES, "manifests") {
            let message = format!("{what} has neither `manifests` nor an image to set");
            let error = self.error_at(Code::E014, message, node);
            self.report(error.label("add for example `manifests: [deploy/*.yml]`"));
        }
        Some(KubernetesDeploy {
            namespace: namespace.map(|name| name.0),
            manifests: manifests.into_iter().map(|pattern| pattern.0).collect(),
            set_image: set_image.map(|name| name.0),
        })
    }

    fn hosts(&mut self, name: &str, deploy: &Map, node: &Node) -> Option<HostsDeploy> {
        let what = format!("`hosts` of stage `{name}`");
        let map = self.fields(node, &keys::HOSTS, &what)?;
        let path: Option<AbsolutePath> = self.optional(map, "deploy.hosts.path", Site::Value);
        let artifact: Vec<WorkspacePattern> = match map.get("artifact") {
            Some(node) => self.list("deploy.hosts.artifact", node, Site::Value, true),
            None => Vec::new(),
        };
        if deploy.get("image").is_none() && self.lacks(map, &keys::HOSTS, "artifact") {
            let message = format!("{what} does not say what the release is made of");
            let error = self.error_at(Code::E014, message, node);
            self.report(error.label("add for example `artifact: [dist/**]`"));
        }
        let reload: Option<Reload> = self.optional(map, "deploy.hosts.reload", Site::Value);
        let groups: Vec<Label> = self.items(map, "deploy.hosts.groups");
        Some(HostsDeploy {
            path: path.map(|path| path.0),
            artifact: artifact.into_iter().map(|pattern| pattern.0).collect(),
            reload: reload.map(|reload| reload.name().to_owned()),
            groups: groups.into_iter().map(|group| group.0).collect(),
        })
    }
}
