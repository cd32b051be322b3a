//! The short form of the deploy lab: requests of all classes go on while it is deployed,
//! well and badly, and none is lost. The long form is `make deploy-lab`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::deploy_lab::experiments::bad::Bad;
use crate::deploy_lab::experiments::crash::Way;
use crate::deploy_lab::experiments::{Scale, again, bad, crash, rolling, together};
use crate::deploy_lab::place::Kind;
use crate::deploy_lab::table::{Goal, Row};

/// One at a time: each of them is a load.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays an experiment; its goals must be met, but for those about how long something may
/// take: here are other tests beside it.
fn play(experiment: impl FnOnce(&Scale) -> Row) {
    let _alone = alone();
    let mut row = experiment(&Scale::short());
    row.goals.retain(|goal| !goal.is_of_time());
    assert!(row.goals.iter().all(Goal::is_met), "{}", row.complaint().unwrap_or_default());
}

#[test]
fn the_load_itself_loses_nothing() {
    play(rolling::client_alone);
}

#[test]
fn whoever_looks_on_sees_a_unit_that_dies() {
    let _alone = alone();
    let outcome = rolling::unit_dies(Kind::Docker, &Scale::short());
    let seen = outcome.broken.iter().any(|broken| broken.contains("I1"));
    assert!(seen, "{:?} of {} looks", outcome.broken, outcome.seen.looks);
}

#[test]
fn websockets_of_units_that_answer_at_once_are_not_lost() {
    play(|scale| rolling::sockets(Kind::Docker, scale));
}

#[test]
fn rolling_deployments_lose_no_request_of_any_class() {
    play(|scale| rolling::rolling(Kind::Docker, scale, 500));
}

#[test]
fn rolling_deployments_of_processes_lose_no_request_either() {
    play(|scale| rolling::rolling(Kind::Process, scale, 500));
}

#[test]
fn a_process_that_tells_another_release_never_gets_traffic() {
    play(|scale| bad::bad(Kind::Process, Bad::WrongVersion, 1, scale));
}

#[test]
fn a_release_that_never_gets_healthy_loses_no_request() {
    play(|scale| bad::bad(Kind::Docker, Bad::NeverHealthy, 1, scale));
}

#[test]
fn a_release_that_crashes_in_its_second_batch_takes_the_first_one_back() {
    play(|scale| bad::bad(Kind::Docker, Bad::CrashLoop, 2, scale));
}

#[test]
fn a_release_that_gets_sick_while_it_is_watched_is_taken_back() {
    play(|scale| bad::bad(Kind::Docker, Bad::LaterSick, 1, scale));
}

#[test]
fn an_engine_that_is_killed_loses_no_request_and_the_next_one_ends_its_deployment() {
    play(|scale| crash::killed(Kind::Docker, Way::Forward, scale));
}

#[test]
fn an_engine_that_is_killed_on_the_way_back_loses_no_request_either() {
    let few = |scale: &Scale| Scale { kills: Some(2), ..scale.clone() };
    play(|scale| crash::killed(Kind::Docker, Way::Back, &few(scale)));
}

#[test]
fn deploying_what_runs_changes_nothing() {
    play(|scale| again::again(Kind::Docker, scale));
}

#[test]
fn two_deployments_at_once_are_never_mixed() {
    play(|scale| together::together(Kind::Docker, scale));
}
