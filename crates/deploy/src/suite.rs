//! Tests of behaviour after admission: what `verify` asks for, and who answers.
//!
//! A path is asked of each new unit at its own address; an absolute address is asked
//! through the switch, as people do; and commands run in a container, once per batch or
//! for each unit by itself.

mod check;
mod http;
mod run;
mod tally;

use std::collections::BTreeMap;

use pipeline::{HttpCheck, Per, RunCheck, Verify, VerifyCheck};
use serde::{Deserialize, Serialize};

pub use run::{CheckLine, CheckRunner, Commands, Ran, Reach};

pub(crate) use check::{CLEARING, Checked, Checks, Tested};
pub(crate) use http::client;

const HTTP_TIMEOUT: pipeline::Duration = pipeline::Duration::from_secs(10);
const RUN_TIMEOUT: pipeline::Duration = pipeline::Duration::from_secs(300);

/// One check, written out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyStep {
    Http(HttpStep),
    Run(RunStep),
}

/// A GET and what its answer must be. Redirects are not followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HttpStep {
    /// The suite that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Asked for with the deployment, and not by the file: it does not last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// A path, or an absolute address.
    pub http: String,
    /// The statuses that are good; none means 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<u16>,
    /// Text that the body holds. Of a body, the first mebibyte is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Values of the body, which is JSON, by JSON pointer: `/checks/0/state`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Value>,
    /// How long the whole answer may take to be good; `timeout` only ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<pipeline::Duration>,
    #[serde(default = "http_timeout")]
    pub timeout: pipeline::Duration,
}

/// Commands that end with 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunStep {
    /// As in [`HttpStep`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// As in [`HttpStep`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    pub image: String,
    pub run: Vec<String>,
    #[serde(default)]
    pub per: Per,
    #[serde(default = "run_timeout")]
    pub timeout: pipeline::Duration,
}

/// Lists of checks by name, as the place of a deployment knows them.
pub type Suites = BTreeMap<String, Vec<VerifyStep>>;

/// What else there is to know for checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct CheckSettings {
    /// What else could be checked.
    #[serde(skip_serializing_if = "Suites::is_empty")]
    pub suites: Suites,
    /// For commands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl CheckSettings {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no suite `{name}`; {}", told(known))]
pub struct UnknownSuite {
    pub name: String,
    pub known: Vec<String>,
}

fn told(known: &[String]) -> String {
    match known {
        [] => "none is defined".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    }
}

const fn http_timeout() -> pipeline::Duration {
    HTTP_TIMEOUT
}

const fn run_timeout() -> pipeline::Duration {
    RUN_TIMEOUT
}

impl VerifyStep {
    /// Whether each new unit is asked, and not all of them at once.
    pub fn is_of_unit(&self) -> bool {
        match self {
            Self::Http(step) => step.http.starts_with('/'),
            Self::Run(step) => step.per == Per::Unit,
        }
    }

    /// The suite that it is of.
    pub fn suite(&self) -> Option<&str> {
        match self {
            Self::Http(step) => step.suite.as_deref(),
            Self::Run(step) => step.suite.as_deref(),
        }
    }

    /// What its commands run in, if it has some.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Http(_) => None,
            Self::Run(step) => Some(&step.image),
        }
    }

    /// Whether it was asked for with one deployment only.
    pub const fn is_once(&self) -> bool {
        match self {
            Self::Http(step) => step.once,
            Self::Run(step) => step.once,
        }
    }

    fn once(mut self) -> Self {
        match &mut self {
            Self::Http(step) => step.once = true,
            Self::Run(step) => step.once = true,
        }
        self
    }
}

/// Writes out what a pipeline file asks for.
pub fn verify_steps(verify: &[Verify], suites: &Suites) -> Result<Vec<VerifyStep>, UnknownSuite> {
    let mut steps = Vec::new();
    for verify in verify {
        match &verify.check {
            VerifyCheck::Suite { suite } => steps.extend(of_suite(suite, suites)?.iter().cloned()),
            _ => steps.extend(step(verify, None)),
        }
    }
    Ok(steps)
}

/// Writes out the suites of a pipeline file.
pub fn suites(named: &BTreeMap<String, Vec<Verify>>) -> Suites {
    let written_out = |(name, checks): (&String, &Vec<Verify>)| {
        let steps = checks.iter().filter_map(|check| step(check, Some(name)));
        (name.clone(), steps.collect())
    };
    named.iter().map(written_out).collect()
}

/// Adds suites by name to what is checked, for one deployment. Of those that are there
/// already, nothing changes.
pub(crate) fn also(
    verify: &mut Vec<VerifyStep>,
    names: &[String],
    suites: &Suites,
) -> Result<(), UnknownSuite> {
    for name in names {
        let steps = of_suite(name, suites)?;
        if !verify.iter().any(|step| step.suite() == Some(name)) {
            verify.extend(steps.iter().cloned().map(VerifyStep::once));
        }
    }
    Ok(())
}

fn of_suite<'s>(name: &str, suites: &'s Suites) -> Result<&'s [VerifyStep], UnknownSuite> {
    suites.get(name).map(Vec::as_slice).ok_or_else(|| UnknownSuite {
        name: name.to_owned(),
        known: suites.keys().cloned().collect(),
    })
}

/// One check that is written out; suites hold no suites.
fn step(Verify { check, timeout }: &Verify, suite: Option<&String>) -> Option<VerifyStep> {
    Some(match check {
        VerifyCheck::Suite { .. } => return None,
        VerifyCheck::Http(HttpCheck { http, status, body, json, latency }) => {
            VerifyStep::Http(HttpStep {
                suite: suite.cloned(),
                once: false,
                http: http.clone(),
                status: status.clone(),
                body: body.clone(),
                json: json.clone(),
                latency: *latency,
                timeout: timeout.unwrap_or(HTTP_TIMEOUT),
            })
        }
        VerifyCheck::Run(RunCheck { image, run, per }) => VerifyStep::Run(RunStep {
            suite: suite.cloned(),
            once: false,
            image: image.clone(),
            run: run.clone(),
            per: *per,
            timeout: timeout.unwrap_or(RUN_TIMEOUT),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(http: &str) -> Verify {
        let check = VerifyCheck::Http(HttpCheck {
            http: http.to_owned(),
            status: vec![204],
            body: None,
            json: BTreeMap::new(),
            latency: None,
        });
        Verify { check, timeout: None }
    }

    fn suite(name: &str) -> Verify {
        Verify { check: VerifyCheck::Suite { suite: name.to_owned() }, timeout: None }
    }

    #[test]
    fn suites_are_written_out_and_unknown_ones_are_told() {
        let run = RunCheck {
            image: "debian:12".to_owned(),
            run: vec!["smoke".to_owned()],
            per: Per::Unit,
        };
        let run = Verify { check: VerifyCheck::Run(run), timeout: None };
        let named = BTreeMap::from([("smoke".to_owned(), vec![http("/a"), run])]);
        let suites = suites(&named);
        let steps = verify_steps(&[http("/b"), suite("smoke")], &suites).unwrap();
        let told: Vec<_> = steps.iter().map(|step| (step.suite(), step.is_of_unit())).collect();
        assert_eq!(told, [(None, true), (Some("smoke"), true), (Some("smoke"), true)]);

        let error = verify_steps(&[suite("load")], &suites).unwrap_err();
        assert_eq!(error.to_string(), "there is no suite `load`; there are: smoke");
        let error = verify_steps(&[suite("load")], &Suites::new()).unwrap_err();
        assert_eq!(error.to_string(), "there is no suite `load`; none is defined");
    }

    #[test]
    fn a_suite_is_added_once_and_for_one_deployment() {
        let named = ["smoke", "load"].map(|name| (name.to_owned(), vec![http("/a")]));
        let suites = suites(&named.into());
        let mut verify = verify_steps(&[suite("smoke")], &suites).unwrap();
        let names = ["smoke", "load", "load"].map(str::to_owned);
        also(&mut verify, &names, &suites).unwrap();
        let told: Vec<_> = verify.iter().map(|step| (step.suite(), step.is_once())).collect();
        assert_eq!(told, [(Some("smoke"), false), (Some("load"), true)]);
        assert_eq!(also(&mut verify, &["x".to_owned()], &suites).unwrap_err().name, "x");
    }
}
