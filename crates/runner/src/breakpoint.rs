//! `--break`: a person looks at a failed stage before the run goes on.

use async_trait::async_trait;

/// What a person wants after having looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterBreak {
    /// The failure stands.
    Continue,
    /// Another attempt.
    Retry,
}

/// Is told of attempts that failed, while what they left is still there. Who wants to end
/// the run cancels it.
#[async_trait]
pub trait Breakpoint: Send + Sync {
    async fn failed(&self, stage: &str, attempt: u32, reason: &str) -> AfterBreak;
}
