//! Whatever a repository holds is refused with a place and a code, without a
//! panic, and in little memory. Time is measured by the fuzz target and the
//! benches; the limit here only stops what would never end.

#![allow(clippy::unwrap_used)]

mod template;
mod text;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use shipline_pipeline as pipeline;
use shipline_pipeline::{
    Bundled, Context, Diagnostics, Files, Git, SourceFile, TriggerEvent, check, parse, plan,
};

const MOST_BYTES: usize = 64 << 20;
/// Of a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that is said about a file, as `CODE line:column message`.
#[track_caller]
fn said(bytes: impl Into<Vec<u8>>) -> Vec<String> {
    said_with(bytes, &Bundled)
}

/// The same of a file with these templates.
#[track_caller]
fn said_with(bytes: impl Into<Vec<u8>>, files: &dyn Files) -> Vec<String> {
    let bytes = bytes.into();
    let start = Instant::now();
    let (found, peak) = peak_of(|| look_at(bytes, files));
    assert!(peak <= MOST_BYTES, "{} MiB", peak >> 20);
    assert!(start.elapsed() <= PATIENCE);
    // Showing it must work, too.
    let _ = (found.to_string(), found.to_json());
    found
        .iter()
        .map(|diagnostic| {
            let place = diagnostic.place.as_ref().map(pipeline::SourcePlace::start);
            let place =
                place.map_or_else(String::new, |(line, column)| format!("{line}:{column} "));
            format!("{} {place}{}", diagnostic.code, diagnostic.message)
        })
        .collect()
}

fn look_at(bytes: Vec<u8>, files: &dyn Files) -> Diagnostics {
    let source = match SourceFile::from_bytes(".shipline.yml", bytes) {
        Ok(source) => source,
        Err(diagnostics) => return diagnostics,
    };
    let (document, mut diagnostics) = parse(&source);
    let (pipeline, more) = check(&document, files);
    diagnostics.extend(more);
    if let Some(Err(more)) = pipeline.map(|pipeline| plan(&pipeline, &on_main())) {
        diagnostics.extend(more);
    }
    diagnostics
}

fn on_main() -> Context {
    Context {
        event: TriggerEvent::Push,
        git: Git { sha: "0".repeat(40), branch: Some("main".to_owned()), ..Git::default() },
        project: "orders".to_owned(),
        trusted: true,
        ..Context::default()
    }
}

/// Inputs the fuzz target found; each did something it must not.
#[test]
fn what_the_fuzzer_found_stays_mended() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            said(std::fs::read(path).unwrap());
            seen += 1;
        }
    }
    assert!(seen > 0, "the cases are not where they were");
}

fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = USED.get();
    PEAK.set(before);
    let result = work();
    (result, PEAK.get().saturating_sub(before))
}

thread_local! {
    /// Per thread, since tests run side by side.
    static USED: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts what a thread has allocated at a time.
struct Meter;

#[global_allocator]
static METER: Meter = Meter;

// SAFETY: every call goes to the system's allocator unchanged.
#[expect(unsafe_code, reason = "an allocator is")]
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counters any more.
        let _ = USED.try_with(|used| {
            used.set(used.get().wrapping_add(layout.size()));
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(used.get())));
        });
        // SAFETY: what holds for this call holds for the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = USED.try_with(|used| used.set(used.get().wrapping_sub(layout.size())));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
