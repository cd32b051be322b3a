//! `--trace FILE`: where the time of a run goes, in the trace event format of Chrome, which
//! Perfetto reads too.
//!
//! What a trace tells are the `tracing` spans of this program: their names, and of their
//! fields numbers and names of stages. Nothing a stage writes or is given is among them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::error::{CommandError, Kind};

mod tracks;

use tracks::{Begun, Tracks};

/// A trace of this process, on its way into a file.
pub(crate) struct Trace {
    path: PathBuf,
    record: Arc<Record>,
}

impl Trace {
    /// Creates the file and begins to write down every span. Once per process.
    pub(crate) fn begin(path: &Path) -> Result<Self, CommandError> {
        let failed = |error: &io::Error| {
            let what = format!("cannot write the trace to {}", path.display());
            CommandError::caused(Kind::Usage, &what, error)
        };
        let record = Arc::new(Record::create(path).map_err(|error| failed(&error))?);
        tracing_subscriber::registry().with(Spans(Arc::clone(&record))).init();
        Ok(Self { path: path.to_owned(), record })
    }

    /// Ends what has not ended by itself. What cannot be written is no fault of the run.
    pub(crate) fn end(self) {
        if let Err(error) = self.record.end() {
            let what = format!("the trace in {} is not whole", self.path.display());
            CommandError::caused(Kind::Environment, &what, &error).warn();
        }
    }
}

struct Record {
    origin: Instant,
    written: Mutex<Written>,
}

struct Written {
    tracks: Tracks,
    file: BufWriter<File>,
    is_empty: bool,
    failed: Option<io::Error>,
}

impl Record {
    fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(b"[")?;
        file.flush()?;
        let tracks = Tracks::new(std::process::id());
        let written = Written { tracks, file, is_empty: true, failed: None };
        Ok(Self { origin: Instant::now(), written: Mutex::new(written) })
    }

    /// Gives `change` the microseconds since the beginning, and writes what it returns.
    fn write(&self, change: impl FnOnce(&mut Tracks, u64) -> Vec<Value>) {
        let mut written = self.written.lock().expect("nobody panics with this lock");
        // Under the lock, so that no span seems to begin before one that was told before it.
        let at = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        for event in change(&mut written.tracks, at) {
            let separator = if written.is_empty { "\n" } else { ",\n" };
            written.is_empty = false;
            if written.failed.is_none() {
                written.failed = write!(written.file, "{separator}{event}").err();
            }
        }
    }

    fn end(&self) -> io::Result<()> {
        self.write(Tracks::finish);
        let mut written = self.written.lock().expect("nobody panics with this lock");
        match written.failed.take() {
            Some(error) => Err(error),
            None => written.file.write_all(b"\n]\n").and_then(|()| written.file.flush()),
        }
    }
}

/// Hears of spans, and of nothing else.
struct Spans(Arc<Record>);

impl<S> Layer<S> for Spans
where
    S: tracing::Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // Those of libraries may have anything in their fields.
        metadata.is_span() && metadata.target().starts_with("shipline")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::DEBUG)
    }

    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        context: Context<'_, S>,
    ) {
        let parent = context.span(id).and_then(|span| span.parent()).map(|span| span.id());
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let begun = Begun {
            id: id.into_u64(),
            parent: parent.map(|parent| parent.into_u64()),
            name: attributes.metadata().name(),
            fields: fields.0,
        };
        self.0.write(|tracks, at| {
            tracks.begin(at, begun);
            Vec::new()
        });
    }

    fn on_close(&self, id: tracing::span::Id, _: Context<'_, S>) {
        self.0.write(|tracks, at| tracks.end(at, id.into_u64()));
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, Value>);

impl tracing::field::Visit for Fields {
    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        self.0.insert(field.name(), json!(value));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.insert(field.name(), json!(value));
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), json!(format!("{value:?}")));
    }
}
