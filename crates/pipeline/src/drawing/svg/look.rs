//! How the parts of a picture look: forms, classes, and the colours of both schemes.

use crate::drawing::chart::{Link, State};
use crate::drawing::paint::one_line;
use crate::plan::EdgeReason;

pub(super) fn rectangle(x: i64, y: i64, width: i64, height: i64) -> String {
    format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>")
}

/// The state as a form, for who sees no colours: full, ring, half, cross-line.
pub(super) fn mark(state: State, x: i64, y: i64) -> String {
    let ring = format!("<circle class=\"mark\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>");
    let (top, bottom, left, right) = (y - 5, y + 5, x - 3, x + 3);
    match state {
        State::Run => format!("<circle class=\"mark full\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>"),
        State::Skip => {
            format!("{ring}<path class=\"mark\" d=\"M{left} {} L{right} {}\"/>", y + 3, y - 3)
        }
        State::Later => {
            format!("{ring}<path class=\"mark\" d=\"M{x} {} V{y} H{}\"/>", y - 3, x + 3)
        }
        State::Mixed => {
            format!("{ring}<path class=\"full\" d=\"M{x} {top} A5 5 0 0 0 {x} {bottom} Z\"/>")
        }
    }
}

pub(super) const fn class(state: State) -> &'static str {
    match state {
        State::Run => "run",
        State::Later => "later",
        State::Skip => "skip",
        State::Mixed => "mixed",
    }
}

pub(super) const fn line_class(link: &Link) -> &'static str {
    match (link.by, link.must) {
        (EdgeReason::Order, false) => "edge order",
        (EdgeReason::Order, true) => "edge order must",
        (EdgeReason::Needs, false) => "edge needs",
        (EdgeReason::Needs, true) => "edge needs must",
        (EdgeReason::Output, false) => "edge output",
        (EdgeReason::Output, true) => "edge output must",
        (EdgeReason::Before, false) => "edge before",
        (EdgeReason::Before, true) => "edge before must",
    }
}

/// Colours of the light scheme, then those of the dark one; heads of the arrows.
pub(super) const LOOK: &str = "<style>
.shipline-plan text{font-family:system-ui,-apple-system,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif;fill:#1f2328}
.shipline-plan .heading{font-size:15px;font-weight:600}
.shipline-plan .name{font-size:13px;font-weight:600}
.shipline-plan .line{font-size:11px;fill:#59636e}
.shipline-plan .ground{fill:#fff}
.shipline-plan rect{stroke-width:1.5}
.shipline-plan .mark{fill:none;stroke-width:1.5}
.shipline-plan .run rect{fill:#f0faf3;stroke:#1a7f37}
.shipline-plan .run .mark{stroke:#1a7f37}
.shipline-plan .run .full{fill:#1a7f37}
.shipline-plan .later rect,.shipline-plan .mixed rect{fill:#fff8e5;stroke:#9a6700}
.shipline-plan .later rect{stroke-dasharray:7 3}
.shipline-plan .later .mark,.shipline-plan .mixed .mark{stroke:#9a6700}
.shipline-plan .mixed .full{fill:#9a6700}
.shipline-plan .skip rect{fill:#f6f8fa;stroke:#818b98;stroke-dasharray:2 3}
.shipline-plan .skip .mark{stroke:#818b98}
.shipline-plan .skip text{fill:#59636e}
.shipline-plan .skip .name{font-weight:400}
.shipline-plan .edge{fill:none;stroke:#59636e;stroke-width:1.4;marker-end:url(#shipline-plan-head)}
.shipline-plan .order{stroke:#818b98;stroke-width:1}
.shipline-plan .output{stroke-dasharray:7 3}
.shipline-plan .before{stroke-dasharray:1.5 3}
.shipline-plan .must{stroke:#1f2328;stroke-width:2}
.shipline-plan .head{fill:#59636e}
@media (prefers-color-scheme:dark){
.shipline-plan text{fill:#e6edf3}
.shipline-plan .line{fill:#9198a1}
.shipline-plan .ground{fill:#0d1117}
.shipline-plan .run rect{fill:#10241a;stroke:#3fb950}
.shipline-plan .run .mark{stroke:#3fb950}
.shipline-plan .run .full{fill:#3fb950}
.shipline-plan .later rect,.shipline-plan .mixed rect{fill:#272013;stroke:#d29922}
.shipline-plan .later .mark,.shipline-plan .mixed .mark{stroke:#d29922}
.shipline-plan .mixed .full{fill:#d29922}
.shipline-plan .skip rect{fill:#151b23;stroke:#656c76}
.shipline-plan .skip .mark{stroke:#656c76}
.shipline-plan .skip text{fill:#9198a1}
.shipline-plan .edge{stroke:#9198a1}
.shipline-plan .order{stroke:#656c76}
.shipline-plan .must{stroke:#e6edf3}
.shipline-plan .head{fill:#9198a1}
}
</style>
<defs><marker id=\"shipline-plan-head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"head\" d=\"M0 0.5 L8 4 L0 7.5 Z\"/></marker></defs>
";

/// A text between tags: nothing in it is markup, and every character is one of XML.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in one_line(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}
