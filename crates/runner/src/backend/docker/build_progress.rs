//! What a builder tells, as lines people read.

use std::collections::{HashMap, VecDeque};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use bytes::Bytes;
use event::OutputStream;

use crate::backend::Chunk;

/// Lines kept for the message of a failure.
const LAST: usize = 5;

/// What was told of a build.
#[derive(Default)]
pub(super) struct Progress {
    steps: HashMap<String, Step>,
    last: VecDeque<String>,
    /// The beginning of a line whose end has not come.
    partial: String,
}

struct Step {
    number: usize,
    begun: bool,
    ended: bool,
}

impl Progress {
    /// Makes lines of BuildKit's news: steps as they begin and end, their output as it is.
    pub(super) fn take(&mut self, status: StatusResponse) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for vertex in &status.vertexes {
            self.vertex(vertex, &mut chunks);
        }
        for log in status.logs {
            self.remember(&log.msg);
            let stream = if log.stream == 2 { OutputStream::Stderr } else { OutputStream::Stdout };
            chunks.push(Chunk { stream, bytes: log.msg.into() });
        }
        chunks
    }

    fn vertex(&mut self, vertex: &Vertex, chunks: &mut Vec<Chunk>) {
        // Our own way of bringing the context in is no step of the Dockerfile.
        if vertex.name.starts_with("[internal]") || vertex.name == "copy /context /" {
            return;
        }
        let number = self.steps.len() + 1;
        let step = self.steps.entry(vertex.digest.clone()).or_insert(Step {
            number,
            begun: false,
            ended: false,
        });
        let number = step.number;
        if vertex.started.is_some() && !step.begun {
            step.begun = true;
            chunks.push(Chunk::engine(format!("#{number} {}", vertex.name)));
        }
        if let (Some(completed), false) = (&vertex.completed, step.ended) {
            step.ended = true;
            let line = if !vertex.error.is_empty() {
                format!("#{number} failed: {}", vertex.error)
            } else if vertex.cached {
                format!("#{number} cached")
            } else {
                let begun = vertex.started.as_ref().map_or(completed.seconds, |time| time.seconds);
                let nanos = vertex.started.as_ref().map_or(completed.nanos, |time| time.nanos);
                let seconds = (completed.seconds - begun) as f64
                    + f64::from(completed.nanos - nanos) / 1_000_000_000.0;
                format!("#{number} done in {seconds:.1}s")
            };
            chunks.push(Chunk::engine(line));
        }
    }

    /// The classic builder tells its steps and their output as one text.
    pub(super) fn classic(&mut self, text: Option<String>) -> Vec<Chunk> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Vec::new() };
        self.remember(text.as_bytes());
        vec![Chunk { stream: OutputStream::Stdout, bytes: Bytes::from(text) }]
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.partial.push_str(&String::from_utf8_lossy(bytes));
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            if !line.trim().is_empty() {
                self.last.push_back(line.trim_end().to_owned());
            }
            if self.last.len() > LAST {
                self.last.pop_front();
            }
        }
        // A line without end is not kept for ever.
        if self.partial.len() > 4096 {
            self.partial.clear();
        }
    }

    pub(super) fn with_last_lines(&self, message: &str) -> String {
        let mut text = message.to_owned();
        let partial = Some(&self.partial).filter(|line| !line.trim().is_empty());
        for line in self.last.iter().chain(partial) {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_for_the_message() {
        let mut progress = Progress::default();
        for number in 0..8 {
            progress.classic(Some(format!("line {number}\n")));
        }
        progress.classic(Some("half".to_owned()));
        assert_eq!(
            progress.with_last_lines("failed"),
            "failed\n  line 3\n  line 4\n  line 5\n  line 6\n  line 7\n  half"
        );
    }

    #[test]
    fn a_step_is_told_once_when_it_begins_and_once_when_it_ends() {
        let vertex = |name: &str, completed: Option<i64>, cached| {
            let mut vertex = Vertex { cached, ..Default::default() };
            vertex.digest = name.to_owned();
            vertex.name = name.to_owned();
            vertex.started.get_or_insert_default().seconds = 1;
            if let Some(seconds) = completed {
                vertex.completed.get_or_insert_default().seconds = seconds;
            }
            vertex
        };
        let mut progress = Progress::default();
        let mut told = Vec::new();
        for vertex in [
            vertex("[internal] load build definition", None, false),
            vertex("[1/2] FROM a", None, false),
            vertex("[1/2] FROM a", None, false),
            vertex("[1/2] FROM a", Some(3), false),
            vertex("[2/2] RUN b", Some(1), true),
        ] {
            let status = StatusResponse { vertexes: vec![vertex], ..Default::default() };
            for chunk in progress.take(status) {
                told.push(String::from_utf8(chunk.bytes.to_vec()).unwrap());
            }
        }
        assert_eq!(
            told,
            ["#1 [1/2] FROM a\n", "#1 done in 2.0s\n", "#2 [2/2] RUN b\n", "#2 cached\n"]
        );
    }
}
