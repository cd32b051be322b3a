//! A plan in the language of Mermaid, for Markdown pages.

use super::chart::{Chart, Fold, Link, State};
use super::words;
use crate::plan::{EdgeReason, Plan};

/// Returns the plan as a flowchart for Mermaid; a matrix is one box.
pub fn plan_mermaid(plan: &Plan) -> String {
    let chart = Chart::new(plan, Fold::Always);
    let mut text = "flowchart LR\n".to_owned();
    // Numbers as ids: a stage may be called `end`, which would end the chart.
    for (id, node) in chart.nodes.iter().enumerate() {
        let state = node.state();
        let mut label = escaped(&format!("{} {}", state.mark(), node.title()));
        if let Some(stage) = node.first() {
            label.push_str("<br/>");
            label.push_str(&escaped(&words::work_of(stage, plan)));
        }
        text.push_str(&format!("  s{id}[\"{label}\"]:::{}\n", class(state)));
    }
    for (id, links) in chart.told().iter().enumerate() {
        for link in links {
            text.push_str(&format!("  s{} {} s{id}\n", link.from, arrow(link)));
        }
    }
    text.push_str("  classDef run stroke:#1a7f37,stroke-width:2px\n");
    text.push_str("  classDef later stroke:#9a6700,stroke-width:2px,stroke-dasharray:6 3\n");
    text.push_str("  classDef skip stroke:#6e7781,stroke-dasharray:2 3,color:#6e7781\n");
    text.push_str("  classDef mixed stroke:#9a6700,stroke-width:2px\n");
    text
}

const fn class(state: State) -> &'static str {
    match state {
        State::Run => "run",
        State::Later => "later",
        State::Skip => "skip",
        State::Mixed => "mixed",
    }
}

fn arrow(link: &Link) -> String {
    let arrow = match (link.must, link.by) {
        (true, _) => "==>",
        (false, EdgeReason::Output | EdgeReason::Before) => "-.->",
        (false, EdgeReason::Needs | EdgeReason::Order) => "-->",
    };
    match words::reason(link).as_str() {
        "" | "order" => arrow.to_owned(),
        reason => format!("{arrow}|{reason}|"),
    }
}

/// A text within quotes: everything that Mermaid, Markdown or HTML could read is a number.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in super::paint::one_line(text).chars() {
        let harmless = character.is_alphanumeric()
            || !character.is_ascii()
            || matches!(character, ' ' | '.' | ',' | '-' | ':' | '/' | '=' | '+' | '(' | ')' | '@');
        if harmless {
            escaped.push(character);
        } else {
            escaped.push_str(&format!("#{};", u32::from(character)));
        }
    }
    escaped
}
