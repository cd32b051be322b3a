//! `shipline deploy` and the other changes of what runs; what they have in common is in
//! [`change`](super::change).

use deploy::Order;
use event::DeploymentKind;

use super::change::change;
use crate::arguments::{
    CancelArguments, DeployArguments, OnlyArguments, RestartArguments, RollbackArguments,
    ScaleArguments, StartArguments, StopArguments,
};
use crate::client::segment;
use crate::environments::Environments;
use crate::error::CommandError;

pub(super) async fn deploy(arguments: &DeployArguments) -> Result<u8, CommandError> {
    let order = Order {
        release: arguments.release.clone(),
        reference: arguments.reference.clone(),
        image: arguments.image.clone(),
        verify: arguments.verify.clone(),
        adopt: arguments.adopt,
        no_health: arguments.no_health,
        only: words(&arguments.only),
        ..Order::new(DeploymentKind::Deploy)
    };
    change(&arguments.environment, order, &arguments.change).await
}

pub(super) async fn rollback(arguments: &RollbackArguments) -> Result<u8, CommandError> {
    let environment = &arguments.environment;
    if arguments.list {
        let change = &arguments.change;
        return super::releases::list(Some(environment), &change.place, change.format).await;
    }
    let order = Order {
        release: arguments.release.clone(),
        emergency: arguments.emergency,
        image_only: arguments.image_only,
        ..Order::new(DeploymentKind::Rollback)
    };
    change(environment, order, &arguments.change).await
}

pub(super) async fn scale(arguments: &ScaleArguments) -> Result<u8, CommandError> {
    let order = Order { replicas: Some(arguments.replicas), ..Order::new(DeploymentKind::Scale) };
    change(&arguments.environment, order, &arguments.change).await
}

pub(super) async fn restart(arguments: &RestartArguments) -> Result<u8, CommandError> {
    let order = of_units(DeploymentKind::Restart, &arguments.only);
    change(&arguments.environment, order, &arguments.change).await
}

pub(super) async fn stop(arguments: &StopArguments) -> Result<u8, CommandError> {
    let order = of_units(DeploymentKind::Stop, &arguments.only);
    change(&arguments.environment, order, &arguments.change).await
}

pub(super) async fn start(arguments: &StartArguments) -> Result<u8, CommandError> {
    let order = of_units(DeploymentKind::Start, &arguments.only);
    change(&arguments.environment, order, &arguments.change).await
}

fn of_units(kind: DeploymentKind, only: &OnlyArguments) -> Order {
    Order { only: words(only), ..Order::new(kind) }
}

fn words(only: &OnlyArguments) -> Vec<String> {
    only.only.iter().map(|word| word.trim().to_owned()).collect()
}

pub(super) async fn cancel(arguments: &CancelArguments) -> Result<u8, CommandError> {
    let id = &arguments.deployment;
    match Environments::open(&arguments.place).await? {
        Environments::Server(server) => {
            let path = format!("/api/v1/deployments/{}/cancel", segment(id));
            server.client().post(&path, &serde_json::json!({})).await?;
            super::print(&format!(
                "deployment {id} is cancelled; `shipline status --deployment {id} --wait` says how it ends\n"
            ))?;
            Ok(0)
        }
        Environments::Local(_) => Err(CommandError::usage(
            "a deployment without a server is cancelled by Ctrl-C in its terminal",
        )
        .hint("name the server of the deployment with `--server URL`")),
    }
}
