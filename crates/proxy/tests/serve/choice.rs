//! Which unit a request gets: by weight, by what keeps a client together, by choice.

use std::collections::BTreeMap;

use shipline_proxy::control::{RouteOptions, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::{TestProxy, target};
use crate::unit::{Unit, Witness};

/// Two units of two releases, with these weights.
async fn canary(proxy: &TestProxy, stable: u32, canary: u32, options: RouteOptions) -> [Unit; 2] {
    let witness = Witness::default();
    let units = [Unit::start("stable", &witness).await, Unit::start("canary", &witness).await];
    let of = |unit: &Unit, release: &str, weight| Target {
        release: release.to_owned(),
        weight,
        ..target(&unit.name, unit.address)
    };
    let targets = vec![of(&units[0], "r1", stable), of(&units[1], "r2", canary)];
    proxy.route_with(targets, options).await;
    units
}

/// Asks once with these header lines; returns the body and the cookie that was set.
async fn ask(proxy: &TestProxy, headers: &str) -> (String, Option<String>) {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let cookie = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.to_owned())
    });
    (body.trim_end().to_owned(), cookie)
}

async fn share(proxy: &TestProxy, requests: usize) -> BTreeMap<String, usize> {
    let mut share = BTreeMap::new();
    for _ in 0..requests {
        *share.entry(ask(proxy, "").await.0).or_default() += 1;
    }
    share
}

#[tokio::test]
async fn weights_share_out_requests_exactly_and_a_unit_without_weight_gets_none() {
    let proxy = TestProxy::start().await;
    let _units = canary(&proxy, 95, 5, RouteOptions::default()).await;
    let expected = BTreeMap::from([("stable".to_owned(), 95), ("canary".to_owned(), 5)]);
    assert_eq!(share(&proxy, 100).await, expected);
    assert_eq!(proxy.counts("r2").await, "2xx=5");

    let _units = canary(&proxy, 100, 0, RouteOptions::default()).await;
    assert_eq!(share(&proxy, 20).await.keys().collect::<Vec<_>>(), ["stable"]);
}

#[tokio::test]
async fn a_client_with_a_cookie_stays_where_it_was_first() {
    let proxy = TestProxy::start().await;
    let options =
        RouteOptions { sticky: Some("cookie".parse().unwrap()), ..RouteOptions::default() };
    let _units = canary(&proxy, 50, 50, options).await;
    for _ in 0..2 {
        let (unit, cookie) = ask(&proxy, "").await;
        let cookie = cookie.unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
        let value = cookie.split(';').next().unwrap();
        for _ in 0..10 {
            let again = ask(&proxy, &format!("cookie: {value}\r\n")).await;
            assert_eq!(again, (unit.clone(), None));
        }
    }
}

#[tokio::test]
async fn a_tester_chooses_the_release_where_the_route_allows_it() {
    let proxy = TestProxy::start().await;
    let options = RouteOptions { release_header: true, ..RouteOptions::default() };
    let _units = canary(&proxy, 100, 0, options).await;
    for _ in 0..3 {
        assert_eq!(ask(&proxy, "X-Shipline-Release: r2\r\n").await.0, "canary");
        assert_eq!(ask(&proxy, "").await.0, "stable");
    }
    let (said, _) = ask(&proxy, "X-Shipline-Release: r3\r\n").await;
    assert_eq!(said, "no unit runs release `r3` here");

    let _units = canary(&proxy, 100, 0, RouteOptions::default()).await;
    assert_eq!(ask(&proxy, "X-Shipline-Release: r2\r\n").await.0, "stable");
}

#[tokio::test]
async fn each_release_has_its_counts_and_its_histogram() {
    let proxy = TestProxy::start().await;
    let [stable, _canary] = canary(&proxy, 75, 25, RouteOptions::default()).await;
    share(&proxy, 40).await;
    let mut slow = TcpStream::connect(proxy.address).await.unwrap();
    slow.write_all(b"GET /slow/60000 HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
    proxy.until_in_flight(&stable, 1).await;

    let routes = proxy.control().routes().await.unwrap();
    let releases = &routes.routes["web"].releases;
    for (release, answers, in_flight) in [("r1", 30, 1), ("r2", 10, 0)] {
        let counts = &releases[release];
        assert_eq!(counts.requests(), answers);
        assert_eq!(counts.latency.count(), answers);
        assert!(counts.latency.quantile_ms(0.5).is_some_and(|ms| ms <= 1000));
        assert_eq!(counts.in_flight, in_flight);
    }
    let text = proxy.control().metrics().await.unwrap();
    for line in [
        "shipline_proxy_requests_total{route=\"web\",release=\"r1\",class=\"2xx\"} 30",
        "shipline_proxy_requests_in_flight{route=\"web\",release=\"r1\"} 1",
        "shipline_proxy_request_duration_seconds_count{route=\"web\",release=\"r2\"} 10",
        "shipline_proxy_targets{route=\"web\"} 2",
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is not in {text}");
    }
}
