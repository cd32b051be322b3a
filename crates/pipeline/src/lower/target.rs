//! `target` of an environment: the name of one of the server, or one written out.

use super::Lowering;
use super::switch::OneOf;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::scalar::{AbsolutePath, EngineAddress, KubernetesName, Label, Selector, SshAddress};
use crate::yaml::{Entry, Map, Node, Value};
use crate::{InlineTarget, TargetHost, TargetSpec};

const EXAMPLE: &str = "for example `target: { docker: { host: \"unix:///var/run/docker.sock\" } }`";

impl Lowering<'_> {
    pub(super) fn no_target(&mut self, what: &str, entry: &Entry) {
        let error = self.error(Code::E014, format!("{what} has no `target`"), entry.key.span);
        self.report(error.label("where does it run?").note(EXAMPLE));
    }

    pub(super) fn target(&mut self, what: &str, node: &Node) -> Option<TargetSpec> {
        if !matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) {
            let name: Label = self.value("target", node, Site::Pipeline);
            return Some(TargetSpec::Named(name.0));
        }
        let target = format!("`target` of {what}");
        let one = OneOf {
            keys: &keys::TARGET,
            what: &target,
            plural: "places",
            instead: "keep one, and make another environment of the other",
            example: EXAMPLE,
        };
        let kind = self.one_of(node, &one)?;
        let what = format!("`{}` of {target}", kind.key.name);
        self.inline_target(&what, kind).map(TargetSpec::Inline)
    }

    fn inline_target(&mut self, what: &str, kind: &Entry) -> Option<InlineTarget> {
        let node = &kind.value;
        Some(match kind.key.name.as_str() {
            "docker" => {
                let map = self.fields(node, &keys::TARGET_DOCKER, what)?;
                let (host, proxy) = self.engine(what, node, map)?;
                let switch = self.switch(what, "docker", map);
                let mut path = |key: &str| {
                    let path: Option<AbsolutePath> = self.optional(map, key, Site::Pipeline);
                    path.map(|path| path.0)
                };
                InlineTarget::Docker {
                    host,
                    proxy,
                    switch,
                    certificates: path("target.docker.certificates"),
                    identity: path("target.docker.identity"),
                    known_hosts: path("target.docker.known-hosts"),
                }
            }
            "swarm" => {
                let map = self.fields(node, &keys::TARGET_SWARM, what)?;
                let (host, proxy) = self.engine(what, node, map)?;
                InlineTarget::Swarm { host, proxy }
            }
            "kubernetes" => {
                let map = self.fields(node, &keys::TARGET_KUBERNETES, what)?;
                let context = self.optional(map, "target.kubernetes.context", Site::Pipeline);
                let namespace: Option<KubernetesName> =
                    self.optional(map, "target.kubernetes.namespace", Site::Pipeline);
                InlineTarget::Kubernetes { context, namespace: namespace.map(|name| name.0) }
            }
            "hosts" => {
                let map = self.fields(node, &keys::TARGET_HOSTS, what)?;
                let user: Option<Label> = self.optional(map, "target.hosts.user", Site::Pipeline);
                let mut path = |key: &str| {
                    let path: Option<AbsolutePath> = self.optional(map, key, Site::Pipeline);
                    path.map(|path| path.0)
                };
                let (path, identity, known_hosts) = (
                    path("target.hosts.path"),
                    path("target.hosts.identity"),
                    path("target.hosts.known-hosts"),
                );
                let proxy = self.proxy(map);
                let switch = self.switch(what, "hosts", map);
                if self.lacks(map, &keys::TARGET_HOSTS, "hosts") {
                    let error = self.error_at(Code::E014, format!("{what} names no `hosts`"), node);
                    self.report(error.label("for example `hosts: [web-1.corp.example]`"));
                }
                let hosts = map.get("hosts")?;
                if matches!(hosts.as_list(), Some([])) {
                    let error = self.error_at(Code::E012, format!("{what} has no host"), hosts);
                    self.report(error.label("for example `[web-1.corp.example]`"));
                }
                InlineTarget::Hosts {
                    hosts: self.target_hosts(what, hosts),
                    user: user.map(|user| user.0),
                    path,
                    proxy,
                    switch,
                    identity,
                    known_hosts,
                }
            }
            _ => {
                let map = self.fields(node, &keys::TARGET_PROCESS, what)?;
                let proxy = self.proxy(map);
                let switch = self.switch(what, "process", map);
                if self.lacks(map, &keys::TARGET_PROCESS, "root") {
                    let error = self.error_at(Code::E014, format!("{what} has no `root`"), node);
                    self.report(
                        error.label("the folder of its units, for example `root: /srv/shipline`"),
                    );
                }
                let root: AbsolutePath =
                    self.value("target.process.root", map.get("root")?, Site::Pipeline);
                InlineTarget::Process { root: root.0, proxy, switch }
            }
        })
    }

    /// Hosts, each its address alone or a map.
    fn target_hosts(&mut self, what: &str, node: &Node) -> Vec<TargetHost> {
        let path = "target.hosts.hosts";
        let Some(items) = node.as_list() else {
            if node.as_map().is_some() {
                return self.target_host(what, path, node).into_iter().collect();
            }
            let hosts: Vec<SshAddress> = self.list(path, node, Site::Pipeline, true);
            return hosts.into_iter().map(|host| TargetHost::at(host.0)).collect();
        };
        let mut hosts = Vec::new();
        for (number, node) in items.iter().enumerate() {
            hosts.extend(self.target_host(what, &format!("{path}.{number}"), node));
        }
        hosts
    }

    fn target_host(&mut self, what: &str, path: &str, node: &Node) -> Option<TargetHost> {
        if node.as_map().is_none() {
            let address: SshAddress = self.value(path, node, Site::Pipeline);
            return Some(TargetHost::at(address.0));
        }
        let what = format!("a host of {what}");
        let map = self.fields(node, &keys::TARGET_HOST, &what)?;
        let at = |key: &str| format!("{path}.{key}");
        let group: Option<Label> = self.optional(map, &at("group"), Site::Pipeline);
        let labels: Vec<Selector> = match map.get("labels") {
            Some(node) => self.list(&at("labels"), node, Site::Pipeline, true),
            None => Vec::new(),
        };
        let traffic: Option<bool> = self.optional(map, &at("traffic"), Site::Pipeline);
        let env = map.get("env").map(|node| self.texts(&at("env"), node, Site::Pipeline));
        if self.lacks(map, &keys::TARGET_HOST, "host") {
            let error = self.error_at(Code::E014, format!("{what} has no address"), node);
            self.report(error.label("for example `host: web-1.corp.example`"));
        }
        let address: SshAddress = self.optional(map, &at("host"), Site::Pipeline)?;
        Some(TargetHost {
            host: address.0,
            group: group.map(|group| group.0),
            labels: labels.into_iter().map(|label| label.0).collect(),
            traffic: traffic.unwrap_or(true),
            env: env.unwrap_or_default(),
        })
    }

    /// The engine of `docker` and `swarm`, and the proxy beside it.
    fn engine(&mut self, what: &str, node: &Node, map: &Map) -> Option<(String, Option<String>)> {
        let proxy = self.proxy(map);
        if self.lacks(map, &keys::TARGET_DOCKER, "host") {
            let error = self.error_at(Code::E014, format!("{what} has no `host`"), node);
            self.report(error.label("the address of the engine").note(EXAMPLE));
        }
        let host: EngineAddress = self.value("target.host", map.get("host")?, Site::Pipeline);
        Some((host.0, proxy))
    }

    /// Path of the proxy's control socket.
    fn proxy(&mut self, map: &Map) -> Option<String> {
        let proxy: Option<AbsolutePath> = self.optional(map, "target.proxy", Site::Pipeline);
        proxy.map(|path| path.0)
    }
}
