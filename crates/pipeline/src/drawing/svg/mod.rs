//! A plan as a picture: boxes in layers, lines by reason, states by colour and form.
//!
//! The picture holds no script and refers to nothing outside it, follows the
//! colour scheme of the reader, and says in `title` and `desc` what it shows.

mod look;

use look::{LOOK, class, escaped, line_class, mark, rectangle};

use super::chart::{Chart, Fold, Link, Node, State, counted};
use super::layers::{Layout, Place, Route, layout};
use super::paint::{columns, one_line, shortened};
use super::words;
use crate::plan::{EdgeReason, Plan};

/// Returns the plan as SVG; a matrix is one box with the number of its cells.
pub fn plan_svg(plan: &Plan) -> String {
    let chart = Chart::new(plan, Fold::Always);
    let layout = layout(&chart.told());
    Picture::new(&chart, &layout).draw()
}

const BOX_HEIGHT: i64 = 44;
/// Wider boxes shorten their text.
const BOX_WIDTHS: std::ops::RangeInclusive<i64> = 132..=260;
/// Between boxes side by side, and along the lines.
const GAP_ACROSS: i64 = 16;
const GAP_ALONG: i64 = 56;
const MARGIN: i64 = 24;
const HEADER: i64 = 44;
const FOOTER: i64 = 44;
/// A picture that would be wider than this grows downwards, if that is narrower.
const WIDE: i64 = 1800;
/// Tenths of a pixel that a character takes: of a name, and of the line below it.
const NAME_TENTHS: i64 = 76;
const LINE_TENTHS: i64 = 62;
/// Boxes are not made wider for a longer second line.
const LINE_COLUMNS: usize = 24;
/// From the left edge of a box to its text.
const TEXT_AT: i64 = 30;
/// Stages that are described one by one.
const DESCRIBED: usize = 60;

struct Picture<'a> {
    chart: &'a Chart<'a>,
    layout: &'a Layout,
    box_width: i64,
    /// Layers stand below one another instead of side by side.
    downwards: bool,
    width: i64,
    height: i64,
}

impl<'a> Picture<'a> {
    fn new(chart: &'a Chart<'a>, layout: &'a Layout) -> Self {
        let widest = chart.nodes.iter().map(|node| {
            let line = columns(&line_of(node, chart.plan)).min(LINE_COLUMNS);
            let name = whole(columns(&node.title())) * NAME_TENTHS;
            name.max(whole(line) * LINE_TENTHS) / 10
        });
        let wanted = widest.max().unwrap_or(0) + TEXT_AT + 14;
        let box_width = wanted.clamp(*BOX_WIDTHS.start(), *BOX_WIDTHS.end());
        let layers = whole(layout.layers).max(1);
        let size = |along_box: i64, across_box: i64| {
            let along = layers * along_box + (layers - 1) * GAP_ALONG;
            let across = scaled(layout.span, across_box + GAP_ACROSS) + across_box;
            (along, across)
        };
        let (sideways, height) = size(box_width, BOX_HEIGHT);
        let (deep, narrow) = size(BOX_HEIGHT, box_width);
        let downwards = sideways > WIDE && narrow < sideways;
        let (inner_width, inner_height) =
            if downwards { (narrow, deep) } else { (sideways, height) };
        Self {
            chart,
            layout,
            box_width,
            downwards,
            // As wide as the legend, too.
            width: inner_width.max(560) + 2 * MARGIN,
            height: inner_height + HEADER + FOOTER + MARGIN,
        }
    }

    fn draw(&self) -> String {
        let (width, height) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"shipline-plan\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"shipline-plan-title shipline-plan-desc\">\n"
        );
        svg.push_str(&format!("<title id=\"shipline-plan-title\">{}</title>\n", self.title()));
        svg.push_str(&format!("<desc id=\"shipline-plan-desc\">{}</desc>\n", self.description()));
        svg.push_str(LOOK);
        svg.push_str(&format!("<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n"));
        let limit = usize::try_from((width - 2 * MARGIN) * 10 / NAME_TENTHS).unwrap_or(80);
        let title = escaped(&shortened(&self.heading(), limit));
        svg.push_str(&format!("<text class=\"heading\" x=\"{MARGIN}\" y=\"30\">{title}</text>\n"));
        // Lines first: boxes cover what runs behind them.
        for route in &self.layout.routes {
            svg.push_str(&self.line(route));
        }
        for (index, node) in self.chart.nodes.iter().enumerate() {
            svg.push_str(&self.stage(node, self.layout.places[index]));
        }
        svg.push_str(&self.legend());
        svg.push_str("</svg>\n");
        svg
    }

    fn heading(&self) -> String {
        let plan = self.chart.plan;
        let mut heading = format!("{} · {}", plan.pipeline, plan.event.name());
        for (word, value) in [("tag", &plan.tag), ("branch", &plan.branch)] {
            if let Some(value) = value {
                heading.push_str(&format!(" · {word} {value}"));
            }
        }
        one_line(&heading)
    }

    fn title(&self) -> String {
        escaped(&format!("Plan of pipeline {}", self.chart.plan.pipeline))
    }

    /// The picture in words.
    fn description(&self) -> String {
        let stages = self.chart.plan.stages.len();
        let count = counted(Chart::count(&self.chart.plan.stages));
        let mut text = format!("{stages} stages: {count}.");
        if self.chart.nodes.len() <= DESCRIBED {
            for node in &self.chart.nodes {
                let after: Vec<&str> =
                    node.links.iter().map(|link| self.chart.nodes[link.from].name).collect();
                let after = if after.is_empty() {
                    String::new()
                } else {
                    format!(" after {}", after.join(", "))
                };
                text.push_str(&format!(" {} ({}){after}.", node.title(), node.state().name()));
            }
        }
        escaped(&text)
    }

    /// The upper left corner of a box.
    fn corner(&self, place: Place) -> (i64, i64) {
        let (along_box, across_box) = self.box_size();
        let along = whole(place.layer) * (along_box + GAP_ALONG);
        let across = scaled(place.across, across_box + GAP_ACROSS);
        let (x, y) = if self.downwards { (across, along) } else { (along, across) };
        (x + MARGIN, y + HEADER)
    }

    /// Of a box: along the layers, and across them.
    const fn box_size(&self) -> (i64, i64) {
        if self.downwards { (BOX_HEIGHT, self.box_width) } else { (self.box_width, BOX_HEIGHT) }
    }

    fn stage(&self, node: &Node<'_>, place: Place) -> String {
        let (x, y) = self.corner(place);
        let (width, height) = (self.box_width, BOX_HEIGHT);
        let state = node.state();
        let mut svg = format!("<g class=\"{}\"><title>{}</title>", class(state), self.tip(node));
        if node.is_folded() {
            for shift in [6, 3] {
                svg.push_str(&rectangle(x + shift, y + shift, width, height));
            }
        }
        svg.push_str(&rectangle(x, y, width, height));
        svg.push_str(&mark(state, x + 16, y + 17));
        let fits = |tenths: i64, room: i64| usize::try_from(room * 10 / tenths).unwrap_or(1);
        let count =
            if node.is_folded() { format!(" ×{}", node.cells.len()) } else { String::new() };
        let room = fits(NAME_TENTHS, width - TEXT_AT - 8).saturating_sub(columns(&count));
        let name = shortened(&one_line(node.name), room);
        let (text_x, name_y, line_y) = (x + TEXT_AT, y + 21, y + 36);
        svg.push_str(&format!(
            "<text class=\"name\" x=\"{text_x}\" y=\"{name_y}\">{}{count}</text>",
            escaped(&name)
        ));
        let line = line_of(node, self.chart.plan);
        let line = shortened(&line, fits(LINE_TENTHS, width - TEXT_AT - 8));
        svg.push_str(&format!(
            "<text class=\"line\" x=\"{text_x}\" y=\"{line_y}\">{}</text></g>\n",
            escaped(&line)
        ));
        svg
    }

    /// What is shown when somebody points at a box.
    fn tip(&self, node: &Node<'_>) -> String {
        let mut parts = vec![words::work(node, self.chart.plan)];
        parts.extend(words::cells(node));
        parts.extend(words::decision(node));
        parts.extend(words::conduct(node));
        parts.extend(words::needs(self.chart, node, &node.links, None, true));
        let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        escaped(&format!("{} ({}): {}", node.title(), node.state().name(), texts.join(" · ")))
    }

    fn line(&self, route: &Route) -> String {
        let (along_box, across_box) = self.box_size();
        // As (along, across), whichever way the picture grows.
        let turned = |(x, y): (i64, i64)| if self.downwards { (y, x) } else { (x, y) };
        let at = |place: Place| {
            let (along, across) = turned(self.corner(place));
            (along, across + across_box / 2)
        };
        let point = |along: i64, across: i64| {
            let (x, y) = turned((along, across));
            format!("{x} {y}")
        };
        let (start, across) = at(self.layout.places[route.link.from]);
        let mut here = (start + along_box, across);
        let mut path = format!("M{}", point(here.0, here.1));
        let (end, across) = at(self.layout.places[route.to]);
        // The head of the arrow ends where the box begins.
        let stops = route.bends.iter().map(|bend| at(*bend)).chain([(end - 2, across)]);
        for stop in stops {
            let middle = (here.0 + stop.0) / 2;
            if stop.1 == here.1 {
                path.push_str(&format!(" L{}", point(stop.0, stop.1)));
            } else {
                path.push_str(&format!(
                    " C{} {} {}",
                    point(middle, here.1),
                    point(middle, stop.1),
                    point(stop.0, stop.1)
                ));
            }
            here = stop;
            if here.0 < end - 2 {
                here.0 += along_box;
                path.push_str(&format!(" L{}", point(here.0, here.1)));
            }
        }
        let class = line_class(&route.link);
        let (from, to) = (&self.chart.nodes[route.link.from], &self.chart.nodes[route.to]);
        let reason = words::reason(&route.link);
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        let tip = escaped(&format!("{} after {}{reason}", to.title(), from.title()));
        format!("<path class=\"{class}\" d=\"{path}\"><title>{tip}</title></path>\n")
    }

    /// What the marks and lines of this picture mean.
    fn legend(&self) -> String {
        let y = self.height - 20;
        let mut x = MARGIN;
        let mut svg = String::from("<g class=\"legend\">");
        let mut states: Vec<State> = self.chart.nodes.iter().map(Node::state).collect();
        states.sort_unstable();
        states.dedup();
        for state in states {
            let class = class(state);
            let sign = format!("<g class=\"{class}\">{}</g>", mark(state, x + 6, y - 4));
            svg.push_str(&entry(&sign, &mut x, 18, y, state.name()));
        }
        let links = self.layout.routes.iter().map(|route| route.link);
        let mut kinds: Vec<(bool, EdgeReason)> = links.map(|link| (link.must, link.by)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for (must, by) in kinds {
            let link = Link { from: 0, by, must };
            let class = line_class(&link);
            let sign =
                format!("<path class=\"{class}\" d=\"M{x} {} L{} {}\"/>", y - 4, x + 26, y - 4);
            let reason = match words::reason(&link) {
                reason if reason.is_empty() => "needs".to_owned(),
                reason => reason,
            };
            svg.push_str(&entry(&sign, &mut x, 38, y, &reason));
        }
        svg.push_str("</g>\n");
        svg
    }
}

/// The second line of a box: what the stage does, or why that is not certain.
fn line_of(node: &Node<'_>, plan: &Plan) -> String {
    let part = match node.state() {
        State::Skip | State::Later => words::decision(node).into_iter().next(),
        State::Run | State::Mixed => Some(words::work(node, plan)),
    };
    part.map(|part| part.text).unwrap_or_default()
}

/// One sign of the legend with its words; moves `x` behind them.
fn entry(sign: &str, x: &mut i64, room: i64, y: i64, words: &str) -> String {
    let text = format!("{sign}<text class=\"line\" x=\"{}\" y=\"{y}\">{words}</text>", *x + room);
    *x += room + whole(columns(words)) * LINE_TENTHS / 10 + 20;
    text
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX / 1_000_000)
}

#[expect(clippy::cast_possible_truncation, reason = "a picture has far fewer pixels than 2^53")]
#[expect(clippy::cast_precision_loss, reason = "a box has a few hundred pixels")]
fn scaled(across: f64, pitch: i64) -> i64 {
    (across * pitch as f64).round() as i64
}
