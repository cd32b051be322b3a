//! The contract of all targets, of a unit behind the proxy.

use std::collections::HashMap;

use bollard::models::{ServiceSpec, TaskSpec, TaskSpecContainerSpec};
use bollard::query_parameters::ListServicesOptionsBuilder;
use pipeline::Expose;

use super::environment::Environment;
use crate::switch::stub::StubProxy;
use crate::target::contract::{Subject, contract};
use crate::{Spec, Target};

struct Exposed {
    environment: Environment,
    proxy: StubProxy,
}

impl Exposed {
    async fn new() -> Self {
        let proxy = StubProxy::start();
        let environment = Environment::new(Some(proxy.socket())).await;
        Self { environment, proxy }
    }

    fn exposed(spec: Spec) -> Spec {
        let expose = Expose { port: 8080, host: "*".to_owned(), path: "/".to_owned() };
        Spec { replicas: 1, expose: Some(expose), ..spec }
    }
}

impl Subject for Exposed {
    fn target(&self) -> &dyn Target {
        &*self.environment.target
    }

    fn healthy(&self, number: u128) -> Spec {
        Self::exposed(self.environment.spec(number))
    }

    fn sick(&self, number: u128) -> Spec {
        Self::exposed(self.environment.broken(number, "deaf"))
    }

    /// Six calls of the swarm and the proxy come before the first that changes anything.
    fn cuts(&self) -> &'static [usize] {
        &[8, 12]
    }

    async fn world(&self) -> String {
        let mut world = self.environment.tasks().await;
        world.push(format!("{:?}", self.proxy.targets(&self.healthy(1).route())));
        let filters = HashMap::from([("name", vec![self.environment.key().project])]);
        let options = ListServicesOptionsBuilder::new().filters(&filters).build();
        for service in self.environment.docker.list_services(Some(options)).await.unwrap() {
            world.push(format!("{:?} {:?}", service.id.unwrap(), service.version.unwrap().index));
        }
        world.sort();
        world.join("\n")
    }

    /// A service of somebody else, with the very labels but that of the instance. It goes
    /// with the swarm.
    async fn stranger(&self) -> String {
        let key = self.environment.key();
        let labels = [
            ("shipline.instance", "another"),
            ("shipline.kind", "unit"),
            ("shipline.project", &key.project),
            ("shipline.env", &key.environment),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let container = TaskSpecContainerSpec {
            image: Some("busybox:1".to_owned()),
            args: Some(vec!["sleep".to_owned(), "1000".to_owned()]),
            ..Default::default()
        };
        let spec = ServiceSpec {
            name: Some(format!("{}-test-0-stranger", key.project)),
            labels: Some(labels.into()),
            task_template: Some(TaskSpec { container_spec: Some(container), ..Default::default() }),
            ..Default::default()
        };
        self.environment.docker.create_service(spec, None).await.unwrap().id.unwrap()
    }
}

contract!(Exposed::new().await);
