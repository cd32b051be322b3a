//! The guides of the documentation, followed as a reader would.

use crate::harness::git::Repository;
use crate::harness::guide::follow;
use crate::harness::lab::{Lab, repository_root};

#[test]
fn the_guide_to_templates_can_be_followed() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let commands = follow(&lab, &tree, &repository_root().join("docs/templates.md"));
    assert!(commands >= 15, "only {commands} commands were found");
}
