//! A plan as text, for `shipline plan`.
//!
//! A stage stands below the one that everything it waits for comes through, so
//! that branches are indented and the stage that joins them again is not. A line
//! comes after the lines of all its needs; those that the tree cannot show are
//! named.

mod branch;
mod gap;
mod line;
mod row;

use branch::{Tree, joins};
use gap::elided;
use line::Line;
use row::{Row, origins, row};

use super::chart::{Chart, Fold, Node, State};
use super::paint::{Part, Tone, columns};
use crate::plan::{Decision, Plan, value_text};
use crate::render::Style;

/// How a plan is told.
#[derive(Clone, Copy, Debug)]
pub struct TreeOptions {
    pub style: Style,
    /// Columns of the terminal; `None` is as wide as the text is.
    pub width: Option<usize>,
    /// Every cell and every stage, however many there are.
    pub all: bool,
    /// Where each value came from.
    pub origins: bool,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { style: Style::Plain, width: None, all: false, origins: false }
    }
}

/// The names are padded to one width up to this.
const NAME_WIDTH: usize = 40;
/// Deeper branches are indented no further.
const DEPTH: usize = 16;

/// Returns a tree of the stages with state, work and needs; the last line ends
/// with a line break.
pub fn plan_text(plan: &Plan, options: &TreeOptions) -> String {
    let fold = if options.all { Fold::Never } else { Fold::Alike };
    let chart = Chart::new(plan, fold);
    let width = options.width.unwrap_or(usize::MAX).max(20);
    let rows = rows(&chart, options, (width / 12).min(DEPTH));
    let (rows, hidden) = if options.all { (rows, 0) } else { elided(rows) };
    let names = rows.iter().map(Row::name_width).filter(|name| *name <= NAME_WIDTH.min(width / 3));
    let names = names.max().unwrap_or(0);
    let mut text = head(plan, options.style, width);
    if options.origins {
        for origin in origins(plan, &plan.origins) {
            let mut line = Line::new(options.style, width, "  ");
            line.words(&mut text, &Part::quiet(origin));
            line.next(&mut text);
        }
    }
    for row in &rows {
        row.write(&mut text, options.style, names, width);
    }
    let mut line = Line::new(options.style, width, "");
    line.words(&mut text, &Part::plain(foot(&chart, hidden)));
    line.next(&mut text);
    text
}

fn head(plan: &Plan, style: Style, width: usize) -> String {
    let mut facts = Vec::new();
    if let Some(tag) = &plan.tag {
        facts.push(Part::plain(format!("tag {tag}")));
    }
    if let Some(branch) = &plan.branch {
        facts.push(Part::plain(format!("branch {branch}")));
    }
    if !plan.sha.is_empty() {
        let short = plan.sha.get(..8).unwrap_or(&plan.sha);
        facts.push(Part::plain(format!("commit {short}")));
    }
    facts.extend(
        plan.params
            .iter()
            .map(|(name, value)| Part::plain(format!("{name} = {}", value_text(value)))),
    );
    if !plan.trusted {
        facts.push(Part::new(Tone::Attention, "untrusted"));
    }
    if !plan.auto {
        facts.push(Part::new(Tone::Attention, "waits until somebody starts it"));
    }
    if let Some(concurrency) = &plan.concurrency {
        facts.push(Part::plain(format!("concurrency group {}", concurrency.group)));
    }
    let mut parts = vec![Part::plain(plan.event.name())];
    parts.append(&mut facts);
    let mut line = Line::new(style, width, &Part::plain(&plan.pipeline).text);
    line.push(&Part::plain(format!(" ({}): ", plan.file)).text, Tone::Plain);
    let mut text = String::new();
    // With commas: this is one sentence, not a list of facts.
    let last = parts.len() - 1;
    for (index, part) in parts.iter_mut().enumerate() {
        part.text.push_str(if index < last { "," } else { "" });
        if index > 0 && line.used + 1 + columns(&part.text) > width {
            line.next(&mut text);
        } else if index > 0 {
            line.push(" ", Tone::Plain);
        }
        line.words(&mut text, part);
    }
    line.next(&mut text);
    text
}

fn foot(chart: &Chart<'_>, hidden: usize) -> String {
    let stages = &chart.plan.stages;
    let skipped = stages.iter().filter(|stage| stage.state == Decision::Skip).count();
    let later = stages.iter().filter(|stage| State::of(stage) == State::Later).count();
    let folded = chart.nodes.iter().any(Node::is_folded);
    let mut text = format!("{} stages, {skipped} skipped", stages.len());
    if stages.len() == 1 {
        text = format!("1 stage, {skipped} skipped");
    }
    if later > 0 {
        text.push_str(&format!(", {later} decided later"));
    }
    match (hidden, folded) {
        (0, false) => {}
        (0, true) => text.push_str("; `--all` shows each cell of a matrix"),
        (hidden, _) => text.push_str(&format!("; {hidden} not shown, `--all` shows every one")),
    }
    text
}

fn rows(chart: &Chart<'_>, options: &TreeOptions, deepest: usize) -> Vec<Row> {
    struct Visit {
        node: usize,
        lead: String,
        column: String,
        depth: usize,
    }
    let tree = Tree::new(chart);
    let links = chart.told();
    let mut rows = Vec::with_capacity(chart.nodes.len());
    let visit = |node, lead: &str, column: &str, depth| Visit {
        node,
        lead: lead.to_owned(),
        column: column.to_owned(),
        depth,
    };
    let mut stack: Vec<Visit> =
        tree.roots.iter().rev().map(|root| visit(*root, "", "", 0)).collect();
    while let Some(Visit { node, lead, column, depth }) = stack.pop() {
        let children = tree.children[node].as_slice();
        // The last child stands in the column of its parent when it joins all others.
        let (branches, next) = match children.split_last() {
            None => (children, None),
            Some((last, others)) if joins(chart, &tree, *last, others) => (others, Some(*last)),
            Some(_) => (children, None),
        };
        let bar = if children.is_empty() { " " } else { "│" };
        rows.push(row(
            chart,
            node,
            &links[node],
            tree.parent[node],
            options,
            Row {
                below: format!("{column}{bar} "),
                lead,
                mark: (' ', Tone::Plain),
                name: (String::new(), Tone::Plain),
                parts: Vec::new(),
                details: Vec::new(),
                origins: Vec::new(),
                count: [0; 3],
            },
        ));
        stack.extend(next.map(|next| visit(next, &column, &column, depth)));
        for (index, child) in branches.iter().enumerate().rev() {
            let last = index + 1 == branches.len() && next.is_none();
            let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let lead = format!("{column}{branch}");
            let inner = if depth < deepest { format!("{column}{below}") } else { column.clone() };
            stack.push(visit(*child, &lead, &inner, depth + 1));
        }
    }
    rows
}
