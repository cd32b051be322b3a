//! A file that `run --format json` wrote: an event or a frame on each line.

use std::io::{BufRead, Read as _};

use event::{Event, Frame};
use runner::Observation;

use super::Plausible;
use crate::error::CommandError;

/// The longest line there is: the first one has the whole plan.
const LONGEST: u64 = 64 * 1024 * 1024;

pub(crate) struct Lines<R> {
    name: String,
    reader: R,
    line: Vec<u8>,
    number: u64,
    plausible: Plausible,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(name: &str, reader: R) -> Self {
        Self {
            name: name.to_owned(),
            reader,
            line: Vec::new(),
            number: 0,
            plausible: Plausible::default(),
            failed: false,
        }
    }

    fn read(&mut self) -> Result<Option<Observation>, CommandError> {
        self.line.clear();
        self.number += 1;
        let mut limited = self.reader.by_ref().take(LONGEST);
        if let Err(error) = limited.read_until(b'\n', &mut self.line) {
            return Err(CommandError::environment(format_args!(
                "cannot read {}: {error}",
                self.name
            )));
        }
        if self.line.is_empty() {
            return self.end();
        }
        if self.line.len() as u64 == LONGEST && !self.line.ends_with(b"\n") {
            return Err(self.wrong("the line is too long for an event or a frame"));
        }
        let observation = parse(&self.line).map_err(|error| self.wrong(&error))?;
        let judged = match &observation {
            Observation::Event(event) => self.plausible.event(event),
            Observation::Frame(frame) => self.plausible.frame(frame),
            // It is never written.
            Observation::Waiting(_) => Ok(()),
        };
        judged.map_err(|error| self.wrong(&error))?;
        Ok(Some(observation))
    }

    fn end(&self) -> Result<Option<Observation>, CommandError> {
        match self.plausible.0.result {
            Some(_) => Ok(None),
            None if self.number == 1 => Err(self.wrong("there is nothing in it")),
            None => Err(self.wrong("the file ends here, and the run did not")),
        }
    }

    fn wrong(&self, what: &str) -> CommandError {
        CommandError::usage(format_args!("{}:{}: {what}", self.name, self.number))
            .hint("`shipline run --format json` and `shipline replay RUN --format json` write what can be replayed")
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Observation, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read().transpose();
        self.failed = matches!(read, Some(Err(_)));
        read
    }
}

/// An event has a number, a frame an offset.
fn parse(line: &[u8]) -> Result<Observation, String> {
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| {
        // Its place in the line; which line it is we know.
        format!("no JSON: {}", error.to_string().replace(" at line 1 column ", " at column "))
    })?;
    if value.get("seq").is_some() {
        let event: Event =
            serde_json::from_value(value).map_err(|error| format!("no event: {error}"))?;
        return Ok(Observation::Event(Box::new(event)));
    }
    if value.get("offset").is_some() {
        let frame: Frame =
            serde_json::from_value(value).map_err(|error| format!("no frame: {error}"))?;
        return Ok(Observation::Frame(frame));
    }
    Err("neither an event nor a frame of output".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const QUEUED: &str = r#"{"format":1,"seq":1,"at":"2026-03-01T08:00:00Z","run":"019ca800-0000-7000-8000-000000000001","kind":"run.queued","number":1,"by":"local","plan":{"format":1,"pipeline":"p","file":".shipline.yml","event":"manual","sha":"","branch":null,"trusted":true,"stages":[]}}"#;

    fn told(text: &str) -> (usize, String) {
        let (good, bad): (Vec<_>, Vec<_>) =
            Lines::new("a.ndjson", Cursor::new(text.to_owned())).partition(Result::is_ok);
        let error = bad.into_iter().next().and_then(Result::err);
        (good.len(), error.map(|error| error.to_string()).unwrap_or_default())
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_line() {
        let (seq, end) = (
            r#"{"format":1,"seq":3,"at":"2026-03-01T08:00:00Z","run":"019ca800-0000-7000-8000-000000000001","kind":"run.started","by":"local"}"#,
            r#"{"format":1,"seq":2,"at":"2026-03-01T08:00:00Z","run":"019ca800-0000-7000-8000-000000000001","kind":"run.finished","result":"passed","duration_ms":1}"#,
        );
        let frame = r#"{"stage":"a","attempt":1,"stream":"stdout","offset":0,"text":"x"}"#;
        for (text, lines, says) in [
            (String::new(), 0, "a.ndjson:1: there is nothing in it"),
            ("{}\n".to_owned(), 0, "a.ndjson:1: neither an event nor a frame"),
            ("hello\n".to_owned(), 0, "a.ndjson:1: no JSON: expected value at column 1"),
            ("\u{ff}\n".to_owned(), 0, "a.ndjson:1: no JSON"),
            (format!("{QUEUED}\n"), 1, "a.ndjson:2: the file ends here, and the run did not"),
            (format!("{QUEUED}\n{seq}\n"), 1, "a.ndjson:2: event 3 follows event 1"),
            (format!("{QUEUED}\n{frame}\n"), 1, "a.ndjson:2: the plan has no stage `a`"),
            (format!("{frame}\n"), 0, "a.ndjson:1: the plan has no stage `a`"),
            (format!("{QUEUED}\n{end}\n{frame}\n"), 2, "a.ndjson:3: output of stage `a` follows"),
            (format!("{QUEUED}\n{end}\n\n"), 2, "a.ndjson:3: no JSON"),
            (
                QUEUED.replace("\"format\":1,\"seq\"", "\"format\":9,\"seq\""),
                0,
                "format 9 is newer",
            ),
            (format!("{QUEUED}\n{{\"seq\":2}}\n"), 1, "a.ndjson:2: no event: missing field"),
        ] {
            let (good, error) = told(&text);
            assert!(good == lines && error.contains(says), "{text}: {good} {error}");
        }
        assert_eq!(
            told(&format!("{QUEUED}\n{end}")),
            (2, String::new()),
            "a last line end may be missing"
        );
    }
}
