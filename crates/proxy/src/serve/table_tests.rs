use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::control::{RouteMatch, RouteOptions, Sticky, Target};
use crate::serve::counts::Outcome;

fn connection() -> Arc<Connection> {
    Connection::new(SocketAddr::from(([127, 0, 0, 1], 4000)), false)
}

fn target(unit: &str, weight: u32) -> Target {
    Target {
        unit: unit.to_owned(),
        address: "127.0.0.1:8080".to_owned(),
        release: "r1".to_owned(),
        weight,
    }
}

fn route(targets: Vec<Target>) -> SavedRoute {
    SavedRoute {
        fence: 1,
        generation: 1,
        matches: vec![RouteMatch { host: "*".to_owned(), path: "/".to_owned() }],
        targets,
        options: RouteOptions::default(),
        page: None,
    }
}

fn drain(unit: &str) -> DrainRequest {
    DrainRequest { unit: unit.to_owned(), timeout_ms: 30_000, websockets_timeout_ms: None }
}

/// A table with one route for everything, called `web`.
fn web(units: &[&str]) -> Table {
    let table = Table::default();
    set(&table, units);
    table
}

fn set(table: &Table, units: &[&str]) {
    let targets = units.iter().map(|unit| target(unit, 100)).collect();
    table.set("web", route(targets));
}

fn claim(table: &Table) -> Claim {
    match table.claim("any", "/", &HeaderMap::new(), &connection()) {
        Found::Claim { claim, .. } => claim,
        other => panic!("no claim: {other:?}"),
    }
}

/// What is in flight, as `set: unit=1 … draining: unit=1 …`.
fn in_flight(table: &Table) -> String {
    let status = table.status_of("web").unwrap();
    let list = |targets: &[crate::control::TargetStatus]| {
        targets
            .iter()
            .map(|status| format!(" {}={}", status.target.unit, status.in_flight))
            .collect::<String>()
    };
    format!("set:{} draining:{}", list(&status.targets), list(&status.draining))
}

fn status_of(table: &Table, release: &str) -> Vec<(String, u64)> {
    let status = table.status_of("web").unwrap();
    status.releases[release].status.clone().into_iter().collect()
}

#[test]
fn a_named_host_goes_before_every_host_and_a_long_path_before_a_short_one() {
    let table = Table::default();
    for (name, host, path) in [
        ("rest", "*", "/"),
        ("api", "*", "/api"),
        ("users", "*", "/api/users/"),
        ("shop", "Shop.example.com", "/"),
        ("cart", "shop.example.com", "/cart"),
        ("admin", "admin.example.com", "/admin"),
    ] {
        let mut route = route(vec![target("unit", 1)]);
        route.matches[0].host = host.to_owned();
        route.matches[0].path = path.to_owned();
        table.set(name, route);
    }
    for (host, path, expected) in [
        ("any", "/", "rest"),
        ("any", "/apis", "rest"),
        ("any", "/api", "api"),
        ("any", "/api/", "api"),
        ("any", "/api/user", "api"),
        ("any", "/api/users", "users"),
        ("any", "/api/users/7", "users"),
        ("", "/", "rest"),
        ("shop.example.com", "/", "shop"),
        ("shop.example.com", "/api", "shop"),
        ("shop.example.com", "/cart/7", "cart"),
        ("admin.example.com", "/admin", "admin"),
        ("admin.example.com", "/api", "api"),
    ] {
        match table.claim(host, path, &HeaderMap::new(), &connection()) {
            Found::Claim { route, .. } => assert_eq!(route, expected, "{host}{path}"),
            other => panic!("{host}{path}: {other:?}"),
        }
    }
}

#[test]
fn a_request_that_no_route_is_for_and_a_route_without_units_are_different() {
    let table = Table::default();
    assert!(matches!(table.claim("any", "/", &HeaderMap::new(), &connection()), Found::NoRoute));
    let mut stopped = route(vec![target("web-0", 0)]);
    let page = Page { fence: 1, status: 503, text: "back at noon".to_owned() };
    stopped.page = Some(page.clone());
    table.set("web", stopped);
    match table.claim("any", "/", &HeaderMap::new(), &connection()) {
        Found::NoUnit(shown) => assert_eq!(shown, Some(page)),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn in_each_round_every_unit_gets_as_many_requests_as_it_weighs(
        weights in prop::collection::vec(0u32..20, 1..6),
    ) {
        let targets = weights
            .iter()
            .enumerate()
            .map(|(index, weight)| target(&format!("unit-{index}"), *weight))
            .collect();
        let table = Table::default();
        table.set("web", route(targets));
        let round: u32 = weights.iter().sum();
        for _ in 0..2 {
            let mut chosen = vec![0; weights.len()];
            for _ in 0..round {
                let claim = claim(&table);
                let index: usize = claim.unit().name["unit-".len()..].parse().unwrap();
                chosen[index] += 1;
                claim.end(Outcome::Answered(200));
            }
            prop_assert_eq!(&chosen, &weights);
        }
    }

    /// Any sequence of swaps, claims and ends: what is in flight is what was
    /// claimed and not ended, and nobody gets a unit that is not in the set.
    #[test]
    fn what_is_in_flight_is_known_exactly(
        steps in prop::collection::vec((0u8..3, any::<prop::sample::Index>(), 0u8..16), 1..60),
    ) {
        let table = Table::default();
        let mut members: Vec<String> = Vec::new();
        let mut claims: Vec<Claim> = Vec::new();
        table.set("web", route(Vec::new()));
        for (step, index, mask) in steps {
            match step {
                0 => {
                    members = (0..4)
                        .filter(|unit| mask & (1 << unit) != 0)
                        .map(|unit| format!("unit-{unit}"))
                        .collect();
                    let targets = members.iter().map(|unit| target(unit, 1)).collect();
                    table.set("web", route(targets));
                }
                1 => match table.claim("any", "/", &HeaderMap::new(), &connection()) {
                    Found::Claim { claim, .. } => {
                        prop_assert!(members.contains(&claim.unit().name));
                        claims.push(claim);
                    }
                    Found::NoUnit(_) => prop_assert!(members.is_empty()),
                    Found::NoRelease(_) | Found::NoRoute => {
                        prop_assert!(false, "the route is gone");
                    }
                },
                _ if claims.is_empty() => {}
                _ => claims.swap_remove(index.index(claims.len())).end(Outcome::Unused),
            }
            let held = |unit: &str| {
                claims.iter().filter(|claim| claim.unit().name == unit).count() as u64
            };
            let status = table.status_of("web").unwrap();
            for shown in &status.targets {
                prop_assert_eq!(shown.in_flight, held(&shown.target.unit));
            }
            for unit in ["unit-0", "unit-1", "unit-2", "unit-3"] {
                let draining = status.draining.iter().filter(|shown| shown.target.unit == unit);
                let draining: u64 = draining.map(|shown| shown.in_flight).sum();
                let member = members.iter().any(|member| member == unit);
                prop_assert_eq!(draining, if member { 0 } else { held(unit) });
            }
        }
    }
}

#[test]
fn after_a_swap_nobody_gets_a_unit_that_left() {
    let table = web(&["old"]);
    let before = claim(&table);
    assert_eq!(in_flight(&table), "set: old=1 draining:");
    set(&table, &["new"]);
    assert_eq!(claim(&table).unit().name, "new");
    assert_eq!(in_flight(&table), "set: new=0 draining: old=1");
    drop(before);
    assert_eq!(in_flight(&table), "set: new=0 draining:");
}

#[test]
fn a_unit_that_stays_or_comes_back_keeps_its_requests_and_connections() {
    let table = web(&["one", "two"]);
    let claims = [claim(&table), claim(&table)];
    let keys: HashSet<u64> = claims.iter().map(|claim| claim.unit().key).collect();
    assert_eq!(keys.len(), 2);
    set(&table, &["one"]);
    set(&table, &["two", "one"]);
    assert_eq!(in_flight(&table), "set: two=1 one=1 draining:");
    let again: HashSet<u64> =
        [claim(&table), claim(&table)].iter().map(|claim| claim.unit().key).collect();
    assert_eq!(again, keys);
}

#[test]
fn a_new_unit_at_an_old_address_inherits_no_connection() {
    let table = web(&["old"]);
    let old = claim(&table);
    set(&table, &["new"]);
    let new = claim(&table);
    assert_eq!(old.unit().address, new.unit().address);
    assert_ne!(old.unit().key, new.unit().key);

    // Nor does the same name with another release.
    let mut next = target("new", 100);
    next.release = "r2".to_owned();
    table.set("web", route(vec![next]));
    assert_ne!(claim(&table).unit().key, new.unit().key);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_last_request() {
    let table = web(&["old"]);
    let request = claim(&table);
    set(&table, &[]);
    let finish = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        request.end(Outcome::Answered(200));
    };
    let asked = drain("old");
    let (drained, ()) = tokio::join!(table.drain("web", &asked), finish);
    assert_eq!(drained.unwrap(), Drained { cut: 0, took_ms: 800 });
    assert_eq!(status_of(&table, "r1"), [("2xx".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn at_the_timeout_what_is_left_is_cut_and_counted() {
    let table = web(&["old"]);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let connection = connection();
        let Found::Claim { claim, .. } = table.claim("any", "/", &HeaderMap::new(), &connection)
        else {
            panic!("no claim");
        };
        // As the task of a connection does: the cut drops the request with its claim.
        requests.spawn(async move {
            let request = async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                claim.end(Outcome::Answered(200));
            };
            tokio::select! {
                biased;
                () = request => {}
                () = connection.cut() => {}
            }
        });
    }
    set(&table, &[]);
    for took_ms in [30_000, 0] {
        let drained = table.drain("web", &drain("old")).await;
        // Who lost the answer and asks again hears the same number.
        assert_eq!(drained.unwrap(), Drained { cut: 3, took_ms });
    }
    assert_eq!(status_of(&table, "r1"), [("cut".to_owned(), 3)]);
    assert_eq!(in_flight(&table), "set: draining:");
}

#[tokio::test(start_paused = true)]
async fn a_unit_in_the_set_is_not_drained_also_when_it_comes_back_meanwhile() {
    let table = web(&["web-0"]);
    let error = table.drain("web", &drain("web-0")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "unit `web-0` still gets requests of route `web`: take it out of the targets first"
    );

    let request = claim(&table);
    set(&table, &[]);
    let back = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        set(&table, &["web-0"]);
    };
    let asked = drain("web-0");
    let (drained, ()) = tokio::join!(table.drain("web", &asked), back);
    assert!(drained.is_err());
    request.end(Outcome::Answered(200));
    assert_eq!(status_of(&table, "r1"), [("2xx".to_owned(), 1)]);
}

#[tokio::test]
async fn of_a_unit_that_nobody_knows_nothing_is_in_flight() {
    let table = web(&["web-0"]);
    for route in ["web", "shop"] {
        let drained = table.drain(route, &drain("gone")).await;
        assert_eq!(drained.unwrap().cut, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_units_of_a_removed_route_can_be_drained() {
    let table = web(&["web-0"]);
    let request = claim(&table);
    table.remove("web");
    assert!(matches!(table.claim("any", "/", &HeaderMap::new(), &connection()), Found::NoRoute));
    let finish = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(request);
    };
    let asked = drain("web-0");
    let (drained, ()) = tokio::join!(table.drain("web", &asked), finish);
    assert_eq!(drained.unwrap().took_ms, 1000);
}

#[test]
fn a_unit_that_comes_back_with_its_route_is_counted_where_everybody_looks() {
    let table = web(&["web-0"]);
    let request = claim(&table);
    table.remove("web");
    set(&table, &["web-0"]);
    request.end(Outcome::Answered(200));
    claim(&table).end(Outcome::Answered(200));
    assert_eq!(status_of(&table, "r1"), [("2xx".to_owned(), 2)]);
}

#[test]
fn a_unit_that_cannot_be_reached_is_passed_over_unless_it_is_the_last() {
    let table = web(&["one", "two"]);
    let first = claim(&table);
    first.unit().unreachable();
    let failed = first.unit().name.clone();
    for _ in 0..4 {
        assert_ne!(claim(&table).unit().name, failed);
    }
    let another =
        table.claim_another("web", &Wish::default(), first.unit(), &connection()).unwrap();
    assert_ne!(another.unit().name, failed);

    another.unit().unreachable();
    let tried: HashSet<String> = (0..4).map(|_| claim(&table).unit().name.clone()).collect();
    assert_eq!(tried.len(), 2, "with all of them down all are tried");

    first.unit().reached();
    for _ in 0..4 {
        assert_eq!(claim(&table).unit().name, failed);
    }
}

#[test]
fn there_is_no_other_unit_in_a_set_of_one() {
    let table = web(&["one"]);
    let first = claim(&table);
    assert!(table.claim_another("web", &Wish::default(), first.unit(), &connection()).is_none());
}

#[test]
fn counts_of_old_releases_are_kept_but_not_for_ever() {
    let table = Table::default();
    for release in 0..40 {
        let mut target = target("web-0", 1);
        target.release = format!("r{release}");
        table.set("web", route(vec![target]));
        claim(&table).end(Outcome::Answered(200));
    }
    let status = table.status_of("web").unwrap();
    assert_eq!(status.releases.len(), 16);
    assert!(status.releases.contains_key("r39") && status.releases.contains_key("r24"));
}

/// Threads claim and end as fast as they can while the set is swapped: when the
/// old unit is idle after a swap it stays idle.
#[test]
fn a_unit_that_was_idle_after_the_swap_stays_idle_under_load() {
    let table = web(&["unit-0"]);
    let stop = AtomicBool::new(false);
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let connection = connection();
                while !stop.load(Ordering::Relaxed) {
                    match table.claim("any", "/", &HeaderMap::new(), &connection) {
                        Found::Claim { claim, .. } => claim.end(Outcome::Answered(200)),
                        other => panic!("{other:?}"),
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut left: Vec<Arc<Unit>> = Vec::new();
        for generation in 1..200 {
            let old = claim(&table).unit().clone();
            set(&table, &[&format!("unit-{generation}")]);
            while old.in_flight() > 0 {
                std::hint::spin_loop();
            }
            left.push(old);
            let late = left.iter().filter(|unit| unit.in_flight() > 0).count();
            assert_eq!(late, 0, "a unit that left was claimed again");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let counted: u64 = status_of(&table, "r1").iter().map(|(_, count)| count).sum();
    assert_eq!(counted, served.load(Ordering::Relaxed) + 199, "each claim was counted once");
}

/// A table with units `NAME` of release `RELEASE` and a weight each.
fn web_with(options: RouteOptions, units: &[(&str, &str, u32)]) -> Table {
    let table = Table::default();
    set_with(&table, options, units);
    table
}

fn set_with(table: &Table, options: RouteOptions, units: &[(&str, &str, u32)]) {
    let targets = units.iter().map(|(unit, release, weight)| {
        let mut target = target(unit, *weight);
        (*release).clone_into(&mut target.release);
        target
    });
    table.set("web", SavedRoute { options, ..route(targets.collect()) });
}

fn sticky(way: &str) -> RouteOptions {
    RouteOptions { sticky: Some(way.parse().unwrap()), ..RouteOptions::default() }
}

/// The unit that a request with `header` gets, and the cookie it is given.
fn claim_with(table: &Table, header: (&str, &str)) -> (String, Option<String>) {
    let mut headers = HeaderMap::new();
    let name: hyper::header::HeaderName = header.0.parse().unwrap();
    headers.insert(name, header.1.parse().unwrap());
    match table.claim("any", "/", &headers, &connection()) {
        Found::Claim { claim, wish, prefix, .. } => {
            (claim.unit().name.clone(), wish.cookie(claim.unit(), &prefix, false))
        }
        Found::NoRelease(release) => (format!("no {release}"), None),
        other => panic!("no claim: {other:?}"),
    }
}

#[test]
fn a_cookie_keeps_a_client_at_its_unit_and_then_at_its_release() {
    let table = web_with(sticky("cookie"), &[("old-0", "r1", 90), ("new-0", "r2", 10)]);
    let (first, cookie) = claim_with(&table, ("accept", "*/*"));
    assert_eq!(first, "old-0");
    let cookie = cookie.unwrap();
    let value = cookie.split(';').next().unwrap();
    for _ in 0..20 {
        assert_eq!(claim_with(&table, ("cookie", value)), ("old-0".to_owned(), None));
    }
    // The unit was replaced by another one of its release.
    set_with(&table, sticky("cookie"), &[("old-1", "r1", 10), ("new-0", "r2", 90)]);
    for _ in 0..20 {
        let (unit, next) = claim_with(&table, ("cookie", value));
        assert_eq!(unit, "old-1");
        assert!(next.is_some_and(|next| next != cookie));
    }
    // The release is gone, or gets nothing any more.
    set_with(&table, sticky("cookie"), &[("old-1", "r1", 0), ("new-0", "r2", 100)]);
    let (unit, next) = claim_with(&table, ("cookie", value));
    assert_eq!(unit, "new-0");
    assert!(next.is_some());
}

#[test]
fn one_value_of_a_header_goes_to_one_unit_and_requests_without_it_take_turns() {
    let units = [("a", "r1", 1), ("b", "r1", 1), ("c", "r1", 1)];
    let table = web_with(sticky("header:x-user"), &units);
    let mut all = HashSet::new();
    for user in 0..50 {
        let user = user.to_string();
        let (unit, _) = claim_with(&table, ("x-user", &user));
        assert_eq!(claim_with(&table, ("x-user", &user)), (unit.clone(), None));
        all.insert(unit);
    }
    assert_eq!(all.len(), 3);
    let turns: HashSet<String> = (0..3).map(|_| claim_with(&table, ("accept", "*/*")).0).collect();
    assert_eq!(turns.len(), 3);
}

#[test]
fn one_address_goes_to_one_unit_until_that_cannot_be_reached() {
    let options = RouteOptions { sticky: Some(Sticky::Ip), ..RouteOptions::default() };
    let table = web_with(options, &[("a", "r1", 1), ("b", "r1", 1)]);
    let first = claim(&table);
    for _ in 0..10 {
        assert_eq!(claim(&table).unit().name, first.unit().name);
    }
    first.unit().unreachable();
    assert_ne!(claim(&table).unit().name, first.unit().name);
    first.unit().reached();
    assert_eq!(claim(&table).unit().name, first.unit().name);
}

#[test]
fn a_request_may_choose_its_release_only_where_the_route_allows_it() {
    let units = [("old-0", "r1", 100), ("new-0", "r2", 0)];
    let allowed = RouteOptions { release_header: true, ..RouteOptions::default() };
    let table = web_with(allowed.clone(), &units);
    let ask = |table: &Table, release| claim_with(table, ("x-shipline-release", release)).0;
    assert_eq!(ask(&table, "r2"), "new-0");
    assert_eq!(ask(&table, "r1"), "old-0");
    assert_eq!(ask(&table, "r3"), "no r3");
    assert_eq!(claim(&table).unit().name, "old-0");

    // A tester's choice is for once: it leaves no cookie.
    let both = RouteOptions { sticky: Some(Sticky::Cookie), ..allowed };
    let table = web_with(both, &units);
    assert_eq!(claim_with(&table, ("x-shipline-release", "r2")), ("new-0".to_owned(), None));

    let table = web_with(RouteOptions::default(), &units);
    for release in ["r2", "r3"] {
        assert_eq!(ask(&table, release), "old-0");
    }
}

#[tokio::test(start_paused = true)]
async fn websockets_have_a_limit_of_their_own() {
    let table = web(&["old"]);
    let mut tasks = tokio::task::JoinSet::new();
    for kind in [Kind::Request, Kind::WebSocket] {
        let connection = connection();
        let Found::Claim { claim, .. } = table.claim("any", "/", &HeaderMap::new(), &connection)
        else {
            panic!("no claim");
        };
        if kind == Kind::WebSocket {
            claim.upgraded();
        }
        tasks.spawn(async move {
            let began = tokio::time::Instant::now();
            tokio::select! {
                biased;
                () = tokio::time::sleep(Duration::from_secs(600)) => {}
                () = connection.cut() => {}
            }
            drop(claim);
            (kind, began.elapsed().as_secs())
        });
    }
    set(&table, &[]);
    let request = DrainRequest {
        unit: "old".to_owned(),
        timeout_ms: 30_000,
        websockets_timeout_ms: Some(300_000),
    };
    let drained = table.drain("web", &request).await.unwrap();
    assert_eq!(drained, Drained { cut: 2, took_ms: 300_000 });
    let mut ended = tasks.join_all().await;
    ended.sort_by_key(|(_, took)| *took);
    assert_eq!(ended, [(Kind::Request, 30), (Kind::WebSocket, 300)]);
}

/// Its handshake was under way when the drain began.
#[tokio::test(start_paused = true)]
async fn a_request_that_becomes_a_websocket_meanwhile_has_the_time_of_those() {
    for (lasts, drained) in [
        (60_000, Drained { cut: 0, took_ms: 60_100 }),
        (600_000, Drained { cut: 1, took_ms: 300_000 }),
    ] {
        let table = web(&["old"]);
        let connection = connection();
        let Found::Claim { claim, .. } = table.claim("any", "/", &HeaderMap::new(), &connection)
        else {
            panic!("no claim");
        };
        set(&table, &[]);
        let begins = async {
            let talk = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                claim.upgraded();
                tokio::time::sleep(Duration::from_millis(lasts)).await;
            };
            tokio::select! {
                biased;
                () = talk => {}
                () = connection.cut() => {}
            }
            drop(claim);
        };
        let asked = DrainRequest { websockets_timeout_ms: Some(300_000), ..drain("old") };
        let (ended, ()) = tokio::join!(table.drain("web", &asked), begins);
        assert_eq!(ended.unwrap(), drained);
    }
}
