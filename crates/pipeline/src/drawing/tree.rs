//! A plan as text, for `shipline plan`.
//!
//! A stage stands below the one that everything it waits for comes through, so
//! that branches are indented and the stage that joins them again is not. A line
//! comes after the lines of all its needs; those that the tree cannot show are
//! named.

use std::collections::BTreeSet;

use super::chart::{Chart, Fold, Link, Node, State, counted};
use super::paint::{Part, Tone, columns, painted};
use super::words;
use crate::plan::{Decision, Origin, OriginKind, Plan, PlannedStage};
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

/// More lines than this are told in part.
const ROWS: usize = 100;
/// Lines of one kind that are shown before and after those left out.
const HEAD: usize = 8;
const TAIL: usize = 2;
/// The names are padded to one width up to this.
const NAME_WIDTH: usize = 40;
/// The mark of a line that stands for many.
const LEFT_OUT: char = '⋮';
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
    for row in &rows {
        row.write(&mut text, options.style, names, width);
    }
    let mut line = Line::new(options.style, width, "");
    line.words(&mut text, &Part::plain(foot(&chart, hidden)));
    line.next(&mut text);
    text
}

/// A line of the tree, with those below it that belong to the same stage.
struct Row {
    /// The lines of the tree in front of the mark.
    lead: String,
    /// The same in front of what follows below.
    below: String,
    mark: (char, Tone),
    name: (String, Tone),
    parts: Vec<Part>,
    details: Vec<Part>,
    origins: Vec<String>,
    /// The stages it tells of: run, decided later, skipped.
    count: [usize; 3],
}

impl Row {
    fn name_width(&self) -> usize {
        columns(&self.lead) + 2 + columns(&self.name.0)
    }

    fn write(&self, text: &mut String, style: Style, names: usize, width: usize) {
        let lead = painted(style, Tone::Quiet, &self.lead);
        let mark = painted(style, self.mark.1, &self.mark.0.to_string());
        let name = painted(style, self.name.1, &self.name.0);
        let padding = names.saturating_sub(self.name_width());
        let mut line = Line {
            style,
            width,
            below: format!("{}  ", painted(style, Tone::Quiet, &self.below)),
            below_columns: columns(&self.below) + 2,
            used: self.name_width() + padding + 2,
            text: format!("{lead}{mark} {name}{}  ", " ".repeat(padding)),
            fresh: true,
        };
        line.parts(text, &self.parts);
        line.next(text);
        if !self.details.is_empty() {
            line.parts(text, &self.details);
            line.next(text);
        }
        for origin in &self.origins {
            line.parts(text, &[Part::quiet(origin)]);
            line.next(text);
        }
    }
}

/// A line that is being written, and how those after it begin.
struct Line {
    style: Style,
    width: usize,
    below: String,
    below_columns: usize,
    text: String,
    used: usize,
    /// Nothing was written yet since the beginning of the line.
    fresh: bool,
}

impl Line {
    fn new(style: Style, width: usize, text: &str) -> Self {
        Self {
            style,
            width,
            below: "  ".to_owned(),
            below_columns: 2,
            used: columns(text),
            text: painted(style, Tone::Strong, text),
            fresh: true,
        }
    }

    /// Adds parts with ` · ` between them, and goes on below where they do not fit.
    fn parts(&mut self, text: &mut String, parts: &[Part]) {
        for part in parts {
            let wide = columns(&part.text) + if self.fresh { 0 } else { 3 };
            if self.used + wide > self.width && self.used > self.below_columns {
                self.next(text);
            }
            if !self.fresh {
                self.push(" · ", Tone::Quiet);
            }
            self.words(text, part);
            self.fresh = false;
        }
    }

    /// Adds a part word by word: it alone may be wider than the terminal.
    fn words(&mut self, text: &mut String, part: &Part) {
        if self.used + columns(&part.text) <= self.width {
            return self.push(&part.text, part.tone);
        }
        let mut piece = String::new();
        for word in part.text.split_inclusive(' ') {
            let filled = self.used + columns(&piece);
            if filled + columns(word.trim_end()) > self.width && filled > self.below_columns {
                self.push(piece.trim_end(), part.tone);
                piece.clear();
                self.next(text);
            }
            piece.push_str(word);
        }
        self.push(&piece, part.tone);
    }

    fn push(&mut self, piece: &str, tone: Tone) {
        self.used += columns(piece);
        self.text.push_str(&painted(self.style, tone, piece));
    }

    fn next(&mut self, text: &mut String) {
        text.push_str(self.text.trim_end());
        text.push('\n');
        self.text = self.below.clone();
        self.used = self.below_columns;
        self.fresh = true;
    }
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
        plan.params.iter().map(|(name, value)| {
            Part::plain(format!("{name} = {}", crate::plan::value_text(value)))
        }),
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

/// The node that everything a node waits for comes through, and its children.
struct Tree {
    parent: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl Tree {
    fn new(chart: &Chart<'_>) -> Self {
        let size = chart.nodes.len();
        let mut tree =
            Self { parent: vec![None; size], children: vec![Vec::new(); size], roots: Vec::new() };
        let mut depth = vec![0_usize; size];
        for (index, links) in chart.least().iter().enumerate() {
            // Nodes come after what they wait for, so their parents are known.
            let mut links = links.iter().map(|link| link.from);
            let mut common = links.next();
            for other in links {
                common = tree.meeting(common, Some(other), &depth);
            }
            tree.parent[index] = common;
            match common {
                Some(parent) => {
                    depth[index] = depth[parent] + 1;
                    tree.children[parent].push(index);
                }
                None => tree.roots.push(index),
            }
        }
        tree
    }

    /// The nearest node above both.
    fn meeting(
        &self,
        mut one: Option<usize>,
        mut other: Option<usize>,
        depth: &[usize],
    ) -> Option<usize> {
        while one != other {
            let (Some(left), Some(right)) = (one, other) else { return None };
            if depth[left] >= depth[right] {
                one = self.parent[left];
            }
            if depth[right] >= depth[left] {
                other = self.parent[right];
            }
        }
        one
    }
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

/// Whether a node waits, at last, for each of the other branches.
fn joins(chart: &Chart<'_>, tree: &Tree, node: usize, others: &[usize]) -> bool {
    let top = tree.parent[node];
    let mut met: BTreeSet<usize> = BTreeSet::new();
    let mut open = vec![node];
    while let Some(at) = open.pop() {
        for link in &chart.nodes[at].links {
            // Up from what it waits for to the branch it belongs to.
            let mut branch = link.from;
            if Some(branch) == top {
                continue;
            }
            while tree.parent[branch] != top {
                let Some(parent) = tree.parent[branch] else { break };
                branch = parent;
            }
            if met.insert(branch) {
                open.push(branch);
            }
        }
    }
    others.iter().all(|other| met.contains(other))
}

fn row(
    chart: &Chart<'_>,
    node: usize,
    links: &[Link],
    parent: Option<usize>,
    options: &TreeOptions,
    row: Row,
) -> Row {
    let node = &chart.nodes[node];
    let state = node.state();
    let (mark, name) = match state {
        State::Run => (Tone::Good, Tone::Strong),
        State::Later | State::Mixed => (Tone::Attention, Tone::Strong),
        State::Skip => (Tone::Quiet, Tone::Quiet),
    };
    let mut work = words::work(node, chart.plan);
    let mut parts = Vec::new();
    if state == State::Skip {
        work.tone = Tone::Quiet;
        parts.extend(words::decision(node));
        parts.push(work);
    } else {
        parts.push(work);
        parts.extend(words::cells(node));
        parts.extend(words::decision(node));
        parts.extend(words::conduct(node));
    }
    parts.extend(words::needs(chart, node, links, parent, options.all));
    parts.retain(|part| !part.text.is_empty());
    let mut details = if state == State::Skip { Vec::new() } else { words::details(node) };
    if details.len() == 1 {
        parts.append(&mut details);
    }
    let origins = match node.first() {
        Some(stage) if options.origins => origins(stage),
        _ => Vec::new(),
    };
    Row {
        mark: (state.mark(), mark),
        name: (Part::plain(node.title()).text, name),
        parts,
        details,
        origins,
        count: Chart::count(node.cells.iter().copied()),
        ..row
    }
}

/// Each value with the place it came from.
fn origins(stage: &PlannedStage) -> Vec<String> {
    let values = serde_json::to_value(stage).unwrap_or_default();
    let line = |(path, origin): (&String, &Origin)| {
        let value = value_at(&values, path).map(|value| format!(" = {value}")).unwrap_or_default();
        format!("{path}{value}  <- {}", place(origin))
    };
    stage.origins.iter().map(line).collect()
}

fn place(origin: &Origin) -> String {
    let by = match origin.by {
        OriginKind::File => "",
        OriginKind::Defaults => ", defaults",
        OriginKind::Template => ", template",
        OriginKind::Param => ", parameter of the template",
        OriginKind::Policy => ", policy",
        OriginKind::Builtin => return "built in".to_owned(),
        OriginKind::Server => return "the server".to_owned(),
    };
    format!("{}:{}:{}{by}", origin.file, origin.line, origin.column)
}

/// The value of a path in a planned stage; the keys of its action stand at the top.
fn value_at(values: &serde_json::Value, path: &str) -> Option<String> {
    let find = |path: &str| {
        path.split('.').try_fold(values, |value, key| match value {
            serde_json::Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            value => value.get(key),
        })
    };
    let found = find(path).or_else(|| find(path.split_once('.')?.1))?;
    match found {
        serde_json::Value::Object(_) | serde_json::Value::Null => None,
        value => Some(super::paint::shortened(&crate::plan::value_text(value), 60)),
    }
}

/// Leaves out the middle of many lines of one kind, and returns how many stages those were.
fn elided(rows: Vec<Row>) -> (Vec<Row>, usize) {
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
