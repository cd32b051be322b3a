//! Where an explicit rollback goes.

use std::sync::Arc;

use event::{DeploymentKind, DeploymentState};
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, key, release, spec, world_with};
use crate::{Ledger, RollbackError, Spec, last_good, releases, rollback_spec};

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
    assert_eq!(releases(&history), [release(1)]);
    let refused = goes_to(&world, None).await.unwrap_err();
    assert_eq!(refused.to_string(), "environment `prod` has nothing to go back to");
    assert_eq!(last_good(&[]), None);
}
