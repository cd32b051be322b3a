//! What units write, and commands beside them, over the connection of their host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;

use super::connection::{Host, Input};
use super::unit::UnitFile;
use super::{BASE, CALL, HostsTarget, infrastructure};
use crate::target::process::exec::start;
use crate::{ExecOptions, LogOptions, LogStream, TargetError, Terminal, UnitId};

/// Where a unit is.
struct Found {
    host: Arc<Host>,
    root: PathBuf,
    file: UnitFile,
}

impl HostsTarget {
    pub(super) async fn read(
        &self,
        unit: &UnitId,
        options: LogOptions,
    ) -> Result<LogStream, TargetError> {
        let Found { host, root, file } = self.find(unit).await?;
        let lines = options.tail.map(|lines| lines.to_string()).unwrap_or_default();
        let since = options.since.map(|since| since.timestamp().to_string()).unwrap_or_default();
        let follow = if options.follow { "follow" } else { "" };
        let arguments = [&*unit.0, &file.hooks.journal, follow, &lines, &since];
        let command = host.command(&root, "logs", &arguments, false).await;
        let command = command.map_err(|trouble| trouble.error(&host.access.name))?;
        let Terminal { input, output, end: _ } = start(command, None)?;
        // Kept, since the end of it would be the end of the command's input, too.
        let kept = move |piece| {
            let _ = &input;
            piece
        };
        Ok(output.map(kept).boxed())
    }

    pub(super) async fn run(
        &self,
        unit: &UnitId,
        options: &ExecOptions,
    ) -> Result<Terminal, TargetError> {
        let Found { host, root, .. } = self.find(unit).await?;
        let words = options.command.iter().map(String::as_str);
        let arguments: Vec<_> = std::iter::once(&*unit.0).chain(words).collect();
        let command = host.command(&root, "exec", &arguments, options.terminal.is_some()).await;
        let command = command.map_err(|trouble| trouble.error(&host.access.name))?;
        start(command, options.terminal)
    }

    /// Finds a unit by its name alone, which says the slot and with it the host.
    async fn find(&self, unit: &UnitId) -> Result<Found, TargetError> {
        let missing = || infrastructure(format!("{unit} does not exist"));
        let slot = slot_of(unit).ok_or_else(missing)?;
        let (named, others): (Vec<_>, Vec<_>) =
            self.hosts.iter().partition(|host| host.slot == slot);
        let mut first = None;
        // It is on another one where hosts have come or gone since it was made.
        for host in named.into_iter().chain(others) {
            match self.find_on(host, unit).await {
                Ok(found) => return Ok(found),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        Err(first.unwrap_or_else(missing))
    }

    async fn find_on(&self, host: &Arc<Host>, unit: &UnitId) -> Result<Found, TargetError> {
        let missing = || infrastructure(format!("{unit} does not exist"));
        let broken = |trouble: super::trouble::Trouble| trouble.error(&host.access.name);
        let root = match &host.access.path {
            Some(path) => path.clone(),
            None => {
                let base = Path::new(BASE);
                let found = host.call(base, "where", &[&*unit.0], &Input::Nothing, CALL).await;
                let found = found.map_err(broken)?;
                PathBuf::from(found.lines().next().ok_or_else(missing)?)
            }
        };
        let told = host.call(&root, "there", &[&*unit.0], &Input::Nothing, CALL).await;
        let file: UnitFile = serde_json::from_str(&told.map_err(broken)?).map_err(|_| missing())?;
        if file.instance != self.instance {
            return Err(missing());
        }
        Ok(Found { host: Arc::clone(host), root, file })
    }
}

/// Reads the slot out of `<project>-<env>-<slot>-<release8>-<deploy8>`.
fn slot_of(unit: &UnitId) -> Option<u32> {
    unit.0.rsplit('-').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_slot() {
        let slot = |name: &str| slot_of(&UnitId(name.to_owned()));
        assert_eq!(slot("web-2-prod-7-01234567-89abcdef"), Some(7));
        assert_eq!((slot("nobody"), slot("a-b-c")), (None, None));
    }
}
