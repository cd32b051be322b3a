//! A run that was recorded, told again: by a file, or by the local store.

mod file;
mod stored;

use event::{Event, Frame, RunState};
use runner::Observation;

pub(crate) use file::Lines;
pub(crate) use stored::Stored;

use crate::error::CommandError;

/// Observations in an order that a run could have had.
pub(crate) type Recording = Box<dyn Iterator<Item = Result<Observation, CommandError>> + Send>;

/// Judges whether what is told can have been a run.
#[derive(Default)]
struct Plausible(RunState);

impl Plausible {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        if event.format > event::FORMAT {
            return Err(format!(
                "format {} is newer than this program, which reads format {}",
                event.format,
                event::FORMAT
            ));
        }
        self.0.apply(event).map_err(|error| error.to_string())
    }

    fn frame(&self, frame: &Frame) -> Result<(), String> {
        let Frame { stage: name, attempt, .. } = frame;
        if self.0.result.is_some() {
            return Err(format!("output of stage `{name}` follows the end of the run"));
        }
        let stage = self.0.stage(name);
        let stage = stage.ok_or_else(|| format!("the plan has no stage `{name}`"))?;
        if stage.attempts.iter().all(|known| known.number != *attempt) {
            return Err(format!("stage `{name}` has no attempt {attempt} yet"));
        }
        Ok(())
    }
}
