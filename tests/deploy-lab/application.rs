//! `shipline-testapp`, built as it runs in any image and beside: static, and quick.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::lab::{Ran, repository_root};

/// Builds it if it has changed. A build of its own, since only such a one can be static.
pub fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let root = repository_root();
    let folder = root.join("target/deploy-lab");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo
        .current_dir(&root)
        .args(["build", "--release", "--offline", "--quiet", "--package", "shipline-testapp"])
        .args(["--target", &triple, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ran::of(&mut cargo).expect(0);
    folder.join(triple).join("release/shipline-testapp")
}
