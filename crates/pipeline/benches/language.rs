//! How long a file takes, against reading it with the YAML crate alone, in one
//! interleaved run. `make bench` prints the table into docs/performance.md.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shipline_pipeline::{
    Bundled, Context, Git, Pipeline, SourceFile, TriggerEvent, check, parse, plan,
};

/// Turns, interleaved: A B C, A B C …
const TURNS: usize = 11;

fn main() {
    // `cargo test --all-targets` starts benches too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "| work | lines | YAML crate alone | parse and check | ratio | plan | ratio | peak memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (work, text) in [
        ("300 lines, 40 stages", stages_of(300)),
        ("1,000 stages", thousand_stages()),
        ("10,000 lines", stages_of(10_000)),
        ("a matrix of 10,000 cells", matrix(100, 100)),
        ("5,000 cells that need 5,000 cells", two_matrices()),
    ] {
        row(work, &text);
    }
}

fn row(work: &str, text: &str) {
    let pipeline = checked(text);
    let context = context();
    let (mut yaml, mut reading, mut planning) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        yaml.push(timed(|| events(text)));
        reading.push(timed(|| checked(text)));
        planning.push(timed(|| plan(&pipeline, &context).expect("a plan")));
    }
    let peak = peak_of(|| plan(&checked(text), &context).expect("a plan"));
    let (yaml, reading, planning) = (median(yaml), median(reading), median(planning));
    println!(
        "| {work} | {} | {} | {} | {:.1} | {} | {:.1} | {:.1} MiB |",
        text.lines().count(),
        milliseconds(yaml),
        milliseconds(reading),
        ratio(reading, yaml),
        milliseconds(planning),
        ratio(planning, yaml),
        to_mebibytes(peak),
    );
}

/// The events of the file, and nothing made of them.
fn events(text: &str) -> usize {
    let events = granit_parser::Parser::new_from_str(text);
    events.map(|event| event.expect("YAML")).map(black_box).count()
}

fn checked(text: &str) -> Pipeline {
    let (document, diagnostics) = parse(&SourceFile::new(".shipline.yml", text));
    assert!(diagnostics.is_empty(), "{diagnostics}");
    let (pipeline, diagnostics) = check(&document, &Bundled);
    pipeline.unwrap_or_else(|| panic!("{diagnostics}"))
}

fn context() -> Context {
    Context {
        event: TriggerEvent::Push,
        git: Git {
            sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            branch: Some("main".to_owned()),
            ..Git::default()
        },
        project: "orders".to_owned(),
        trusted: true,
        ..Context::default()
    }
}

/// A file of about so many lines, of stages as people write them.
fn stages_of(lines: usize) -> String {
    let mut text =
        "version: 1\ndefaults:\n  image: debian:12\n  timeout: 20m\nstages:\n".to_owned();
    for stage in 0..lines.saturating_sub(5) / 8 {
        let _ = write!(
            text,
            "  stage-{stage}:\n    needs: [{}]\n    env:\n      NUMBER: \"{stage}\"\n      COMMIT: \
             \"${{{{ git.sha_short }}}}\"\n    when: {{ branch: [main, \"release/*\"] }}\n    run: make part-{stage}\n    timeout: 10m\n",
            if stage == 0 { String::new() } else { format!("stage-{}", stage - 1) },
        );
    }
    text
}

fn thousand_stages() -> String {
    let mut text = "image: debian:12\nstages:\n".to_owned();
    for stage in 0..1000 {
        let _ = writeln!(
            text,
            "  s{stage}: {{ run: make, needs: [{}] }}",
            match stage {
                0 => String::new(),
                _ => format!("s{}", stage / 2),
            }
        );
    }
    text
}

fn matrix(rows: usize, columns: usize) -> String {
    format!(
        "image: debian:12\nstages:\n  test:\n    matrix: {{ row: [{}], column: [{}] }}\n    env: {{ CELL: \"${{{{ matrix.row }}}}-${{{{ matrix.column }}}}\" }}\n    run: make test\n",
        list(rows),
        list(columns)
    )
}

fn two_matrices() -> String {
    format!(
        "image: debian:12\nstages:\n  a: {{ matrix: {{ x: [{0}] }}, run: make }}\n  b: {{ needs: [a], matrix: {{ x: [{0}] }}, run: make }}\n",
        list(5000)
    )
}

fn list(count: usize) -> String {
    (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let result = black_box(work());
    let took = start.elapsed();
    drop(result);
    took
}

fn peak_of<T>(work: impl FnOnce() -> T) -> usize {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    black_box(work());
    PEAK.load(Ordering::Relaxed) - before
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "a table for people")]
fn to_mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Counts what is allocated at a time.
struct Meter;

#[global_allocator]
static METER: Meter = Meter;

// SAFETY: every call goes to the system's allocator unchanged.
#[expect(unsafe_code, reason = "an allocator is")]
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: what holds for this call holds for the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
