use std::path::Path;

use pipeline::Tier;
use runner::backend::docker::LayerMode;

use super::*;

fn read(text: &str) -> Config {
    load(text, Path::new("/etc/shipline/server.toml")).expect("valid")
}

fn refusal(text: &str) -> String {
    load(text, Path::new("server.toml")).expect_err("invalid").to_string()
}

#[test]
fn a_full_file_is_read_and_relative_paths_are_relative_to_it() {
    let config = read(
        r#"
        listen = "127.0.0.1:9000"
        data = "state"
        external-url = "https://ci.example.net/"
        drain-timeout = "1m"

        [poll]
        every = "2s"

        [watch]
        every = "5s"

        [smtp]
        url = "smtp://mail.example.net:587"
        from = "shipline@example.net"
        username = "shipline"
        password-file = "smtp"

        [runner]
        concurrency = 3
        labels = ["linux", "large"]
        subnets = "10.217.0.0/20"
        layers = "copy"
        docker-host = "tcp://10.0.0.7:2375"
        cache-limit = "5Gi"

        [registries.harbor]
        host = "harbor.example.net"
        username = "robot$ci"
        password-file = "/run/secrets/harbor"
        ca-file = "ca.pem"

        [targets.docker-test]
        docker = { host = "unix:///var/run/docker.sock", proxy = "proxy.sock" }
        projects = ["orders"]

        [templates]
        hosts = ["templates.example.net"]

        [projects.orders]
        templates = ["c-service@1"]

        [projects.orders.environments.test]
        target = "docker-test"
        tier = "test"
        replicas = 2
        ensure = true
        env = { MODE = "slow" }
        "#,
    );
    assert_eq!(
        config,
        Config {
            listen: "127.0.0.1:9000".parse().expect("address"),
            data: "/etc/shipline/state".into(),
            external_url: Some("https://ci.example.net".to_owned()),
            drain_timeout: std::time::Duration::from_secs(60),
            poll: Poll { every: std::time::Duration::from_secs(2) },
            watch: Watch { every: std::time::Duration::from_secs(5) },
            smtp: Some(Smtp {
                url: "smtp://mail.example.net:587".to_owned(),
                from: "shipline@example.net".to_owned(),
                username: Some("shipline".to_owned()),
                password_file: Some("/etc/shipline/smtp".into()),
                ca_file: None,
            }),
            runner: Runner {
                concurrency: 3,
                stages: 4,
                labels: ["large", "linux"].map(str::to_owned).into(),
                subnets: "10.217.0.0/20".parse().unwrap(),
                layers: LayerMode::Copy,
                docker_host: Some("tcp://10.0.0.7:2375".to_owned()),
                cache_limit: 5 << 30,
            },
            registries: [(
                "harbor".to_owned(),
                RegistryEntry {
                    host: "harbor.example.net".to_owned(),
                    username: "robot$ci".to_owned(),
                    password_file: "/run/secrets/harbor".into(),
                    ca_file: Some("/etc/shipline/ca.pem".into()),
                }
            )]
            .into(),
            targets: [(
                "docker-test".to_owned(),
                TargetEntry {
                    place: TargetPlace::Docker(DockerEntry {
                        host: "unix:///var/run/docker.sock".to_owned(),
                        proxy: Some("/etc/shipline/proxy.sock".into()),
                        switch: None,
                        certificates: None,
                        identity: None,
                        known_hosts: None,
                    }),
                    projects: ["orders".to_owned()].into(),
                }
            )]
            .into(),
            projects: [(
                "orders".to_owned(),
                ProjectEntry {
                    environments: [(
                        "test".to_owned(),
                        Environment {
                            target: TargetSpec::Named("docker-test".to_owned()),
                            tier: Tier::Test,
                            replicas: Some(2),
                            ensure: true,
                            env: [("MODE".to_owned(), "slow".to_owned())].into(),
                            ..Environment::default()
                        }
                    )]
                    .into(),
                    templates: vec!["c-service@1".to_owned()],
                }
            )]
            .into(),
            templates: Templates { hosts: ["templates.example.net".to_owned()].into() },
        }
    );
}

#[test]
fn an_empty_file_listens_on_loopback_only() {
    let config = read("");
    assert!(config.listen.ip().is_loopback());
    assert_eq!(config, Config { data: "/etc/shipline/data".into(), ..Config::default() });
}

#[test]
fn an_unknown_key_is_shown_at_its_place_with_the_nearest_word() {
    assert_eq!(
        refusal("data = \"d\"\n\n[poll]\nevrey = \"2s\"\n"),
        "unknown key `evrey`\n\
         \x20 --> server.toml:4:1\n\
         \x20 |\n\
         4 | evrey = \"2s\"\n\
         \x20 | ^^^^^ did you mean `every`?"
    );
}

#[test]
fn an_unknown_key_with_no_near_word_lists_the_allowed_ones() {
    assert_eq!(
        refusal("[targets.test]\ndocker = { host = \"h\" }\nimages = [\"a\"]\npassword = 1\n"),
        "unknown key `images`\n\
         \x20 --> server.toml:3:1\n\
         \x20 |\n\
         3 | images = [\"a\"]\n\
         \x20 | ^^^^^^ allowed here: docker, hosts, process, projects"
    );
}

#[test]
fn a_target_is_one_place() {
    for text in [
        "[targets.test]\nprojects = []\n",
        "[targets.test]\nhosts = { hosts = [] }\n",
        "[targets.test]\ndocker = { host = \"h\" }\nprocess = { root = \"r\" }\n",
    ] {
        let refused = refusal(text);
        assert!(refused.starts_with("a target is one place\n"), "{refused}");
        assert!(refused.ends_with("give it `docker`, `hosts` or `process`"), "{refused}");
    }
    let text = "[targets.p]\nprocess = { root = \"/srv\", proxy = \"p.sock\" }\n\
                [targets.h]\nhosts = { hosts = [\"a@b:22\", { host = \"b\", group = \"north\" }], path = \"/srv/x\", known-hosts = \"known\" }\n\
                [targets.s]\ndocker = { host = \"ssh://a@b\", identity = \"key\" }\n";
    let config = load(text, Path::new("/etc/shipline/server.toml")).unwrap();
    let place = |name: &str| config.targets[name].place.clone();
    let proxy = Some("/etc/shipline/p.sock".into());
    assert_eq!(place("p"), TargetPlace::Process { root: "/srv".into(), proxy, switch: None });
    let TargetPlace::Hosts(hosts) = place("h") else { panic!("it is hosts") };
    let addresses: Vec<_> = hosts.hosts.iter().map(|host| host.host.as_str()).collect();
    assert_eq!((addresses, hosts.path), (vec!["a@b:22", "b"], Some("/srv/x".into())));
    let north = pipeline::Only::Group("north".to_owned());
    let TargetPlace::Hosts(part) = place("h").only(&north) else { panic!("it is hosts") };
    assert_eq!(part.hosts, hosts.hosts[1..]);
    assert_eq!(hosts.known_hosts, Some("/etc/shipline/known".into()));
    let TargetPlace::Docker(engine) = place("s") else { panic!("it is an engine") };
    assert_eq!(engine.identity, Some("/etc/shipline/key".into()));
}

#[test]
fn a_target_is_behind_one_switch_that_fits() {
    let target = |text: &str| format!("[targets.t]\n{text}\n");
    let haproxy = "{ haproxy = { socket = \"/h.sock\", backend = \"web\" } }";
    let hosts = |more: &str| target(&format!("hosts = {{ hosts = [\"a\"], {more} }}"));
    let config = load(&hosts(&format!("switch = {haproxy}")), Path::new("server.toml")).unwrap();
    let TargetPlace::Hosts(entry) = &config.targets["t"].place else { panic!("it is hosts") };
    assert_eq!(entry.switch.as_ref().map(pipeline::SwitchSpec::name), Some("haproxy"));
    let refused = refusal(&hosts(&format!("proxy = \"/p\", switch = {haproxy}")));
    assert!(refused.starts_with("`hosts` has a `proxy` and a `switch`\n"), "{refused}");
    let refused = refusal(&target(&format!("process = {{ root = \"/r\", switch = {haproxy} }}")));
    assert!(refused.contains("another one each time it is made"), "{refused}");
    let refused = refusal(&hosts("switch = { hook = {} }"));
    assert!(refused.contains("has neither `command` nor `url`"), "{refused}");
}

#[test]
fn a_value_of_the_wrong_kind_is_shown_where_it_stands() {
    assert_eq!(
        refusal("[poll]\nevery = \"60\"\n"),
        "`60` has no unit\n  --> server.toml:2:9\n  |\n2 | every = \"60\"\n  |         ^^^^"
    );
    assert_eq!(
        refusal("listen = \"8080\"\n"),
        "`8080` is not an address with a port\n  --> server.toml:1:10\n  |\n\
         1 | listen = \"8080\"\n  |          ^^^^^^ write for example `127.0.0.1:8080`"
    );
}

#[test]
fn what_is_not_toml_says_where_it_stops_being_it() {
    let text = refusal("listen = \n");
    assert!(text.contains("--> server.toml:1:"), "{text}");
}

#[test]
fn an_environment_names_a_target_that_is_defined() {
    let text = refusal(
        "[targets.docker-test]\ndocker = { host = \"h\" }\n[projects.orders.environments.test]\ntarget = \"docker-tset\"\n",
    );
    assert_eq!(
        text,
        "environment `test` names target `docker-tset`, which is not defined\n\
         \x20 --> server.toml:4:10\n  |\n4 | target = \"docker-tset\"\n\
         \x20 |          ^^^^^^^^^^^^^ did you mean `docker-test`?"
    );
}

#[test]
fn a_target_is_usable_only_by_projects_it_lists() {
    let config = read(
        "[targets.t]\ndocker = { host = \"h\" }\nprojects = [\"web\"]\n\
         [projects.web.environments.test]\ntarget = \"t\"\n\
         [projects.orders.environments.test]\ntarget = \"t\"\n",
    );
    assert_eq!(config.target("web", "test").map(|(name, _)| name), Ok("t"));
    assert_eq!(
        config.target("orders", "test").map(|(name, _)| name),
        Err("error[E062]: target `t` of environment `test` is not granted to project `orders`; \
             add it to `projects` of [targets.t]"
            .to_owned())
    );
    assert_eq!(
        config.target("web", "prod").map(|(name, _)| name),
        Err("error[E062]: project `web` has no environment `prod` on this server".to_owned())
    );
}

#[test]
fn a_password_is_one_line_and_its_errors_name_the_file_only() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "s3cret\n").expect("written");
    assert_eq!(read_password(&file).expect("read"), "s3cret");
    std::fs::write(&file, "s3cret\nother\n").expect("written");
    let error = read_password(&file).expect_err("two lines").to_string();
    assert_eq!(error, format!("the password file `{}` has more than one line", file.display()));
    std::fs::write(&file, "\n").expect("written");
    assert!(matches!(read_password(&file), Err(PasswordError::Empty { .. })));
    std::fs::remove_file(&file).expect("removed");
    assert!(matches!(read_password(&file), Err(PasswordError::Read { .. })));
}
