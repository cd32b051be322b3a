//! Which mails the events about incidents cause: a pure function of them and of what is
//! to be told beside them.

use std::collections::BTreeMap;

use event::{Event, EventKind, Incident, IncidentKind, Resolution, Stream};
use pipeline::{MailEvent, MailRule};
use serde::Serialize;

use crate::rule::{audiences, thread_of};
use crate::template::render;
use crate::{Message, Unit, text};

/// More than this nobody reads in a mail.
const SHOWN: usize = 50;

/// What a mail about an environment tells besides the incidents; the caller looks it up.
#[derive(Clone, Debug, Default)]
pub struct WatchContext {
    pub project: String,
    pub environment: String,
    /// The store's id; mails' ids end with it.
    pub instance: String,
    /// Of the pipeline that was deployed last.
    pub rules: Vec<MailRule>,
    /// The name for people of the release that should run.
    pub version: String,
    /// The incidents that were open before the events, by place.
    pub open: BTreeMap<String, Incident>,
    /// As they were seen.
    pub units: Vec<Unit>,
}

/// Returns the mails that `events` of one deployment cause, all of one look.
///
/// What begins, what ends by itself or by a repair, and what is given up is told, to those
/// whose rules are about its kind. That people have deployed or stopped something they know.
pub fn watch_messages(events: &[Event], context: &WatchContext) -> Vec<Message> {
    let lines: Vec<Line> = events.iter().filter_map(|event| line(event, context)).collect();
    let (Some(first), Some(event)) = (worst(&lines), events.last()) else { return Vec::new() };
    let Stream::Deployment(deployment) = event.stream else { return Vec::new() };
    let holds = |on: MailEvent| match on {
        MailEvent::Unhealthy => lines.iter().any(|line| !line.kind.is_drift()),
        MailEvent::Drift => lines.iter().any(|line| line.kind.is_drift()),
        _ => false,
    };
    let view = View {
        project: text::name(&context.project),
        environment: text::name(&context.environment),
        version: text::name(&context.version),
        word: first.word,
        colour: first.colour,
        about: first.about.clone(),
        more: lines.len() - 1,
        at: event.at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        lines: &lines,
        units: context.units.iter().take(SHOWN).map(UnitView::of).collect(),
        units_left_out: context.units.len().saturating_sub(SHOWN),
    };
    let rendered = render("watch", &view);
    let references =
        thread_of(&["watch", &context.project, &context.environment], &context.instance);
    (1..)
        .zip(audiences(&context.rules, holds, None))
        .map(|(number, to)| {
            let part = if number == 1 { String::new() } else { format!(".{number}") };
            let message_id = format!("<{deployment}.{}{part}@{}>", event.seq, context.instance);
            Message {
                to: to.into_iter().collect(),
                subject: rendered.subject.clone(),
                text: rendered.text.clone(),
                html: rendered.html.clone(),
                dedupe_key: message_id.clone(),
                message_id,
                references: Some(references.clone()),
                at: event.at,
            }
        })
        .collect()
}

#[derive(Serialize)]
struct View<'a> {
    project: String,
    environment: String,
    version: String,
    word: &'static str,
    colour: &'static str,
    about: String,
    more: usize,
    at: String,
    lines: &'a [Line],
    units: Vec<UnitView>,
    units_left_out: usize,
}

/// What became known of one incident.
#[derive(Serialize)]
struct Line {
    #[serde(skip)]
    kind: IncidentKind,
    word: &'static str,
    colour: &'static str,
    about: String,
    cause: String,
}

#[derive(Serialize)]
struct UnitView {
    name: String,
    version: String,
    state: String,
    row: String,
}

impl UnitView {
    fn of(unit: &Unit) -> Self {
        let [name, version, state] =
            [&unit.name, &unit.version, &unit.state].map(|it| text::name(it));
        let row = format!("{name}  {version}  {state}");
        Self { name, version, state, row }
    }
}

fn line(event: &Event, context: &WatchContext) -> Option<Line> {
    const BAD: &str = "#b42318";
    const GOOD: &str = "#18794e";
    match &event.kind {
        EventKind::IncidentOpened { incident } => {
            let cause = text::sentence(&incident.cause);
            let (kind, word) = (incident.kind, incident.kind.name());
            Some(Line { kind, word, colour: BAD, about: about(incident), cause })
        }
        // That a unit begins again and again is news to who knows it only as dead.
        EventKind::IncidentChanged { incident } if incident.kind == IncidentKind::RestartLoop => {
            let cause = text::sentence(&incident.cause);
            let (kind, word) = (incident.kind, incident.kind.name());
            Some(Line { kind, word, colour: BAD, about: about(incident), cause })
        }
        EventKind::IncidentGivenUp { place, tries, .. } => {
            let incident = context.open.get(place)?;
            let cause = format!("{tries} repairs have not helped; nobody repairs it any more");
            let about = about(incident);
            Some(Line { kind: incident.kind, word: "given up", colour: BAD, about, cause })
        }
        EventKind::IncidentResolved { place, kind, because, open_ms } => {
            let word = match because {
                Resolution::Recovered | Resolution::Repaired => because.name(),
                Resolution::Replaced | Resolution::Stopped => return None,
            };
            let about = context.open.get(place).map_or_else(|| text::name(place), about);
            let cause = format!("was {} for {}", kind.name(), text::duration(*open_ms));
            Some(Line { kind: *kind, word, colour: GOOD, about, cause })
        }
        _ => None,
    }
}

fn about(incident: &Incident) -> String {
    match (&incident.unit, incident.slot) {
        (Some(unit), _) => text::name(unit),
        (None, Some(slot)) => format!("slot {slot}"),
        (None, None) => text::name(&incident.place),
    }
}

/// What the subject names: what was given up, else what is bad, else what is good.
fn worst(lines: &[Line]) -> Option<&Line> {
    let is_good = |line: &&Line| matches!(line.word, "recovered" | "repaired");
    let given_up = lines.iter().find(|line| line.word == "given up");
    given_up.or_else(|| lines.iter().find(|line| !is_good(line))).or_else(|| lines.first())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use event::DeploymentId;

    use super::*;

    const DEPLOYMENT: &str = "019ca8f0-1234-7000-8000-0123456789ab";

    fn incident(kind: IncidentKind) -> Incident {
        Incident {
            place: "health/1".to_owned(),
            kind,
            slot: Some(1),
            unit: Some("shop-demo-1-aa".to_owned()),
            cause: "it does not run: it exited with 137".to_owned(),
        }
    }

    fn event(kind: EventKind) -> Event {
        let deployment: DeploymentId = DEPLOYMENT.parse().expect("an id");
        let stream = Stream::Deployment(deployment);
        Event { format: event::FORMAT, seq: 12, at: DateTime::UNIX_EPOCH, stream, kind }
    }

    fn opened(kind: IncidentKind) -> Event {
        event(EventKind::IncidentOpened { incident: incident(kind) })
    }

    fn resolved(kind: IncidentKind, because: Resolution) -> Event {
        let place = "health/1".to_owned();
        event(EventKind::IncidentResolved { place, kind, because, open_ms: 192_000 })
    }

    fn context(rules: serde_json::Value) -> WatchContext {
        WatchContext {
            project: "shop".to_owned(),
            environment: "demo".to_owned(),
            instance: "beef".to_owned(),
            rules: serde_json::from_value(rules).expect("rules"),
            version: "main-01234567".to_owned(),
            open: [("health/1".to_owned(), incident(IncidentKind::Dead))].into(),
            units: vec![Unit {
                name: "shop-demo-1-aa".to_owned(),
                version: "main-01234567".to_owned(),
                state: "exited".to_owned(),
            }],
        }
    }

    fn to_team(on: &[&str]) -> WatchContext {
        context(serde_json::json!([{ "to": ["committer", "team@corp.example"], "on": on }]))
    }

    fn subjects(events: &[Event], context: &WatchContext) -> Vec<String> {
        watch_messages(events, context).into_iter().map(|mail| mail.subject).collect()
    }

    #[test]
    fn a_rule_hears_of_its_kind_when_it_begins_and_when_it_is_over() {
        let (health, drift) = (to_team(&["unhealthy"]), to_team(&["drift"]));
        let dead = [opened(IncidentKind::Dead)];
        assert_eq!(subjects(&dead, &health), ["[shop] dead: demo, shop-demo-1-aa"]);
        assert_eq!(subjects(&dead, &drift), [] as [&str; 0]);
        let other = [opened(IncidentKind::Release)];
        assert_eq!(subjects(&other, &drift), ["[shop] release: demo, shop-demo-1-aa"]);
        assert_eq!(subjects(&other, &health), [] as [&str; 0]);
        let over = [resolved(IncidentKind::Dead, Resolution::Repaired)];
        assert_eq!(subjects(&over, &health), ["[shop] repaired: demo, shop-demo-1-aa"]);
        let always = to_team(&["always", "failed", "broken", "fixed", "deployed"]);
        assert_eq!(subjects(&dead, &always), [] as [&str; 0], "these are about runs");
    }

    #[test]
    fn what_people_did_themselves_is_not_told_to_them() {
        let team = to_team(&["unhealthy", "drift"]);
        for because in [Resolution::Replaced, Resolution::Stopped] {
            assert_eq!(subjects(&[resolved(IncidentKind::Dead, because)], &team), [] as [&str; 0]);
        }
        let changed =
            event(EventKind::IncidentChanged { incident: incident(IncidentKind::Missing) });
        assert_eq!(subjects(&[changed], &team), [] as [&str; 0]);
    }

    #[test]
    fn one_look_is_one_mail_that_names_the_worst_and_tells_all() {
        let team = to_team(&["unhealthy"]);
        let given_up = event(EventKind::IncidentGivenUp {
            place: "health/1".to_owned(),
            tries: 3,
            reason: String::new(),
        });
        let events = [resolved(IncidentKind::Unhealthy, Resolution::Recovered), given_up];
        let mails = watch_messages(&events, &team);
        let [mail] = mails.as_slice() else { panic!("{mails:?}") };
        assert_eq!(mail.subject, "[shop] given up: demo, shop-demo-1-aa and 1 more");
        assert_eq!(mail.message_id, format!("<{DEPLOYMENT}.12@beef>"));
        assert_eq!(mail.dedupe_key, mail.message_id);
        for part in ["was unhealthy for 3m 12s", "3 repairs have not helped", "exited"] {
            assert!(mail.text.contains(part), "{part} in {}", mail.text);
            assert!(mail.html.contains(part), "{part} in {}", mail.html);
        }
        assert!(mail.text.contains("shipline status demo"), "{}", mail.text);
        let to: Vec<&str> = mail.to.iter().map(crate::Address::as_str).collect();
        assert_eq!(to, ["team@corp.example"], "nobody knows a committer here");
        let other = watch_messages(&[opened(IncidentKind::Dead)], &team);
        assert_eq!(other[0].references, mail.references, "they are one thread");
    }
}
