//! A site on hosts of this machine, which pipelines deploy.

use std::net::SocketAddr;

use super::git::Repository;
use super::hosts::{Hosts, get};
use super::lab::{Lab, Ran};
use super::process::Process;
use super::server::Proxy;

/// A site on hosts behind a proxy, with a pipeline that deploys it.
pub struct Site {
    // The hosts end before their folders go.
    pub hosts: Hosts,
    pub proxy: Proxy,
    pub repository: Repository,
    /// The key of the target that says what it is behind, and where that takes requests.
    entrance: (String, SocketAddr),
    count: usize,
    pub lab: Lab,
}

impl Site {
    pub fn open(count: usize) -> Self {
        let lab = Lab::new();
        let proxy = Proxy::start(&lab);
        let hosts = Hosts::open(&lab, count);
        let repository = Repository::create(&lab.folder("git"));
        let entrance = (format!("proxy: {}", proxy.control.display()), proxy.address);
        let site = Self { hosts, proxy, repository, entrance, count, lab };
        site.repository.write("Dockerfile", "FROM scratch\nWORKDIR /site\nCOPY site .\n");
        site.repository.write("site/style.css", "body { margin: 0 }\n");
        site
    }

    /// Puts the hosts behind something else than the proxy.
    pub fn behind(&mut self, key: String, address: SocketAddr) {
        self.entrance = (key, address);
    }

    /// Writes the pipeline: `hosts` for those of the target, `strategy` for the stage.
    pub fn pipeline(&self, hosts: &[String], strategy: &str) {
        let text = format!(
            "name: site\n\
             environments:\n  demo: {{ tier: dev, target: {{ hosts: {{ hosts: [{}], path: {}, \
             identity: {}, known-hosts: {}, {} }} }} }}\n{}",
            hosts.join(", "),
            self.hosts.path.display(),
            self.hosts.key("client"),
            self.hosts.key("known"),
            self.entrance.0,
            self.stage("demo", hosts.len(), strategy),
        );
        self.repository.write(".shipline.yml", &text);
    }

    /// The stages that deploy it to so many hosts of an environment.
    pub fn stage(&self, environment: &str, replicas: usize, strategy: &str) -> String {
        format!(
            "stages:\n  site: {{ build: {{ file: Dockerfile }} }}\n  deploy:\n    timeout: 5m\n    \
             deploy:\n      environment: {environment}\n      image: site\n      \
             replicas: {replicas}\n      expose: {{ port: {web} }}\n      \
             health: {{ http: /health.txt, port: {web}, interval: 100ms, successes: 2, deadline: 5s }}\n      \
             strategy: {{ order: stop-first, drain: 5s, {strategy} }}\n      \
             hosts: {{ reload: none }}\n",
            web = self.hosts.web,
        )
    }

    /// All hosts, of no group.
    pub fn plain(&self) -> Vec<String> {
        (1..=self.count).map(|number| format!("'{}'", self.hosts.address(number))).collect()
    }

    /// The first host for nobody but us, then two groups.
    pub fn grouped(&self) -> Vec<String> {
        let host = |number| {
            let (group, traffic) = match number {
                1 => ("preprod", ", traffic: false"),
                2..=6 => ("north", ""),
                _ => ("south", ""),
            };
            let address = self.hosts.address(number);
            format!("{{ host: '{address}', group: {group}, labels: [region={group}]{traffic} }}")
        };
        (1..=self.count).map(host).collect()
    }

    pub fn release(&self, version: &str, healthy: bool) {
        self.repository.write("site/index.html", &format!("release {version}\n"));
        let health = self.repository.tree.join("site/health.txt");
        if healthy {
            self.repository.write("site/health.txt", "well\n");
        } else {
            let _ = std::fs::remove_file(health);
        }
    }

    pub fn run(&self) -> Ran {
        let arguments = ["run", "--allow-side-effects", "--format", "json"];
        self.lab.run(&self.repository.tree, &arguments)
    }

    /// Begins to do something.
    pub fn begin(&self, arguments: &[&str]) -> Process {
        let mut command = self.lab.shipline();
        command.current_dir(&self.repository.tree).args(arguments);
        Process::start(&mut command, &self.lab.path().join("begun.log"))
    }

    /// Whether all hosts and the proxy answer with a release.
    pub fn serves(&self, version: &str) -> bool {
        let answer = format!("release {version}\n");
        (1..=self.count).all(|number| self.hosts.answer(number) == answer)
            && get(self.entrance.1).as_deref() == Some(&*answer)
    }

    /// How often a host was switched, by what the units that are on it have noted.
    pub fn switches(&self, number: usize) -> usize {
        let units = std::fs::read_dir(self.hosts.root(number).join(".shipline/units"));
        let outputs = units.expect("units").flatten().map(|unit| unit.path().join("output"));
        let noted = outputs.map(|output| std::fs::read_to_string(output).unwrap_or_default());
        noted.map(|noted| noted.matches("current -> ").count()).sum()
    }

    pub fn ask(&self, arguments: &[&str]) -> Ran {
        self.lab.run(&self.repository.tree, arguments)
    }

    #[track_caller]
    pub fn assert_serve(&self, version: &str) {
        for number in 1..=self.count {
            assert_eq!(self.hosts.answer(number), format!("release {version}\n"), "host {number}");
        }
        assert_eq!(get(self.entrance.1).as_deref(), Some(&*format!("release {version}\n")));
    }

    /// Hosts that requests are routed to.
    pub fn routed(&self) -> usize {
        let status = self.ask(&["status", "demo", "--format", "json"]).expect(0).json();
        let units = status["units"].as_array().expect("units");
        units.iter().filter(|unit| unit["admitted"] == true).count()
    }
}
