//! What an attempt ran out of: memory, processes, or room for files.

use crate::backend::{Exit, Usage, Use};
use crate::size;

/// What E092 says, if the attempt failed for want of something: the limit, the most it
/// used, and the line to write.
pub(crate) fn of_failure(exit: &Exit) -> Option<String> {
    let Usage { memory, pids, pids_refused, full } = &exit.usage;
    if exit.code == 0 {
        None
    } else if exit.oom_killed {
        Some(of_memory(exit.code, *memory))
    } else if *pids_refused {
        Some(of_processes(exit.code, *pids))
    } else {
        full.first().map(|(place, size)| of_room(exit.code, place, *size))
    }
}

/// What an attempt is told that passed all the same.
pub(crate) fn warning(exit: &Exit) -> Option<String> {
    if exit.code != 0 {
        return None;
    }
    let Usage { memory, pids, pids_refused, .. } = &exit.usage;
    if exit.oom_killed {
        let may = memory.limit.map(|limit| format!(" of {}", size::text(limit)));
        let may = may.unwrap_or_default();
        return Some(format!(
            "warning: a process of this stage was killed, because the memory{may} was used up"
        ));
    }
    pids_refused.then(|| {
        let may = pids.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        format!("warning: a process of this stage could not be started for its limit{may}")
    })
}

fn of_memory(code: i64, Use { peak, limit }: Use) -> String {
    let mut text = format!("out of memory (exit {code})");
    if let Some(limit) = limit {
        text.push_str(&format!(": the stage may use {}", size::text(limit)));
        if let Some(peak) = peak {
            text.push_str(&format!(", and used {}", size::text(peak.min(limit))));
        }
        let more = whole_mebibytes(limit.saturating_mul(2));
        text.push_str(&format!("; write `resources: {{ memory: {more} }}`, or let it need less"));
    }
    text
}

fn of_processes(code: i64, Use { peak, limit }: Use) -> String {
    let mut text = format!("out of processes (exit {code})");
    if let Some(limit) = limit {
        text.push_str(&format!(": the stage may have {limit}, threads included"));
        if let Some(peak) = peak {
            text.push_str(&format!(", and had {peak}"));
        }
        let more = limit.saturating_mul(2);
        text.push_str(&format!("; write `resources: {{ pids: {more} }}`, or let it need less"));
    }
    text
}

fn of_room(code: i64, place: &str, size: u64) -> String {
    let size = size::text(size);
    if place == crate::WORKSPACE {
        return format!(
            "no space left (exit {code}): the disk of the engine, with {size}, has no room for the workspace; make room, or let the stage write less"
        );
    }
    format!(
        "no space left (exit {code}): `{place}` is in memory, and holds {size}; write large files to the workspace"
    )
}

/// As `resources` takes it.
fn whole_mebibytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => format!("{}Gi", bytes >> 30),
        bytes => format!("{}Mi", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_enough_is_named_with_its_limit_its_peak_and_the_line_to_write() {
        let memory = Use { peak: Some(64 << 20), limit: Some(64 << 20) };
        let pids = Use { peak: Some(33), limit: Some(33) };
        let usage = Usage { memory, pids, ..Usage::default() };
        let exit = |code| Exit { code, usage: usage.clone(), ..Exit::default() };
        assert_eq!(of_failure(&exit(1)), None);
        assert_eq!(
            of_failure(&Exit { oom_killed: true, ..exit(137) }).unwrap(),
            "out of memory (exit 137): the stage may use 64.0 MiB, and used 64.0 MiB; write `resources: { memory: 128Mi }`, or let it need less"
        );
        let refused = |code| Exit {
            usage: Usage { pids_refused: true, ..usage.clone() },
            code,
            ..Exit::default()
        };
        assert_eq!(
            of_failure(&refused(2)).unwrap(),
            "out of processes (exit 2): the stage may have 33, threads included, and had 33; write `resources: { pids: 66 }`, or let it need less"
        );
        assert_eq!(of_failure(&refused(0)), None);
        assert!(warning(&refused(0)).unwrap().ends_with("for its limit of 33"));
        let full = |place: &str| {
            let full = vec![(place.to_owned(), 64 << 20)];
            let usage = Usage { full, ..Usage::default() };
            of_failure(&Exit { code: 1, usage, ..Exit::default() }).unwrap()
        };
        assert_eq!(
            full("/tmp"),
            "no space left (exit 1): `/tmp` is in memory, and holds 64.0 MiB; write large files to the workspace"
        );
        assert!(full("/workspace").contains("the disk of the engine, with 64.0 MiB, has no room"));
    }

    #[test]
    fn what_nobody_could_tell_is_left_out() {
        let exit = Exit { code: 137, oom_killed: true, ..Exit::default() };
        assert_eq!(of_failure(&exit).unwrap(), "out of memory (exit 137)");
        let limit = Some(4 << 30);
        let usage = Usage { memory: Use { peak: None, limit }, ..Usage::default() };
        let told = of_failure(&Exit { usage, ..exit }).unwrap();
        assert!(told.contains("may use 4.0 GiB; write `resources: { memory: 8Gi }`"), "{told}");
    }
}
