//! What a builder tells, as lines people read.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use bytes::Bytes;
use event::OutputStream;
use regex::Regex;

use crate::backend::Chunk;

/// Lines kept for the message of a failure.
const LAST: usize = 5;
/// Bytes of a line that are kept for it.
const LONGEST: usize = 1000;

/// What was told of a build.
#[derive(Default)]
pub(super) struct Progress {
    steps: HashMap<String, Step>,
    /// Steps of the Dockerfile that were told of.
    told: usize,
    /// The step that failed; with the classic builder there is only one.
    failed: Option<String>,
}

/// One step: an instruction of the Dockerfile, or work of the builder.
#[derive(Default)]
struct Step {
    name: String,
    /// `None` until it is told of.
    number: Option<usize>,
    ended: bool,
    last: VecDeque<String>,
    /// The beginning of a line whose end has not come.
    partial: String,
}

impl Progress {
    /// Makes lines of BuildKit's news: steps as they begin and end, their output as it is.
    pub(super) fn take(&mut self, status: StatusResponse) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for vertex in &status.vertexes {
            self.vertex(vertex, &mut chunks);
        }
        for log in status.logs {
            self.steps.entry(log.vertex).or_default().remember(&log.msg);
            let stream = if log.stream == 2 { OutputStream::Stderr } else { OutputStream::Stdout };
            chunks.push(Chunk { stream, bytes: log.msg.into() });
        }
        chunks
    }

    fn vertex(&mut self, vertex: &Vertex, chunks: &mut Vec<Chunk>) {
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        step.name.clone_from(&vertex.name);
        if !vertex.error.is_empty() {
            self.failed = Some(vertex.digest.clone());
        }
        // Our own way of bringing the context in is no step of the Dockerfile.
        if vertex.name.starts_with("[internal]") || vertex.name == "copy /context /" {
            return;
        }
        if vertex.started.is_some() && step.number.is_none() {
            self.told += 1;
            step.number = Some(self.told);
            chunks.push(Chunk::engine(format!("#{} {}", self.told, vertex.name)));
        }
        let (Some(number), Some(completed), false) = (step.number, &vertex.completed, step.ended)
        else {
            return;
        };
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

    /// The classic builder tells its steps and their output as one text.
    pub(super) fn classic(&mut self, text: Option<String>) -> Vec<Chunk> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Vec::new() };
        self.failed.get_or_insert_default();
        self.steps.entry(String::new()).or_default().remember(text.as_bytes());
        vec![Chunk { stream: OutputStream::Stdout, bytes: Bytes::from(text) }]
    }

    /// The message of a step that failed: where it stands, what the builder says, and
    /// the last lines of its output.
    pub(super) fn failure(&self, said: &str, file: &str, dockerfile: &str) -> String {
        let step = self.failed.as_ref().and_then(|failed| self.steps.get(failed));
        let line = step.and_then(|step| line_of(dockerfile, &step.name));
        let mut text = match line {
            Some(line) => format!("{file}:{line}: {said}"),
            None => said.to_owned(),
        };
        let last = step.into_iter().flat_map(|step| {
            let partial = Some(&step.partial).filter(|line| !line.trim().is_empty());
            step.last.iter().chain(partial)
        });
        for line in last {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}

impl Step {
    fn remember(&mut self, bytes: &[u8]) {
        for piece in String::from_utf8_lossy(bytes).split_inclusive('\n') {
            // Of a line without end only the beginning is kept.
            let room = LONGEST.saturating_sub(self.partial.len());
            self.partial.extend(piece.trim_end_matches('\n').chars().take(room));
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.partial).trim_end().to_owned();
                if !line.is_empty() {
                    self.last.push_back(line);
                }
                if self.last.len() > LAST {
                    self.last.pop_front();
                }
            }
        }
    }
}

/// The line at which the instruction of a step begins. The engine does not say it: it is
/// that of the only instruction that reads like the step's name, `[2/3] RUN make`, in
/// which variables have their values.
fn line_of(dockerfile: &str, name: &str) -> Option<usize> {
    let (_, wanted) = name.strip_prefix('[')?.split_once("] ")?;
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = plain(wanted);
    let mut found = None;
    let mut lines = dockerfile.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut instruction = line.trim().to_owned();
        while let Some(begun) = instruction.strip_suffix('\\') {
            let begun = begun.to_owned();
            // Comments between the lines of an instruction are no part of it.
            let next = lines.find(|(_, line)| !line.trim_start().starts_with('#'));
            let Some((_, next)) = next else { break };
            instruction = begun + next.trim_end();
        }
        if reads_like(&plain(&instruction), &wanted) && found.replace(index + 1).is_some() {
            return None;
        }
    }
    found
}

fn reads_like(instruction: &str, wanted: &str) -> bool {
    static VARIABLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\$\{[^}]*\}|\$[A-Za-z_][A-Za-z0-9_]*").ok());
    let Some(variable) = VARIABLE.as_ref().filter(|_| instruction.contains('$')) else {
        return instruction == wanted;
    };
    let parts: Vec<String> = variable.split(instruction).map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).is_ok_and(|pattern| pattern.is_match(wanted))
}

#[cfg(test)]
mod tests {
    use bollard::moby::buildkit::v1::VertexLog;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_for_the_message() {
        let mut progress = Progress::default();
        for number in 0..8 {
            progress.classic(Some(format!("line {number}\n")));
        }
        progress.classic(Some("half".to_owned()));
        assert_eq!(
            progress.failure("failed", "Dockerfile", ""),
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

    #[test]
    fn the_instruction_of_a_step_is_found_if_there_is_only_one() {
        let dockerfile = "FROM a\n# RUN b\nRUN make \\\n  # why\n  all && \\\n  make test\n\
                          RUN twice\nRUN twice\nRUN last \\";
        assert_eq!(line_of(dockerfile, "[2/4] RUN make   all &&   make test"), Some(3));
        assert_eq!(line_of(dockerfile, "[app 1/4] FROM a"), Some(1));
        assert_eq!(line_of(dockerfile, "[3/4] RUN twice"), None);
        assert_eq!(line_of(dockerfile, "[3/4] RUN other"), None);
        let variables = "RUN echo $WHO; sleep ${FOR:-1}\nRUN echo (x)\n";
        assert_eq!(line_of(variables, "[2/3] RUN echo world; sleep 1"), Some(1));
        assert_eq!(line_of(variables, "[3/3] RUN echo (x)"), Some(2));
        assert_eq!(line_of(dockerfile, "exporting to image"), None);
    }

    #[test]
    fn a_failure_has_the_last_lines_of_its_own_step_and_not_of_one_beside_it() {
        let log = |vertex: &str, text: &str| VertexLog {
            vertex: vertex.to_owned(),
            msg: text.as_bytes().to_vec(),
            ..Default::default()
        };
        let failed = Vertex {
            digest: "a".to_owned(),
            name: "[a 2/2] RUN make".to_owned(),
            error: "exit code: 2".to_owned(),
            ..Default::default()
        };
        let mut progress = Progress::default();
        progress.take(StatusResponse {
            logs: vec![log("a", "no rule\n"), log("b", "fine\n"), log("a", "stop")],
            ..Default::default()
        });
        progress.take(StatusResponse { vertexes: vec![failed], ..Default::default() });
        assert_eq!(
            progress.failure("exit code: 2", "web/Dockerfile", "FROM a\nRUN make\n"),
            "web/Dockerfile:2: exit code: 2\n  no rule\n  stop"
        );
    }

    #[test]
    fn a_line_without_end_is_not_kept_whole() {
        let mut progress = Progress::default();
        for _ in 0..100 {
            progress.classic(Some("x".repeat(1000)));
        }
        assert!(progress.failure("failed", "Dockerfile", "").len() < 1100);
    }
}
