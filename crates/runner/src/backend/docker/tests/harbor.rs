//! The gate of Harbor's scanner, from a real push to its verdict.

use std::time::{Duration, Instant};

use pipeline::{Scan, ScanSeverity, Unscannable};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bench::{ROBOT, RegistryServer, heard};
use super::push::Shop;
use crate::backend::{Backend, BackendError, PushSpec};

fn finding(id: &str, severity: &str, score: f64, fixed: &str) -> Value {
    json!({"id": id, "severity": severity, "package": "openssl", "version": "3.0.1",
        "fix_version": fixed, "preferred_cvss": {"score_v3": score}})
}

fn findings() -> Value {
    let mut findings = vec![
        finding("CVE-2024-0001", "Low", 2.0, ""),
        finding("CVE-2024-0002", "High", 7.1, "3.0.2"),
        finding("CVE-2024-0003", "Critical", 9.8, "3.0.3"),
        finding("CVE-2024-0004", "High", 8.8, ""),
        finding("CVE-2024-0005", "Medium", 5.0, ""),
    ];
    findings.extend((10..15).map(|n| finding(&format!("CVE-2023-00{n}"), "High", 7.0, "")));
    findings.into()
}

/// A push into a repository with a slash, with a gate.
fn gated(shop: &Shop, max: ScanSeverity, on_unscannable: Unscannable) -> PushSpec {
    let scan =
        Scan { max_severity: max, timeout: pipeline::Duration::from_secs(20), on_unscannable };
    PushSpec { scan: Some(scan), ..shop.spec("team/group/app", "1.0") }
}

/// What fails the stage: the image is what is wrong.
async fn failed(shop: &Shop, spec: &PushSpec) -> (String, String) {
    match shop.push(spec).await {
        (Err(BackendError::User { code: Some("E090"), message }), said) => (message, said),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_scan_is_started_waited_for_and_fails_what_is_above_the_limit() {
    let shop = Shop::open(&json!({"seconds": 2, "found": findings()})).await;
    let host = shop.harbor.registry.host.clone();
    let spec = gated(&shop, ScanSeverity::Medium, Unscannable::Fail);
    let (message, said) = failed(&shop, &spec).await;
    let lines: Vec<&str> = message.lines().collect();
    assert!(
        lines[0].starts_with(&format!("the scan of {host}/team/group/app@sha256:"))
            && lines[0].ends_with(
                "found 1 critical, 7 high, 1 medium, 1 low (2 of them fixable); `max-severity` of `push.scan` is `medium`"
            ),
        "{message}"
    );
    assert_eq!(lines[1], "  CVE-2024-0003 (critical) in openssl 3.0.1, fixed in 3.0.3");
    assert_eq!(lines[2], "  CVE-2024-0004 (high) in openssl 3.0.1, not fixed yet");
    assert_eq!(lines[3], "  CVE-2024-0002 (high) in openssl 3.0.1, fixed in 3.0.2");
    assert!(
        lines[6].starts_with(&format!(
            "  and 5 more, see https://{host}/harbor/projects/2/repositories/group%2Fapp/artifacts-tab/artifacts/sha256:"
        )),
        "{message}"
    );
    assert!(said.contains(&format!("{host} scans ")) && said.contains("the scan is running"));
    assert!(said.contains("found 1 critical, 7 high"), "{said}");
    let requests = shop.harbor.requests();
    let scans = requests.iter().filter(|line| line.starts_with("POST /api/v2.0/")).count();
    assert_eq!(scans, 1, "{requests:?}");
    let digest = message.split('@').nth(1).unwrap().split(' ').next().unwrap();
    let asked = format!(
        "GET /api/v2.0/projects/team/repositories/group%252Fapp/artifacts/{digest}?with_scan_overview=true 200"
    );
    assert!(requests.contains(&asked), "{requests:?}");

    // The same image, and a limit that lets it pass: its scan is there already.
    let spec = gated(&shop, ScanSeverity::Critical, Unscannable::Fail);
    let (pushed, said) = shop.push(&spec).await;
    pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains("found 1 critical, 7 high"), "{said}");
    let requests = shop.harbor.requests();
    let scans = requests.iter().filter(|line| line.starts_with("POST /api/v2.0/")).count();
    assert_eq!(scans, 1, "no second scan: {requests:?}");
}

#[tokio::test]
async fn a_scan_that_the_push_started_is_waited_for_and_one_without_findings_passes() {
    let shop = Shop::open(&json!({"automatic": true, "seconds": 1, "found": []})).await;
    let (pushed, said) = shop.push(&gated(&shop, ScanSeverity::None, Unscannable::Fail)).await;
    pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains("found nothing"), "{said}");
    assert!(!shop.harbor.requests().iter().any(|line| line.starts_with("POST /api/")));
}

#[tokio::test]
async fn an_image_that_cannot_be_scanned_fails_or_passes_as_the_stage_says() {
    for (world, why) in [
        (json!({"scanner": false}), "no available scanner for project: 2"),
        (json!({"scanner": "unsupported"}), "does not support scanning artifact with mime type"),
        (json!({"status": "Error"}), "the scan failed"),
    ] {
        let shop = Shop::open(&world).await;
        let (message, _) =
            failed(&shop, &gated(&shop, ScanSeverity::High, Unscannable::Fail)).await;
        assert!(message.contains("cannot be scanned: ") && message.contains(why), "{message}");
        let (pushed, said) = shop.push(&gated(&shop, ScanSeverity::High, Unscannable::Pass)).await;
        pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
        assert!(said.contains(why) && said.contains("`on-unscannable` lets it pass"), "{said}");
    }
}

#[tokio::test]
async fn a_scan_that_does_not_end_is_no_fault_of_the_image() {
    let shop = Shop::open(&json!({"seconds": 3600})).await;
    let mut spec = gated(&shop, ScanSeverity::High, Unscannable::Pass);
    spec.scan.as_mut().unwrap().timeout = pipeline::Duration::from_secs(2);
    let begun = Instant::now();
    let (late, said) = shop.push(&spec).await;
    let Err(BackendError::Infrastructure { part: "registry", message }) = late else {
        panic!("{late:?}\n{said}");
    };
    assert!(
        message.contains("within 2s (`timeout` of `push.scan`); the scan is running"),
        "{message}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));

    // A cancel is heard while it is waited for.
    spec.scan.as_mut().unwrap().timeout = pipeline::Duration::from_secs(600);
    let cancel = CancellationToken::new();
    let (bench, begun) = (&shop.bench, Instant::now());
    let pushing =
        heard(async |output| bench.backend.push(&bench.run, &spec, &output, &cancel).await);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cancel.cancel();
    };
    let ((cancelled, _), ()) = tokio::join!(pushing, stopping);
    assert!(matches!(cancelled, Err(BackendError::Cancelled)), "{cancelled:?}");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_harbor_that_is_out_of_order_or_refuses_is_told_from_a_bad_image() {
    let once = json!({"method": "GET", "path": "/artifacts/", "status": 502, "times": 2});
    let shop = Shop::open(&json!({"faults": [once], "found": []})).await;
    let (pushed, said) = shop.push(&gated(&shop, ScanSeverity::High, Unscannable::Fail)).await;
    pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert_eq!(said.matches("502 Bad Gateway").count(), 2, "{said}");

    let down = json!({"method": "GET", "path": "/artifacts/", "status": 502});
    shop.harbor.change(&json!({"faults": [down]}));
    let (down, said) = shop.push(&gated(&shop, ScanSeverity::High, Unscannable::Pass)).await;
    let Err(BackendError::Infrastructure { part: "registry", message }) = down else {
        panic!("{down:?}\n{said}");
    };
    assert!(
        message.contains(&shop.harbor.registry.host)
            && message.ends_with("(asked 5 times for the scan)"),
        "{message}"
    );

    let forbidden = json!({"path": "/artifacts/", "status": 403, "message": "forbidden"});
    shop.harbor.change(&json!({"faults": [forbidden]}));
    let (refused, said) = shop.push(&gated(&shop, ScanSeverity::High, Unscannable::Pass)).await;
    let Err(BackendError::User { code: Some("E090"), message }) = refused else {
        panic!("{refused:?}\n{said}");
    };
    assert!(
        message.starts_with(&format!("`{ROBOT}` may not see the scan of team/group/app at"))
            && message.contains("403 Forbidden: forbidden")
            && message.contains("create scans"),
        "{message}"
    );
}

#[tokio::test]
async fn a_registry_that_is_no_harbor_has_no_gate() {
    let shop = Shop::open(&json!({})).await;
    let plain = RegistryServer::start();
    let mut spec = gated(&shop, ScanSeverity::High, Unscannable::Pass);
    spec.tags = vec![format!("{}/team/group/app:1.0", plain.registry.host)];
    spec.registry = plain.registry.clone();
    let (message, said) = failed(&shop, &spec).await;
    assert!(said.contains("pushed "), "the image is there all the same: {said}");
    assert!(message.starts_with(&format!("{} is no Harbor", plain.registry.host)), "{message}");
    super::build::docker(&["rmi", &spec.tags[0]]);
}
