//! What the fuzz targets share: the limits, and what must hold of every plan.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pipeline::{Context, Git, Pipeline, Plan, TreeOptions, TriggerEvent, plan};

const LONGEST: Duration = Duration::from_millis(100);
const MOST_BYTES: usize = 64 << 20;

/// Does `work`, named `what`, within 100 ms of processor time and 64 MiB of memory.
pub fn within_limits<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = processor_time();
    let result = work();
    let took = processor_time() - start;
    let bytes = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(took <= LONGEST, "{what} took {took:?}");
    assert!(bytes <= MOST_BYTES, "{what} took {bytes} bytes");
    result
}

/// Plans a pipeline twice: it comes to the same, and it can be stored, or it is told
/// why there is no plan.
pub fn planned(pipeline: &Pipeline, event: TriggerEvent) -> Option<Plan> {
    let context = context(event);
    match plan(pipeline, &context) {
        Ok(made) => {
            assert_eq!(Ok(made.clone()), plan(pipeline, &context).map_err(drop));
            round_trip(&made);
            Some(made)
        }
        Err(diagnostics) => {
            assert!(!diagnostics.to_string().is_empty());
            None
        }
    }
}

/// A run stores its plan, so it must read back as what it was.
fn round_trip(plan: &Plan) {
    if plan.stages.len() > 500 {
        return;
    }
    let text = serde_json::to_string(plan).expect("a plan is JSON");
    let again: Plan = serde_json::from_str(&text).expect("and JSON is a plan");
    assert_eq!(text, serde_json::to_string(&again).expect("a plan is JSON"));
    let _ = pipeline::plan_text(plan, &TreeOptions::default());
    let _ = pipeline::plan_svg(plan);
}

fn context(event: TriggerEvent) -> Context {
    Context {
        event,
        git: Git {
            sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            branch: Some("main".to_owned()),
            tag: (event == TriggerEvent::Tag).then(|| "v1.2.3".to_owned()),
            message: "Fix it".to_owned(),
            author: "Ada <ada@corp.example>".to_owned(),
            default_branch: "main".to_owned(),
            url: "https://git.corp.example/team/orders".to_owned(),
        },
        params: BTreeMap::new(),
        project: "orders".to_owned(),
        trusted: true,
        ..Context::default()
    }
}

/// Of this thread: what else the machine does is no fault of ours.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of a local of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Counts what is allocated at a time.
struct Meter;

#[global_allocator]
static METER: Meter = Meter;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}
