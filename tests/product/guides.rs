//! The guides of the documentation, followed as a reader would.

use crate::harness::git::Repository;
use crate::harness::guide::{follow, follow_with};
use crate::harness::lab::{Lab, repository_root};
use crate::harness::ports::free_port;
use crate::harness::process::signal;

#[test]
fn the_guide_to_stages_can_be_followed() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let commands = follow(&lab, &tree, &repository_root().join("docs/stages.md"));
    assert!(commands >= 15, "only {commands} commands were found");
}

#[test]
fn the_guide_to_templates_can_be_followed() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let commands = follow(&lab, &tree, &repository_root().join("docs/templates.md"));
    assert!(commands >= 15, "only {commands} commands were found");
}

#[test]
fn the_guide_to_images_can_be_followed() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let commands = follow(&lab, &tree, &repository_root().join("docs/images.md"));
    assert!(commands >= 9, "only {commands} commands were found");
}

#[test]
fn the_guide_to_local_runs_can_be_followed() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let commands = follow(&lab, &tree, &repository_root().join("docs/running-locally.md"));
    assert!(commands >= 25, "only {commands} commands were found");
}

#[test]
fn the_guide_to_deploying_can_be_followed() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let proxy = Proxy { tree: tree.clone() };
    let port = free_port().to_string();
    let guide = repository_root().join("docs/deploy.md");
    let commands = follow_with(&lab, &tree, &guide, &[("PORT", &port)]);
    assert!(commands >= 40, "only {commands} commands were found");
    drop(proxy);
}

#[test]
fn the_guide_to_watching_can_be_followed() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let proxy = Proxy { tree: tree.clone() };
    let port = free_port().to_string();
    let guide = repository_root().join("docs/watching.md");
    let commands = follow_with(&lab, &tree, &guide, &[("PORT", &port)]);
    assert!(commands >= 20, "only {commands} commands were found");
    drop(proxy);
}

/// The proxy that the guide starts, wherever it stops being followed.
struct Proxy {
    tree: std::path::PathBuf,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.tree.join("run/proxy.pid")).unwrap_or_default();
        let Ok(pid) = pid.trim().parse::<u32>() else { return };
        // A pid is used again, a folder of a lab is not.
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd"));
        if folder.is_ok_and(|folder| folder == self.tree) {
            signal(pid, "TERM");
        }
    }
}
