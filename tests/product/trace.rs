//! `--trace FILE`: where the time of a run goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::harness::lab::Lab;
use crate::local_run::repository;

const PIPELINE: &str = "image: busybox:1
stages:
  compile:
    secrets: [TOKEN]
    run: ['echo \"$TOKEN\" >program', sleep 0.5]
    artifacts: { paths: [program] }
  lint: { needs: [checkout], run: sleep 0.2 }
  test: { needs: [compile, lint], run: 'false' }
";
const SECRET: &str = "not-to-be-told-9137";

/// A span, in microseconds.
#[derive(Clone)]
struct Span {
    name: String,
    since: u64,
    until: u64,
}

/// The spans of each track.
fn tracks(path: &Path) -> BTreeMap<String, Vec<Span>> {
    let text = std::fs::read_to_string(path).expect("the trace is there");
    assert!(!text.contains(SECRET), "{text}");
    let events: Vec<Value> = serde_json::from_str(&text).expect("the trace is JSON");
    let of_kind = |kind: &'static str| events.iter().filter(move |event| event["ph"] == kind);
    let titles: BTreeMap<u64, &str> = of_kind("M")
        .filter(|event| event["name"] == "thread_name")
        .map(|event| (number(event, "tid"), event["args"]["name"].as_str().expect("a title")))
        .collect();
    assert_eq!(of_kind("M").count() + of_kind("X").count(), events.len());
    let mut tracks = BTreeMap::<u64, Vec<Span>>::new();
    for event in of_kind("X") {
        let since = number(event, "ts");
        let name = event["name"].as_str().expect("a name").to_owned();
        let span = Span { name, since, until: since + number(event, "dur") };
        tracks.entry(number(event, "tid")).or_default().push(span);
    }
    for spans in tracks.values_mut() {
        spans.sort_by_key(|span| (span.since, u64::MAX - span.until));
        assert_nested(spans);
    }
    let mut titled = BTreeMap::<String, Vec<Span>>::new();
    for (thread, spans) in tracks {
        titled.entry(titles[&thread].to_owned()).or_default().extend(spans);
    }
    titled
}

fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("no {field} in {event}"))
}

/// Each span ends before the one it began in.
fn assert_nested(spans: &[Span]) {
    let mut open: Vec<&Span> = Vec::new();
    for span in spans {
        open.retain(|around| around.until > span.since);
        if let Some(around) = open.last() {
            let (name, outer) = (&span.name, &around.name);
            assert!(span.until <= around.until, "`{name}` ends after `{outer}`");
        }
        open.push(span);
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let names = || spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {:?}", names()))
}

/// How much of `outer` is in the spans right below it.
fn covered(spans: &[Span], outer: &Span) -> f64 {
    let (mut at, mut sum) = (outer.since, 0);
    for span in spans {
        if span.since >= at && span.until <= outer.until && span.name != outer.name {
            sum += span.until - span.since;
            at = span.until;
        }
    }
    sum as f64 / (outer.until - outer.since) as f64
}

#[test]
fn a_trace_accounts_for_the_time_of_a_run_and_holds_no_secret() {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let secrets = format!("TOKEN={SECRET}\n");
    std::fs::create_dir(folder.join(".shipline")).expect("made");
    std::fs::write(folder.join(".shipline/secrets.env"), secrets).expect("written");
    std::fs::write(folder.join(".gitignore"), ".shipline\n").expect("written");
    let begun = Instant::now();
    lab.run(&folder, &["run", "--trace", "../trace.json"]).expect(1);
    let took = u64::try_from(begun.elapsed().as_micros()).expect("a run ends");

    let tracks = tracks(&folder.join("../trace.json"));
    let process = &tracks["shipline"];
    let whole = named(process, "shipline");
    let length = whole.until - whole.since;
    assert!(length <= took && took - length < took / 10 + 100_000, "{length} of {took}");
    let part = covered(process, whole);
    assert!(part > 0.95, "the steps of the process are {part} of its time");
    assert!(named(process, "open").until <= named(process, "pipeline").since);
    for step in ["plan", "store", "sweep", "queue", "events", "display"] {
        named(process, step);
    }
    // The engine is asked while the plan is made, and may still be cleaned up when the run is
    // shown already.
    let beside = &tracks["shipline, beside"];
    named(beside, "connect");
    let both: Vec<Span> = process.iter().chain(beside).cloned().collect();
    named(&both, "clean up");

    for stage in ["compile #1", "lint #1", "test #1"] {
        let spans = &tracks[stage];
        let attempt = named(spans, "attempt");
        assert!(named(spans, "waiting").until <= attempt.since);
        let part = covered(spans, attempt);
        assert!(part > 0.9, "the steps of {stage} are {part} of its time");
        for step in ["image", "create", "start container", "running", "command"] {
            named(spans, step);
        }
    }
    let of = |stage: &str, step: &str| {
        let span = named(&tracks[stage], step);
        (span.since, span.until)
    };
    // Those that need nothing run beside each other; what they need is over before others.
    assert!(of("lint #1", "attempt").0 < of("compile #1", "attempt").1);
    assert!(of("test #1", "attempt").0 >= of("compile #1", "attempt").1);
    let (since, until) = of("compile #1", "running");
    assert!(until - since >= 300_000, "the commands of `compile` took {} µs", until - since);
    named(&tracks["compile #1"], "artifacts");

    // A run again is told as well, and what cannot be written is said before it begins.
    lab.run(&folder, &["rerun", "--trace", "again.json"]).expect(1);
    named(&self::tracks(&folder.join("again.json"))["shipline"], "former run");
    let refused = lab.run(&folder, &["run", "--trace", "nosuch/trace.json"]).expect(2);
    assert!(refused.stdout.is_empty(), "{}", refused.stdout);
    let said = "error: cannot write the trace to nosuch/trace.json: No such file";
    assert!(refused.stderr.starts_with(said), "{}", refused.stderr);
}
