//! `shipline lock` and `shipline unlock`: an environment kept as it is, by hand.

use chrono::{TimeDelta, Utc};

use super::trigger::word;
use crate::arguments::{LockArguments, UnlockArguments};
use crate::environments::Environments;
use crate::error::CommandError;

/// The longest lock.
const LONGEST: TimeDelta = TimeDelta::days(30);

pub(super) async fn lock(arguments: &LockArguments) -> Result<u8, CommandError> {
    let now = Utc::now();
    let lasts = arguments.duration.and_then(|time| TimeDelta::from_std(time.std()).ok());
    let until = match (arguments.until, lasts) {
        (Some(until), _) => until,
        (None, Some(lasts)) if lasts <= LONGEST => now + lasts,
        _ => now,
    };
    if until <= now || until - now > LONGEST {
        return Err(CommandError::usage("a lock ends later than now, and within 30 days"));
    }
    if arguments.reason.trim().is_empty() {
        return Err(CommandError::usage("a lock has a reason: whoever is refused reads it"));
    }
    let environment = &arguments.environment;
    let environments = Environments::open(&arguments.place).await?;
    let lock = environments.lock(environment, &arguments.reason, until, arguments.mine).await?;
    super::show(arguments.format, &lock, |lock| {
        let until = until.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M");
        let how = if lock["reserved"] == true { "reserved for" } else { "locked by" };
        format!("{environment} is {how} {} until {until}\n", word(lock, "owner"))
    })?;
    Ok(0)
}

pub(super) async fn unlock(arguments: &UnlockArguments) -> Result<u8, CommandError> {
    let environment = &arguments.environment;
    let environments = Environments::open(&arguments.place).await?;
    let told = environments.unlock(environment, arguments.force).await?;
    super::print(&format!("{environment} is open\n"))?;
    if let Some(told) = told {
        super::note(&told);
    }
    Ok(0)
}
