//! Histories of looks, by hand and at random.

use event::{DeploymentKind, DeploymentState, Event, OpenIncidents, ReleaseId, Stream};
use pipeline::Expose;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{Artifact, Deployment, DeploymentRecord, ObservedUnit, Spec, UnitState, standing};

const EVERY: i64 = 30;

fn spec() -> Spec {
    Spec {
        release: ReleaseId::new(Uuid::from_u128(1)),
        artifact: Artifact::ImageId("sha256:1".to_owned()),
        replicas: 2,
        expose: Some(Expose { port: 8080, host: "*".to_owned(), path: "/".to_owned() }),
        ..crate::testing::spec("web", "prod")
    }
}

fn record(id: u128, kind: DeploymentKind, by: &str, minute: i64) -> DeploymentRecord {
    let deployment = Deployment {
        id: DeploymentId::new(Uuid::from_u128(id)),
        kind,
        spec: spec(),
        by: by.to_owned(),
        reason: None,
        name: String::new(),
        run: None,
        stage: None,
        scope: crate::Scope::default(),
    };
    DeploymentRecord {
        state: Some(DeploymentState::Succeeded),
        finished_at: Some(minutes(minute)),
        fence: 1,
        ..DeploymentRecord::new(deployment, minutes(minute))
    }
}

fn minutes(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
}

fn unit(slot: u32) -> ObservedUnit {
    ObservedUnit {
        unit: UnitId(format!("web-prod-{slot}")),
        slot,
        release: spec().release,
        deployment: DeploymentId::new(Uuid::from_u128(7)),
        spec: spec().unit_hash(),
        state: UnitState::Running,
        admitted: true,
        address: format!("10.0.0.{slot}:8080").parse().ok(),
        image: "sha256:1".to_owned(),
        fence: 1,
    }
}

fn inspected(units: Vec<ObservedUnit>) -> Inspected {
    let life = |unit: &ObservedUnit| {
        (unit.unit.clone(), Life { beginning: "1".to_owned(), ..Life::default() })
    };
    let target = |unit: &ObservedUnit| (unit.unit.0.clone(), unit.address.unwrap().to_string());
    let admitted = || units.iter().filter(|unit| unit.admitted);
    Inspected {
        lives: admitted().map(life).collect(),
        route: Some(RouteSeen {
            matches: vec![("*".to_owned(), "/".to_owned())],
            targets: admitted().map(target).collect(),
        }),
        observed: Observed { units, ..Observed::default() },
    }
}

fn well() -> Inspected {
    inspected(vec![unit(0), unit(1)])
}

fn dead(slot: u32) -> Inspected {
    let mut units = vec![unit(0), unit(1)];
    units[slot as usize].state = UnitState::Exited;
    inspected(units)
}

/// Somebody who watches, and writes down what becomes known.
struct Watch {
    history: Vec<DeploymentRecord>,
    memory: Memory,
    events: Vec<Event>,
    now: DateTime<Utc>,
}

impl Watch {
    fn new(kind: DeploymentKind) -> Self {
        let history = vec![record(7, kind, "ann", 0)];
        Self { history, memory: Memory::default(), events: Vec::new(), now: minutes(1) }
    }

    fn known(&self) -> Vec<Known> {
        let open = OpenIncidents::fold(&self.events).expect("a legal history");
        let deployment = self.history[0].deployment.id;
        let known = open.by_place.into_values().map(|open| Known {
            deployment,
            incident: open.incident,
            since: open.since,
            given_up: open.given_up,
        });
        known.collect()
    }

    fn look(&mut self, look: &Look<'_>) -> Vec<String> {
        self.now += TimeDelta::seconds(EVERY);
        let known = self.known();
        let standing = standing(&self.history).unwrap();
        let kinds = self.memory.judge(
            standing,
            &self.history,
            look,
            &known,
            &Patience::default(),
            self.now,
        );
        let stream = Stream::Deployment(self.history[0].deployment.id);
        let told = kinds.iter().map(told).collect();
        for kind in kinds {
            let seq = self.events.len() as u64 + 1;
            self.events.push(Event { format: event::FORMAT, seq, at: self.now, stream, kind });
        }
        told
    }

    fn see(&mut self, seen: &Inspected) -> Vec<String> {
        self.look(&Look::Seen(seen))
    }
}

fn told(kind: &EventKind) -> String {
    match kind {
        EventKind::IncidentOpened { incident } => {
            format!("+{} {}", incident.place, incident.kind.name())
        }
        EventKind::IncidentChanged { incident } => {
            format!("~{} {}", incident.place, incident.kind.name())
        }
        EventKind::IncidentResolved { place, because, .. } => {
            format!("-{place} {}", because.name())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dead_unit_is_told_once_and_so_is_its_recovery() {
    let mut watch = Watch::new(DeploymentKind::Deploy);
    let nothing: [&str; 0] = [];
    assert_eq!(watch.see(&well()), nothing);
    assert_eq!(watch.see(&dead(1)), nothing, "one look is no look");
    assert_eq!(watch.see(&dead(1)), ["+health/1 dead"]);
    assert_eq!(watch.see(&dead(1)), nothing);
    // Somebody has removed it.
    let gone = inspected(vec![unit(0)]);
    assert_eq!(watch.see(&gone), nothing);
    assert_eq!(watch.see(&gone), ["~health/1 missing"]);
    assert_eq!(watch.see(&gone), nothing);
    assert_eq!(watch.see(&well()), nothing);
    assert_eq!(watch.see(&well()), ["-health/1 recovered"]);
    assert_eq!(watch.see(&well()), nothing);
}

#[test]
fn a_loop_is_named_once_and_not_as_every_death_in_it() {
    let mut watch = Watch::new(DeploymentKind::Deploy);
    let nothing: [&str; 0] = [];
    let begun = |times: u64, runs: bool| {
        let mut seen = well();
        let life = seen.lives.get_mut(&unit(1).unit).unwrap();
        life.restarts = times;
        life.beginning = times.to_string();
        if !runs {
            seen.observed.units[1].state = UnitState::Unhealthy;
        }
        seen
    };
    assert_eq!(watch.see(&begun(4, true)), nothing, "what was before is not known");
    assert_eq!(watch.see(&begun(5, false)), nothing);
    assert_eq!(watch.see(&begun(7, false)), ["+health/1 restart-loop"]);
    for times in 8..12 {
        assert_eq!(watch.see(&begun(times, times % 2 == 0)), nothing);
    }
    // It runs on; when the time is over, nobody calls it a loop any more.
    let calm: Vec<String> = (0..24).flat_map(|_| watch.see(&begun(11, true))).collect();
    assert_eq!(calm, ["-health/1 recovered"]);
}

#[test]
fn what_the_proxy_does_by_itself_is_told() {
    let told = |seen: &Inspected| {
        let mut watch = Watch::new(DeploymentKind::Deploy);
        watch.see(seen);
        watch.see(seen)
    };
    let mut gone = well();
    gone.route = Some(RouteSeen::default());
    gone.observed.units.iter_mut().for_each(|unit| unit.admitted = false);
    assert_eq!(told(&gone), ["+route route"], "what follows of it is not told as well");
    let mut one = well();
    one.observed.units[1].admitted = false;
    one.route.as_mut().unwrap().targets.pop();
    assert_eq!(told(&one), ["+route/web-prod-1 route"]);
    let mut stranger = well();
    stranger.route.as_mut().unwrap().targets.push(("evil".to_owned(), "10.9.9.9:80".to_owned()));
    assert_eq!(told(&stranger), ["+route/evil route"]);
    let mut moved = well();
    moved.route.as_mut().unwrap().targets[0].1 = "10.9.9.9:80".to_owned();
    assert_eq!(told(&moved), ["+route/web-prod-0 route"]);
    let mut other = well();
    other.route.as_mut().unwrap().matches[0].1 = "/admin".to_owned();
    assert_eq!(told(&other), ["+route route"]);
    let mut none = well();
    none.route = None;
    assert_eq!(told(&none), [] as [&str; 0], "without a proxy there is nothing to say");
}

#[test]
fn what_runs_and_does_not_answer_is_unhealthy_and_another_release_is_drift() {
    let mut watch = Watch::new(DeploymentKind::Deploy);
    let mut sick = well();
    sick.lives.get_mut(&unit(0).unit).unwrap().complaint = Some("GET / → 500".to_owned());
    let other = ReleaseId::new(Uuid::from_u128(9));
    sick.observed.units[1].release = other;
    watch.see(&sick);
    assert_eq!(watch.see(&sick), ["+drift/1 release", "+health/0 unhealthy"]);
    let causes: Vec<String> = watch.known().into_iter().map(|known| known.incident.cause).collect();
    assert_eq!(causes[1], "GET / → 500");
}

#[test]
fn an_engine_that_is_away_is_no_drift_and_a_short_fault_is_nothing() {
    let mut watch = Watch::new(DeploymentKind::Deploy);
    let nothing: [&str; 0] = [];
    let away = Look::Blind("docker: connection refused".to_owned());
    watch.see(&well());
    assert_eq!(watch.look(&away), nothing);
    assert_eq!(watch.look(&away), nothing);
    assert_eq!(watch.see(&well()), nothing, "it was short");
    watch.see(&dead(0));
    assert_eq!(watch.see(&dead(0)), ["+health/0 dead"]);
    watch.look(&away);
    watch.look(&away);
    assert_eq!(watch.look(&away), ["+target unreachable"]);
    assert_eq!(watch.look(&away), nothing);
    assert_eq!(watch.see(&dead(0)), nothing);
    assert_eq!(watch.see(&dead(0)), ["-target recovered"], "the unit is as dead as before");
}

#[test]
fn what_was_stopped_on_purpose_is_silent_and_what_runs_then_is_not() {
    let mut watch = Watch::new(DeploymentKind::Stop);
    let stopped = |slot| ObservedUnit { state: UnitState::Exited, admitted: false, ..unit(slot) };
    let mut seen = inspected(vec![stopped(0), stopped(1)]);
    seen.route =
        Some(RouteSeen { matches: vec![("*".to_owned(), "/".to_owned())], targets: vec![] });
    for _ in 0..10 {
        assert_eq!(watch.see(&seen), [] as [&str; 0]);
    }
    seen.observed.units[1].state = UnitState::Running;
    watch.see(&seen);
    assert_eq!(watch.see(&seen), ["+drift/web-prod-1 awake"]);
}

#[test]
fn another_deployment_ends_what_was_open_under_the_former() {
    let ends = |kind| {
        let mut watch = Watch::new(DeploymentKind::Deploy);
        watch.see(&dead(1));
        watch.see(&dead(1));
        let known = watch.known();
        let history = [record(8, kind, "ann", 5), watch.history[0].clone()];
        let ended = outdated(standing(&history).unwrap(), &known, watch.now);
        assert_eq!(outdated(standing(&history[1..]).unwrap(), &known, watch.now), []);
        assert!(ended.iter().all(|(of, _)| *of == watch.history[0].deployment.id));
        ended.iter().map(|(_, kind)| told(kind)).collect::<Vec<_>>()
    };
    assert_eq!(ends(DeploymentKind::Deploy), ["-health/1 replaced"]);
    assert_eq!(ends(DeploymentKind::Repair), ["-health/1 repaired"]);
    assert_eq!(ends(DeploymentKind::Stop), ["-health/1 stopped"]);
}

fn pace() -> RepairPace {
    RepairPace { tries: 3, window: TimeDelta::hours(1), pause: TimeDelta::minutes(1) }
}

#[test]
fn repairs_are_tried_with_pauses_that_grow_and_then_given_up() {
    let mut watch = Watch::new(DeploymentKind::Deploy);
    watch.see(&dead(1));
    watch.see(&dead(1));
    let known = watch.known();
    let decide = |history: &[DeploymentRecord], minute| {
        let seen = dead(1).observed;
        repair(standing(history).unwrap(), history, &known, &seen, &pace(), minutes(minute))
    };
    let deployed = watch.history.clone();
    let Repair::Now { attempt: 1, reason } = decide(&deployed, 2) else { panic!("now") };
    assert_eq!(reason, "slot 1 web-prod-1: it does not run; try 1 of 3");

    let tried = |id, minute, by: &str| DeploymentRecord {
        state: Some(DeploymentState::RolledBack),
        ..record(id, DeploymentKind::Repair, by, minute)
    };
    let once = [vec![tried(8, 2, WATCHER)], deployed.clone()].concat();
    assert_eq!(decide(&once, 2), Repair::Wait(minutes(3)));
    assert!(matches!(decide(&once, 3), Repair::Now { attempt: 2, .. }));
    let twice = [vec![tried(9, 4, WATCHER)], once].concat();
    assert_eq!(decide(&twice, 5), Repair::Wait(minutes(6)));
    assert!(matches!(decide(&twice, 6), Repair::Now { attempt: 3, .. }));
    let thrice = [vec![tried(10, 6, WATCHER)], twice].concat();
    let places = vec!["health/1".to_owned()];
    assert_eq!(decide(&thrice, 30), Repair::GiveUp { places, tries: 3 });
    // What people did, and what never held the lock, is no try of ours.
    let others = [
        vec![tried(9, 4, "ann"), DeploymentRecord { fence: 0, ..tried(10, 4, WATCHER) }],
        deployed,
    ]
    .concat();
    assert!(matches!(decide(&others, 5), Repair::Now { attempt: 1, .. }));
}

#[test]
fn what_is_given_up_stopped_or_only_unhealthy_is_not_repaired() {
    let mut watch = Watch::new(DeploymentKind::Deploy);
    watch.see(&dead(1));
    watch.see(&dead(1));
    let known = watch.known();
    let decide = |kind, known: &[Known]| {
        let history = [record(7, kind, "ann", 0)];
        let seen = dead(1).observed;
        repair(standing(&history).unwrap(), &history, known, &seen, &pace(), minutes(2))
    };
    assert_eq!(decide(DeploymentKind::Stop, &known), Repair::Nothing);
    let given_up: Vec<_> =
        known.iter().map(|known| Known { given_up: true, ..known.clone() }).collect();
    assert_eq!(decide(DeploymentKind::Deploy, &given_up), Repair::Nothing);
    let history = [record(7, DeploymentKind::Deploy, "ann", 0)];
    let stands = standing(&history).unwrap();
    let back = repair(stands, &history, &known, &well().observed, &pace(), minutes(2));
    assert_eq!(back, Repair::Nothing, "it runs again");
    for kind in IncidentKind::ALL {
        let mut known = known.clone();
        known[0].incident.kind = kind;
        let repaired = decide(DeploymentKind::Deploy, &known) != Repair::Nothing;
        let expected = matches!(kind, IncidentKind::Dead | IncidentKind::Missing);
        assert_eq!(repaired, expected, "{}", kind.name());
    }
}

/// What a look may find.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Well,
    Dead(u32),
    Gone(u32),
    Sick(u32),
    Other(u32),
    NoRoute,
    Begun(u32),
    Blind,
    Paused,
}

fn any_seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        4 => Just(Seen::Well),
        2 => (0u32..2).prop_map(Seen::Dead),
        1 => (0u32..2).prop_map(Seen::Gone),
        1 => (0u32..2).prop_map(Seen::Sick),
        1 => (0u32..2).prop_map(Seen::Other),
        1 => Just(Seen::NoRoute),
        1 => (0u32..2).prop_map(Seen::Begun),
        1 => Just(Seen::Blind),
        1 => Just(Seen::Paused),
    ]
}

impl Watch {
    fn play(&mut self, found: Seen) -> Vec<String> {
        let mut seen = well();
        let units = &mut seen.observed.units;
        match found {
            Seen::Well => {}
            Seen::Dead(slot) => units[slot as usize].state = UnitState::Exited,
            Seen::Gone(slot) => drop(units.remove(slot as usize)),
            Seen::Other(slot) => units[slot as usize].spec = "another".to_owned(),
            Seen::Sick(slot) => {
                seen.lives.get_mut(&unit(slot).unit).unwrap().complaint = Some("500".to_owned());
            }
            Seen::Begun(slot) => {
                let beginning = self.now.to_rfc3339();
                seen.lives.get_mut(&unit(slot).unit).unwrap().beginning = beginning;
            }
            Seen::NoRoute => {
                seen.route = Some(RouteSeen::default());
                units.iter_mut().for_each(|unit| unit.admitted = false);
            }
            Seen::Blind => return self.look(&Look::Blind("away".to_owned())),
            Seen::Paused => return self.look(&Look::Paused),
        }
        self.see(&seen)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever is seen: an incident begins, changes and ends in this order, for
    /// `OpenIncidents` refuses any other; and a deployment that goes on is never disturbed.
    #[test]
    fn every_incident_begins_once_and_ends_once(looks in prop::collection::vec(any_seen(), 1..60)) {
        let mut watch = Watch::new(DeploymentKind::Deploy);
        for found in looks {
            let told = watch.play(found);
            if found == Seen::Paused {
                prop_assert!(told.is_empty(), "{:?}", told);
            }
            OpenIncidents::fold(&watch.events).unwrap();
        }
        // And when all is well for long enough nothing is open.
        for _ in 0..40 {
            watch.play(Seen::Well);
        }
        prop_assert_eq!(watch.known(), []);
    }

    /// One bad look between good ones makes no noise, whatever it is.
    #[test]
    fn one_look_is_no_look(found in prop::collection::vec(any_seen(), 1..30)) {
        let mut watch = Watch::new(DeploymentKind::Deploy);
        watch.play(Seen::Well);
        let mut times = 0;
        for found in found {
            // Restarts and turns of health add up to a loop, and are to. Here each
            // beginning is followed by another one.
            times += match found {
                Seen::Begun(_) => 2,
                Seen::Sick(_) | Seen::Dead(_) => 1,
                _ => 0,
            };
            if times > 2 {
                break;
            }
            prop_assert_eq!(watch.play(found), [] as [&str; 0]);
            prop_assert_eq!(watch.play(Seen::Well), [] as [&str; 0]);
            prop_assert_eq!(watch.play(Seen::Well), [] as [&str; 0]);
        }
    }

    /// A server that forgets everything but what it wrote down tells nothing twice.
    #[test]
    fn a_restart_of_the_watcher_makes_no_noise(
        looks in prop::collection::vec(any_seen(), 1..40), restarts in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut watch = Watch::new(DeploymentKind::Deploy);
        for (found, restart) in looks.into_iter().zip(restarts) {
            if restart {
                watch.memory = Memory::default();
            }
            watch.play(found);
            OpenIncidents::fold(&watch.events).unwrap();
        }
    }

    /// What is dead and stays so is known after the looks it takes, and after no more.
    #[test]
    fn what_stays_is_found(before in prop::collection::vec(any_seen(), 0..20), slot in 0u32..2) {
        let mut watch = Watch::new(DeploymentKind::Deploy);
        for found in before {
            watch.play(found);
        }
        // Until nobody calls it a loop any more.
        for _ in 0..40 {
            watch.play(Seen::Dead(slot));
        }
        let known = watch.known();
        let kinds: Vec<_> =
            known.iter().map(|known| (known.incident.kind, known.incident.slot)).collect();
        prop_assert_eq!(kinds, [(IncidentKind::Dead, Some(slot))]);
    }
}
