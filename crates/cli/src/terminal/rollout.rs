//! A deployment as it goes: its units in a table, told by the events of its stream. It
//! knows neither the time nor whether anybody looks.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use event::{DeploymentState, Event, EventKind, OpState, Severity};
use serde_json::Value;

use super::screen::Size;
use super::style::Style;
use super::visible::visible;
use super::width::{fit, pad};
use crate::text;

/// Columns of the table: all but the last are padded.
const HEADER: [&str; 6] = ["UNIT", "RELEASE", "STATE", "HEALTH", "TRAFFIC", "NOW"];

/// How a deployment ended, as its stream says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) state: DeploymentState,
    pub(crate) reason: Option<String>,
    pub(crate) duration_ms: u64,
}

pub(crate) struct Rollout {
    style: Style,
    /// Whether every op is a line, as where nothing is drawn.
    tells_ops: bool,
    rows: BTreeMap<String, Row>,
    /// Of releases, by the end of their ids.
    versions: BTreeMap<String, String>,
    batches: u32,
    batch: Option<u32>,
    begun: Option<DateTime<Utc>>,
    is_locked: bool,
    goes_back: bool,
    environment: String,
    /// Why, while somebody is to decide.
    held: Option<String>,
    lines: Vec<String>,
    end: Option<End>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    slot: u32,
    release: String,
    state: &'static str,
    health: String,
    traffic: bool,
    failed: bool,
    /// What is done to it, since when.
    doing: Option<(String, DateTime<Utc>)>,
}

impl Rollout {
    /// Begins with what runs: `status` is the environment's.
    pub(crate) fn new(style: Style, tells_ops: bool, status: &Value) -> Self {
        let mut rollout = Self {
            style,
            tells_ops,
            rows: BTreeMap::new(),
            versions: BTreeMap::new(),
            batches: 0,
            batch: None,
            begun: None,
            is_locked: false,
            goes_back: false,
            environment: status["environment"].as_str().unwrap_or_default().to_owned(),
            held: None,
            lines: Vec::new(),
            end: None,
        };
        for unit in status["units"].as_array().into_iter().flatten() {
            let name = unit["unit"].as_str().unwrap_or_default().to_owned();
            let state = match unit["state"].as_str() {
                Some("running") => "running",
                Some("unhealthy") => "unhealthy",
                Some("created") => "created",
                _ => "stopped",
            };
            let release = release_of(&name).unwrap_or_default();
            if let Some(version) = unit["version"].as_str() {
                rollout.versions.insert(release.clone(), version.to_owned());
            }
            let slot = unit["slot"].as_u64().and_then(|slot| u32::try_from(slot).ok());
            let traffic = unit["admitted"] == true;
            let row =
                Row { slot: slot.unwrap_or_default(), release, state, traffic, ..Row::default() };
            rollout.rows.insert(name, row);
        }
        rollout
    }

    /// Names a release for people.
    pub(crate) fn name_release(&mut self, short: &str, version: &str) {
        self.versions.insert(short.to_owned(), version.to_owned());
    }

    pub(crate) const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) const fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// Why somebody is to decide, while that is so.
    pub(crate) fn held(&self) -> Option<&str> {
        self.held.as_deref()
    }

    /// Adds a line that stays.
    pub(crate) fn say(&mut self, line: &str) {
        self.lines.push(visible(line));
    }

    /// Lines that stay and were not taken yet.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    pub(crate) fn event(&mut self, event: &Event) {
        self.begun.get_or_insert(event.at);
        match &event.kind {
            EventKind::DeploymentLocked { .. } => self.is_locked = true,
            EventKind::DeploymentChecked { findings } => {
                for finding in findings {
                    let severity = match finding.severity {
                        Severity::Error => self.style.result_colour("failed", "error"),
                        Severity::Warning => self.style.result_colour("warning", "warning"),
                    };
                    let said = visible(&finding.to_string());
                    self.lines.push(format!("preflight  {severity}: {said}"));
                }
            }
            EventKind::DeploymentPlanned { release, replicas, batches, ops } => {
                self.batches = *batches;
                let version = self.version(&release.short());
                let (s, es) = (plural(*replicas, "s"), plural(*batches, "es"));
                let many = plural(*ops, "s");
                self.say(&format!(
                    "plan       {version} in {replicas} unit{s}: {batches} batch{es}, {ops} step{many}"
                ));
            }
            EventKind::OpIntended { action, unit, batch, undo, .. } => {
                self.intended(event.at, action, unit, *batch, *undo);
            }
            EventKind::OpFinished { action, unit, state, detail, duration_ms, .. } => {
                let detail = detail.as_deref().unwrap_or_default();
                self.finished(action, unit, *state, detail, *duration_ms);
            }
            EventKind::DeploymentTested { exit, lines, left_out, .. } => {
                self.tested(*exit, lines, *left_out);
            }
            EventKind::DeploymentHeld { reason, until, .. } => {
                let environment = &self.environment;
                let line = format!(
                    "held       {reason}; it goes back at {} unless somebody decides: `shipline decide {environment} continue` or `rollback`",
                    until.format("%H:%M UTC")
                );
                self.say(&line);
                self.held = Some(reason.clone());
            }
            EventKind::DeploymentDecided { decision, by, reason } => {
                let reason = reason.as_ref().map(|reason| format!(": {reason}"));
                let reason = reason.unwrap_or_default();
                self.say(&format!("decided    {} by {by}{reason}", decision.name()));
                self.held = None;
            }
            EventKind::DeploymentRollingBack { .. } => {
                self.held = None;
                self.goes_back = true;
                self.lines.push(self.style.result_colour("failed", "rolling back"));
            }
            EventKind::DeploymentPruned { removed, error: None } => {
                let count = u32::try_from(removed.len()).unwrap_or(u32::MAX);
                self.say(&format!("pruned     {count} old release{}", plural(count, "s")));
            }
            EventKind::DeploymentPruned { error: Some(error), .. } => {
                let warning = self.style.result_colour("warning", "warning");
                let said = visible(error);
                self.lines.push(format!("pruned     nothing, {warning}: {said}"));
            }
            EventKind::DeploymentFinished { state, reason, duration_ms, .. } => {
                self.held = None;
                for row in self.rows.values_mut() {
                    row.doing = None;
                }
                let (state, reason) = (*state, reason.clone());
                self.end = Some(End { state, reason, duration_ms: *duration_ms });
            }
            _ => {}
        }
    }

    /// What commands of a check wrote is told where every op is, and where they failed.
    fn tested(&mut self, exit: Option<i64>, lines: &[String], left_out: u64) {
        if exit == Some(0) && !self.tells_ops {
            return;
        }
        if left_out > 0 {
            self.say(&format!("  | … {left_out} lines before"));
        }
        for line in lines {
            self.say(&format!("  | {line}"));
        }
    }

    fn intended(
        &mut self,
        at: DateTime<Utc>,
        action: &str,
        unit: &str,
        batch: Option<u32>,
        undo: bool,
    ) {
        if batch.is_some() && self.batch != batch && !undo {
            self.batch = batch;
            if self.tells_ops {
                let line = self.batch_line().unwrap_or_default();
                self.say(&line);
            }
        }
        let Some(slot) = slot_of(unit) else { return };
        let release = release_of(unit).unwrap_or_default();
        let new = Row { slot, release, state: "-", ..Row::default() };
        let row = self.rows.entry(unit.to_owned()).or_insert(new);
        row.doing = Some((doing(action, undo).to_owned(), at));
    }

    fn finished(&mut self, action: &str, unit: &str, state: OpState, detail: &str, took: u64) {
        if state == OpState::Cancelled {
            // Something else failed, and that is told.
            if let Some(row) = self.rows.get_mut(unit) {
                row.doing = None;
            }
            return;
        }
        let failed = !matches!(state, OpState::Done | OpState::Undone);
        let undo = matches!(state, OpState::Undone | OpState::UndoFailed);
        // That all at once were checked has no row of its own.
        let of_all = action == "verify";
        if failed || self.tells_ops || of_all {
            let (word, took) = (done(action, undo), text::duration(took));
            let sign =
                if failed { self.style.result_colour("failed", "✗") } else { "·".to_owned() };
            let detail = visible(detail);
            let line = format!("  {sign} {word:<8} {unit}  {detail}");
            self.lines.push(format!("{}  {took}", line.trim_end()));
        }
        let Some(row) = self.rows.get_mut(unit) else { return };
        row.doing = None;
        if failed {
            row.failed = true;
            row.health =
                if state == OpState::Unhealthy { "unhealthy" } else { "failed" }.to_owned();
            return;
        }
        match action {
            "create" if undo => drop(self.rows.remove(unit)),
            "remove" => drop(self.rows.remove(unit)),
            "create" => row.state = "created",
            "start" => row.state = "running",
            "gate" => row.health = healthy(detail),
            "verify-unit" => row.health = visible(detail),
            "bake" => row.health = "baked".to_owned(),
            "admit" => {
                let slot = row.slot;
                for (name, row) in &mut self.rows {
                    if row.slot == slot {
                        row.traffic = name == unit;
                    }
                }
            }
            "drain" => row.traffic = false,
            "stop" => (row.state, row.traffic) = ("stopped", false),
            _ => {}
        }
    }

    /// What is drawn anew again and again, none wider than the terminal.
    pub(crate) fn rows(&self, now: DateTime<Utc>, size: Size) -> Vec<String> {
        let mut shown = vec![self.headline(now)];
        shown.extend(self.table(Some(now)));
        shown.truncate(size.rows.saturating_sub(1).max(1));
        shown.iter().map(|row| fit(row, size.columns)).collect()
    }

    /// The table as it stands in the end.
    pub(crate) fn last_table(&self) -> Vec<String> {
        self.table(None)
    }

    fn headline(&self, now: DateTime<Utc>) -> String {
        let passed = self.begun.map_or(0, |begun| (now - begun).num_milliseconds());
        let passed = text::duration(u64::try_from(passed).unwrap_or_default());
        let what = match (self.goes_back, self.batch_line()) {
            (true, _) => "rolling back".to_owned(),
            (false, _) if self.held.is_some() => "held: continue, or roll back".to_owned(),
            (false, Some(batch)) => batch,
            (false, None) if self.is_locked => "preparing".to_owned(),
            (false, None) => "waiting for the lock".to_owned(),
        };
        format!("{}  {}", self.style.busy(&what), self.style.dim(&passed))
    }

    fn batch_line(&self) -> Option<String> {
        Some(format!("batch {} of {}", self.batch?, self.batches))
    }

    fn table(&self, now: Option<DateTime<Utc>>) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let mut rows: Vec<(&String, &Row)> = self.rows.iter().collect();
        // Of a slot, what serves stands first.
        rows.sort_by_key(|(name, row)| (row.slot, !row.traffic, *name));
        let cells: Vec<[String; 6]> =
            rows.iter().map(|(name, row)| self.cells(name, row, now)).collect();
        let width = |column: usize| {
            let widest = cells.iter().map(|cells| cells[column].chars().count()).max();
            widest.unwrap_or(0).max(HEADER[column].len())
        };
        let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
        let line = |cells: &[String; 6]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines = vec![self.style.dim(&line(&HEADER.map(str::to_owned)))];
        for (cells, (_, row)) in cells.iter().zip(&rows) {
            let line = line(cells);
            lines.push(match (row.failed, row.traffic || row.doing.is_some()) {
                (true, _) => self.style.result_colour("failed", &line),
                (false, true) => line,
                (false, false) => self.style.dim(&line),
            });
        }
        lines
    }

    fn cells(&self, name: &str, row: &Row, now: Option<DateTime<Utc>>) -> [String; 6] {
        let doing = row.doing.as_ref().zip(now).map(|((what, since), now)| {
            let passed = u64::try_from((now - *since).num_milliseconds()).unwrap_or_default();
            format!("{what} {}", text::duration(passed))
        });
        [
            name.to_owned(),
            self.version(&row.release),
            row.state.to_owned(),
            if row.health.is_empty() { "-".to_owned() } else { row.health.clone() },
            if row.traffic { "yes" } else { "no" }.to_owned(),
            doing.unwrap_or_default(),
        ]
    }

    fn version(&self, short: &str) -> String {
        self.versions.get(short).map_or_else(|| short.to_owned(), |version| visible(version))
    }
}

const fn plural(count: u32, ending: &'static str) -> &'static str {
    if count == 1 { "" } else { ending }
}

/// What the gate said, short: `healthy, 3 looks in 0.2 s` is `healthy`.
fn healthy(detail: &str) -> String {
    let said = detail.split(',').next().unwrap_or_default();
    visible(if said.is_empty() { "healthy" } else { said })
}

/// What an op is called while it goes on.
fn doing(action: &str, undo: bool) -> &'static str {
    match action {
        "create" if undo => "removing",
        "fetch" => "fetching",
        "create" => "creating",
        "start" => "starting",
        "gate" => "checking",
        "admit" => "admitting",
        "close" => "closing",
        "drain" => "draining",
        "stop" => "stopping",
        "bake" => "baking",
        "verify-unit" => "verifying",
        "remove" => "removing",
        _ => "working",
    }
}

/// What an op is called when it is done: to take `create` back is to remove.
fn done(action: &str, undo: bool) -> &str {
    if undo && action == "create" { "remove" } else { action }
}

/// The slot of a unit, which its name tells: `<project>-<env>-<slot>-<release8>-<deploy8>`.
fn slot_of(unit: &str) -> Option<u32> {
    unit.rsplit('-').nth(2)?.parse().ok()
}

fn release_of(unit: &str) -> Option<String> {
    unit.rsplit('-').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use event::{DeploymentId, ReleaseId, Stream};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const OLD: &str = "web-prod-0-00000001-0000000a";
    const NEW: &str = "web-prod-0-00000002-0000000b";

    struct Story {
        rollout: Rollout,
        seq: u64,
    }

    impl Story {
        fn new(tells_ops: bool) -> Self {
            let status = json!({ "environment": "web", "units": [
                { "unit": OLD, "slot": 0, "state": "running", "admitted": true, "version": "v1" },
            ]});
            let mut rollout = Rollout::new(Style { colour: false }, tells_ops, &status);
            rollout.name_release("00000002", "v2");
            Self { rollout, seq: 0 }
        }

        fn tell(&mut self, kind: EventKind) {
            self.seq += 1;
            let stream = Stream::Deployment(DeploymentId::new(Uuid::from_u128(11)));
            let at = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(self.seq as i64);
            self.rollout.event(&Event { format: event::FORMAT, seq: self.seq, at, stream, kind });
        }

        fn intend(&mut self, action: &str, unit: &str, undo: bool) {
            let (action, unit) = (action.to_owned(), unit.to_owned());
            self.tell(EventKind::OpIntended { op: 1, action, unit, batch: Some(1), undo });
        }

        fn op(&mut self, action: &str, unit: &str, state: OpState, detail: &str) {
            self.intend(action, unit, state == OpState::Undone);
            self.tell(EventKind::OpFinished {
                op: 1,
                action: action.to_owned(),
                unit: unit.to_owned(),
                state,
                detail: Some(detail.to_owned()),
                duration_ms: 1_200,
            });
        }

        fn planned(&mut self) {
            self.tell(EventKind::DeploymentLocked { fence: 1 });
            let release = ReleaseId::new(Uuid::from_u128(2));
            self.tell(EventKind::DeploymentPlanned { release, replicas: 1, batches: 1, ops: 7 });
        }

        fn rows(&self) -> Vec<String> {
            let now = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(self.seq as i64 + 1);
            self.rollout.rows(now, Size { columns: 100, rows: 24 })
        }
    }

    #[test]
    fn the_table_says_what_happens_to_each_unit_now() {
        let mut story = Story::new(false);
        assert!(story.rows()[0].starts_with("waiting for the lock"));
        story.planned();
        assert_eq!(story.rollout.take_lines(), ["plan       v2 in 1 unit: 1 batch, 7 steps"]);
        story.op("create", NEW, OpState::Done, "");
        story.op("start", NEW, OpState::Done, "");
        story.intend("gate", NEW, false);
        assert_eq!(
            story.rows(),
            [
                "batch 1 of 1  7.0s",
                "UNIT                          RELEASE  STATE    HEALTH  TRAFFIC  NOW",
                "web-prod-0-00000001-0000000a  v1       running  -       yes",
                "web-prod-0-00000002-0000000b  v2       running  -       no       checking 1.0s",
            ]
        );
        story.op("gate", NEW, OpState::Done, "healthy, 3 looks in 0.2 s");
        story.op("admit", NEW, OpState::Done, "");
        story.op("drain", OLD, OpState::Done, "cut 0 in 0.1 s");
        story.op("stop", OLD, OpState::Done, "");
        assert_eq!(
            story.rollout.last_table()[1..],
            [
                "web-prod-0-00000002-0000000b  v2       running  healthy  yes",
                "web-prod-0-00000001-0000000a  v1       stopped  -        no",
            ]
        );
        assert!(story.rollout.take_lines().is_empty(), "ops are seen in the table");
    }

    #[test]
    fn a_unit_that_fails_is_a_line_that_stays_and_going_back_takes_it_away() {
        let mut story = Story::new(false);
        story.planned();
        story.op("create", NEW, OpState::Done, "");
        story.op("gate", NEW, OpState::Unhealthy, "GET /healthz → 500, 3 times");
        story.tell(EventKind::DeploymentRollingBack { reason: "it is bad".to_owned() });
        story.op("create", NEW, OpState::Undone, "");
        assert_eq!(
            story.rollout.take_lines()[1..],
            [
                format!("  ✗ gate     {NEW}  GET /healthz → 500, 3 times  1.2s"),
                "rolling back".to_owned(),
            ]
        );
        assert_eq!(story.rollout.last_table().len(), 2, "the header and the old unit");
    }

    #[test]
    fn while_it_is_held_the_way_to_decide_is_shown() {
        let mut story = Story::new(false);
        story.planned();
        story.rollout.take_lines();
        let (reason, until) = ("it is bad".to_owned(), DateTime::UNIX_EPOCH);
        story.tell(EventKind::DeploymentHeld { reason, units: Vec::new(), until });
        assert_eq!(story.rollout.held(), Some("it is bad"));
        assert!(story.rows()[0].starts_with("held: continue, or roll back"));
        let (decision, by) = (event::Decision::Continue, "ann".to_owned());
        story.tell(EventKind::DeploymentDecided { decision, by, reason: None });
        assert_eq!(story.rollout.held(), None);
        assert_eq!(
            story.rollout.take_lines(),
            [
                "held       it is bad; it goes back at 00:00 UTC unless somebody decides: `shipline decide web continue` or `rollback`",
                "decided    continue by ann",
            ]
        );
    }

    #[test]
    fn without_a_terminal_every_step_is_a_line() {
        let mut story = Story::new(true);
        story.planned();
        story.op("create", NEW, OpState::Done, "");
        story.op("start", NEW, OpState::Done, "");
        assert_eq!(
            story.rollout.take_lines()[1..],
            [
                "batch 1 of 1".to_owned(),
                format!("  · create   {NEW}  1.2s"),
                format!("  · start    {NEW}  1.2s"),
            ]
        );
    }
}
