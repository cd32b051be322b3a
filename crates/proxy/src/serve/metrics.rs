//! Counts as text for Prometheus.

use std::fmt::{self, Display, Write};

use crate::control::Routes;

/// The metrics of all routes, in the text format 0.0.4.
pub fn text(routes: &Routes) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, routes);
    text
}

fn write_all(text: &mut String, routes: &Routes) -> fmt::Result {
    let releases = || {
        routes.routes.iter().flat_map(|(route, status)| {
            status.releases.iter().map(move |(release, counts)| {
                (format!("route=\"{}\",release=\"{}\"", Label(route), Label(release)), counts)
            })
        })
    };
    head(text, "requests_total", "counter", "Requests that ended, by status class.")?;
    for (labels, counts) in releases() {
        for (class, count) in &counts.status {
            writeln!(text, "shipline_proxy_requests_total{{{labels},class=\"{class}\"}} {count}")?;
        }
    }
    head(text, "requests_in_flight", "gauge", "Requests and WebSockets on the way.")?;
    for (labels, counts) in releases() {
        writeln!(text, "shipline_proxy_requests_in_flight{{{labels}}} {}", counts.in_flight)?;
    }
    head(text, "request_duration_seconds", "histogram", "How long whole answers took.")?;
    for (labels, counts) in releases() {
        let name = "shipline_proxy_request_duration_seconds";
        let mut seen = 0;
        for (bound, count) in counts.latency.le_ms.iter().zip(&counts.latency.counts) {
            seen += count;
            writeln!(text, "{name}_bucket{{{labels},le=\"{}\"}} {seen}", Seconds(*bound))?;
        }
        let total = counts.latency.count();
        writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}")?;
        writeln!(text, "{name}_sum{{{labels}}} {}", Seconds(counts.latency_ms_total))?;
        writeln!(text, "{name}_count{{{labels}}} {total}")?;
    }
    head(text, "targets", "gauge", "Units that a route leads to.")?;
    for (route, status) in &routes.routes {
        let targets = status.targets.len();
        writeln!(text, "shipline_proxy_targets{{route=\"{}\"}} {targets}", Label(route))?;
    }
    Ok(())
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP shipline_proxy_{name} {help}")?;
    writeln!(text, "# TYPE shipline_proxy_{name} {kind}")
}

/// A value of a label, which may hold anything.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(formatter, "\\{letter}")?,
                '\n' => formatter.write_str("\\n")?,
                _ => formatter.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Milliseconds in seconds, without zeros at the end.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0 / 1000)?;
        match self.0 % 1000 {
            0 => Ok(()),
            rest => formatter.write_str(format!(".{rest:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::control::{Latency, ReleaseCounts, RouteStatus};

    #[test]
    fn buckets_add_up_and_names_cannot_break_out() {
        let counts = ReleaseCounts {
            status: [("2xx".to_owned(), 4)].into(),
            latency_ms_total: 1230,
            latency: Latency { le_ms: vec![5, 1000], counts: vec![3, 0, 1] },
            in_flight: 2,
        };
        let releases = BTreeMap::from([("r\"1\\".to_owned(), counts)]);
        let status = RouteStatus { releases, ..RouteStatus::default() };
        let routes = Routes { routes: [("web".to_owned(), status)].into(), listen: Vec::new() };
        let values: Vec<String> = text(&routes)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.replace("shipline_proxy_", "").replace("release=\"r\\\"1\\\\\"", "R"))
            .collect();
        assert_eq!(
            values,
            [
                r#"requests_total{route="web",R,class="2xx"} 4"#,
                r#"requests_in_flight{route="web",R} 2"#,
                r#"request_duration_seconds_bucket{route="web",R,le="0.005"} 3"#,
                r#"request_duration_seconds_bucket{route="web",R,le="1"} 3"#,
                r#"request_duration_seconds_bucket{route="web",R,le="+Inf"} 4"#,
                r#"request_duration_seconds_sum{route="web",R} 1.23"#,
                r#"request_duration_seconds_count{route="web",R} 4"#,
                r#"targets{route="web"} 0"#,
            ]
        );
    }
}
