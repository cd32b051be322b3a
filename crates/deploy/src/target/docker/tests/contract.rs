//! The contract of a target, kept by containers.

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptions,
};
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
        let mut spec = Spec { replicas: 1, expose: Some(expose), ..spec };
        spec.unit.stop_timeout = pipeline::Duration::from_secs(2);
        spec
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

    /// Three calls of the engine come before the first that changes anything.
    fn cuts(&self) -> &'static [usize] {
        &[6, 10]
    }

    async fn world(&self) -> String {
        let route = self.healthy(1).route();
        let mut world = vec![format!("{:?}", self.proxy.targets(&route))];
        let name = vec![self.environment.key().project];
        let filters = std::collections::HashMap::from([("name", name)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        for container in self.environment.docker.list_containers(Some(options)).await.unwrap() {
            let id = container.id.unwrap();
            let found = self.environment.inspect(&crate::UnitId(id.clone())).await;
            let state = found.state.unwrap();
            let policy = found.host_config.unwrap().restart_policy.unwrap().name;
            world.push(format!("{id} {:?} {:?} {policy:?}", state.status, state.started_at));
        }
        world.sort();
        world.join("\n")
    }

    /// A container of somebody else, with the very labels but that of the instance.
    async fn stranger(&self) -> String {
        let key = self.environment.key();
        let labels = [
            ("shipline.instance", "another"),
            ("shipline.kind", "unit"),
            ("shipline.project", &key.project),
            ("shipline.env", &key.environment),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let body = ContainerCreateBody {
            image: Some("busybox:1".to_owned()),
            labels: Some(labels.into()),
            ..Default::default()
        };
        let name = format!("{}-test-0-stranger", key.project);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        self.environment.docker.create_container(Some(options), body).await.unwrap().id
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        let name = format!("{}-test-0-stranger", self.environment.key().project);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let target = super::environment::connect(None, "x", Vec::new()).await.unwrap();
                    let options = None::<RemoveContainerOptions>;
                    let _ = target.docker.remove_container(&name, options).await;
                });
            });
        });
    }
}

contract!(Exposed::new().await);
