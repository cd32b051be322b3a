//! Source files, and places in them.
//!
//! Inside the crate a place is a [`Span`]: a file's number and byte offsets, twelve
//! bytes that every node carries. What leaves the crate is a [`Place`], which
//! holds its file and so counts lines and columns whenever somebody asks.

use std::fmt;
use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::{Origin, OriginKind};

/// Larger files are refused before anything is parsed.
pub const FILE_LIMIT_BYTES: usize = 1 << 20;

/// A pipeline or template file: the name shown to people, and its text.
#[derive(Clone)]
pub struct SourceFile(Arc<Contents>);

struct Contents {
    name: String,
    text: String,
    /// Offset of the first byte of each line.
    lines: Vec<u32>,
}

impl SourceFile {
    /// A byte order mark is accepted and dropped.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        // A file beyond 4 GiB is refused by its size; its lines need not be right.
        let lines = std::iter::once(0)
            .chain(starts.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX)))
            .collect();
        Self(Arc::new(Contents { name: name.into(), text, lines }))
    }

    /// Takes what was read from a disk or from Git.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Diagnostics> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let bad = error.as_bytes().get(good).copied().unwrap_or_default();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let source = Self::new(name, text);
                let at = good.min(source.text().len());
                Err(Diagnostics::from(
                    Diagnostic::error(
                        Code::E003,
                        format!("the file is not UTF-8: byte {at} is 0x{bad:02X}"),
                    )
                    .at(Place::new(source, at, at + 1))
                    .help("save the file as UTF-8"),
                ))
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Returns line and column of a byte offset, from 1; columns are characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let line = self.line_of(offset);
        let start = self.0.lines[line] as usize;
        let end = self.floor(offset.max(start));
        (line + 1, self.0.text[start..end].chars().count() + 1)
    }

    /// Returns the byte offset of a line and column, both from 1.
    pub(crate) fn offset(&self, line: usize, column: usize) -> usize {
        let text = self.line(line);
        let start = self.line_start(line);
        let inside = text.char_indices().nth(column.saturating_sub(1));
        start + inside.map_or(text.len(), |(at, _)| at)
    }

    /// Returns the text of a line, from 1, without its end.
    pub(crate) fn line(&self, line: usize) -> &str {
        let start = self.line_start(line);
        let end = self.0.lines.get(line).map_or(self.0.text.len(), |next| *next as usize);
        self.0.text[start..end].trim_end_matches(['\n', '\r'])
    }

    pub(crate) fn line_start(&self, line: usize) -> usize {
        let start = self.0.lines.get(line.saturating_sub(1)).map(|start| *start as usize);
        start.unwrap_or(self.0.text.len())
    }

    fn line_of(&self, offset: usize) -> usize {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.0.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// The nearest character boundary at or below `offset`.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.0.text.len());
        while !self.0.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceFile({}, {} bytes)", self.name(), self.text().len())
    }
}

/// A file by its number: 0 is the pipeline file, the others are templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u16);

impl FileId {
    pub(crate) const PIPELINE: Self = Self(0);
}

/// Byte offsets within one of the [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(file: FileId, start: usize, end: usize) -> Self {
        let narrow = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: narrow(start), end: narrow(end.max(start)) }
    }
}

/// The files that one pipeline is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(Vec<SourceFile>);

impl Sources {
    pub(crate) fn one(file: SourceFile) -> Self {
        Self(vec![file])
    }

    pub(crate) fn add(&mut self, file: SourceFile) -> FileId {
        let id = FileId(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
        self.0.push(file);
        id
    }

    pub(crate) fn file(&self, id: FileId) -> &SourceFile {
        &self.0[usize::from(id.0)]
    }

    pub(crate) fn all(&self) -> &[SourceFile] {
        &self.0
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        let text = self.file(span.file).text();
        text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        Place {
            order: span.file.0,
            source: self.file(span.file).clone(),
            start: span.start as usize,
            end: span.end as usize,
        }
    }

    pub(crate) fn origin(&self, span: Span, by: OriginKind) -> Origin {
        let source = self.file(span.file);
        let (line, column) = source.line_column(span.start as usize);
        Origin { file: source.name().to_owned(), line, column, by }
    }

    /// Returns `12:5`, with the file in front when it is not the pipeline's own.
    pub(crate) fn short(&self, span: Span) -> String {
        let source = self.file(span.file);
        let (line, column) = source.line_column(span.start as usize);
        if span.file == FileId::PIPELINE {
            format!("{line}:{column}")
        } else {
            format!("{}:{line}:{column}", source.name())
        }
    }
}

/// A stretch of a file, for people.
#[derive(Clone, Debug)]
pub struct Place {
    /// The pipeline file sorts before its templates.
    pub(crate) order: u16,
    source: SourceFile,
    start: usize,
    end: usize,
}

impl Place {
    /// Whether it is the same stretch of the same file.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.order == other.order && self.bytes() == other.bytes() && self.file() == other.file()
    }

    pub(crate) fn new(source: SourceFile, start: usize, end: usize) -> Self {
        Self { order: 0, source, start, end: end.max(start) }
    }

    pub fn source(&self) -> &SourceFile {
        &self.source
    }

    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// Byte offsets; the end is exclusive.
    pub fn bytes(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// Line and column of the first character, from 1.
    pub fn start(&self) -> (usize, usize) {
        self.source.line_column(self.start)
    }

    /// Line and column after the last character, from 1.
    pub fn end(&self) -> (usize, usize) {
        self.source.line_column(self.end)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.start();
        write!(f, "{}:{line}:{column}", self.file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_and_count_from_one() {
        let source = SourceFile::new("a.yml", "é: 1\nb: ü x\n");
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column("é".len()), (1, 2));
        let x = source.text().find('x').unwrap();
        assert_eq!(source.line_column(x), (2, 6));
        assert_eq!(source.offset(2, 6), x);
        assert_eq!(source.line(2), "b: ü x");
        assert_eq!(source.line_column(1000), (3, 1));
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        let source = SourceFile::from_bytes("a.yml", b"\xef\xbb\xbfname: x".to_vec()).unwrap();
        assert_eq!(source.text(), "name: x");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_told_with_their_place() {
        let diagnostics = SourceFile::from_bytes("a.yml", b"name: \xff".to_vec()).unwrap_err();
        let found = diagnostics.iter().next().unwrap();
        assert_eq!(found.message, "the file is not UTF-8: byte 6 is 0xFF");
        assert_eq!(found.place.as_ref().unwrap().to_string(), "a.yml:1:7");
    }
}
