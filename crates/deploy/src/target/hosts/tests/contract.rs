//! The contract of a target, kept by hosts.

use super::world::{INSTANCE, World};
use crate::target::contract::{Subject, contract};
use crate::{Spec, Target};

impl Subject for World {
    fn target(&self) -> &dyn Target {
        &*self.target
    }

    fn healthy(&self, number: u128) -> Spec {
        self.spec(number)
    }

    fn sick(&self, number: u128) -> Spec {
        World::sick(self, number + 100)
    }

    async fn world(&self) -> String {
        let fences = self.fences();
        format!("{:?}\n{fences:?}\n{}", self.proxy.targets("web-prod"), self.disk())
    }

    /// Each of a few dozen polls is a call that came so far.
    fn cuts(&self) -> &'static [usize] {
        &[1, 4, 9]
    }

    /// A unit of another environment, and a folder that somebody else has put there.
    async fn stranger(&self) -> String {
        let root = self.root(1);
        std::fs::create_dir_all(root.join("releases/20200101120000")).unwrap();
        let unit = root.join(".shipline/units/web-test-0-a-b");
        std::fs::create_dir_all(&unit).unwrap();
        let id = "00000000-0000-0000-0000-000000000009";
        let record = format!(
            r#"{{"instance":"{INSTANCE}","kind":"unit","project":"web","env":"test","slot":0,"release":"{id}","deploy":"{id}","fence":99,"spec":"other","artifact":"","hooks":{{}},"keep-warm":"1s"}}"#
        );
        std::fs::write(unit.join("unit.json"), &record).unwrap();
        record
    }
}

contract!(World::new(1).await);
