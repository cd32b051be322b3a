//! Reports of a stage: read after it has ended, also when it failed.

use std::time::Duration;

use event::{EventKind, TestCase, TestTotals};
use pipeline::Reports;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::backend::{BackendError, FileEntry, Piece, View};
use crate::executor::{Attempt, Shared};
use crate::files::{self, Matched, PIECES};
use crate::verdict::Verdict;
use crate::{junit, size};

/// How long reading may take.
const READING: Duration = Duration::from_secs(120);
const MOST_FILES: usize = 10_000;
const LARGEST: u64 = 32 << 20;
const LARGEST_ALL: u64 = 256 << 20;

/// Reads the reports of an attempt; an `Err` is what that makes of a stage that passed.
pub(crate) async fn read(
    attempt: &mut Attempt<'_>,
    reports: &Reports,
    view: &View,
) -> Result<(), Verdict> {
    let shared = attempt.shared;
    let reading = timeout(READING, gather(shared, view, &reports.junit));
    let limit = attempt.limit.clone();
    let read = tokio::select! {
        biased;
        read = reading => read,
        _ = limit.cancelled() => return Ok(()),
    };
    let (matched, cases, complaints) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => return Err(Verdict::of_error(&error)),
        Err(_) => {
            let seconds = READING.as_secs();
            let reason = format!("the reports could not be read within {seconds} seconds");
            return Err(Verdict::infrastructure(reason));
        }
    };
    for complaint in complaints {
        attempt.log.say(complaint).await;
    }
    if let Some(refused) = &matched.refused {
        let reason = format!("the files of `reports.junit` are not read: {refused}");
        return Err(Verdict::failed(Some("E097"), reason));
    }
    if !matched.files.is_empty() {
        let (run, number) = (shared.context.run, attempt.assignment.attempt);
        let stage = &attempt.stage.name;
        shared.journal.keep_tests(run, stage, number, &cases).await.map_err(|error| {
            Verdict::infrastructure(format!("the tests could not be kept: {error}"))
        })?;
        let totals = TestTotals::of(matched.files.len() as u64, &cases);
        let read = EventKind::ReportRead { stage: stage.clone(), attempt: number, totals };
        shared.report(read).await;
    }
    matched.first_unmatched("reports.junit")
}

type Read = (Matched, Vec<TestCase>, Vec<String>);

/// Reads the files one after the other, each whole: it is small enough, or refused.
async fn gather(shared: &Shared, view: &View, patterns: &[String]) -> Result<Read, BackendError> {
    let (to, mut pieces) = mpsc::channel(PIECES);
    let parse = async {
        let (mut cases, mut complaints) = (Vec::new(), Vec::new());
        let mut current: Option<(FileEntry, Vec<u8>)> = None;
        loop {
            match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => {
                    if let Some((_, contents)) = &mut current {
                        contents.extend_from_slice(&bytes);
                    }
                    continue;
                }
                Some(Piece::File(entry)) => {
                    take(current.replace((entry, Vec::new())), &mut cases, &mut complaints);
                }
                None => {
                    take(current.take(), &mut cases, &mut complaints);
                    break;
                }
            }
        }
        // What a test says is output like any other.
        for case in &mut cases {
            case.name = shared.masker.text(&case.name);
            case.class = shared.masker.text(&case.class);
            case.message = case.message.as_deref().map(|message| shared.masker.text(message));
        }
        (cases, complaints)
    };
    let (matched, (cases, complaints)) =
        tokio::join!(files::read(shared, view, patterns, admit, to), parse);
    Ok((matched?, cases, complaints))
}

fn admit(files: &[FileEntry]) -> Result<(), String> {
    if files.len() > MOST_FILES {
        return Err(format!("the patterns match {} files, and {MOST_FILES} are read", files.len()));
    }
    if let Some(file) = files.iter().find(|file| file.size > LARGEST) {
        let (found, limit) = (size::text(file.size), size::text(LARGEST));
        return Err(format!("`{}` is {found} large, the limit is {limit}", file.path));
    }
    let all: u64 = files.iter().map(|file| file.size).sum();
    if all > LARGEST_ALL {
        let (found, limit) = (size::text(all), size::text(LARGEST_ALL));
        return Err(format!("they are {found} large, the limit is {limit}"));
    }
    Ok(())
}

/// Parses a report that is there as a whole. A link is none: where it leads to was not read.
fn take(
    file: Option<(FileEntry, Vec<u8>)>,
    cases: &mut Vec<TestCase>,
    complaints: &mut Vec<String>,
) {
    let Some((entry, contents)) = file else { return };
    let read = match entry.link {
        true => Err("it is a symbolic link".to_owned()),
        false => junit::read(&String::from_utf8_lossy(&contents), cases),
    };
    if let Err(why) = read {
        complaints.push(format!("report `{}` is not whole: {why}", entry.path));
    }
}
