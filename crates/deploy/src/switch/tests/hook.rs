//! Hooks: programs, and services behind HTTP.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pipeline::{HookSpec, SwitchSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{access, key, member, order};
use crate::TargetError;
use crate::switch::{Idle, Up};

fn spec(command: Option<String>, url: Option<String>) -> HookSpec {
    let timeout = pipeline::Duration::from_secs(2);
    HookSpec { command, url, timeout, ssh: None }
}

/// A program that keeps who is out, and refuses the unit `broken`.
fn program(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("balancer");
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$*\" >>calls\n\
        case $2 in broken) echo 'the balancer is away' >&2; exit 7 ;; slow) sleep 60 ;; esac\n\
        case $1 in\ndrain) touch \"out-$3\" ;;\nundrain) rm -f \"out-$3\" ;;\n\
        status) [ ! -e \"out-$3\" ] || { echo drained; exit 1; } ;;\nesac\n";
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_program_is_told_the_unit_and_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let switch = access(SwitchSpec::Hook(spec(Some(program(&folder)), None))).open();
    let (key, one) = (key(), member("web-1", "127.0.0.1:8080".parse().unwrap()));
    let order = order(&key, 1);
    assert!(switch.check(std::slice::from_ref(&one), &key).await.unwrap().is_empty());
    assert!(switch.leads_to(&one, &key).await.unwrap());
    switch.drain(&one, &order).await.unwrap();
    let idle = switch.wait_idle(&one, Duration::from_secs(9), &order).await.unwrap();
    assert_eq!(idle, Idle::Said);
    let Up::No(why) = switch.is_up(&one).await.unwrap() else { panic!("it is out") };
    assert_eq!(why, "the hook says that unit-web-1 is not up: drained");
    assert!(switch.admitted(std::slice::from_ref(&one), &key).await.unwrap().is_empty());
    switch.admit(&one, None, &order).await.unwrap().unwrap();
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    assert!(calls.contains("drain unit-web-1 127.0.0.1:8080\n"), "{calls}");
    assert!(calls.contains("undrain unit-web-1 127.0.0.1:8080\n"), "{calls}");
}

#[tokio::test]
async fn a_program_that_fails_or_hangs_is_told_with_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let switch = access(SwitchSpec::Hook(spec(Some(program(&folder)), None))).open();
    let key = key();
    let order = order(&key, 1);
    let mut broken = member("x", "127.0.0.1:8080".parse().unwrap());
    broken.unit.0 = "broken".to_owned();
    let error = switch.drain(&broken, &order).await.unwrap_err().to_string();
    assert!(error.contains("ended with 7: the balancer is away; call it by hand"), "{error}");
    let found = switch.check(std::slice::from_ref(&broken), &key).await.unwrap();
    assert!(found[0].cause.contains("ended with 7"), "{found:?}");
    broken.unit.0 = "slow".to_owned();
    let error = switch.drain(&broken, &order).await.unwrap_err().to_string();
    assert!(error.contains("not done within 2 s"), "{error}");
}

#[tokio::test]
async fn a_service_is_asked_in_json_and_may_say_no() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/lb", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in ["204 Done", "409 Drained", "500 Broken"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let mut length = 0;
            // Headers and body may come in two pieces.
            while !String::from_utf8_lossy(&request[..length]).contains('}') {
                length += stream.read(&mut request[length..]).await.unwrap();
            }
            asked.push(String::from_utf8_lossy(&request[..length]).into_owned());
            let text =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        asked
    });
    let switch = access(SwitchSpec::Hook(spec(None, Some(url)))).open();
    let (key, one) = (key(), member("web-1", "127.0.0.1:8080".parse().unwrap()));
    let order = order(&key, 1);
    switch.drain(&one, &order).await.unwrap();
    assert!(matches!(switch.is_up(&one).await.unwrap(), Up::No(_)));
    let error = switch.undrain(&one, None, &order).await.unwrap_err();
    assert!(matches!(&error, TargetError::Infrastructure { .. }), "{error}");
    assert!(error.to_string().contains("answered 500"), "{error}");
    let asked = serving.await.unwrap();
    assert!(asked[0].starts_with("POST /lb "), "{}", asked[0]);
    let body = asked[0].split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let wanted = serde_json::json!({
        "action": "drain", "unit": "unit-web-1", "address": "127.0.0.1:8080",
    });
    assert_eq!(body, wanted);
}
