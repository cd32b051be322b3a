//! Workspaces by copying, on a real engine: the same as overlays, in all that can be seen.

use super::bench::{Bench, IMAGE};
use super::layers;
use crate::backend::docker::LayerMode;
use crate::backend::{Backend, contract};

#[tokio::test]
async fn the_contract_of_a_backend_is_kept_by_copying() {
    let bench = Bench::copying(&[("a", "1")]).await;
    contract::output_and_exit_are_the_commands(&bench.backend, &bench.run, IMAGE).await;
    contract::caches_are_kept_and_restored(&bench.backend, &bench.run, IMAGE).await;
    contract::a_workspace_is_read_before_and_after(&bench.backend, &bench.run, IMAGE).await;
    contract::kept_layers_are_stood_on(&bench.backend, &bench.run, IMAGE).await;
    contract::a_cache_over_a_file_is_refused(&bench.backend, &bench.run, IMAGE).await;
    contract::parallel_layers_are_joined_or_refused(&bench.backend, &bench.run, IMAGE).await;
    contract::cleaning_up_works_at_any_time(&bench.backend, &bench.run, IMAGE).await;
}

#[tokio::test]
async fn copied_layers_mean_what_overlays_mean() {
    layers::chain(&Bench::copying(layers::CHAIN).await).await;
    layers::join(&Bench::copying(layers::JOIN).await).await;
    layers::conflicts(&Bench::copying(layers::CONFLICTS).await).await;
    layers::gone_layer(&Bench::copying(layers::GONE_LAYER).await).await;
    layers::merge(&Bench::copying(layers::MERGE).await).await;
    layers::new_directory(&Bench::copying(layers::NEW_DIRECTORY).await).await;
}

/// A layer of copies holds what an overlay would have put there, and in the same form.
#[tokio::test]
async fn a_layer_is_the_same_however_it_was_made() {
    let files = [("keep", "k"), ("gone", "g"), ("mode", "m"), ("d/file", "f"), ("d/e/deep", "x")];
    let commands =
        ["echo 1 >new; rm gone; chmod 700 mode; rm -r d; mkdir d; echo 2 >d/other; ln -s new link"];
    let look = "cd /workspace/layer && find . -exec stat -c '%n %F %a' {} + | sort";
    let mut seen = Vec::new();
    for copies in [false, true] {
        let bench = if copies { Bench::copying(&files).await } else { Bench::with(&files).await };
        bench.stage(1, &[0], &commands).await;
        let layer = format!("sl-{}-1u:/workspace/layer:ro", bench.run.run.short());
        let run = ["run", "--rm", "--network=none", "-v", &layer, IMAGE, "sh", "-c", look];
        let output = std::process::Command::new("docker").args(run).output().unwrap();
        seen.push(String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].contains("./gone character special file"), "{}", seen[0]);
    assert!(!seen[0].contains("keep"), "{}", seen[0]);
}

/// The engine is asked for a mount it cannot make, since it keeps its volumes elsewhere.
#[tokio::test]
async fn an_engine_that_refuses_an_overlay_gets_copies_and_the_person_is_told() {
    let mut bench = Bench::with(&[("base", "b")]).await;
    bench.backend.engine.root = "/nowhere".to_owned();
    let first = bench.stage(1, &[0], &["cat base; echo one >one"]).await;
    assert_eq!(first.exit.code, 0, "{}", first.all());
    assert!(first.all().contains("workspaces are copied"), "{}", first.all());
    let second = bench.stage(2, &[1, 0], &["cat base one"]).await;
    assert_eq!(second.stdout(), "bone\n");
    assert!(!second.all().contains("workspaces are copied"), "{}", second.all());
}

#[tokio::test]
async fn overlays_that_are_demanded_and_refused_are_the_engines_fault_and_the_key_is_named() {
    let mut bench = Bench::with(&[("base", "b")]).await;
    bench.backend.engine.root = "/nowhere".to_owned();
    bench.backend.engine.layering.set(LayerMode::Overlay);
    let mut attempt = bench.attempt(1, &["true"]);
    attempt.lower = vec![bench.layer(0)];
    let error = bench.run_attempt(&attempt).await.err().unwrap().to_string();
    assert!(error.contains("cannot mount the workspace as an overlay"), "{error}");
    assert!(error.contains("[runner] layers"), "{error}");
}

#[tokio::test]
async fn a_chain_longer_than_one_helper_mounts_is_copied_in_parts() {
    let bench = Bench::copying(&[("newest", "0")]).await;
    let mut lower = vec![0];
    for index in 1..70 {
        let files =
            super::bench::tree(&[(&format!("f{index}"), ""), ("newest", &index.to_string())]);
        let workspace = crate::Workspace::Tree(files.path().to_owned());
        bench.check_out(bench.layer(index), &workspace).await.unwrap();
        lower.insert(0, index);
    }
    let mut attempt = bench.attempt(70, &["ls | wc -l; cat newest"]);
    attempt.lower = lower.iter().map(|&index| bench.layer(index)).collect();
    attempt.merge = Some(pipeline::Merge::Last);
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!(ran.stdout(), "70\n69", "{}", ran.all());
    bench.backend.seal(&bench.run, attempt.layer).await.unwrap();
}
