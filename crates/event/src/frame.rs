//! Output of an attempt: frames in a file of their own, never events.

use serde::{Deserialize, Serialize};

/// A piece of masked output. `offset` counts the bytes of the attempt's output
/// before it, over both streams, so that a reader can resume exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    pub stage: String,
    pub attempt: u32,
    pub stream: OutputStream,
    pub offset: u64,
    #[serde(flatten)]
    pub body: FrameBody,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameBody {
    Text(String),
    /// Bytes that are not UTF-8.
    Base64(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    Stdout,
    Stderr,
    /// What the engine says about the stage: echoed commands, progress, reasons.
    Engine,
}
