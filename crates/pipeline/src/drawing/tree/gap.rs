//! What is left out of a tree that would be too long to read.

use super::row::Row;
use crate::drawing::chart::counted;
use crate::drawing::paint::{Part, Tone};

/// More lines than this are told in part.
const ROWS: usize = 100;
/// Lines of one kind that are shown before and after those left out.
const HEAD: usize = 8;
const TAIL: usize = 2;
/// The mark of a line that stands for many.
const LEFT_OUT: char = '⋮';

/// Leaves out the middle of many lines of one kind, and returns how many stages those were.
pub(super) fn elided(rows: Vec<Row>) -> (Vec<Row>, usize) {
    if rows.len() <= ROWS {
        return (rows, 0);
    }
    let mut kept: Vec<Row> = Vec::new();
    let mut run: Vec<Row> = Vec::new();
    for row in rows {
        // Lines that follow one another with the same lead are siblings without
        // anything below them, or a chain.
        if run.first().is_some_and(|first| first.lead != row.lead) {
            leave_out(&mut run, HEAD, TAIL, &mut kept);
        }
        run.push(row);
    }
    leave_out(&mut run, HEAD, TAIL, &mut kept);
    if kept.len() > ROWS + ROWS / 2 {
        let mut all = std::mem::take(&mut kept);
        leave_out(&mut all, ROWS - HEAD, HEAD, &mut kept);
    }
    let left_out = kept.iter().filter(|row| row.mark.0 == LEFT_OUT);
    let hidden = left_out.flat_map(|row| row.count).sum();
    (kept, hidden)
}

/// Moves `rows` to `kept`, with one line in place of those in the middle.
fn leave_out(rows: &mut Vec<Row>, head: usize, tail: usize, kept: &mut Vec<Row>) {
    if rows.len() <= head + tail + 1 {
        kept.append(rows);
        return;
    }
    let rest = rows.split_off(rows.len() - tail);
    let middle = rows.split_off(head);
    kept.append(rows);
    let mut count = [0; 3];
    for row in &middle {
        for (sum, one) in count.iter_mut().zip(row.count) {
            *sum += one;
        }
    }
    let named = |row: &&Row| row.mark.0 != LEFT_OUT;
    let first = middle.iter().find(named).map(|row| row.name.0.as_str());
    let last = middle.iter().rev().find(named).map(|row| row.name.0.as_str());
    let names = [first, last].into_iter().flatten().collect::<Vec<_>>().join(" … ");
    let lead = middle.first().map(|row| row.lead.clone()).unwrap_or_default();
    kept.push(Row {
        below: lead.clone(),
        lead,
        mark: (LEFT_OUT, Tone::Quiet),
        name: (format!("{} more", count.iter().sum::<usize>()), Tone::Quiet),
        parts: vec![Part::quiet(names), Part::quiet(counted(count))],
        details: Vec::new(),
        origins: Vec::new(),
        count,
    });
    kept.extend(rest);
}
