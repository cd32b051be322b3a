//! Output of attempts: frames in a file per attempt, written by one, read by many.
//!
//! Bytes are masked, cut into lines or pieces of 16 KiB, and appended as
//! [`Frame`](event::Frame)s, one JSON object per line after a header. Output
//! never passes the dispatcher.

mod pieces;
mod reader;
mod resume;
mod writer;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use reader::{Frames, follow, read_frames};
pub(crate) use writer::AttemptLog;

/// What an attempt may write before the rest is dropped, with a line that says so.
pub const OUTPUT_LIMIT: u64 = 256 * 1024 * 1024;

/// The first line of a file.
const HEADER: &str = r#"{"format":1}"#;

/// Returns the file of an attempt's output. What is no letter, digit, `-`, `_`
/// or `.` is percent-encoded, so that `test[db=mysql:8]` is a file name everywhere.
pub fn log_path(directory: &Path, stage: &str, attempt: u32) -> PathBuf {
    let mut name = String::with_capacity(stage.len());
    for byte in stage.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.push_str(&hex::encode_upper([byte]));
        }
    }
    // File names end at 255 bytes.
    if name.len() > 200 {
        name.truncate(180);
        name.push('-');
        name.push_str(&hex::encode(&Sha256::digest(stage.as_bytes())[..8]));
    }
    directory.join(format!("{name}.{attempt}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_a_file_name_that_every_system_accepts() {
        let directory = Path::new("output");
        assert_eq!(log_path(directory, "unit-test", 1), Path::new("output/unit-test.1.log"));
        assert_eq!(
            log_path(directory, "test[db=mysql:8]", 2),
            Path::new("output/test%5Bdb%3Dmysql%3A8%5D.2.log")
        );
    }

    #[test]
    fn long_names_stay_apart() {
        let directory = Path::new("");
        let (a, b) = (format!("{}a", "x".repeat(250)), format!("{}b", "x".repeat(250)));
        assert_ne!(log_path(directory, &a, 1), log_path(directory, &b, 1));
        assert!(log_path(directory, &a, 1).as_os_str().len() < 255);
    }
}
