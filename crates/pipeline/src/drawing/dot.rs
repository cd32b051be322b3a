//! A plan in the language of Graphviz.

use super::chart::{Chart, Fold, Link, Node, State};
use super::words;
use crate::plan::{EdgeReason, Plan};

/// Returns the plan as a directed graph for `dot`; a matrix is one box.
pub fn plan_dot(plan: &Plan) -> String {
    let chart = Chart::new(plan, Fold::Always);
    let mut text = format!("digraph \"{}\" {{\n", escaped(&plan.pipeline));
    text.push_str("  rankdir=LR;\n");
    text.push_str("  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11];\n");
    text.push_str("  edge [fontname=\"sans-serif\", fontsize=9];\n");
    for node in &chart.nodes {
        text.push_str(&format!("  \"{}\" [{}];\n", escaped(node.name), box_of(node, plan)));
    }
    for (node, links) in chart.nodes.iter().zip(chart.told()) {
        for link in links {
            let from = escaped(chart.nodes[link.from].name);
            text.push_str(&format!("  \"{from}\" -> \"{}\"{};\n", escaped(node.name), line(&link)));
        }
    }
    text.push_str("}\n");
    text
}

fn box_of(node: &Node<'_>, plan: &Plan) -> String {
    let state = node.state();
    let mut label = escaped(&format!("{} {}", state.mark(), node.title()));
    if let Some(stage) = node.first() {
        label.push_str("\\n");
        label.push_str(&escaped(&words::work_of(stage, plan)));
    }
    let reasons = words::decision(node);
    let reasons: Vec<&str> = reasons.iter().map(|part| part.text.as_str()).collect();
    let tip = escaped(&format!("{}: {}", state.name(), reasons.join(" · ")));
    let look = match state {
        State::Run => "color=\"#1a7f37\"",
        State::Later => "color=\"#9a6700\", style=\"rounded,dashed\"",
        State::Skip => "color=\"#6e7781\", fontcolor=\"#6e7781\", style=\"rounded,dotted\"",
        State::Mixed => "color=\"#9a6700\"",
    };
    format!("label=\"{label}\", tooltip=\"{}\", {look}", tip.trim_end_matches(": "))
}

fn line(link: &Link) -> String {
    let style = match link.by {
        EdgeReason::Needs => None,
        EdgeReason::Order => Some("color=\"#6e7781\""),
        EdgeReason::Output => Some("style=dashed"),
        EdgeReason::Before => Some("style=dotted"),
    };
    let reason = words::reason(link);
    let label = (!matches!(reason.as_str(), "" | "order")).then(|| format!("label=\"{reason}\""));
    let weight = link.must.then(|| "penwidth=2".to_owned());
    let parts: Vec<String> =
        style.map(str::to_owned).into_iter().chain(label).chain(weight).collect();
    if parts.is_empty() { String::new() } else { format!(" [{}]", parts.join(", ")) }
}

/// A text within quotes: Graphviz reads escapes and entities in it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in super::paint::one_line(text).chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '&' => escaped.push_str("&amp;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
