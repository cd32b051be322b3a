//! What a terminal shows, as an SVG picture.

use std::fmt::Write as _;

const COLUMN: f32 = 8.4;
const ROW: f32 = 19.0;
const MARGIN: f32 = 16.0;
/// Room for the title of the window.
const TITLE: f32 = 34.0;
const BACKGROUND: &str = "#15181e";
const FOREGROUND: &str = "#d7dae0";
const FONT: &str =
    "'DejaVu Sans Mono', 'JetBrains Mono', Menlo, Consolas, 'Liberation Mono', monospace";
/// The eight colours, and their bright ones.
const COLOURS: [&str; 16] = [
    "#3a3f4b", "#e8646b", "#7cc36a", "#e0b455", "#5ea1ea", "#c07ddb", "#4fb8c2", "#c8ccd4",
    "#5c6370", "#ff7b82", "#98d982", "#f2cf7a", "#82b8f2", "#d49bea", "#74d2da", "#ffffff",
];

/// A letter, or the space where there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub colour: Option<u8>,
    pub bold: bool,
    pub dim: bool,
    /// Two columns wide.
    pub wide: bool,
}

impl Cell {
    fn looks_like(&self, other: &Self) -> bool {
        (self.colour, self.bold, self.dim) == (other.colour, other.bold, other.dim)
    }
}

pub type Row = Vec<Cell>;

/// The rows of a screen without the space behind them and below.
pub fn rows(screen: &vt100::Screen) -> Vec<Row> {
    let (rows, columns) = screen.size();
    let mut all: Vec<Row> = (0..rows.get())
        .map(|row| (0..columns.get()).filter_map(|column| cell(screen, row, column)).collect())
        .collect();
    for row in &mut all {
        trim(row);
    }
    while all.last().is_some_and(Vec::is_empty) {
        all.pop();
    }
    all
}

pub fn trim(row: &mut Row) {
    while row.last().is_some_and(|cell| cell.text == " ") {
        row.pop();
    }
}

fn cell(screen: &vt100::Screen, row: u16, column: u16) -> Option<Cell> {
    let cell = screen.cell(row, column)?;
    if cell.is_wide_continuation() {
        return None;
    }
    let text = if cell.has_contents() { cell.contents().to_owned() } else { " ".to_owned() };
    let colour = match cell.fgcolor() {
        vt100::Color::Idx(index) => Some(index),
        vt100::Color::Default | vt100::Color::Rgb(..) => None,
    };
    Some(Cell { text, colour, bold: cell.bold(), dim: cell.dim(), wide: cell.is_wide() })
}

/// Draws rows as a window with a title.
pub fn draw(title: &str, rows: &[Row], columns: u16) -> String {
    let width = f32::from(columns) * COLUMN + 2.0 * MARGIN;
    let height = rows.len() as f32 * ROW + TITLE + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"{FONT}\" font-size=\"14\" \
         role=\"img\" aria-label=\"{0}\">\n<title>{0}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"9\" fill=\"{BACKGROUND}\"/>\n",
        escaped(title)
    );
    for (at, colour) in ["#e8646b", "#e0b455", "#7cc36a"].iter().enumerate() {
        let x = MARGIN + 4.0 + at as f32 * 20.0;
        let _ = writeln!(svg, "<circle cx=\"{x:.0}\" cy=\"20\" r=\"6\" fill=\"{colour}\"/>");
    }
    let middle = width / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.0}\" y=\"25\" text-anchor=\"middle\" fill=\"{}\">{}</text>",
        COLOURS[8],
        escaped(title)
    );
    for (at, row) in rows.iter().enumerate() {
        let y = TITLE + MARGIN + at as f32 * ROW + 12.0;
        draw_row(&mut svg, row, y);
    }
    svg.push_str("</svg>\n");
    svg
}

/// One text for all neighbours that look alike, stretched to its columns: fonts differ.
fn draw_row(svg: &mut String, row: &Row, y: f32) {
    let mut column = 0;
    for run in row.chunk_by(Cell::looks_like) {
        let text: String = run.iter().map(|cell| cell.text.as_str()).collect();
        let columns: usize = run.iter().map(|cell| if cell.wide { 2 } else { 1 }).sum();
        let (x, width) = (MARGIN + column as f32 * COLUMN, columns as f32 * COLUMN);
        column += columns;
        if text.trim().is_empty() {
            continue;
        }
        let look = &run[0];
        let fill = look.colour.and_then(|index| COLOURS.get(usize::from(index)));
        let bold = if look.bold { " font-weight=\"bold\"" } else { "" };
        let dim = if look.dim { " opacity=\"0.6\"" } else { "" };
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.0}\" fill=\"{}\"{bold}{dim} textLength=\"{width:.1}\" \
             lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\">{}</text>",
            fill.unwrap_or(&FOREGROUND),
            escaped(&text)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
