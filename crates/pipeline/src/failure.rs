//! What a run says of a stage that failed, in the form of what `check` finds.

use crate::source::{FileId, Place, SourceFile};
use crate::yaml::{Node, Value};
use crate::{Origin, Style, document};

/// An error of a run, whose codes are not of this crate's catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    pub code: &'a str,
    pub message: &'a str,
    /// The value at fault; `None` where no file has it.
    pub origin: Option<&'a Origin>,
    /// Facts below the excerpt, one a line.
    pub notes: &'a [String],
    pub help: &'a str,
}

impl Failure<'_> {
    /// Renders it, with an excerpt if the text that the plan was made from is among
    /// `files`. `columns` is the width of the terminal, where there is one.
    pub fn render(&self, files: &[SourceFile], style: Style, columns: Option<usize>) -> String {
        let place = self.origin.and_then(|origin| place(files, origin));
        crate::render::failure(self, place.as_ref(), style, columns)
    }
}

/// The value that begins where `origin` says. A text in which none does is another one:
/// it is not shown.
fn place(files: &[SourceFile], origin: &Origin) -> Option<Place> {
    let source = files.iter().find(|file| file.name() == origin.file)?;
    let start = source.offset(origin.line, origin.column);
    if source.line_column(start) != (origin.line, origin.column) {
        return None;
    }
    let (document, _) = document::parse(source);
    let end = end_of(document.root.as_ref()?, u32::try_from(start).ok()?)?;
    Some(Place::new(source.clone(), start, end as usize))
}

/// Where the innermost value that begins at `start` ends.
fn end_of(node: &Node, start: u32) -> Option<u32> {
    let inside = match &node.value {
        Value::List(items) => items.iter().find_map(|item| end_of(item, start)),
        Value::Map(map) => map.0.iter().find_map(|entry| end_of(&entry.value, start)),
        _ => None,
    };
    let own = node.span.file == FileId::PIPELINE && node.span.start == start;
    inside.or_else(|| own.then_some(node.span.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OriginKind;

    const TEXT: &str = "image: busybox:404\nstages:\n  build:\n    run: [make, mkae] # all\n";

    fn rendered(line: usize, column: usize, columns: Option<usize>) -> String {
        let files = [SourceFile::new("a.yml", TEXT)];
        let origin = Origin { file: "a.yml".to_owned(), line, column, by: OriginKind::File };
        let failure = Failure {
            code: "E090",
            message: "no such image",
            origin: Some(&origin),
            notes: &["asked twice".to_owned()],
            help: "more",
        };
        failure.render(&files, Style::Plain, columns)
    }

    #[test]
    fn a_failure_has_code_place_excerpt_cause_and_help() {
        assert_eq!(
            rendered(1, 8, None),
            "error[E090]: no such image\n --> a.yml:1:8\n  |\n1 | image: busybox:404\n  |        \
             ^^^^^^^^^^^\n  |\n  = asked twice\n  = help: more"
        );
        assert!(rendered(4, 11, None).contains("\n  |           ^^^^\n"), "the first of a list");
    }

    #[test]
    fn a_text_without_a_value_there_is_not_shown() {
        for (line, column) in [(1, 9), (4, 3), (9, 1), (1, 99)] {
            let expected = format!(
                "error[E090]: no such image\n--> a.yml:{line}:{column}\n = asked twice\n \
                 = help: more"
            );
            assert_eq!(rendered(line, column, None), expected);
        }
    }

    #[test]
    fn an_excerpt_is_no_wider_than_the_terminal() {
        let long = format!("image: a{}\n", "b".repeat(200));
        let files = [SourceFile::new("a.yml", long)];
        let origin = Origin { file: "a.yml".to_owned(), line: 1, column: 8, by: OriginKind::File };
        let failure = Failure {
            code: "E090",
            message: "no",
            origin: Some(&origin),
            notes: &[],
            help: "more",
        };
        let shown = failure.render(&files, Style::Plain, Some(38));
        let widest = shown.lines().map(|line| line.chars().count()).max();
        assert!(
            widest <= Some(38) && shown.contains("e: abbb") && shown.contains("^^^"),
            "{shown}"
        );
    }
}
