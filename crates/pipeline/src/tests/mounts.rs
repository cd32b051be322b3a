//! What a plan says of the mounts of containers.

use super::{on_main, planned};
use crate::plan::{Access, Mounted, Plan};

/// `path access kind of`, one a line, of one stage.
fn told(plan: &Plan, stage: &str) -> String {
    let told = plan.stage(stage).expect("the stage is there").mounts.iter().map(|mount| {
        let access = match mount.access {
            Access::Read => "r",
            Access::Write => "w",
        };
        let of = match &mount.of {
            Mounted::Workspace { layers } => layers.join(" "),
            Mounted::Cache { key } => format!("cache {key}"),
            Mounted::Secret => "secret".to_owned(),
        };
        format!("{} {access}: {of}", mount.path)
    });
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_stage_stands_on_the_nearest_stages_that_write() {
    let plan = planned(
        "image: busybox:1\nstages:\n  \
         left: { needs: [], run: make }\n  \
         right: { needs: [], matrix: { n: [1, 2] }, run: make }\n  \
         skipped: { needs: [left], when: off, run: make }\n  \
         ask: { needs: [left, right], approve: { by: [jo] } }\n  \
         both: { needs: [ask], run: make }\n  \
         past: { needs: [skipped], run: make, run-on: always }\n  \
         end: { needs: [both], run: make }\n",
        &on_main(),
    );
    let shown = plan.clone().with_mounts();
    assert_eq!(told(&shown, "left"), "/workspace w: checkout");
    assert_eq!(told(&shown, "right[n=2]"), "/workspace w: checkout");
    assert_eq!(told(&shown, "both"), "/workspace w: left right");
    assert_eq!(told(&shown, "end"), "/workspace w: both");
    for none in ["checkout", "skipped", "ask"] {
        assert_eq!(told(&shown, none), "", "{none}");
    }
    let kept = serde_json::to_string(&plan).expect("a plan is JSON");
    assert!(!kept.contains("mounts"), "no run keeps it: {kept}");
    let json = serde_json::to_value(&shown).expect("a plan is JSON");
    assert_eq!(
        json["stages"][1]["mounts"],
        serde_json::json!([{ "path": "/workspace", "access": "write", "kind": "workspace",
                             "layers": ["checkout"] }])
    );
    let read: Plan = serde_json::from_value(json).expect("it is read again");
    assert_eq!(read, shown);
}

#[test]
fn caches_and_secrets_as_files_are_mounts() {
    let plan = planned(
        "image: busybox:1\ncheckout: off\nstages:\n  \
         make:\n    run: make\n    cache: { key: k, paths: [~/.m2, target] }\n    \
         secrets: [PLAIN, { name: KEY, file: true }]\n  \
         image: { secrets: [TOKEN], build: {} }\n",
        &on_main(),
    );
    let plan = plan.with_mounts();
    assert_eq!(
        told(&plan, "make"),
        "/workspace w: \n~/.m2 w: cache k\ntarget w: cache k\n/run/secrets/KEY r: secret"
    );
    assert_eq!(told(&plan, "image"), "/workspace r: make\n/run/secrets/TOKEN r: secret");
}

#[test]
fn many_stages_share_what_one_hands_on() {
    let mut file = "image: busybox:1\nstages:\n".to_owned();
    for number in 0..300 {
        file.push_str(&format!("  a{number}: {{ needs: [], run: make }}\n"));
    }
    file.push_str("  ask: { approve: { by: [jo] } }\n");
    for number in 0..100 {
        file.push_str(&format!("  b{number}: {{ needs: [ask], approve: {{ by: [jo] }} }}\n"));
    }
    file.push_str("  end: { run: make }\n");
    let plan = planned(&file, &on_main()).with_mounts();
    let mounts = &plan.stage("end").expect("it is there").mounts;
    assert!(matches!(&mounts[0].of, Mounted::Workspace { layers } if layers.len() == 300));
}
