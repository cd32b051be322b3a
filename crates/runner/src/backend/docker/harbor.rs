//! What Harbor's scanner says of an image that was pushed, as a gate.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use pipeline::{Scan, ScanSeverity, Unscannable};
use reqwest::header::{ACCEPT, HeaderName};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::push::say;
use super::registry_client::{Header, RegistryClient, read, said};
use super::retry::Failure;
use crate::backend::{BackendError, Chunk, PushSpec};

/// Reports that we can read, the newer first.
const REPORTS: Header = (
    HeaderName::from_static("x-accept-vulnerabilities"),
    "application/vnd.security.vulnerability.report; version=1.1, \
     application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0",
);
const JSON: Header = (ACCEPT, "application/json");
/// Between two looks at a scan: at first, and at most.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Findings that are named one by one.
const NAMED: usize = 5;
/// Looks without an answer after which Harbor is taken to be away.
const PATIENCE: u32 = 5;

/// What was pushed.
pub(super) struct Image<'a> {
    /// `repo@sha256:…`, for messages.
    pub(super) reference: &'a str,
    /// In the registry, with the project.
    pub(super) name: &'a str,
    pub(super) digest: &'a str,
}

/// Waits for the scan of an image, and passes if it found nothing above the limit.
pub(super) async fn gate(
    spec: &PushSpec,
    scan: &Scan,
    image: &Image<'_>,
    output: &mpsc::Sender<Chunk>,
) -> Result<(), BackendError> {
    let artifact = Artifact::find(spec, image).await?;
    match artifact.wait(scan, output).await? {
        Waited::Done(found) => artifact.judge(scan, found, output).await,
        Waited::Unscannable(why) => {
            let message = format!("{} cannot be scanned: {why}", image.reference);
            match scan.on_unscannable {
                Unscannable::Pass => {
                    say(output, format!("{message}; `on-unscannable` lets it pass")).await;
                    Ok(())
                }
                Unscannable::Fail => {
                    let message = format!("{message}; `on-unscannable` of `push.scan` is `fail`");
                    Err(refuse(message))
                }
            }
        }
    }
}

enum Waited {
    Done(Found),
    Unscannable(String),
}

/// What a scan found, as Harbor sums it up.
#[derive(Default)]
struct Found {
    project: i64,
    counts: BTreeMap<String, u64>,
    fixable: u64,
}

struct Artifact<'a> {
    client: RegistryClient<'a>,
    image: &'a Image<'a>,
    spec: &'a PushSpec,
    /// Of the API.
    path: String,
}

impl<'a> Artifact<'a> {
    async fn find(spec: &'a PushSpec, image: &'a Image<'a>) -> Result<Self, BackendError> {
        let client = RegistryClient::connect(&spec.registry).await.map_err(final_error)?;
        let ping = client.ask_with_login(Method::GET, "api/v2.0/ping", &[]).await;
        let answer = ping.map_err(final_error)?;
        let is_harbor =
            answer.status().is_success() && read(answer).await.is_ok_and(|body| body == b"Pong");
        let Some((project, repository)) = image.name.split_once('/').filter(|_| is_harbor) else {
            let message = format!(
                "{} is no Harbor, whose scanner alone can be the gate of `push.scan`: remove `scan`, or \
                 scan the image in a `run` stage",
                spec.registry.host
            );
            return Err(refuse(message));
        };
        // Slashes twice: Harbor's router takes one layer off, its handler the other.
        let repository = repository.replace('/', "%252F");
        let digest = image.digest;
        let path =
            format!("api/v2.0/projects/{project}/repositories/{repository}/artifacts/{digest}");
        Ok(Self { client, image, spec, path })
    }

    /// Waits for a scan to end; starts one where none runs.
    async fn wait(
        &self,
        scan: &Scan,
        output: &mpsc::Sender<Chunk>,
    ) -> Result<Waited, BackendError> {
        let host = &self.spec.registry.host;
        let begun = Instant::now();
        let (mut started, mut pause, mut told, mut failed) = (false, PAUSE, String::new(), 0);
        loop {
            let (state, overview) = match self.overview().await {
                Ok((project, overview)) => {
                    failed = 0;
                    let state = overview.as_ref().map_or("", |found| &*found.scan_status);
                    (state.to_owned(), overview.map(|overview| (project, overview)))
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(message) | Failure::Later(message, _)) => {
                    failed += 1;
                    if failed == PATIENCE {
                        let message = format!("{message} (asked {failed} times for the scan)");
                        return Err(infrastructure(message));
                    }
                    say(output, format!("{message}; asking again")).await;
                    (told.clone(), None)
                }
            };
            match (state.as_str(), overview) {
                ("Success", Some((project, overview))) => {
                    let summary = overview.summary.unwrap_or_default();
                    let Summary { summary: counts, fixable } = summary;
                    return Ok(Waited::Done(Found { project, counts, fixable }));
                }
                ("" | "Error" | "Stopped", _) if !started && failed == 0 => {
                    started = true;
                    if let Some(why) = self.start().await? {
                        return Ok(Waited::Unscannable(why));
                    }
                    say(output, format!("{host} scans {}", self.image.reference)).await;
                }
                (state @ ("Error" | "Stopped"), Some(_)) => {
                    let ended = if state == "Error" { "failed" } else { "was stopped" };
                    return Ok(Waited::Unscannable(format!("the scan {ended}")));
                }
                (state, _) if state != told => {
                    say(output, format!("the scan is {}", state.to_ascii_lowercase())).await;
                }
                _ => {}
            }
            told = state;
            let left = scan.timeout.std().saturating_sub(begun.elapsed());
            if left.is_zero() {
                let state = if told.is_empty() { "pending".to_owned() } else { told };
                return Err(infrastructure(format!(
                    "{host} did not scan {} within {} (`timeout` of `push.scan`); the scan is {}",
                    self.image.reference,
                    scan.timeout,
                    state.to_ascii_lowercase()
                )));
            }
            sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// The project's number, and the scan of the image if there is one.
    async fn overview(&self) -> Result<(i64, Option<Overview>), Failure> {
        let path = format!("{}?with_scan_overview=true", self.path);
        let about: About = self.get(&path).await?;
        Ok((about.project_id, about.scan_overview.unwrap_or_default().into_values().next()))
    }

    /// Starts a scan; returns why there can be none.
    async fn start(&self) -> Result<Option<String>, BackendError> {
        let path = format!("{}/scan", self.path);
        let answer = self.client.ask_with_login(Method::POST, &path, &[JSON]).await;
        let answer = answer.map_err(final_error)?;
        match answer.status() {
            // Somebody else's scan is as good.
            status if status.is_success() || status == StatusCode::CONFLICT => Ok(None),
            StatusCode::PRECONDITION_FAILED
            | StatusCode::BAD_REQUEST
            | StatusCode::UNPROCESSABLE_ENTITY => Ok(Some(said(answer).await)),
            _ => Err(self.refused("may not scan", &said(answer).await)),
        }
    }

    async fn judge(
        &self,
        scan: &Scan,
        found: Found,
        output: &mpsc::Sender<Chunk>,
    ) -> Result<(), BackendError> {
        let told = format!("the scan of {} found {}", self.image.reference, told(&found));
        say(output, told.clone()).await;
        let above =
            found.counts.iter().any(|(word, count)| *count > 0 && rank(word) > scan.max_severity);
        if !above {
            return Ok(());
        }
        let limit = word(scan.max_severity);
        let mut message = format!("{told}; `max-severity` of `push.scan` is `{limit}`");
        let total: u64 = found.counts.values().sum();
        let worst = self.worst(scan.max_severity).await;
        for finding in &worst {
            // Writing to a string cannot fail.
            let _ = write!(message, "\n  {finding}");
        }
        let left = total.saturating_sub(u64::try_from(worst.len()).unwrap_or(u64::MAX));
        let (_, repository) = self.image.name.split_once('/').unwrap_or_default();
        let page = self.client.page(&format!(
            "harbor/projects/{}/repositories/{}/artifacts-tab/artifacts/{}",
            found.project,
            repository.replace('/', "%2F"),
            self.image.digest
        ));
        let _ = match left {
            0 => write!(message, "\n  see {page}"),
            left => write!(message, "\n  and {left} more, see {page}"),
        };
        for line in message.lines().skip(1) {
            say(output, line.to_owned()).await;
        }
        Err(refuse(message))
    }

    /// The worst findings above the limit. What is wrong is known without them.
    async fn worst(&self, limit: ScanSeverity) -> Vec<String> {
        let path = format!("{}/additions/vulnerabilities", self.path);
        let reports: BTreeMap<String, Report> = match self.get(&path).await {
            Ok(reports) => reports,
            Err(failure) => {
                tracing::debug!("the findings of a scan cannot be read: {failure:?}");
                return Vec::new();
            }
        };
        let mut findings: Vec<Finding> = reports
            .into_values()
            .flat_map(|report| report.vulnerabilities.unwrap_or_default())
            .filter(|finding| rank(&finding.severity) > limit)
            .collect();
        findings.sort_by(|a, b| {
            let order = |finding: &Finding| Reverse((rank(&finding.severity), finding.score()));
            order(a).cmp(&order(b)).then_with(|| a.id.cmp(&b.id))
        });
        findings.iter().take(NAMED).map(Finding::told).collect()
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.client.ask_with_login(Method::GET, path, &[JSON, REPORTS]).await?;
        if !answer.status().is_success() {
            let said = said(answer).await;
            return Err(self.refused("may not see the scan of", &said).into());
        }
        let body = read(answer).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let host = &self.spec.registry.host;
            infrastructure(format!("{host} answers what cannot be read: {error}")).into()
        })
    }

    fn refused(&self, what: &str, said: &str) -> BackendError {
        let registry = &self.spec.registry;
        let message = format!(
            "`{}` {what} {} at {}: {said}\n  a robot account needs the permissions to read \
             artifacts and their additions, and to create scans",
            registry.login(),
            self.image.name,
            registry.host
        );
        BackendError::User { code: Some("E090"), message }
    }
}

fn final_error(failure: Failure) -> BackendError {
    match failure {
        Failure::Final(error) => error,
        Failure::Passing(message) | Failure::Later(message, _) => infrastructure(message),
    }
}

/// The image does not pass.
fn refuse(message: String) -> BackendError {
    BackendError::User { code: Some("E090"), message }
}

fn infrastructure(message: String) -> BackendError {
    BackendError::Infrastructure { part: "registry", message }
}

/// How bad a word of Harbor is. What no scanner has weighed yet counts as `low`; a
/// word that nobody knows counts as the worst.
fn rank(word: &str) -> ScanSeverity {
    match word.to_ascii_lowercase().as_str() {
        "none" => ScanSeverity::None,
        "unknown" | "negligible" | "low" => ScanSeverity::Low,
        "medium" => ScanSeverity::Medium,
        "high" => ScanSeverity::High,
        _ => ScanSeverity::Critical,
    }
}

const fn word(severity: ScanSeverity) -> &'static str {
    match severity {
        ScanSeverity::None => "none",
        ScanSeverity::Low => "low",
        ScanSeverity::Medium => "medium",
        ScanSeverity::High => "high",
        ScanSeverity::Critical => "critical",
    }
}

/// `1 critical, 2 high (2 of them fixable)`, the worst first.
fn told(found: &Found) -> String {
    let mut counts: Vec<(&String, u64)> =
        found.counts.iter().map(|(word, count)| (word, *count)).filter(|(_, n)| *n > 0).collect();
    if counts.is_empty() {
        return "nothing".to_owned();
    }
    counts.sort_by(|(a, _), (b, _)| rank(b).cmp(&rank(a)).then_with(|| a.cmp(b)));
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{count} {}", plain(word).to_ascii_lowercase()))
        .collect();
    let fixable = match found.fixable {
        0 => String::new(),
        fixable => format!(" ({fixable} of them fixable)"),
    };
    counts.join(", ") + &fixable
}

/// A short text of a report, which anybody may have written.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(100).collect()
}

#[derive(Deserialize)]
struct About {
    #[serde(default)]
    project_id: i64,
    /// By the kind of report.
    #[serde(default)]
    scan_overview: Option<BTreeMap<String, Overview>>,
}

#[derive(Deserialize)]
struct Overview {
    #[serde(default)]
    scan_status: String,
    #[serde(default)]
    summary: Option<Summary>,
}

#[derive(Default, Deserialize)]
struct Summary {
    #[serde(default)]
    summary: BTreeMap<String, u64>,
    #[serde(default)]
    fixable: u64,
}

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    vulnerabilities: Option<Vec<Finding>>,
}

#[derive(Deserialize)]
struct Finding {
    #[serde(default)]
    id: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    fix_version: Option<String>,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    preferred_cvss: Option<Score>,
}

#[derive(Deserialize)]
struct Score {
    #[serde(default)]
    score_v3: Option<f64>,
}

impl Finding {
    /// In tenths, so that it can be ordered.
    fn score(&self) -> i64 {
        let score = self.preferred_cvss.as_ref().and_then(|score| score.score_v3);
        // A score is at most ten.
        score.map_or(0, |score| (score.clamp(0.0, 10.0) * 10.0) as i64)
    }

    fn told(&self) -> String {
        let fixed = self.fix_version.as_deref().filter(|version| !version.is_empty());
        let fixed = fixed
            .map_or("not fixed yet".to_owned(), |version| format!("fixed in {}", plain(version)));
        format!(
            "{} ({}) in {} {}, {fixed}",
            plain(&self.id),
            plain(&self.severity).to_ascii_lowercase(),
            plain(&self.package),
            plain(&self.version)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_scanner_are_ranked_and_what_nobody_knows_is_worst() {
        assert!(rank("High") > rank("Medium") && rank("Medium") > rank("Negligible"));
        assert_eq!(rank("Unknown"), ScanSeverity::Low);
        assert_eq!(rank("Catastrophic"), ScanSeverity::Critical);
    }

    #[test]
    fn counts_are_told_worst_first() {
        let counts = [("Low", 4), ("Critical", 1), ("Medium", 0), ("High", 2)];
        let counts = counts.map(|(word, count)| (word.to_owned(), count)).into();
        let found = Found { project: 1, counts, fixable: 3 };
        assert_eq!(told(&found), "1 critical, 2 high, 4 low (3 of them fixable)");
        assert_eq!(told(&Found::default()), "nothing");
    }

    #[test]
    fn an_artifact_is_read_before_during_and_after_its_scan() {
        let read = |text: &str| {
            let about: About = serde_json::from_str(text).unwrap();
            about.scan_overview.unwrap_or_default().into_values().next()
        };
        assert!(read(r#"{"project_id": 2, "scan_overview": null}"#).is_none());
        let running = read(
            r#"{"scan_overview": {"application/vnd.security.vulnerability.report; version=1.1":
               {"scan_status": "Running", "summary": null}}}"#,
        );
        assert_eq!(running.unwrap().scan_status, "Running");
        let done = read(
            r#"{"scan_overview": {"x": {"scan_status": "Success", "severity": "High", "summary":
               {"total": 3, "fixable": 1, "summary": {"High": 1, "Low": 2}}}}}"#,
        );
        let summary = done.unwrap().summary.unwrap();
        assert_eq!((summary.fixable, summary.summary["Low"]), (1, 2));
    }

    #[test]
    fn a_finding_is_one_line_whatever_stands_in_the_report() {
        let finding: Finding = serde_json::from_str(
            r#"{"id": "CVE-2024-1\u001b[2J", "package": "openssl", "version": "3.0.1",
                "fix_version": "3.0.2", "severity": "Critical", "preferred_cvss": {"score_v3": 9.8}}"#,
        )
        .unwrap();
        assert_eq!(finding.told(), "CVE-2024-1[2J (critical) in openssl 3.0.1, fixed in 3.0.2");
        assert_eq!(finding.score(), 98);
    }
}
