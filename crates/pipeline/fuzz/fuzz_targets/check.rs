//! Whatever bytes a repository holds: parsing and checking them does not panic,
//! takes at most 100 ms of processor time, and at most 64 MiB of memory.
//!
//! What comes out is also planned and shown, without those limits: a matrix of
//! 10,000 cells is short to write and long to plan.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::{Bundled, SourceFile, Style, TriggerEvent, check, parse};
use shipline_pipeline_fuzz::{planned, within_limits};

fuzz_target!(|bytes: &[u8]| {
    let looked_at = within_limits("parse and check", || {
        let source = SourceFile::from_bytes(".shipline.yml", bytes.to_vec()).ok()?;
        let (document, diagnostics) = parse(&source);
        Some((diagnostics, check(&document, &Bundled)))
    });
    let Some((mut diagnostics, (pipeline, more))) = looked_at else { return };
    assert_eq!(pipeline.is_none(), diagnostics.has_errors() || more.has_errors());
    diagnostics.extend(more);
    let _ = diagnostics.render(Style::Coloured);
    let _ = diagnostics.to_json();
    let Some(pipeline) = pipeline else { return };
    for event in [TriggerEvent::Push, TriggerEvent::PullRequest, TriggerEvent::Tag] {
        planned(&pipeline, event);
    }
});
