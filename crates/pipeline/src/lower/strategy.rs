//! `strategy` of a deploy and of an environment: how units are rolled.

use super::Lowering;
use super::deploy::Publishing;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{BatchSize, RolloutOrder, Strategy, StrategyKind};
use crate::scalar::{Allowance, Count, Interval, Label, Tolerance};
use crate::yaml::{Map, Node, Value};

/// Keys that say in which portions units are changed; `recreate` has none.
const PORTIONS: [&str; 7] =
    ["order", "batch", "batches", "groups", "parallel", "max-unavailable", "max-surge"];
/// Those that are built in, when a strategy does not say them.
const BUILTIN: [&str; 9] = [
    "kind",
    "order",
    "batch",
    "tolerate",
    "bake",
    "drain",
    "drain-websockets",
    "on-failure",
    "rollback-deadline",
];

impl Lowering<'_> {
    /// Reads a strategy: a word, or a map.
    pub(super) fn strategy(&mut self, what: &str, path: &str, node: &Node, site: Site) -> Strategy {
        let before = self.found.len();
        let empty = Map::default();
        let at = |key: &str| format!("{path}.{key}");
        let (map, kind) = match &node.value {
            Value::Text(_) | Value::Mixed(_) => {
                (&empty, self.value::<StrategyKind>(&at("kind"), node, site))
            }
            _ => {
                let Some(map) = self.fields(node, &keys::STRATEGY, what) else {
                    return Strategy::default();
                };
                (map, self.or_builtin(map, &at("kind"), site, StrategyKind::Rolling))
            }
        };
        let builtin = Strategy::default();
        let batch = map.get("batch").map(|node| self.value::<BatchSize>(&at("batch"), node, site));
        let batches = map.get("batches").map(|node| self.batches(&at("batches"), node, site));
        let groups: Vec<Label> = match map.get("groups") {
            Some(node) => self.list(&at("groups"), node, site, false),
            None => Vec::new(),
        };
        let parallel: Option<Count> = self.optional(map, &at("parallel"), site);
        let max_unavailable: Option<Allowance> = self.optional(map, &at("max-unavailable"), site);
        let max_surge: Option<Allowance> = self.optional(map, &at("max-surge"), site);
        let tolerate = self.or_builtin(map, &at("tolerate"), site, Tolerance(builtin.tolerate));
        let rollback = Interval(builtin.rollback_deadline);
        let strategy = Strategy {
            kind,
            order: self.or_builtin(map, &at("order"), site, order_of(kind)),
            batch: batch.unwrap_or(builtin.batch),
            batches: batches.unwrap_or_default(),
            groups: groups.into_iter().map(|group| group.0).collect(),
            parallel: parallel.map(|count| count.0),
            max_unavailable: max_unavailable.map(|size| size.0),
            max_surge: max_surge.map(|size| size.0),
            tolerate: tolerate.0,
            bake: self.or_builtin(map, &at("bake"), site, builtin.bake),
            drain: self.or_builtin(map, &at("drain"), site, builtin.drain),
            drain_websockets: self.or_builtin(
                map,
                &at("drain-websockets"),
                site,
                builtin.drain_websockets,
            ),
            on_failure: self.or_builtin(map, &at("on-failure"), site, builtin.on_failure),
            rollback_deadline: self.or_builtin(map, &at("rollback-deadline"), site, rollback).0,
        };
        if map.get("batch").is_none() && map.get("batches").is_none() {
            self.record_builtin(&at("batch"));
        }
        if self.found.len() == before {
            self.strategy_fits(what, path, map, &strategy);
        }
        strategy
    }

    /// Remembers that nobody names a strategy.
    pub(crate) fn builtin_strategy(&mut self, path: &str) {
        for key in BUILTIN {
            self.record_builtin(&format!("{path}.{key}"));
        }
    }

    fn batches(&mut self, path: &str, node: &Node, site: Site) -> Vec<BatchSize> {
        if matches!(node.as_list(), Some([])) {
            let error = self.error_at(Code::E012, "`batches` has no batch", node);
            self.report(error.label("for example `[1, 25%, 100%]`"));
        }
        self.list(path, node, site, false)
    }

    /// What cannot be meant together.
    fn strategy_fits(&mut self, what: &str, path: &str, map: &Map, strategy: &Strategy) {
        if let (Some(batch), Some(batches)) = (map.entry("batch"), map.entry("batches")) {
            let (first, second) = if batch.key.span.start < batches.key.span.start {
                (batch, batches)
            } else {
                (batches, batch)
            };
            let message =
                format!("{what} has `batch`, for equal batches, and `batches`, which lists them");
            let error = self.error(Code::E013, message, second.key.span);
            let place = self.sources.place(first.key.span);
            self.report(error.label("keep one").related("also here", place));
        }
        if strategy.kind == StrategyKind::Recreate {
            for entry in &map.0 {
                let key = entry.key.name.as_str();
                if !PORTIONS.contains(&key) {
                    continue;
                }
                let message = format!(
                    "{what} is `recreate`, which takes all units down before it brings any up, \
                     so `{key}` has nothing to say"
                );
                let error = self.error(Code::E013, message, entry.key.span);
                let kind = map.get("kind").map_or(entry.key.span, |node| node.span);
                let place = self.sources.place(kind);
                self.report(
                    error
                        .label("remove it, or write `kind: rolling`")
                        .related("the kind of strategy", place),
                );
            }
            return;
        }
        let settled = |lowering: &Self, key: &str| {
            let path = format!("{path}.{key}");
            map.get(key).is_none_or(|node| lowering.is_settled(&path, node))
        };
        let (key, none, message) = match strategy.order {
            RolloutOrder::StartFirst => (
                "max-surge",
                strategy.max_surge,
                "starts each new unit before the old one stops, so it needs at least one unit more",
            ),
            RolloutOrder::StopFirst => (
                "max-unavailable",
                strategy.max_unavailable,
                "stops each old unit before the new one starts, so at least one is missing",
            ),
        };
        let none = matches!(none, Some(BatchSize::Units(0) | BatchSize::Percent(0)));
        if none
            && settled(self, "order")
            && settled(self, key)
            && let Some(entry) = map.entry(key)
        {
            let message = format!("{what} {message}, and `{key}` allows none");
            let error = self.error(Code::E013, message, entry.key.span);
            let error = error.label(match strategy.order {
                RolloutOrder::StartFirst => "write 1 or more, or `order: stop-first`",
                RolloutOrder::StopFirst => "write 1 or more, or `order: start-first`",
            });
            let order = map.get("order").map(|node| self.sources.place(node.span));
            self.report(match order {
                Some(place) => error.related("the order", place),
                None => error,
            });
        }
    }

    /// `ports` are published once per host, so no second unit can stand beside the
    /// first; what is not known yet is `None`.
    pub(crate) fn ports_fit(&mut self, name: &str, deploy: &Map, publishing: &Publishing<'_>) {
        let Some(ports) = deploy.entry("ports") else { return };
        let Publishing { order, replicas, environment } = publishing;
        if *order == Some(RolloutOrder::StartFirst) {
            let message = format!(
                "stage `{name}` publishes `ports` of the host, and starts new units before old \
                 ones stop"
            );
            let error = self.error(Code::E013, message, ports.key.span);
            let error = error
                .label("two units cannot hold one port of a host")
                .help("write strategy: { order: stop-first }, or `expose` in place of `ports`");
            let place = deploy.get("strategy").map(|node| {
                let order = node.as_map().and_then(|map| map.get("order")).unwrap_or(node);
                self.sources.place(order.span)
            });
            self.report(match (place, environment) {
                (Some(place), _) => error.related("the strategy", place),
                (None, Some((said, Some(place)))) => error.related(*said, place.clone()),
                (None, Some((said, None))) => error.note(*said),
                (None, None) => error,
            });
        }
        if let Some(replicas @ 2..) = replicas {
            let message = format!(
                "stage `{name}` publishes `ports` of the host, and wants {replicas} replicas"
            );
            let error = self.error(Code::E013, message, ports.key.span);
            let error = error
                .label("two units cannot hold one port of a host")
                .help("write `replicas: 1`, or `expose` in place of `ports`");
            self.report(match (deploy.get("replicas"), environment) {
                (Some(node), _) => error.related("the replicas", self.sources.place(node.span)),
                (None, Some((said, Some(place)))) => error.related(*said, place.clone()),
                (None, Some((said, None))) => error.note(*said),
                (None, None) => error,
            });
        }
    }

    /// Whether a value of a strategy stands in the file as it is.
    pub(super) fn has_no_expression(&self, node: &Node, key: &str) -> bool {
        let value = match node.as_map() {
            Some(map) => map.get(key),
            None => Some(node),
        };
        !value.is_some_and(|value| matches!(value.value, Value::Mixed(_)))
    }
}

/// All down, then all up, is the most thorough way to stop first.
const fn order_of(kind: StrategyKind) -> RolloutOrder {
    match kind {
        StrategyKind::Rolling => RolloutOrder::StartFirst,
        StrategyKind::Recreate => RolloutOrder::StopFirst,
    }
}
