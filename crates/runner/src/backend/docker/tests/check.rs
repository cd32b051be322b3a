//! Checks of what is deployed: what they reach, what they do not, and what they leave.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use bollard::models::ContainerCreateBody;
use deploy::Reach;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, IMAGE};
use crate::backend::docker::container;
use crate::backend::docker::labels::{self, Kind, Labels};
use crate::backend::{Backend, BackendError, contract};

/// Answers each connection to the loopback interface with `answer`.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
            );
        }
    });
    address
}

fn reach(variable: &'static str, addresses: &[SocketAddr], before: &'static str) -> Reach {
    Reach { variable, addresses: addresses.to_vec(), before, after: String::new() }
}

#[tokio::test]
async fn a_check_reaches_what_is_tested_on_the_loopback_interface_and_nothing_else() {
    let bench = Bench::empty().await;
    let (unit, other) = (answering("unit"), answering("other"));
    let commands = [
        "wget -qO- $SHIPLINE_URL; echo",
        "wget -qO- http://$SHIPLINE_UNITS; echo",
        // Its own loopback interface, and the same machine by the address of the door.
        &format!("wget -qT 2 -O- http://{other} 2>/dev/null && echo reached"),
        &format!(
            "wget -qT 2 -O- http://${{SHIPLINE_UNITS%:*}}:{} 2>/dev/null && echo reached",
            other.port()
        ),
        "wget -qT 2 -O- http://1.1.1.1 2>/dev/null && echo reached",
        "ls -A",
        "echo $WORD",
    ]
    .map(|command| {
        if command.contains("reached") { format!("{command} || true") } else { command.to_owned() }
    });
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let reaches =
        vec![reach("SHIPLINE_UNITS", &[unit], ""), reach("SHIPLINE_URL", &[unit], "http://")];
    let check = contract::check(&bench.run.instance, IMAGE, &commands, reaches);
    let cancel = CancellationToken::new();
    let (heard, exit) = contract::make(&bench.backend, &check, &cancel).await;
    assert_eq!((heard.as_str(), exit.unwrap().code), ("unit\nunit\nhello\n", 0));
    assert_eq!(bench.objects().await.iter().filter(|it| it.contains("check")).count(), 0);
}

#[tokio::test]
async fn an_image_that_is_not_there_is_told_and_nothing_is_left() {
    let bench = Bench::empty().await;
    let image = "localhost:1/nobody/nothing:1";
    let check = contract::check(&bench.run.instance, image, &["true"], Vec::new());
    let cancel = CancellationToken::new();
    let (_, ended) = contract::make(&bench.backend, &check, &cancel).await;
    let error = ended.unwrap_err();
    assert!(!matches!(error, BackendError::Cancelled), "{error}");
    let left = bench.objects().await;
    assert!(!left.iter().any(|object| object.contains("Container")), "{left:?}");
}

#[tokio::test]
async fn what_a_dead_process_left_of_a_check_is_found_by_its_labels() {
    let bench = Bench::empty().await;
    let engine = &bench.backend.engine;
    let name = format!("shipline-check-{}", bench.run.run.short());
    let labels = |owner: &str| {
        let labels = Labels::new(&bench.run.instance, Kind::Check);
        labels.with(labels::OWNER, owner).map()
    };
    let make = async |name: &str, owner: &str| {
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            cmd: Some(vec!["sleep".to_owned(), "3600".to_owned()]),
            labels: Some(labels(owner)),
            ..Default::default()
        };
        container::create(engine, &bench.run, name, body).await.unwrap()
    };
    // No process has this start time.
    make(&name, &format!("{}:1", std::process::id())).await;
    let living = format!("{name}-living");
    make(&living, &engine.owner).await;
    assert_eq!(bench.backend.sweep_checks(&bench.run.instance).await.unwrap(), 1);
    assert_eq!(bench.backend.sweep_checks(&bench.run.instance).await.unwrap(), 0);
    let left = bench.objects().await;
    assert_eq!(left.iter().filter(|object| object.contains("Container")).count(), 1, "{left:?}");
}
