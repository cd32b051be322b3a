//! The contract of a target, kept by processes.

use super::world::World;
use crate::target::contract::{Subject, contract};
use crate::target::process::record::{Root, UnitFile};
use crate::{Spec, Target, UnitId};

impl Subject for World {
    fn target(&self) -> &dyn Target {
        &*self.target
    }

    fn healthy(&self, number: u128) -> Spec {
        self.spec(number)
    }

    fn sick(&self, number: u128) -> Spec {
        self.in_mode(number, "sick")
    }

    fn cuts(&self) -> &'static [usize] {
        &[1, 2, 3, 5]
    }

    async fn world(&self) -> String {
        let root = Root::new(self.folder.path().to_path_buf());
        let mut world = format!("{:?}\n", self.proxy.targets("web-prod"));
        for (unit, file) in root.all().unwrap() {
            let process = std::fs::read_to_string(self.unit_folder(&unit).join("process"));
            world += &format!("{unit} {file:?} {process:?}\n");
        }
        world
    }

    /// A unit of another environment, as this instance makes them.
    async fn stranger(&self) -> String {
        let root = Root::new(self.folder.path().to_path_buf());
        let unit = UnitId("web-test-0-a-b".to_owned());
        let file = UnitFile {
            instance: "019a2b3c-test".to_owned(),
            kind: "unit".to_owned(),
            project: "web".to_owned(),
            env: "test".to_owned(),
            slot: 0,
            release: self.spec(9).release,
            deploy: event::DeploymentId::new(uuid::Uuid::from_u128(9)),
            // Fences are of environments: this one is nobody's business elsewhere.
            fence: 99,
            spec: "other".to_owned(),
            artifact: String::new(),
            command: vec!["sleep".to_owned()],
            directory: self.folder.path().to_path_buf(),
            variables: std::collections::BTreeMap::new(),
            port: 20_000,
            routed: false,
            stop_timeout: pipeline::Duration::from_secs(1),
            keep_warm: pipeline::Duration::from_secs(1),
            stopped_at: None,
            comes_back: true,
        };
        root.write(&unit, &file).unwrap();
        format!("{unit} {file:?}")
    }
}

contract!(World::new().await);
