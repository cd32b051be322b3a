//! `switch` of a target: the balancer of somebody else in front of its units.

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys::{self, Keys};
use crate::scalar::{AbsolutePath, ControlSocket, Label, SshAddress, WebAddress};
use crate::suggest::quoted;
use crate::switch::{HaproxySpec, HookSpec, NginxSpec, SwitchSpec, TraefikSpec};
use crate::yaml::{Entry, Map, Node};

const EXAMPLE: &str =
    "for example `switch: { haproxy: { socket: /run/haproxy/admin.sock, backend: web } }`";

/// A map of which exactly one entry says what a thing is.
pub(super) struct OneOf<'a> {
    pub(super) keys: &'static Keys,
    /// In errors: "`target` of environment `demo`".
    pub(super) what: &'a str,
    pub(super) plural: &'static str,
    pub(super) instead: &'static str,
    pub(super) example: &'static str,
}

impl Lowering<'_> {
    /// Returns the entry that says what it is, and says so where there is none, or more.
    pub(super) fn one_of<'n>(&mut self, node: &'n Node, one: &OneOf<'_>) -> Option<&'n Entry> {
        let OneOf { keys, what, plural, instead, example } = *one;
        let map = self.fields(node, keys, what)?;
        let known: Vec<&Entry> = map.0.iter().filter(|entry| keys.has(&entry.key.name)).collect();
        match known.as_slice() {
            [] => {
                if map.0.is_empty() {
                    let error = self.error_at(Code::E014, format!("{what} is empty"), node);
                    self.report(error.note(example));
                }
                None
            }
            [kind] => Some(*kind),
            [first, second, ..] => {
                let names = quoted(known.iter().map(|entry| entry.key.name.as_str()));
                let message = format!("{what} is {} {plural}: {names}", known.len());
                let error = self.error(Code::E013, message, second.key.span);
                let place = self.sources.place(first.key.span);
                self.report(error.label(instead).related("also here", place));
                None
            }
        }
    }

    /// The `switch` of a target, of which `map` has the keys, and which is a `kind` of one.
    pub(super) fn switch(&mut self, what: &str, kind: &str, map: &Map) -> Option<SwitchSpec> {
        let entry = map.entry("switch")?;
        if let Some(proxy) = map.entry("proxy") {
            let message = format!("{what} has a `proxy` and a `switch`");
            let error = self.error(Code::E013, message, entry.key.span);
            let place = self.sources.place(proxy.key.span);
            let label = "keep the one that requests come through";
            self.report(error.label(label).related("the proxy", place));
        }
        let what = format!("`switch` of {what}");
        let one = OneOf {
            keys: if kind == "hosts" { &keys::SWITCH } else { &keys::SWITCH_OF_UNITS },
            what: &what,
            plural: "switches",
            instead: "keep the one that requests come through",
            example: EXAMPLE,
        };
        let chosen = self.one_of(&entry.value, &one)?;
        let what = format!("`{}` of {what}", chosen.key.name);
        let switch = self.switch_of(&what, chosen)?;
        if let Some(wrong) = switch.unclear() {
            let code = if wrong.starts_with("is") { Code::E013 } else { Code::E014 };
            let error = self.error_at(code, format!("{what} {wrong}"), &chosen.value);
            self.report(error.label("for example `command: /usr/local/bin/balancer`"));
        }
        Some(switch)
    }

    fn switch_of(&mut self, what: &str, kind: &Entry) -> Option<SwitchSpec> {
        let node = &kind.value;
        Some(match kind.key.name.as_str() {
            "haproxy" => {
                let map = self.fields(node, &keys::SWITCH_HAPROXY, what)?;
                let (config, ssh) = (self.path(map, "switch.config"), self.over_ssh(map));
                let socket = "for example `socket: /run/haproxy/admin.sock`";
                self.must_have(what, node, map, &keys::SWITCH_HAPROXY, "socket", socket);
                let backend = "the one with the servers, for example `backend: web`";
                self.must_have(what, node, map, &keys::SWITCH_HAPROXY, "backend", backend);
                let socket: ControlSocket = self.optional(map, "switch.socket", Site::Pipeline)?;
                let backend: Label = self.optional(map, "switch.backend", Site::Pipeline)?;
                let (socket, backend) = (socket.0, backend.0);
                SwitchSpec::Haproxy(HaproxySpec { socket, backend, config, ssh })
            }
            "nginx" => {
                let map = self.fields(node, &keys::SWITCH_NGINX, what)?;
                let test = self.optional(map, "switch.test", Site::Pipeline);
                let reload = self.optional(map, "switch.reload", Site::Pipeline);
                let ssh = self.over_ssh(map);
                let file = "for example `file: /etc/nginx/shipline/web.conf`";
                self.must_have(what, node, map, &keys::SWITCH_NGINX, "file", file);
                let file = self.path(map, "switch.file")?;
                SwitchSpec::Nginx(NginxSpec { file, test, reload, ssh })
            }
            "traefik" => {
                let map = self.fields(node, &keys::SWITCH_TRAEFIK, what)?;
                let ssh = self.over_ssh(map);
                let file = "for example `file: /etc/traefik/dynamic/web.yml`";
                self.must_have(what, node, map, &keys::SWITCH_TRAEFIK, "file", file);
                let file = self.path(map, "switch.file")?;
                SwitchSpec::Traefik(TraefikSpec { file, ssh })
            }
            _ => {
                let map = self.fields(node, &keys::SWITCH_HOOK, what)?;
                let url: Option<WebAddress> = self.optional(map, "switch.url", Site::Pipeline);
                let timeout: Option<Duration> =
                    self.optional(map, "switch.timeout", Site::Pipeline);
                SwitchSpec::Hook(HookSpec {
                    command: self.optional(map, "switch.command", Site::Pipeline),
                    url: url.map(|url| url.0),
                    timeout: timeout.unwrap_or(HookSpec::patience()),
                    ssh: self.over_ssh(map),
                })
            }
        })
    }

    fn must_have(
        &mut self,
        what: &str,
        node: &Node,
        map: &Map,
        keys: &Keys,
        key: &str,
        example: &str,
    ) {
        if self.lacks(map, keys, key) {
            let error = self.error_at(Code::E014, format!("{what} has no `{key}`"), node);
            self.report(error.label(example));
        }
    }

    /// A path of another machine.
    fn path(&mut self, map: &Map, key: &str) -> Option<String> {
        let path: Option<AbsolutePath> = self.optional(map, key, Site::Pipeline);
        path.map(|path| path.0)
    }

    fn over_ssh(&mut self, map: &Map) -> Option<String> {
        let address: Option<SshAddress> = self.optional(map, "switch.ssh", Site::Pipeline);
        address.map(|address| address.0)
    }
}
