//! Spans laid out on tracks: one for the process, one for each attempt of a stage.
//!
//! A track is as many lanes as it has spans at a time that are not within each other, so
//! that on each lane they nest, which is all that viewers can draw. It is laid out when it
//! has ended: until then its spans wait here.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

/// The span that a track of its own begins with.
const ATTEMPT: &str = "attempt";
/// The field of a span that is told when it is over: how long it was.
const PASSED: &str = "passed_us";
/// More lanes than any track has.
const LANES: usize = 1000;
/// A library may hold a span for so many microseconds longer than whoever made it.
const LINGER: u64 = 1000;

/// A span that begins.
pub(super) struct Begun {
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: &'static str,
    pub(super) fields: BTreeMap<&'static str, Value>,
}

struct Span {
    name: &'static str,
    fields: BTreeMap<&'static str, Value>,
    since: u64,
    until: u64,
    /// Among the spans of the track.
    parent: Option<usize>,
}

struct Track {
    title: String,
    order: usize,
    /// In the order they began.
    spans: Vec<Span>,
}

/// All tracks of a process. Times are microseconds since its beginning.
pub(super) struct Tracks {
    process: u32,
    own: Track,
    /// Of attempts that have not ended, by the span that each begins with.
    attempts: HashMap<u64, Track>,
    /// Where each open span is: on which track, and which one of it.
    open: HashMap<u64, (Option<u64>, usize)>,
    /// So many have begun.
    count: usize,
    threads: u64,
}

impl Tracks {
    pub(super) fn new(process: u32) -> Self {
        let own = Track { title: "shipline".to_owned(), order: 0, spans: Vec::new() };
        let (attempts, open) = (HashMap::new(), HashMap::new());
        Self { process, own, attempts, open, count: 0, threads: 0 }
    }

    /// A span begins.
    pub(super) fn begin(&mut self, at: u64, begun: Begun) {
        let Begun { id, parent, name, fields } = begun;
        let mut parent = parent.and_then(|parent| self.open.get(&parent).copied());
        if name == ATTEMPT {
            self.count += 1;
            let (title, order) = (title(&fields), self.count * LANES);
            self.attempts.insert(id, Track { title, order, spans: Vec::new() });
            parent = Some((Some(id), 0));
        }
        let key = parent.and_then(|(track, _)| track);
        let Some(track) = self.track(key) else { return };
        let passed = fields.get(PASSED).and_then(Value::as_u64);
        let parent = parent.map(|(_, span)| span).filter(|_| name != ATTEMPT);
        let span = match (passed, parent) {
            // It came before the one that tells it.
            (Some(passed), Some(teller)) => {
                let until = track.spans[teller].since;
                let since = until.saturating_sub(passed);
                Span { name, fields: BTreeMap::new(), since, until, parent: None }
            }
            _ => Span { name, fields, since: at, until: u64::MAX, parent },
        };
        track.spans.push(span);
        let place = (key, track.spans.len() - 1);
        if passed.is_none() {
            self.open.insert(id, place);
        }
    }

    /// Returns what is to be written when a span ends.
    pub(super) fn end(&mut self, at: u64, id: u64) -> Vec<Value> {
        let Some((key, index)) = self.open.remove(&id) else { return Vec::new() };
        if let Some(track) = self.track(key) {
            track.spans[index].until = at;
        }
        // Whatever is within a span ends before it.
        self.attempts.remove(&id).map_or_else(Vec::new, |track| self.written(track, at))
    }

    /// Returns what is to be written when the process ends.
    pub(super) fn finish(&mut self, at: u64) -> Vec<Value> {
        let mut left: Vec<Track> = self.attempts.drain().map(|(_, track)| track).collect();
        left.sort_by_key(|track| track.order);
        left.push(std::mem::replace(&mut self.own, Self::new(self.process).own));
        self.open.clear();
        left.into_iter().flat_map(|track| self.written(track, at)).collect()
    }

    fn track(&mut self, key: Option<u64>) -> Option<&mut Track> {
        match key {
            None => Some(&mut self.own),
            Some(attempt) => self.attempts.get_mut(&attempt),
        }
    }

    fn written(&mut self, mut track: Track, at: u64) -> Vec<Value> {
        track.spans.iter_mut().for_each(|span| span.until = span.until.min(at));
        let (lanes, count) = lay_out(&mut track.spans);
        let first = self.threads + 1;
        self.threads += count as u64;
        let process = self.process;
        let mut written = Vec::with_capacity(track.spans.len() + 2 * count);
        for lane in 0..count {
            let beside = if lane == 0 { "" } else { ", beside" };
            let name = json!({ "name": format!("{}{beside}", track.title) });
            let order = json!({ "sort_index": track.order + lane });
            for (kind, arguments) in [("thread_name", name), ("thread_sort_index", order)] {
                let thread = first + lane as u64;
                written.push(json!({
                    "name": kind, "ph": "M", "pid": process, "tid": thread, "args": arguments
                }));
            }
        }
        for (span, lane) in track.spans.into_iter().zip(lanes) {
            let mut event = json!({
                "name": span.name,
                "ph": "X",
                "ts": span.since,
                "dur": span.until - span.since,
                "pid": process,
                "tid": first + lane as u64,
            });
            if !span.fields.is_empty() {
                event["args"] = json!(span.fields);
            }
            written.push(event);
        }
        written
    }
}

/// Returns the lane of each span, and how many lanes there are.
fn lay_out(spans: &mut [Span]) -> (Vec<usize>, usize) {
    // Open spans of each lane, each within the one before.
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    let mut placed = vec![0; spans.len()];
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|index| spans[*index].since);
    for index in order {
        let (since, parent) = (spans[index].since, spans[index].parent);
        for lane in &mut lanes {
            while let Some(&last) = lane.last()
                && Some(last) != parent
                && spans[last].until <= since + LINGER
                && !is_within(spans, index, last)
            {
                spans[last].until = spans[last].until.min(since);
                lane.pop();
            }
        }
        let within =
            lanes.iter().position(|lane| parent.is_some() && lane.last() == parent.as_ref());
        let free = within.or_else(|| lanes.iter().position(Vec::is_empty));
        let lane = free.unwrap_or_else(|| {
            lanes.push(Vec::new());
            lanes.len() - 1
        });
        lanes[lane].push(index);
        placed[index] = lane;
    }
    (placed, lanes.len())
}

/// Whether a span is somewhere within `outer`.
fn is_within(spans: &[Span], index: usize, outer: usize) -> bool {
    let parents = std::iter::successors(spans[index].parent, |parent| spans[*parent].parent);
    parents.into_iter().any(|parent| parent == outer)
}

/// `compile #1`
fn title(fields: &BTreeMap<&'static str, Value>) -> String {
    let stage = fields.get("stage").and_then(Value::as_str).unwrap_or(ATTEMPT);
    match fields.get("attempt") {
        Some(attempt) => format!("{stage} #{attempt}"),
        None => stage.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(id: u64, parent: u64, name: &'static str) -> Begun {
        let parent = (parent > 0).then_some(parent);
        Begun { id, parent, name, fields: BTreeMap::new() }
    }

    /// `NAME THREAD SINCE+LENGTH` in milliseconds, and the names of threads.
    fn told(events: &[Value]) -> Vec<String> {
        let milliseconds = |event: &Value, field: &str| event[field].as_u64().unwrap() / 1000;
        let line = |event: &Value| match event["ph"].as_str() {
            Some("X") => Some(format!(
                "{} {} {}+{}",
                event["name"].as_str()?,
                event["tid"],
                milliseconds(event, "ts"),
                milliseconds(event, "dur")
            )),
            _ => Some(format!("{} = {}", event["tid"], event["args"]["name"].as_str()?)),
        };
        events.iter().filter_map(line).collect()
    }

    #[test]
    fn spans_within_each_other_share_a_lane_and_others_do_not() {
        let mut tracks = Tracks::new(7);
        tracks.begin(0, begun(1, 0, "run"));
        tracks.begin(10_000, begun(2, 1, "image"));
        tracks.begin(20_000, begun(3, 1, "layer"));
        tracks.begin(30_000, begun(4, 2, "pull"));
        for (at, id) in [(40_000, 4), (50_000, 2), (70_300, 3)] {
            assert!(tracks.end(at, id).is_empty());
        }
        // `layer` was held a little longer than it took.
        tracks.begin(70_000, begun(5, 1, "start"));
        assert_eq!(
            told(&tracks.finish(90_000)),
            [
                "1 = shipline",
                "2 = shipline, beside",
                "run 1 0+90",
                "image 1 10+40",
                "layer 2 20+50",
                "pull 1 30+10",
                "start 1 70+20",
            ]
        );
    }

    #[test]
    fn a_short_span_at_the_end_of_another_stays_within_it() {
        let mut tracks = Tracks::new(7);
        tracks.begin(0, begun(1, 0, "run"));
        tracks.begin(1000, begun(2, 1, "seal"));
        tracks.begin(1100, begun(3, 2, "remove"));
        for (at, id) in [(1200, 3), (1300, 2), (1400, 1)] {
            tracks.end(at, id);
        }
        let told = told(&tracks.finish(2000));
        assert_eq!(told, ["1 = shipline", "run 1 0+1", "seal 1 1+0", "remove 1 1+0"]);
    }

    #[test]
    fn an_attempt_has_a_track_and_what_came_before_it_is_told_on_it() {
        let mut tracks = Tracks::new(7);
        tracks.begin(0, begun(1, 0, "run"));
        let fields = BTreeMap::from([("stage", json!("compile")), ("attempt", json!(1))]);
        tracks.begin(50_000, Begun { fields, ..begun(2, 1, ATTEMPT) });
        let waiting = BTreeMap::from([(PASSED, json!(20_000))]);
        tracks.begin(50_100, Begun { fields: waiting, ..begun(3, 2, "waiting") });
        tracks.end(50_100, 3);
        tracks.begin(53_000, begun(4, 2, "running"));
        tracks.end(60_000, 4);
        assert_eq!(
            told(&tracks.end(61_000, 2)),
            ["1 = compile #1", "attempt 1 50+11", "waiting 1 30+20", "running 1 53+7"]
        );
        assert_eq!(told(&tracks.finish(70_000)), ["2 = shipline", "run 2 0+70"]);
    }
}
