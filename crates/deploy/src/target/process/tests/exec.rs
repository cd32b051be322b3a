//! Commands beside a process.

use std::time::Duration;

use futures_util::StreamExt;

use super::world::{World, succeeded};
use crate::{ExecInput, ExecOptions, LogSource, Target, Terminal, UnitId};

async fn world() -> (World, UnitId) {
    let world = World::new().await;
    let deployed = world.deploy(world.spec(1)).await;
    succeeded(&deployed);
    let unit = deployed.units[0].unit.clone();
    (world, unit)
}

fn shell(script: &str, terminal: Option<(u16, u16)>) -> ExecOptions {
    ExecOptions { command: ["sh", "-c", script].map(str::to_owned).to_vec(), terminal }
}

async fn told(running: &mut Terminal, source: LogSource) -> String {
    let mut text = Vec::new();
    while let Some(piece) = running.output.next().await {
        let piece = piece.unwrap();
        if piece.source == source {
            text.extend(piece.bytes);
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_command_has_the_variables_of_the_unit_and_tells_its_end() {
    let (world, unit) = world().await;
    let options = shell("read line; echo $BODY $line; echo bad >&2; exit 7", None);
    let mut running = world.target.exec(&unit, options).await.unwrap();
    running.input.send(ExecInput::Bytes(b"in\n".to_vec())).await.unwrap();
    assert_eq!(told(&mut running, LogSource::Stdout).await, "release 1 in\n");
    assert_eq!(running.end.await.unwrap().code, 7);

    let mut running = world.target.exec(&unit, shell("kill -9 $$", None)).await.unwrap();
    assert_eq!(told(&mut running, LogSource::Stderr).await, "");
    assert_eq!(running.end.await.unwrap().code, 137);
    let missing = ExecOptions { command: vec!["no-such-program".to_owned()], terminal: None };
    assert!(world.target.exec(&unit, missing).await.is_err());
}

#[tokio::test]
async fn a_terminal_has_a_size_that_changes() {
    let (world, unit) = world().await;
    let options = shell("stty size; read line; stty size", Some((90, 30)));
    let mut running = world.target.exec(&unit, options).await.unwrap();
    let first = running.output.next().await.unwrap().unwrap().bytes;
    assert_eq!(String::from_utf8(first).unwrap(), "30 90\r\n");
    running.input.send(ExecInput::Resize { columns: 120, rows: 40 }).await.unwrap();
    running.input.send(ExecInput::Bytes(b"\n".to_vec())).await.unwrap();
    let rest = told(&mut running, LogSource::Stdout).await;
    assert!(rest.ends_with("40 120\r\n"), "{rest:?}");
    assert_eq!(running.end.await.unwrap().code, 0);
}

#[tokio::test]
async fn whoever_leaves_a_command_hangs_up() {
    let (world, unit) = world().await;
    let pid = world.folder.path().join("pid");
    let script = format!("echo $$ > {}; sleep 1000", pid.display());
    let running = world.target.exec(&unit, shell(&script, Some((80, 24)))).await.unwrap();
    let started = async {
        loop {
            match std::fs::read_to_string(&pid) {
                Ok(pid) if pid.ends_with('\n') => return pid.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let pid = tokio::time::timeout(Duration::from_secs(5), started).await.unwrap();
    drop(running);
    let gone = async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
}
