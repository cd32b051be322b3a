//! What a deploy stage gives its units, as their containers have it.

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use event::DeploymentState;
use futures_util::StreamExt;
use pipeline::{Probe, RolloutOrder};

use super::environment::{Environment, succeeded};
use crate::{
    ExecInput, ExecOptions, LogOptions, LogSource, ObservedUnit, Spec, Target, UnitSettings,
};

fn alone(environment: &Environment, unit: UnitSettings) -> Spec {
    Spec { replicas: 1, unit, ..environment.spec(1) }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn deployed(environment: &Environment, spec: Spec) -> ObservedUnit {
    let deployed = environment.deploy(spec).await;
    succeeded(&deployed);
    deployed.units[0].clone()
}

/// Runs a shell command beside a unit and returns what it said, and its code.
async fn beside(environment: &Environment, unit: &ObservedUnit, script: &str) -> (String, i64) {
    let options = ExecOptions { command: words(&["sh", "-c", script]), terminal: None };
    let mut running = environment.target.exec(&unit.unit, options).await.unwrap();
    drop(running.input);
    let mut said = Vec::new();
    while let Some(piece) = running.output.next().await {
        said.extend(piece.unwrap().bytes);
    }
    (String::from_utf8(said).unwrap(), running.end.await.unwrap().code)
}

#[tokio::test]
async fn a_unit_has_the_command_limits_and_stop_timeout_of_its_stage() {
    let environment = Environment::new(None).await;
    let mut unit = UnitSettings {
        command: words(&[
            "sh",
            "-c",
            "mkdir /w; echo other > /w/index.html; httpd -f -p 8080 -h /w",
        ]),
        stop_timeout: pipeline::Duration::from_secs(3),
        ..UnitSettings::default()
    };
    unit.resources.cpu = Some(0.5);
    unit.resources.memory = Some(64 << 20);
    unit.resources.pids = Some(50);
    let made = deployed(&environment, alone(&environment, unit.clone())).await;
    assert_eq!(environment.show().await, ["0: other"]);
    let container = environment.inspect(&made.unit).await;
    assert_eq!(container.config.unwrap().stop_timeout, Some(3));
    let host = container.host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    assert_eq!((host.nano_cpus, host.pids_limit), (Some(500_000_000), Some(50)));

    // Another limit is another unit; how long it is kept afterwards is not.
    unit.keep_warm = pipeline::Duration::from_secs(5);
    assert_eq!(deployed(&environment, alone(&environment, unit.clone())).await.unit, made.unit);
    unit.resources.pids = Some(51);
    let deployed = environment.deploy(alone(&environment, unit)).await;
    let current = deployed.units.iter().find(|unit| unit.admitted).unwrap();
    assert_ne!(current.unit, made.unit);
}

#[tokio::test]
async fn named_volumes_outlive_units_and_belong_to_their_environment() {
    let environment = Environment::new(None).await;
    let unit =
        UnitSettings { volumes: words(&["uploads:/srv/uploads"]), ..UnitSettings::default() };
    let first = deployed(&environment, alone(&environment, unit.clone())).await;
    assert_eq!(beside(&environment, &first, "echo kept > /srv/uploads/file").await.1, 0);
    let mut next = alone(&environment, unit);
    next.release = environment.spec(2).release;
    let deployed = environment.deploy(next).await;
    let second = deployed.units.iter().find(|unit| unit.admitted).unwrap();
    assert_eq!(beside(&environment, second, "cat /srv/uploads/file").await.0, "kept\n");

    let name = format!("{}-test-uploads", environment.key().project);
    assert_eq!(environment.target.remove_environment(&environment.key()).await.unwrap(), 2);
    let filters = std::collections::HashMap::from([("name", vec![name.clone()])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let volumes = environment.docker.list_volumes(Some(options)).await.unwrap().volumes.unwrap();
    let labels = &volumes[0].labels;
    assert_eq!(labels["shipline.kind"], "volume");
    environment.docker.remove_volume(&name, None::<RemoveVolumeOptions>).await.unwrap();
}

#[tokio::test]
async fn a_unit_joins_networks_that_are_there() {
    let environment = Environment::new(None).await;
    let name = format!("{}-backend", environment.key().project);
    let unit = UnitSettings { networks: vec![name.clone()], ..UnitSettings::default() };
    let refused = environment.deploy(alone(&environment, unit.clone())).await;
    assert_eq!(refused.state, DeploymentState::Failed);
    let reason = refused.reason.unwrap();
    assert!(reason.starts_with(&format!("network `{name}` is not on the engine")), "{reason}");

    let request = NetworkCreateRequest { name: name.clone(), ..Default::default() };
    environment.docker.create_network(request).await.unwrap();
    let made = deployed(&environment, alone(&environment, unit)).await;
    let networks = environment.inspect(&made.unit).await.network_settings.unwrap().networks;
    let joined: Vec<_> = networks.unwrap().into_keys().collect();
    assert!(joined.contains(&name) && joined.len() == 2, "{joined:?}");
    assert_eq!(environment.show().await, ["0: release 1"], "it has its fixed address as well");
    environment.target.remove_environment(&environment.key()).await.unwrap();
    environment.docker.remove_network(&name).await.unwrap();
}

#[tokio::test]
async fn ports_of_the_host_need_stop_first_and_one_replica() {
    let environment = Environment::new(None).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let unit = UnitSettings { ports: vec![format!("{free}:8080")], ..UnitSettings::default() };
    let mut spec = alone(&environment, unit);
    let refused = environment.deploy(spec.clone()).await;
    assert_eq!(refused.state, DeploymentState::Failed);
    let reason = refused.reason.unwrap();
    assert!(reason.contains("write `order: stop-first` and `replicas: 1`"), "{reason}");

    spec.strategy.order = RolloutOrder::StopFirst;
    deployed(&environment, spec).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free));
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
}

#[tokio::test]
async fn a_command_in_the_container_is_a_health_check() {
    let environment = Environment::new(None).await;
    let checked = |script: &str| {
        let mut spec = alone(&environment, UnitSettings::default());
        let health = spec.health.as_mut().unwrap();
        health.probe = Probe::Cmd(words(&["sh", "-c", script]));
        health.deadline = pipeline::Duration::from_secs(4);
        spec
    };
    deployed(&environment, checked("test -n \"$SHIPLINE_RELEASE\"")).await;
    let mut bad = checked("echo no queue; exit 4");
    bad.release = environment.spec(2).release;
    let deployed = environment.deploy(bad).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    let reason = deployed.reason.unwrap();
    assert!(reason.contains("ended with 4: no queue, still after 4 s"), "{reason}");
}

#[tokio::test]
async fn the_healthcheck_of_an_image_is_the_gate_when_nothing_else_is_said() {
    let environment = Environment::new(None).await;
    let checked = |image: String, number: u128| {
        let spec = environment.spec(number);
        Spec { replicas: 1, health: None, artifact: crate::Artifact::ImageId(image), ..spec }
    };
    let good = environment.image_with_check("test -n \"$SHIPLINE_RELEASE\"").await;
    deployed(&environment, checked(good, 1)).await;
    let bad = environment.image_with_check("echo no queue; exit 1").await;
    let deployed = environment.deploy(checked(bad, 2)).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    let reason = deployed.reason.unwrap();
    assert!(reason.contains("its HEALTHCHECK is unhealthy: no queue"), "{reason}");
}

#[tokio::test]
async fn a_terminal_in_a_container_is_resized_and_tells_its_end() {
    let environment = Environment::new(None).await;
    let made = deployed(&environment, alone(&environment, UnitSettings::default())).await;
    let options = ExecOptions {
        command: words(&["sh", "-c", "read go; stty size; read go; stty size; exit 9"]),
        terminal: Some((90, 30)),
    };
    let mut running = environment.target.exec(&made.unit, options).await.unwrap();
    let type_in = async |bytes: &[u8]| {
        running.input.send(ExecInput::Bytes(bytes.to_vec())).await.unwrap();
    };
    type_in(b"\n").await;
    let mut said = String::new();
    while !said.contains("30 90") {
        let piece = running.output.next().await.unwrap().unwrap();
        said += &String::from_utf8_lossy(&piece.bytes);
    }
    running.input.send(ExecInput::Resize { columns: 120, rows: 40 }).await.unwrap();
    type_in(b"\n").await;
    while let Some(piece) = running.output.next().await {
        said += &String::from_utf8_lossy(&piece.unwrap().bytes);
    }
    assert!(said.contains("40 120"), "{said:?}");
    assert_eq!(running.end.await.unwrap().code, 9);
    assert_eq!(beside(&environment, &made, "no-such-program").await.1, 127);
}

#[tokio::test]
async fn logs_tell_their_source_and_are_followed() {
    let environment = Environment::new(None).await;
    let script = "echo one; echo two; sleep 4; echo three; echo oops >&2; exit 0";
    let unit = UnitSettings { command: words(&["sh", "-c", script]), ..UnitSettings::default() };
    let spec = Spec { health: None, ..alone(&environment, unit) };
    let made = deployed(&environment, spec).await;
    let tail = LogOptions { tail: Some(1), ..LogOptions::default() };
    let told: Vec<_> = environment.target.logs(&made.unit, tail).await.unwrap().collect().await;
    assert_eq!(told[0].as_ref().unwrap().bytes, b"two\n");
    // It comes back when it has ended, so what follows is dropped by the reader.
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut told = environment.target.logs(&made.unit, follow).await.unwrap();
    loop {
        let piece = told.next().await.unwrap().unwrap();
        if piece.source == LogSource::Stderr {
            assert_eq!(piece.bytes, b"oops\n");
            return;
        }
    }
}
