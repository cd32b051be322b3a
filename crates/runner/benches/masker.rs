//! How fast output is masked: goal P13, at least 100 MB/s with many secrets.

use std::hint::black_box;
use std::sync::Arc;

use shipline_runner::{MaskedStream, Masker};

/// What output comes in.
const CHUNK: usize = 64 << 10;
const BYTES: usize = 256 << 20;

fn main() {
    // `cargo test --all-targets` starts benches too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("| secrets | MB/s |\n| --- | --- |");
    for count in [1, 10, 100, 500] {
        // Letters as output has them, so that many are held back for a moment.
        let secrets = (0..count).map(|index| format!("t{index:04}oken-of-a-registry/{index}+="));
        let masker = Arc::new(Masker::new(secrets).expect("secrets of usual size"));
        let line = "compiling module 7 of 31: token counts, table lookups, t0001 and 0a1b2c\n";
        let chunk = line.repeat(CHUNK / line.len());
        let mut stream = MaskedStream::new(masker);
        let begun = processor_seconds();
        let mut shown = 0;
        while shown < BYTES {
            shown += black_box(stream.push(black_box(chunk.as_bytes()))).as_bytes().len();
        }
        let seconds = processor_seconds() - begun;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = shown as f64 / 1e6 / seconds;
        println!("| {count} | {rate:.0} |");
    }
}

/// What this process has used of processors, on a machine where others work, too.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
    f64::from(ticks.sum::<u32>()) / 100.0
}
