//! What is said of a wrong file: at least one failing and one passing case per code.

mod deploy;
mod expression;
mod file;
mod key;
mod order;

use super::*;

/// Checks the whole of what is said about a file, on a push to `main`.
#[track_caller]
pub(super) fn says(text: &str, expected: &str) {
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(found, flush(expected).trim_end(), "\n{found}\n");
}

#[track_caller]
pub(super) fn is_fine(text: &str) {
    says(text, "");
}
