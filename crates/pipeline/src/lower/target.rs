//! `target` of an environment: the name of one of the server, or one written out.

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::scalar::{AbsolutePath, EngineAddress, KubernetesName, Label, SshAddress};
use crate::suggest::quoted;
use crate::yaml::{Entry, Map, Node, Value};
use crate::{InlineTarget, TargetSpec};

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
        let map = self.fields(node, &keys::TARGET, &target)?;
        let known: Vec<&Entry> =
            map.0.iter().filter(|entry| keys::TARGET.has(&entry.key.name)).collect();
        let kind = match known.as_slice() {
            [] => {
                if map.0.is_empty() {
                    let error = self.error_at(Code::E014, format!("{target} is empty"), node);
                    self.report(error.note(EXAMPLE));
                }
                return None;
            }
            [kind] => *kind,
            [first, second, ..] => {
                let names = quoted(known.iter().map(|entry| entry.key.name.as_str()));
                let message = format!("{target} is {} places: {names}", known.len());
                let error = self.error(Code::E013, message, second.key.span);
                let place = self.sources.place(first.key.span);
                self.report(
                    error
                        .label("keep one, and make another environment of the other")
                        .related("also here", place),
                );
                return None;
            }
        };
        let what = format!("`{}` of {target}", kind.key.name);
        self.inline_target(&what, kind).map(TargetSpec::Inline)
    }

    fn inline_target(&mut self, what: &str, kind: &Entry) -> Option<InlineTarget> {
        let node = &kind.value;
        Some(match kind.key.name.as_str() {
            "docker" => {
                let map = self.fields(node, &keys::TARGET_DOCKER, what)?;
                let (host, proxy) = self.engine(what, node, map)?;
                InlineTarget::Docker { host, proxy }
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
                let path: Option<AbsolutePath> =
                    self.optional(map, "target.hosts.path", Site::Pipeline);
                if self.lacks(map, &keys::TARGET_HOSTS, "hosts") {
                    let error = self.error_at(Code::E014, format!("{what} names no `hosts`"), node);
                    self.report(error.label("for example `hosts: [web-1.corp.example]`"));
                }
                let hosts = map.get("hosts")?;
                if matches!(hosts.as_list(), Some([])) {
                    let error = self.error_at(Code::E012, format!("{what} has no host"), hosts);
                    self.report(error.label("for example `[web-1.corp.example]`"));
                }
                let hosts: Vec<SshAddress> =
                    self.list("target.hosts.hosts", hosts, Site::Pipeline, true);
                InlineTarget::Hosts {
                    hosts: hosts.into_iter().map(|host| host.0).collect(),
                    user: user.map(|user| user.0),
                    path: path.map(|path| path.0),
                }
            }
            _ => {
                let map = self.fields(node, &keys::TARGET_PROCESS, what)?;
                let proxy = self.proxy(map);
                if self.lacks(map, &keys::TARGET_PROCESS, "root") {
                    let error = self.error_at(Code::E014, format!("{what} has no `root`"), node);
                    self.report(
                        error.label("the folder of its units, for example `root: /srv/shipline`"),
                    );
                }
                let root: AbsolutePath =
                    self.value("target.process.root", map.get("root")?, Site::Pipeline);
                InlineTarget::Process { root: root.0, proxy }
            }
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
