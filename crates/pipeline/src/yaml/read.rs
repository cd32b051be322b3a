//! The reader: text to tree, from the events of the YAML parser.
//!
//! The tree is built with a stack of our own, so that the deepest file allowed
//! needs no more of the thread's stack than the flattest. What an alias brings is
//! counted before it is copied, and what a library would decide in silence is
//! told: duplicate keys with both places, tags, and the numbers found where a
//! limit is passed.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span as ParserSpan};

use super::{
    ALIAS_LIMIT, BYTE_LIMIT, DEPTH_LIMIT, Entry, Key, Map, NODE_LIMIT, Node, Value, Via,
    core_scalar, limit, syntax,
};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::name::is_hidden;
use crate::source::{FileId, Sources, Span};

/// Returns the tree of a file, or `None` when there is none; adds what is wrong.
pub(crate) fn read(sources: &Sources, file: FileId, found: &mut Vec<Diagnostic>) -> Option<Node> {
    let source = sources.file(file);
    if let Some(refused) = limit::refuse(source) {
        found.push(refused);
        return None;
    }
    let options = granit_parser::options! { emit_comments: false, emit_unresolved_aliases: true };
    let mut builder = Builder {
        sources,
        file,
        found,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        aliases: 0,
        broken: None,
    };
    for event in Parser::new_from_str_with_options(source.text(), options) {
        match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                let open = builder.open.last().map(|frame| (frame.is_map(), frame.start));
                let diagnostic = syntax::explain(source, &error, open);
                // A limit that was passed is the better reason.
                return builder.give_up(Some(diagnostic));
            }
        }
    }
    builder.finish()
}

struct Builder<'a> {
    sources: &'a Sources,
    file: FileId,
    found: &'a mut Vec<Diagnostic>,
    /// Collections that have begun and not ended.
    open: Vec<Frame>,
    /// Finished values with an anchor; `None` while the value is open.
    anchors: HashMap<usize, Option<(Node, Size)>>,
    root: Option<(Node, Size)>,
    documents: usize,
    aliases: usize,
    /// A limit was passed here. From then on values are counted and not kept.
    broken: Option<Span>,
}

/// What a value costs, with everything in it.
#[derive(Clone, Copy, Debug)]
struct Size {
    nodes: usize,
    bytes: usize,
    /// Levels of collections.
    height: usize,
}

struct Frame {
    start: usize,
    anchor: usize,
    size: Size,
    collection: Collection,
}

enum Collection {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        merges: Vec<(Span, Node)>,
        seen: HashMap<String, Span>,
        key: Option<Key>,
    },
}

impl Frame {
    const fn is_map(&self) -> bool {
        matches!(self.collection, Collection::Map { .. })
    }
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, at: ParserSpan) {
        let span = self.span(at);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents == 2 {
                    self.broken.get_or_insert(span);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    self.tag(at, span);
                }
                let value = match style {
                    // `!src/x` is a tag of nothing, and was meant as a text.
                    ScalarStyle::Plain if tag.is_some() && text.is_empty() => Value::REPORTED,
                    ScalarStyle::Plain => core_scalar(&text),
                    _ => Value::Text(text.clone().into_owned()),
                };
                let size = Size { nodes: 1, bytes: text.len(), height: 0 };
                self.value(Node::new(value, span), size, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                if tag.is_some() {
                    self.tag(at, span);
                }
                self.begin(span, anchor, Collection::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                if tag.is_some() {
                    self.tag(at, span);
                }
                let (entries, merges) = (Vec::new(), Vec::new());
                let collection =
                    Collection::Map { entries, merges, seen: HashMap::new(), key: None };
                self.begin(span, anchor, collection);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::UnresolvedAlias(name) => {
                let message = format!("the alias `*{name}` names an anchor that is not above it");
                let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
                let label = if name.chars().all(plain) {
                    format!("write `&{name}` before the value it means, further up")
                } else {
                    format!("a text that begins with `*` stands in quotes: `\"*{name}\"`")
                };
                let error = Diagnostic::error(Code::E001, message).at(self.sources.place(span));
                self.found.push(error.label(label));
                self.value(Node::new(Value::REPORTED, span), LEAF, 0);
            }
            _ => {}
        }
    }

    fn begin(&mut self, span: Span, anchor: usize, collection: Collection) {
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        let size = Size { nodes: 1, bytes: 0, height: 1 };
        self.open.push(Frame { start: span.start as usize, anchor, size, collection });
        if self.open.len() > DEPTH_LIMIT {
            self.broken.get_or_insert(span);
        }
    }

    fn end(&mut self, span: Span) {
        let Some(frame) = self.open.pop() else { return };
        let span = self.trimmed(frame.start, span.end as usize);
        let value = match frame.collection {
            Collection::List(list) => Value::List(list),
            Collection::Map { mut entries, merges, seen, .. } => {
                for (at, value) in merges {
                    self.merge(at, value, &mut entries, seen.keys().cloned().collect());
                }
                Value::Map(Map(entries))
            }
        };
        self.value(Node::new(value, span), frame.size, frame.anchor);
    }

    fn alias(&mut self, anchor: usize, span: Span) {
        self.aliases += 1;
        let (mut node, size) = match self.anchors.get(&anchor) {
            Some(Some((node, size))) => {
                let total = self.total();
                let fits = total.nodes.saturating_add(size.nodes) <= NODE_LIMIT
                    && total.bytes.saturating_add(size.bytes) <= BYTE_LIMIT
                    && self.open.len() + size.height <= DEPTH_LIMIT
                    && self.aliases <= ALIAS_LIMIT;
                if fits && self.broken.is_none() {
                    (node.clone(), *size)
                } else {
                    self.broken.get_or_insert(span);
                    (Node::new(Value::Null, span), *size)
                }
            }
            _ => {
                let message = "an alias contains itself: 1 cyclic alias, the limit is 0";
                self.error(Code::E003, message.to_owned(), span);
                (Node::new(Value::REPORTED, span), LEAF)
            }
        };
        node.via = Some(Via::Alias(span));
        self.value(node, size, 0);
    }

    /// A value is finished: it belongs to the innermost open collection.
    fn value(&mut self, mut node: Node, size: Size, anchor: usize) {
        if self.broken.is_some() {
            node.value = Value::Null;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Some((node.clone(), size)));
        }
        let Some(frame) = self.open.last_mut() else {
            self.root.get_or_insert((node, size));
            return;
        };
        frame.size.nodes = frame.size.nodes.saturating_add(size.nodes);
        frame.size.bytes = frame.size.bytes.saturating_add(size.bytes);
        frame.size.height = frame.size.height.max(size.height.saturating_add(1));
        let span = node.span;
        match &mut frame.collection {
            Collection::List(list) => list.push(node),
            Collection::Map { key: key @ None, .. } => {
                let name = match &node.value {
                    Value::List(_) | Value::Map(_) => None,
                    Value::Null => Some(self.sources.text(span).to_owned()),
                    _ => node.scalar_text().map(std::borrow::Cow::into_owned),
                };
                let hidden = name
                    .as_deref()
                    .and_then(|name| name.chars().find(|character| is_hidden(*character)));
                *key = Some(Key { name: name.clone().unwrap_or_default(), span });
                if let Some(hidden) = hidden.filter(|_| self.broken.is_none()) {
                    let message = format!(
                        "this name holds U+{:04X}, which cannot be seen: 1 such character, the limit is 0",
                        hidden as u32
                    );
                    self.error(Code::E003, message, span);
                    return;
                }
                if name.is_none() && self.broken.is_none() {
                    let message =
                        "this is not YAML as it is used here: a key is a text, not a list or a map";
                    self.error(Code::E001, message.to_owned(), span);
                }
            }
            Collection::Map { entries, merges, seen, key } => {
                let Some(key) = key.take() else { return };
                if let Some(first) = seen.get(&key.name).copied() {
                    self.twice(&key, first);
                    return;
                }
                seen.insert(key.name.clone(), key.span);
                if key.name == "<<" {
                    merges.push((key.span, node));
                } else {
                    entries.push(Entry { key, value: node });
                }
            }
        }
        if self.broken.is_none() {
            let total = self.total();
            if total.nodes > NODE_LIMIT || total.bytes > BYTE_LIMIT {
                self.broken = Some(span);
            }
        }
    }

    /// Adds what `<<` brings: own keys win, then the first map of a list.
    fn merge(&mut self, at: Span, value: Node, entries: &mut Vec<Entry>, own: HashSet<String>) {
        let mut taken = own;
        let via = value.via.map_or(at, Via::span);
        let maps = match value.value {
            Value::List(list) => list,
            _ => vec![value],
        };
        for node in maps {
            let via = node.via.map_or(via, Via::span);
            match node.value {
                Value::Map(map) => {
                    for mut entry in map.0 {
                        if taken.insert(entry.key.name.clone()) {
                            entry.value.via = Some(Via::Alias(via));
                            entries.push(entry);
                        }
                    }
                }
                _ if self.broken.is_some() => {}
                other if other.is_reported() => {}
                other => {
                    let message =
                        format!("`<<` takes a map or a list of maps, not {}", other.kind());
                    self.error(Code::E001, message, at);
                }
            }
        }
    }

    fn twice(&mut self, key: &Key, first: Span) {
        if self.broken.is_some() {
            return;
        }
        let (line, _) = self.sources.file(self.file).line_column(first.start as usize);
        self.found.push(
            Diagnostic::error(Code::E002, format!("key `{}` is given twice", key.name))
                .at(self.sources.place(key.span))
                .label(format!("given again; the first is in line {line}"))
                .related("first given here", self.sources.place(first)),
        );
    }

    fn tag(&mut self, at: ParserSpan, value: Span) {
        let span = at.tag_span().map_or(value, |tag| self.span(tag));
        let written = self.sources.text(span).to_owned();
        let place = self.sources.place(span);
        let label = if value.end <= span.end {
            format!("a text that begins with `!` stands in quotes: `\"{written}\"`")
        } else {
            "remove it".to_owned()
        };
        self.found.push(
            Diagnostic::error(
                Code::E007,
                format!("`{written}` is a YAML tag, and tags are not used"),
            )
            .at(place)
            .label(label),
        );
    }

    fn error(&mut self, code: Code, message: String, span: Span) {
        self.found.push(Diagnostic::error(code, message).at(self.sources.place(span)));
    }

    /// Of everything that is there so far.
    fn total(&self) -> Size {
        let mut total =
            self.root.as_ref().map_or(Size { nodes: 0, bytes: 0, height: 0 }, |root| root.1);
        for frame in &self.open {
            total.nodes = total.nodes.saturating_add(frame.size.nodes);
            total.bytes = total.bytes.saturating_add(frame.size.bytes);
        }
        total
    }

    fn finish(mut self) -> Option<Node> {
        if self.broken.is_some() {
            return self.give_up(None);
        }
        match self.root.take() {
            Some((root, _)) if !matches!(root.value, Value::Null) => Some(root),
            // An alias or a tag alone has said what is wrong.
            _ if !self.found.is_empty() => None,
            _ => {
                self.found.push(limit::empty(self.sources.file(self.file)));
                None
            }
        }
    }

    /// Says which limit was passed, else what else was wrong.
    fn give_up(self, syntax: Option<Diagnostic>) -> Option<Node> {
        let Some(span) = self.broken else {
            self.found.extend(syntax);
            return None;
        };
        let open = self.open.len();
        let total = self.total();
        let height = self.root.as_ref().map_or(0, |root| root.1.height);
        let deepest = self.open.iter().enumerate().map(|(at, frame)| at + frame.size.height);
        let depth = deepest.max().unwrap_or(0).max(height).max(open);
        let found = limit::Found {
            documents: self.documents,
            depth,
            aliases: self.aliases,
            nodes: total.nodes,
            bytes: total.bytes,
        };
        let diagnostic = found.diagnostic(&self.sources.place(span));
        // Other findings may come from what was no longer kept.
        self.found.clear();
        self.found.push(diagnostic);
        None
    }

    fn span(&self, span: ParserSpan) -> Span {
        match span.byte_range() {
            Some(range) => self.trimmed(range.start, range.end),
            None => {
                let start = syntax::offset(self.sources.file(self.file), &span.start);
                Span::new(self.file, start, start)
            }
        }
    }

    /// Block values end with the line break after them.
    fn trimmed(&self, start: usize, end: usize) -> Span {
        let text = self.sources.file(self.file).text();
        let inside = text.get(start..end.min(text.len())).unwrap_or_default();
        Span::new(self.file, start, start + inside.trim_end().len())
    }
}

const LEAF: Size = Size { nodes: 1, bytes: 0, height: 0 };

#[cfg(test)]
mod tests;
