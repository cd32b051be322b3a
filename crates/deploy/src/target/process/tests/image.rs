//! Releases that are images: their files, without a container.

use bollard::Docker;
use futures_util::StreamExt;

use super::world::{World, succeeded};
use crate::{Artifact, LogOptions, Target};

#[tokio::test]
async fn the_files_of_an_image_are_placed_and_run_without_a_container() {
    let docker = Docker::connect_with_local_defaults().unwrap().negotiate_version().await.unwrap();
    let image = docker.inspect_image("busybox:1").await.unwrap();
    let world = World::new().await;
    let mut spec = world.spec(1);
    spec.artifact = Artifact::ImageId(image.id.unwrap());
    (spec.expose, spec.health) = (None, None);
    let script = "readlink /proc/$$/exe; exec sleep 1000";
    spec.unit.command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let deployed = world.deploy(spec.clone()).await;
    succeeded(&deployed);

    let home = world.folder.path().join("releases").join(spec.release.to_string());
    assert!(home.join("bin/busybox").is_file());
    let mut told = world.target.logs(&deployed.units[0].unit, LogOptions::default()).await.unwrap();
    let said = String::from_utf8(told.next().await.unwrap().unwrap().bytes).unwrap();
    let home = home.canonicalize().unwrap();
    assert!(said.starts_with(&*home.to_string_lossy()), "{said}: the shell of the release");
    // What gave out the files is gone.
    let name = format!("shipline-place-{}", deployed.deployment);
    assert!(docker.inspect_container(&name, None).await.is_err());

    // Without `command`, that of the image.
    let mut own = spec.clone();
    own.unit.command.clear();
    own.release = world.spec(2).release;
    own.env.insert("PORT".to_owned(), "80".to_owned());
    world.deploy(own.clone()).await;
    let about = world.folder.path().join("releases").join(own.release.to_string());
    let about = std::fs::read_to_string(about.join(".shipline.json")).unwrap();
    assert!(about.contains(r#""command":["sh"]"#), "{about}");
}
