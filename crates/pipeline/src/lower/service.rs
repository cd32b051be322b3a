//! `services`: containers beside a stage.

use std::collections::BTreeMap;

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::name;
use crate::plan::{Ready, ReadyProbe, Service};
use crate::scalar::{AnyText, ImageReference, Port, TcpPort, Timeout, UrlPath};
use crate::yaml::{Entry, Map, Node, Value};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_EXAMPLE: &str = "for example `ready: { tcp: auto }`";

impl Lowering<'_> {
    /// The services of a stage, else those of `defaults`.
    pub(super) fn services(&mut self, map: &Map, of: &str) -> BTreeMap<String, Service> {
        match self.own_or_default(map, "services") {
            Some((node, false)) => self.services_of(node, of),
            Some((node, true)) => self.of_defaults(|lowering| lowering.services_of(node, of)),
            None => BTreeMap::new(),
        }
    }

    fn services_of(&mut self, node: &Node, of: &str) -> BTreeMap<String, Service> {
        if node.value.is_reported() {
            return BTreeMap::new();
        }
        let Some(map) = node.as_map() else {
            let message = format!("`services` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(
                error.label("a map from names to images, for example `{ redis: redis:7 }`"),
            );
            return BTreeMap::new();
        };
        let services = map.0.iter().filter_map(|entry| {
            let service = self.service(entry, of)?;
            Some((entry.key.name.clone(), service))
        });
        services.collect()
    }

    fn service(&mut self, entry: &Entry, of: &str) -> Option<Service> {
        let (name, node) = (entry.key.name.as_str(), &entry.value);
        self.service_name(entry);
        let path = format!("services.{name}");
        let unprobed = Ready { probe: None, timeout: READY_TIMEOUT };
        if matches!(node.value, Value::Text(_) | Value::Mixed(_)) {
            let image: ImageReference = self.value(&format!("{path}.image"), node, Site::Plan);
            return Some(Service {
                image: image.0,
                env: BTreeMap::new(),
                command: Vec::new(),
                resources: Default::default(),
                ready: unprobed,
            });
        }
        let what = format!("service `{name}` of {of}");
        if node.as_map().is_none() {
            let message = format!("{what} takes an image or a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `redis:7` or `{ image: redis:7 }`"));
            return None;
        }
        let map = self.fields(node, &keys::SERVICE, &what)?;
        if self.lacks(map, &keys::SERVICE, "image") {
            let error = self.error(Code::E014, format!("{what} has no `image`"), entry.key.span);
            self.report(error.label("add for example `image: redis:7`"));
        }
        let image: Option<ImageReference> =
            self.optional(map, &format!("{path}.image"), Site::Plan);
        let env = map.get("env").map(|node| self.texts(&format!("{path}.env"), node, Site::Plan));
        let command = map.get("command").map(|node| self.command(&format!("{path}.command"), node));
        let resources = self.resources(map, &format!("{path}.resources"), Site::Plan);
        let ready = map.get("ready").map(|node| self.ready(&format!("{path}.ready"), node, &what));
        Some(Service {
            image: image?.0,
            env: env.unwrap_or_default(),
            command: command.unwrap_or_default(),
            resources,
            ready: ready.flatten().unwrap_or(unprobed),
        })
    }

    /// A service is found by its name, so the name is one of a host.
    fn service_name(&mut self, entry: &Entry) {
        let name = entry.key.name.as_str();
        let taken = name == "localhost";
        if taken || !name::is_host_label(name) {
            let message = match taken {
                true => {
                    "a service cannot be named `localhost`, which is the stage itself".to_owned()
                }
                false => format!("a service cannot be named `{name}`"),
            };
            let error = self.error(Code::E016, message, entry.key.span);
            let label = match taken {
                true => "choose another name".to_owned(),
                false => format!("write for example `{}`", name::corrected_host_label(name)),
            };
            self.report(error.label(label).note(name::HOST_LABEL_RULE));
        }
    }

    /// A command as the words a process is started with: a text goes to a shell.
    pub(super) fn command(&mut self, path: &str, node: &Node) -> Vec<String> {
        if let Value::Text(_) | Value::Mixed(_) = &node.value {
            let script: String = self.value(&format!("{path}.2"), node, Site::Run);
            if script.trim().is_empty() && matches!(node.value, Value::Text(_)) {
                self.no_command(path, node);
            }
            return vec!["sh".to_owned(), "-c".to_owned(), script];
        }
        if matches!(node.as_list(), Some([])) {
            self.no_command(path, node);
        }
        let words: Vec<AnyText> = self.list(path, node, Site::Run, false);
        words.into_iter().map(|word| word.0).collect()
    }

    fn no_command(&mut self, path: &str, node: &Node) {
        let key = super::last(path);
        let error = self.error_at(Code::E012, format!("`{key}` has no command"), node);
        self.report(error.label(format!("add one, or remove `{key}`")));
    }

    fn ready(&mut self, path: &str, node: &Node, of: &str) -> Option<Ready> {
        let what = format!("`ready` of {of}");
        let map = self.fields(node, &keys::READY, &what)?;
        if map.0.is_empty() {
            let error = self.error_at(Code::E014, format!("{what} does not say what to ask"), node);
            self.report(error.label("add one of `cmd`, `tcp` and `http`").note(READY_EXAMPLE));
        }
        let timeout =
            self.or_builtin(map, &format!("{path}.timeout"), Site::Plan, Timeout(READY_TIMEOUT));
        Some(Ready { probe: self.ready_probe(path, node, map, &what), timeout: timeout.0 })
    }

    /// `None` leaves it to the image what is asked.
    fn ready_probe(
        &mut self,
        path: &str,
        node: &Node,
        map: &Map,
        what: &str,
    ) -> Option<ReadyProbe> {
        let probes: Vec<&Entry> = map
            .0
            .iter()
            .filter(|entry| matches!(entry.key.name.as_str(), "cmd" | "tcp" | "http"))
            .collect();
        if let [first, second, ..] = probes.as_slice() {
            let message = format!("{what} has `{}` and `{}`", first.key.name, second.key.name);
            let error = self.error(Code::E013, message, second.key.span);
            let place = self.sources.place(first.key.span);
            self.report(error.label("keep one").related("also here", place));
            return None;
        }
        let probe = probes.first().map(|entry| (entry.key.name.as_str(), &entry.value));
        if let (Some(port), Some(("cmd" | "tcp", _)) | None) = (map.entry("port"), probe) {
            let message = match probe {
                Some(("tcp", _)) => format!("{what} has `tcp`, which is a port, and `port`"),
                _ => format!("{what} has a `port` and no `http`"),
            };
            let error = self.error(Code::E013, message, port.key.span);
            let label = match probe {
                Some(_) => "remove it",
                None => "write `tcp` in its place, or add `http`",
            };
            self.report(error.label(label));
        }
        match probe? {
            ("cmd", node) => Some(ReadyProbe::Command(self.command(&format!("{path}.cmd"), node))),
            ("tcp", node) => {
                let port: TcpPort = self.value(&format!("{path}.tcp"), node, Site::Plan);
                Some(ReadyProbe::Tcp(port.0))
            }
            (_, http) => {
                let http: UrlPath = self.value(&format!("{path}.http"), http, Site::Plan);
                let port: Option<Port> = self.optional(map, &format!("{path}.port"), Site::Plan);
                if self.lacks(map, &keys::READY, "port") {
                    let error = self.error_at(Code::E014, format!("{what} has no `port`"), node);
                    self.report(error.label("add the port of `http`, for example `port: 8080`"));
                }
                Some(ReadyProbe::Http { path: http.0, port: port?.0 })
            }
        }
    }
}
