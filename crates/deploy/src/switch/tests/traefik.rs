//! What is written for Traefik, read as YAML by somebody else.

use std::process::Command;

use pipeline::{SwitchSpec, TraefikSpec};

use super::{access, key, member, order};
use crate::switch::Idle;

/// Reads a file as YAML, as JSON.
fn read(path: &std::path::Path) -> serde_json::Value {
    let program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let mut command = Command::new("/usr/bin/python3");
    let output = command.args(["-c", program]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/setup/packages.sh installs python3-yaml: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_service_shares_requests_among_the_units_in_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    let spec = TraefikSpec { file: path.display().to_string(), ssh: None };
    let switch = access(SwitchSpec::Traefik(spec)).open();
    let key = key();
    let order = order(&key, 4);
    let one = member("one", "10.0.0.1:8080".parse().unwrap());
    let two = member("two", "10.0.0.2:8080".parse().unwrap());
    assert!(switch.check(&[], &key).await.unwrap().is_empty());
    switch.admit(&one, None, &order).await.unwrap().unwrap();
    switch.admit(&two, None, &order).await.unwrap().unwrap();
    switch.set_weights(&[(&two, 25)], &order).await.unwrap();
    let services = &read(&path)["http"]["services"];
    let wanted = serde_json::json!([
        { "name": "unit-one", "weight": 100 }, { "name": "unit-two", "weight": 25 },
    ]);
    assert_eq!(services["web-prod"]["weighted"]["services"], wanted);
    let url = &services["unit-two"]["loadBalancer"]["servers"][0]["url"];
    assert_eq!(url, "http://10.0.0.2:8080");
    for member in [&one, &two] {
        switch.drain(member, &order).await.unwrap();
    }
    let time = std::time::Duration::from_millis(10);
    let idle = switch.wait_idle(&one, time, &order).await.unwrap();
    assert_eq!(idle, Idle::Waited(time));
    let services = &read(&path)["http"]["services"];
    assert_eq!(services["web-prod"]["loadBalancer"]["servers"], serde_json::json!([]));
    assert!(switch.forget(&key).await.unwrap() && !path.exists());
    assert!(!switch.forget(&key).await.unwrap());
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    std::fs::write(&path, "http: {}\n").unwrap();
    let spec = TraefikSpec { file: path.display().to_string(), ssh: None };
    let switch = access(SwitchSpec::Traefik(spec)).open();
    let key = key();
    let found = switch.check(&[], &key).await.unwrap();
    assert!(found[0].cause.contains("is somebody else's"), "{found:?}");
    let one = member("one", "10.0.0.1:8080".parse().unwrap());
    assert!(switch.undrain(&one, None, &order(&key, 1)).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "http: {}\n");
}
