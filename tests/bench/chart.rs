//! Two curves beside each other, on logarithmic axes, as an SVG picture.

use std::fmt::{self, Write as _};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;

/// Readable on light and dark ground; where the reader's scheme is known, it is followed.
const LOOK: &str = "<style>
text{font-family:system-ui,-apple-system,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif;font-size:12px;fill:#59636e}
.title{font-size:14px;font-weight:600;fill:#1f2328}
.ground{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#59636e;stroke-width:1;fill:none}
.linear{stroke:#818b98;stroke-width:1.5;stroke-dasharray:5 4}
.curve{stroke:#0969da;stroke-width:2;fill:none}.point{fill:#0969da}
@media (prefers-color-scheme:dark){
text{fill:#9198a1}.title{fill:#f0f6fc}.ground{fill:#0d1117}.grid{stroke:#2a3038}.axis{stroke:#9198a1}
.linear{stroke:#656c76}.curve{stroke:#4493f8}.point{fill:#4493f8}}
</style>";

pub struct Chart {
    pub title: String,
    /// What the axis across counts.
    pub across: String,
    pub panels: [Panel; 2],
}

pub struct Panel {
    /// What the axis up counts.
    pub up: String,
    /// From left to right, all greater than 0.
    pub points: Vec<(f64, f64)>,
}

/// Whole powers of ten around values.
struct Scale {
    from: i32,
    to: i32,
}

impl Scale {
    #[expect(clippy::cast_possible_truncation, reason = "powers of ten are small")]
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let from = values.clone().fold(f64::INFINITY, f64::min).log10().floor() as i32;
        let to = values.fold(0.0, f64::max).log10().ceil() as i32;
        Self { from, to: to.max(from + 1) }
    }

    /// 0 at the beginning, 1 at the end.
    fn place(&self, value: f64) -> f64 {
        (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from)
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, across, panels } = self;
        let width = 2.0 * WIDTH;
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
             width=\"{width}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}: time and memory \
             against {across}\">"
        )?;
        writeln!(f, "{LOOK}<rect class=\"ground\" width=\"{width}\" height=\"{HEIGHT}\"/>")?;
        for (number, panel) in panels.iter().enumerate() {
            let left = WIDTH * number as f64;
            writeln!(f, "<g transform=\"translate({left} 0)\">{}</g>", panel.draw(title, across)?)?;
        }
        writeln!(f, "</svg>")
    }
}

impl Panel {
    fn draw(&self, title: &str, across: &str) -> Result<String, fmt::Error> {
        let horizontal = Scale::around(self.points.iter().map(|(x, _)| *x));
        let vertical = Scale::around(self.points.iter().map(|(_, y)| *y));
        let x = |value: f64| LEFT + horizontal.place(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - vertical.place(value) * (HEIGHT - TOP - BOTTOM);
        let (left, right) = (LEFT, WIDTH - RIGHT);
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        let mut text =
            format!("<text class=\"title\" x=\"{left}\" y=\"22\">{title}: {}</text>", self.up);
        for power in horizontal.from..=horizontal.to {
            let at = x(10_f64.powi(power));
            write!(
                text,
                "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                number(power)
            )?;
        }
        for power in vertical.from..=vertical.to {
            let at = y(10_f64.powi(power));
            write!(
                text,
                "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                number(power)
            )?;
        }
        write!(
            text,
            "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text>",
            f64::midpoint(left, right),
            bottom + 36.0
        )?;
        self.linear(&mut text, &horizontal, &vertical, x, y)?;
        let points: Vec<String> = self
            .points
            .iter()
            .map(|(across, up)| format!("{:.1},{:.1}", x(*across), y(*up)))
            .collect();
        write!(text, "<polyline class=\"curve\" points=\"{}\"/>", points.join(" "))?;
        for (across, up) in &self.points {
            write!(
                text,
                "<circle class=\"point\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                x(*across),
                y(*up)
            )?;
        }
        Ok(text)
    }

    /// The line of what grows as its work does, through the last point.
    fn linear(
        &self,
        text: &mut String,
        horizontal: &Scale,
        vertical: &Scale,
        x: impl Fn(f64) -> f64,
        y: impl Fn(f64) -> f64,
    ) -> fmt::Result {
        let Some((across, up)) = self.points.last().copied() else { return Ok(()) };
        let slope = up / across;
        // As far down and to the left as the picture goes.
        let from = 10_f64.powi(horizontal.from).max(10_f64.powi(vertical.from) / slope);
        write!(
            text,
            "<path class=\"linear\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">linear</text>",
            x(from),
            y(from * slope),
            x(across),
            y(up),
            x((from * across).sqrt()) - 8.0,
            y((from * across).sqrt() * slope)
        )
    }
}

/// A power of ten as people write it.
fn number(power: i32) -> String {
    match power {
        0..=3 => 10_i64.pow(power.unsigned_abs()).to_string(),
        4..=6 => format!("{}k", 10_i64.pow(power.unsigned_abs() - 3)),
        -4..=-1 => format!("{}", 10_f64.powi(power)),
        _ => format!("1e{power}"),
    }
}
