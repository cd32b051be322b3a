//! Builds `shipline-init`, static and small, to be embedded into the runner.
//!
//! It runs in any image as PID 1, so it must not need one libc or another:
//! hence `crt-static`, which only a build of its own can have.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    for path in ["build.rs", "init/src", "init/Cargo.toml"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    let target_directory = out.join("init");

    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["build", "--release", "--offline", "--bin", "shipline-init"])
        .args(["--manifest-path", "init/Cargo.toml", "--target", &target])
        .arg("--target-dir")
        .arg(&target_directory)
        // Size before speed; without unwinding, whose tables are a third of it.
        .args(["--config", "profile.release.opt-level=\"s\""])
        .args(["--config", "profile.release.panic=\"abort\""])
        .args(["--config", "profile.release.codegen-units=1"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // What the outer build was asked for is not asked of this one: its flags, its
    // profile, and clippy in the compiler's place.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PROFILE_") || name.starts_with("CARGO_BUILD_") {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo.status().expect("cargo can be run, since it runs this");
    assert!(status.success(), "shipline-init was not built: {status}");
    fs::copy(
        target_directory.join(&target).join("release/shipline-init"),
        out.join("shipline-init"),
    )
    .expect("cargo says that it built shipline-init");
}
