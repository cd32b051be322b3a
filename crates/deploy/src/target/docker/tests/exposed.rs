//! Units behind the switch.

use bollard::models::RestartPolicyNameEnum as Policy;
use event::DeploymentState;
use pipeline::Expose;

use super::environment::{Environment, succeeded};
use crate::switch::stub::StubProxy;
use crate::{Change, Op, OpAction, Spec, Target, UnitState};

fn exposed(environment: &Environment, number: u128) -> Spec {
    let expose = Expose { port: 8080, host: "*".to_owned(), path: "/".to_owned() };
    Spec { expose: Some(expose), ..environment.spec(number) }
}

async fn environment() -> (StubProxy, Environment) {
    let proxy = StubProxy::start();
    let environment = Environment::new(Some(proxy.socket())).await;
    (proxy, environment)
}

#[tokio::test]
async fn traffic_is_swapped_drained_and_only_then_is_the_old_unit_stopped() {
    let (proxy, environment) = environment().await;
    let first = environment.deploy(exposed(&environment, 1)).await;
    succeeded(&first);
    let route = exposed(&environment, 1).route();
    let targets = proxy.targets(&route).unwrap();
    let observed: Vec<_> = first
        .units
        .iter()
        .map(|unit| (unit.unit.0.clone(), unit.address.unwrap().to_string()))
        .collect();
    assert_eq!(targets, observed);
    let [old_0, old_1] = [&first.units[0].unit, &first.units[1].unit];
    proxy.take_asked();

    proxy.cut(1);
    let second = environment.deploy(exposed(&environment, 2)).await;
    succeeded(&second);
    assert_eq!(second.cut, 2);
    let new: Vec<_> = second.units.iter().filter(|unit| unit.admitted).collect();
    let [new_0, new_1] = [&new[0].unit, &new[1].unit];
    let mut swapped = [new_0.0.clone(), old_1.0.clone()];
    swapped.sort();
    assert_eq!(
        proxy.take_asked(),
        [
            format!("put {}", swapped.join(" ")),
            format!("drain {old_0} for 1000 ms"),
            format!("put {new_0} {new_1}"),
            format!("drain {old_1} for 1000 ms"),
        ]
    );
    for old in second.units.iter().filter(|unit| !unit.admitted) {
        assert_eq!((old.state, old.address), (UnitState::Exited, None));
    }
    let env = environment.inspect(new_0).await.config.unwrap().env.unwrap();
    assert!(env.contains(&"PORT=8080".to_owned()), "{env:?}");
}

#[tokio::test]
async fn a_release_caught_by_the_gate_never_reaches_the_switch() {
    let (proxy, environment) = environment().await;
    succeeded(&environment.deploy(exposed(&environment, 1)).await);
    proxy.take_asked();
    let bad = Spec { expose: exposed(&environment, 2).expose, ..environment.broken(2, "deaf") };
    let deployed = environment.deploy(bad).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack, "{:?}", deployed.reason);
    assert_eq!(proxy.take_asked(), [""; 0]);
    assert_eq!(environment.show().await, ["0: release 1", "1: release 1"]);
}

#[tokio::test]
async fn without_health_a_unit_must_at_least_listen_on_its_port() {
    let (proxy, environment) = environment().await;
    let mut spec = Spec { replicas: 1, health: None, ..exposed(&environment, 1) };
    succeeded(&environment.deploy(spec.clone()).await);
    assert_eq!(proxy.targets(&spec.route()).unwrap().len(), 1);
    // It listens on 8080 and nowhere else; the gate's own deadline would be a minute.
    spec.release = environment.spec(2).release;
    spec.env.insert("MODE".to_owned(), "crash".to_owned());
    let deployed = environment.deploy(spec).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
}

#[tokio::test]
async fn traffic_goes_back_with_the_units() {
    let (proxy, environment) = environment().await;
    succeeded(&environment.deploy(exposed(&environment, 1)).await);
    let route = exposed(&environment, 1).route();
    let before = proxy.targets(&route);
    environment.deploy_and_die(exposed(&environment, 2), "stop", 1).await;
    assert_ne!(proxy.targets(&route), before);
    let ended = environment.recover_late().await;
    assert_eq!(ended.state, DeploymentState::RolledBack, "{:?}", ended.reason);
    assert_eq!(proxy.targets(&route), before);
    assert_eq!(environment.show().await, ["0: release 1", "1: release 1"]);
}

#[tokio::test]
async fn a_unit_that_left_the_route_when_the_engine_died_is_drained_before_it_is_stopped() {
    let (proxy, environment) = environment().await;
    let first = environment.deploy(exposed(&environment, 1)).await;
    succeeded(&first);
    environment.deploy_and_die(exposed(&environment, 2), "admit", 2).await;
    proxy.take_asked();
    let ended = environment.recover().await;
    succeeded(&ended);
    let drain = format!("drain {} for 1000 ms", first.units[1].unit);
    assert_eq!(proxy.take_asked(), [drain]);
    let rolled = ["0: release 2", "0: warm", "1: release 2", "1: warm"];
    assert_eq!(environment.show().await, rolled);

    // The same for a unit whose deployment is undone.
    let served = ended.units.iter().find(|unit| unit.admitted).unwrap();
    let route = exposed(&environment, 1).route();
    let switch = crate::switch::ProxySwitch::new(proxy.socket());
    switch.withdraw(&route, &served.unit, 9).await.unwrap();
    proxy.take_asked();
    let op = Op {
        action: OpAction::Create,
        unit: served.unit.clone(),
        slot: served.slot,
        replaces: None,
        deployment: served.deployment,
    };
    environment.target.undo(&op, &exposed(&environment, 2), 9).await.unwrap();
    assert_eq!(proxy.take_asked(), [format!("drain {} for 1000 ms", served.unit)]);
}

#[tokio::test]
async fn a_first_deployment_that_is_undone_takes_its_route_with_it() {
    let (proxy, environment) = environment().await;
    environment.deploy_and_die(exposed(&environment, 1), "admit", 1).await;
    let route = exposed(&environment, 1).route();
    assert_eq!(proxy.targets(&route).map(|targets| targets.len()), Some(1));
    let ended = environment.recover_late().await;
    assert_eq!(ended.state, DeploymentState::RolledBack, "{:?}", ended.reason);
    assert_eq!(proxy.targets(&route), None);
    assert_eq!(environment.show().await, [""; 0]);
}

#[tokio::test]
async fn an_exposed_service_can_give_up_its_route_and_get_it_back() {
    let (proxy, environment) = environment().await;
    let route = exposed(&environment, 1).route();
    succeeded(&environment.deploy(exposed(&environment, 1)).await);
    succeeded(&environment.deploy(environment.spec(1)).await);
    assert_eq!(proxy.targets(&route), None);
    succeeded(&environment.deploy(exposed(&environment, 1)).await);
    assert_eq!(proxy.targets(&route).map(|targets| targets.len()), Some(2));
}

#[tokio::test]
async fn a_stopped_service_answers_with_a_page_until_its_containers_are_started() {
    let (proxy, environment) = environment().await;
    succeeded(&environment.deploy(exposed(&environment, 1)).await);
    let before = environment.seen().await;
    proxy.take_asked();
    succeeded(&environment.change(Change::Stop).await);
    assert_eq!(environment.show().await, ["0: warm", "1: warm"]);
    // The route stays, with the page and without units.
    assert_eq!(proxy.targets(&exposed(&environment, 1).route()), Some(Vec::new()));
    let asked = proxy.take_asked();
    assert_eq!(asked[..2], ["page 503", "put "], "{asked:?}");
    assert_eq!(asked.iter().filter(|asked| asked.starts_with("drain ")).count(), 2);
    for unit in environment.seen().await.units {
        let policy = environment.inspect(&unit.unit).await.host_config.unwrap().restart_policy;
        assert_eq!(policy.unwrap().name, Some(Policy::NO), "a daemon restart revives nobody");
    }

    succeeded(&environment.change(Change::Start).await);
    assert_eq!(environment.seen().await, before);
    assert_eq!(environment.show().await, ["0: release 1", "1: release 1"]);
}

#[tokio::test]
async fn to_remove_an_environment_removes_its_route() {
    let (proxy, environment) = environment().await;
    succeeded(&environment.deploy(exposed(&environment, 1)).await);
    assert_eq!(environment.target.remove_environment(&environment.key()).await.unwrap(), 2);
    assert_eq!(proxy.targets(&exposed(&environment, 1).route()), None);
    assert_eq!(environment.target.remove_environment(&environment.key()).await.unwrap(), 0);
}
