//! What is said of checks that passed: `smoke 14/14`.

use super::VerifyStep;

/// Says how many of `steps` the first `passed` are, suite by suite.
pub(super) fn tally(steps: &[&VerifyStep], passed: usize) -> String {
    let mut said: Vec<(Option<&str>, usize, usize)> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let name = step.suite();
        let known = said.iter().position(|(known, ..)| *known == name);
        let of = known.unwrap_or_else(|| {
            said.push((name, 0, 0));
            said.len() - 1
        });
        said[of].1 += usize::from(at < passed);
        said[of].2 += 1;
    }
    let text = |(name, passed, all): &(Option<&str>, usize, usize)| match name {
        Some(name) => format!("{name} {passed}/{all}"),
        None => format!("{passed} of {all} checks"),
    };
    said.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// What a failure begins with: the suite, and how far it came.
pub(super) fn broke_off(steps: &[&VerifyStep], passed: usize) -> String {
    let Some(name) = steps.get(passed).and_then(|step| step.suite()) else { return String::new() };
    let of_suite = |step: &&&VerifyStep| step.suite() == Some(name);
    let all = steps.iter().filter(of_suite).count();
    let good = steps[..passed].iter().filter(of_suite).count();
    format!("{name} {good}/{all}: ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::HttpStep;

    fn step(suite: Option<&str>) -> VerifyStep {
        VerifyStep::Http(HttpStep {
            suite: suite.map(str::to_owned),
            once: false,
            http: "/".to_owned(),
            status: Vec::new(),
            body: None,
            json: BTreeMap::new(),
            latency: None,
            timeout: pipeline::Duration::from_secs(1),
        })
    }

    #[test]
    fn suites_are_counted_by_themselves_and_the_rest_together() {
        let steps = [Some("smoke"), Some("smoke"), None, Some("load")].map(step);
        let steps: Vec<_> = steps.iter().collect();
        assert_eq!(tally(&steps, 4), "smoke 2/2, 1 of 1 checks, load 1/1");
        assert_eq!(tally(&steps, 1), "smoke 1/2, 0 of 1 checks, load 0/1");
        assert_eq!(tally(&[], 0), "");
        assert_eq!(broke_off(&steps, 1), "smoke 1/2: ");
        assert_eq!(broke_off(&steps, 2), "");
        assert_eq!(broke_off(&steps, 3), "load 0/1: ");
    }
}
