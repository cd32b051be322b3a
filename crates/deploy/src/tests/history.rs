//! Where an explicit rollback goes.

use std::sync::Arc;

use event::{DeploymentKind, DeploymentState, EventKind, Verdict};
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, key, release, spec, world_with};
use crate::{
    Artifact, KeepPolicy, Ledger, Place, Release, RollbackError, Spec, Target, keep_set, last_good,
    releases, rollback_image, rollback_spec,
};

async fn goes_to(world: &World, to: Option<u128>) -> Result<Spec, RollbackError> {
    let ledger = Arc::clone(&world.ledger) as Arc<dyn Ledger>;
    rollback_spec(&ledger, &key(), to.map(release)).await
}

#[tokio::test(start_paused = true)]
async fn last_good_is_the_newest_success_that_does_not_run_now() {
    let world = world_with(&[(1, 1, 1), (2, 1, 1), (2, 1, 1)]).await;
    assert_eq!(goes_to(&world, None).await.unwrap().release, release(1));
    // A failure is no candidate, and what runs is still release 2.
    world.target.never_healthy(release(3));
    world.deploy(spec(3, 1, 1)).await.unwrap();
    assert_eq!(goes_to(&world, None).await.unwrap().release, release(1));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_can_be_gone_back_from_too() {
    let world = world_with(&[(1, 1, 1)]).await;
    let mut verbose = spec(1, 1, 1);
    verbose.env.insert("LOG_LEVEL".to_owned(), "debug".to_owned());
    world.deploy(verbose).await.unwrap();
    assert_eq!(goes_to(&world, None).await.unwrap(), spec(1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_a_deployment_of_its_own_and_can_be_rolled_back() {
    let world = world_with(&[(1, 2, 1), (2, 2, 1)]).await;
    let back = goes_to(&world, None).await.unwrap();
    let back = deployment(DeploymentKind::Rollback, back);
    let deployed = world.deploy_as(back, &CancellationToken::new()).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!((deployed.previous, deployed.release), (Some(release(2)), release(1)));
    assert_eq!(world.traffic(), "0:1 1:1");
    assert_eq!(goes_to(&world, None).await.unwrap().release, release(2));
}

#[tokio::test(start_paused = true)]
async fn any_release_that_succeeded_can_be_given() {
    let world = world_with(&[(1, 1, 1), (2, 1, 1), (3, 1, 1)]).await;
    assert_eq!(goes_to(&world, Some(1)).await.unwrap().release, release(1));
    world.target.never_healthy(release(4));
    world.deploy(spec(4, 1, 1)).await.unwrap();
    let refused = goes_to(&world, Some(4)).await;
    let Err(RollbackError::NotFound { available, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(available, [release(3), release(2), release(1)]);
}

#[tokio::test(start_paused = true)]
async fn with_one_good_deployment_there_is_nothing_to_go_back_to() {
    let world = world_with(&[(1, 1, 1)]).await;
    let history = world.ledger.history(&key(), 10).await.unwrap();
    assert_eq!(last_good(&history), None);
    let refused = goes_to(&world, None).await.unwrap_err();
    assert_eq!(refused.to_string(), "environment `prod` has nothing to go back to");
    assert_eq!(last_good(&[]), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_marked_bad_is_no_place_to_go_back_to() {
    let world = world_with(&[(1, 1, 1), (2, 1, 1), (3, 1, 1)]).await;
    let history = world.ledger.history(&key(), 10).await.unwrap();
    let second = history[1].deployment.id;
    world.ledger.mark(second, Verdict::Bad, "ann", None).await.unwrap();
    assert_eq!(goes_to(&world, None).await.unwrap().release, release(1));
    assert!(goes_to(&world, Some(2)).await.is_err());
    world.ledger.mark(second, Verdict::Good, "ann", None).await.unwrap();
    assert_eq!(goes_to(&world, None).await.unwrap().release, release(2));
}

fn known(number: u128) -> Release {
    Release {
        id: release(number),
        project: "web".to_owned(),
        version: format!("v{number}"),
        branch: Some("main".to_owned()),
        sha: "01234567".to_owned(),
        committer: "Jane Doe".to_owned(),
        artifact: Artifact::ImageId(format!("sha256:{number}")),
        built_at: std::time::SystemTime::UNIX_EPOCH.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn every_release_says_whether_it_can_be_gone_back_to_and_why_not() {
    let world = world_with(&[(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)]).await;
    world.target.never_healthy(release(5));
    world.deploy(spec(5, 1, 1)).await.unwrap();
    let history = world.ledger.history(&key(), 10).await.unwrap();
    world.ledger.mark(history[2].deployment.id, Verdict::Bad, "ann", None).await.unwrap();
    let history = world.ledger.history(&key(), 10).await.unwrap();
    let short = |index: usize| history[index].deployment.id.short();

    let all: Vec<_> = (1..=6).rev().map(known).collect();
    let unfetchable = [(release(2), "its image is gone".to_owned())].into();
    let listed = releases(&history, &all, &unfetchable);
    let said: Vec<_> =
        listed.iter().map(|listed| (listed.release.id, listed.because.clone())).collect();
    let because = |text: String| Some(text);
    assert_eq!(
        said,
        [
            (release(6), because("it never ran here".to_owned())),
            (release(5), because(format!("its deployment {} ended rolled-back", short(0)))),
            (release(4), because("it runs now".to_owned())),
            (release(3), because(format!("its deployment {} was marked bad", short(2)))),
            (release(2), because("its image is gone".to_owned())),
            (release(1), None),
        ]
    );
    let stands: Vec<_> = listed.iter().filter(|listed| listed.stands).collect();
    assert_eq!(stands.len(), 1);
    assert_eq!(stands[0].release.id, release(4));
    assert!(listed.iter().all(|listed| listed.can_roll_back == listed.because.is_none()));
}

#[tokio::test(start_paused = true)]
async fn deployments_are_named_after_what_they_bring() {
    let world = World::new();
    world.ledger.release(known(1)).await.unwrap();
    for _ in 0..2 {
        world.deploy(spec(1, 1, 1)).await.unwrap();
    }
    let history = world.ledger.history(&key(), 10).await.unwrap();
    let names: Vec<_> = history.iter().rev().map(|record| record.deployment.name.clone()).collect();
    assert!(
        names[0].starts_with("web_prod_v1_main_") && names[0].ends_with("_jane-doe"),
        "{names:?}"
    );
    // Unless the minute has just ended.
    assert!(
        names[1] == format!("{}.2", names[0]) || !names[1].contains(&names[0][..30]),
        "{names:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_is_neither_kept_nor_run_is_pruned() {
    let world = world_with(&[(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)]).await;
    let history = world.ledger.history(&key(), 10).await.unwrap();
    let seen = world.target.seen();
    let places = [Place { history: &history, seen: Some(&seen) }];
    let policy = KeepPolicy { last: 2, ..KeepPolicy::default() };
    let all: Vec<_> = (1..=4).map(known).collect();
    let keep = keep_set(&places, &all, &policy, std::time::SystemTime::UNIX_EPOCH.into());
    // Release 4 runs, and units of 3 wait.
    assert_eq!(world.show(), "(0:3) 0:4");
    let pruned = world.target.prune("web", &keep).await.unwrap();
    assert_eq!(pruned.removed, [release(1).to_string(), release(2).to_string()]);
    assert_eq!(world.target.prune("web", &keep).await.unwrap().removed, [""; 0]);
}

/// What each deployment of a history has pruned, oldest first.
async fn pruned(world: &World) -> Vec<(Vec<String>, Option<String>)> {
    let history = world.ledger.history(&key(), 100).await.unwrap();
    let events = history.iter().rev().flat_map(|record| world.ledger.events(record.deployment.id));
    let pruned = events.filter_map(|event| match event {
        EventKind::DeploymentPruned { removed, error } => Some((removed, error)),
        _ => None,
    });
    pruned.collect()
}

#[tokio::test(start_paused = true)]
async fn a_deployment_clears_away_what_nobody_goes_back_to_and_says_what() {
    let world = World::new();
    for number in 1..=8 {
        world.ledger.release(known(number)).await.unwrap();
        let deployed = world.deploy(spec(number, 1, 1)).await.unwrap();
        assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    }
    // Five that succeeded stay beside the one that came, which has no end yet.
    let names = |number| (vec![release(number).to_string()], None);
    assert_eq!(pruned(&world).await, [names(1), names(2)]);
    assert!(world.lines().contains(&"pruned   1 old release".to_owned()), "{:?}", world.lines());
    // What runs already prunes nothing: it changes nothing at all.
    world.target.take_mutations();
    world.deploy(spec(8, 1, 1)).await.unwrap();
    assert_eq!((world.target.take_mutations(), pruned(&world).await.len()), (Vec::new(), 2));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_pruned_is_told_and_fails_nothing() {
    let world = World::new();
    for number in 1..=6 {
        world.ledger.release(known(number)).await.unwrap();
        world.deploy(spec(number, 1, 1)).await.unwrap();
    }
    world.target.cannot_prune();
    world.ledger.release(known(7)).await.unwrap();
    let deployed = world.deploy(spec(7, 1, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    let told = pruned(&world).await;
    let [(removed, Some(error))] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((removed.len(), error.as_str()), (0, "memory: the disk is read-only"));
    let said = "warning: old releases are not pruned: memory: the disk is read-only";
    assert!(world.lines().iter().any(|line| line == said), "{:?}", world.lines());
}

#[tokio::test(start_paused = true)]
async fn a_release_says_which_commits_it_brought_and_with_which_configuration() {
    let world = world_with(&[(1, 1, 1), (2, 1, 1), (3, 1, 1)]).await;
    let mut verbose = spec(1, 1, 1);
    verbose.env.insert("LOG_LEVEL".to_owned(), "debug".to_owned());
    // Back to the first one, which brought nothing new, with another configuration.
    world.deploy(verbose.clone()).await.unwrap();
    let all: Vec<_> =
        (1..=4).map(|number| Release { sha: format!("{number:040}"), ..known(number) }).collect();
    let history = world.ledger.history(&key(), 10).await.unwrap();
    let listed = releases(&history, &all, &std::collections::BTreeMap::new());
    let since: Vec<_> = listed.iter().map(|listed| listed.since.clone()).collect();
    let sha = |number: u32| Some(format!("{number:040}"));
    // The fourth never came, and would be compared with what stands.
    assert_eq!(since, [None, sha(1), sha(2), sha(1)]);
    let configuration: Vec<_> = listed.iter().map(|listed| listed.configuration.clone()).collect();
    let plain = Some(spec(2, 1, 1).configuration());
    assert_eq!(configuration, [Some(verbose.configuration()), plain.clone(), plain, None]);
    assert_ne!(configuration[0], configuration[1]);
}

#[tokio::test(start_paused = true)]
async fn the_image_alone_can_be_gone_back_to() {
    let world = world_with(&[(1, 2, 1)]).await;
    let mut second = spec(2, 2, 1);
    second.env.insert("LOG_LEVEL".to_owned(), "debug".to_owned());
    world.deploy(second.clone()).await.unwrap();
    second.strategy.batch = pipeline::BatchSize::Units(2);
    world.deploy(second.clone()).await.unwrap();
    let ledger = Arc::clone(&world.ledger) as Arc<dyn Ledger>;
    let back = rollback_image(&ledger, &key(), None).await.unwrap();
    let first = spec(1, 2, 1);
    assert_eq!(back, Spec { release: first.release, artifact: first.artifact, ..second });
    assert_eq!(rollback_image(&ledger, &key(), Some(release(1))).await.unwrap(), back);
    assert!(rollback_image(&ledger, &key(), Some(release(7))).await.is_err());
    let only = world_with(&[(1, 1, 1)]).await;
    let ledger = Arc::clone(&only.ledger) as Arc<dyn Ledger>;
    assert!(rollback_image(&ledger, &key(), None).await.is_err());
}
