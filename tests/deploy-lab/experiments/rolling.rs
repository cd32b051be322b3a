//! One release after the other, under load; and the load alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use super::{Scale, rules, serving};
use crate::deploy_lab::application;
use crate::deploy_lab::observer::{Observer, Outcome};
use crate::deploy_lab::place::{Kind, Shape};
use crate::deploy_lab::table::{Goal, Row};
use crate::deploy_lab::witness::Witness;
use crate::harness::lab::Lab;
use crate::harness::load::{Load, Mix, Settings};
use crate::harness::ports::free_port;
use crate::harness::process::{Process, wait_for};

/// One unit and nothing before it: whatever fails here is the load's own.
pub fn client_alone(scale: &Scale) -> Row {
    let lab = Lab::new();
    let witness = Witness::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = free_port();
    let mut command = Command::new(application::built());
    command.env("PORT", port.to_string()).env("WITNESS", witness.address.to_string());
    let mut unit = Process::start(&mut command, &lab.path().join("unit.log"));
    wait_for("the unit", Duration::from_secs(20), || {
        unit.assert_alive();
        unit.text().contains("listens on").then_some(())
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let load = Load::mixed(Settings {
        address,
        per_second: scale.per_second,
        limit: scale.alone,
        mix: scale.mix,
        log: None,
    });
    std::thread::sleep(scale.alone);
    let report = load.stop();
    let goal = Goal::none_failed(&report);
    Row::reported("the load alone, on one unit", "–", report).goal(goal)
}

/// One of two units is killed by hand: what is then to be seen, nobody can overlook.
pub fn unit_dies(kind: Kind, scale: &Scale) -> Outcome {
    let shape = Shape { replicas: 2, ..Shape::default() };
    let place = serving(kind, &shape);
    let observer = Observer::begin(&place, scale.per_second, scale.others, rules(&shape));
    let status = place.status();
    let unit = status["units"][0]["unit"].as_str().expect("a unit has a name").to_owned();
    place.kill(&unit);
    std::thread::sleep(Duration::from_secs(1));
    observer.end()
}

/// Nothing is deployed: WebSockets alone, which begin all the time.
pub fn sockets(kind: Kind, scale: &Scale) -> Row {
    let shape = Shape { replicas: 1, ..Shape::default() };
    let place = serving(kind, &shape);
    let observer = Observer::begin(&place, scale.per_second, Mix::sockets(), rules(&shape));
    std::thread::sleep(scale.alone);
    Row::new("websockets of units that answer at once", kind.name(), observer.end())
}

/// `deploys` rolling deployments, one after the other.
pub fn rolling(kind: Kind, scale: &Scale, least: u64) -> Row {
    let shape = Shape::default();
    let place = serving(kind, &shape);
    let log = std::env::var_os("LOG").map(std::path::PathBuf::from);
    let observer = Observer::logging(&place, scale.per_second, scale.mix, rules(&shape), log);
    let (mut slowest, mut states) = (Duration::ZERO, Vec::new());
    for version in 2..scale.deploys + 2 {
        let ran = place.deploy(&version.to_string(), &[], &shape);
        if ran.code != 0 {
            states.push(format!("version {version} was not deployed: {}", ran.stdout));
        }
        slowest = slowest.max(place.last().took());
    }
    // More of the same, so that the number says something.
    wait_for("enough requests", Duration::from_secs(600), || {
        (observer.so_far().sent >= least).then_some(())
    });
    let wanted = vec![(scale.deploys + 1).to_string(); shape.replicas];
    let serving = place.serving();
    let outcome = observer.end();
    let sent = outcome.report.sent;
    let what = format!("{} rolling deployments, {} replicas", scale.deploys, shape.replicas);
    let mut row = Row::new(what, kind.name(), outcome).deploys(slowest).goal(Goal::new(
        "the last version serves",
        serving == wanted && states.is_empty(),
        format!("{serving:?} serve"),
    ));
    row.notes.extend(states);
    if least > 0 { row.goal(Goal::at_least("requests", sent, least)) } else { row }
}
