//! What stages use, what they run out of, and images that this machine cannot run.

use std::io::Write;
use std::process::Command;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::bench::Bench;
use super::service::service;
use crate::backend::{Backend, BackendError, ServiceError};

#[tokio::test]
async fn what_a_stage_uses_at_most_is_told() {
    let bench = Bench::with(&[]).await;
    let commands = [
        "awk 'BEGIN { s = sprintf(\"%20000000s\", \"\"); print length(s) }'",
        "sleep 0.5 & sleep 0.5 & sleep 0.5 & wait",
    ];
    let ran = bench.stage(1, &[0], &commands).await;
    let usage = ran.exit.usage;
    assert!(usage.memory.peak.is_some_and(|peak| peak > 20_000_000), "{usage:?}");
    assert!(usage.pids.peak.is_some_and(|peak| (5..20).contains(&peak)), "{usage:?}");
    assert_eq!((usage.memory.limit, usage.pids.limit), (Some(4 << 30), Some(512)));
    assert!(!usage.pids_refused && usage.full.is_empty(), "{usage:?}");
}

#[tokio::test]
async fn out_of_memory_is_told_with_limit_and_peak() {
    let bench = Bench::with(&[]).await;
    let command = "awk 'BEGIN { s = \"0123456789abcdef\"; while (1) s = s s }'";
    let mut attempt = bench.attempt(1, &[command]);
    attempt.resources.memory = Some(64 << 20);
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!((ran.exit.code, ran.exit.oom_killed), (137, true));
    let memory = ran.exit.usage.memory;
    assert_eq!(memory.limit, Some(64 << 20));
    assert!(memory.peak.is_some_and(|peak| peak > 60 << 20), "{memory:?}");
}

#[tokio::test]
async fn too_many_processes_and_places_without_room_are_told() {
    let bench = Bench::with(&[]).await;
    let mut bomb = bench.attempt(1, &["i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done"]);
    bomb.resources.pids = Some(20);
    let ran = bench.run_attempt(&bomb).await.unwrap();
    assert_ne!(ran.exit.code, 0);
    assert!(ran.exit.usage.pids_refused, "{:?}", ran.exit);
    assert_eq!(ran.exit.usage.pids.peak, Some(20));

    let ran = bench.stage(2, &[0], &["cat /dev/zero >/dev/shm/large"]).await;
    assert_ne!(ran.exit.code, 0);
    assert_eq!(ran.exit.usage.full, [("/dev/shm".to_owned(), 64 << 20)], "{}", ran.all());
}

fn tar_of(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        archive.append_data(&mut header, path, *contents).unwrap();
    }
    archive.into_inner().unwrap()
}

/// An image that says it is for another machine, whose programs are made for it.
fn foreign_image(name: &str) {
    // The head of a program for aarch64, which is all the kernel looks at.
    let mut program = vec![0_u8; 64];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    program[16..20].copy_from_slice(&[2, 0, 183, 0]);
    let layer = tar_of(&[("bin/sh", 0o755, &program), ("server", 0o755, &program)]);
    let digest = hex::encode(&Sha256::digest(&layer)[..]);
    let configuration = serde_json::json!({
        "architecture": "arm64", "os": "linux", "config": {"Cmd": ["/server"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}
    ]);
    let archive = tar_of(&[
        ("config.json", 0o644, configuration.to_string().as_bytes()),
        ("layer.tar", 0o644, &layer),
        ("manifest.json", 0o644, manifest.to_string().as_bytes()),
    ]);
    let mut loading = Command::new("docker")
        .arg("load")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    loading.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(loading.wait().unwrap().success());
}

#[tokio::test]
async fn an_image_for_another_machine_is_the_users_and_says_for_which() {
    let bench = Bench::with(&[]).await;
    let image = format!("foreign-{}:1", bench.run.instance);
    foreign_image(&image);
    let mut attempt = bench.attempt(1, &["true"]);
    attempt.image.clone_from(&image);
    let of_stage = bench.run_attempt(&attempt).await.err();

    let mut served = bench.attempt(2, &["true"]);
    served.services = vec![service("db", &image, None)];
    let services = bench.backend.serve(&bench.run, &served, &CancellationToken::new()).await;
    let of_service = match services {
        Err(error) => Some(error),
        Ok(services) => match services.ended().await {
            ServiceError::Backend(error) => Some(error),
            ServiceError::Failed(failure) => panic!("{failure}: {:?}", failure.last_lines),
        },
    };
    bench.backend.clean(&bench.run).await.unwrap();
    Command::new("docker").args(["rmi", &image]).output().unwrap();
    for error in [of_stage, of_service] {
        let Some(BackendError::User { code, message }) = error else { panic!("{error:?}") };
        assert_eq!(code, Some("E090"));
        let expected =
            format!("image `{image}` cannot be used: it is for arm64, the engine runs amd64");
        assert_eq!(message, expected);
    }
}
