//! How large a template becomes by the values that are put into it.
//!
//! A file is small, and so is what is given to it; but a list of thousands that is
//! put in thousands of times is not. So it is counted before anything is made.

use std::collections::BTreeMap;

use super::substitute;
use crate::expression::Piece;
use crate::yaml::{BYTE_LIMIT, DEPTH_LIMIT, NODE_LIMIT, Node, Value};

/// What a tree holds; counted as in a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Keys are values, too.
    nodes: usize,
    /// Of all texts together.
    bytes: usize,
    /// Levels of lists and maps.
    depth: usize,
}

impl Size {
    /// Of a tree once `values` are put into it.
    pub(super) fn with_values(tree: &Node, values: &BTreeMap<String, Node>) -> Self {
        let none = BTreeMap::new();
        let sizes = values.iter().map(|(name, value)| (name.as_str(), Self::of(value, &none)));
        Self::of(tree, &sizes.collect())
    }

    fn of(node: &Node, values: &BTreeMap<&str, Self>) -> Self {
        match &node.value {
            Value::Mixed(pieces) => Self::of_text(pieces, values),
            Value::List(list) => {
                list.iter().fold(Self::level(), |size, item| size.around(Self::of(item, values)))
            }
            Value::Map(map) => map.0.iter().fold(Self::level(), |size, entry| {
                let key = Self { nodes: 1, bytes: entry.key.name.len(), depth: 0 };
                size.around(key).around(Self::of(&entry.value, values))
            }),
            _ => Self::leaf(node.scalar_text().map_or(0, |text| text.len())),
        }
    }

    fn of_text(pieces: &[Piece], values: &BTreeMap<&str, Self>) -> Self {
        let value = |piece: &Piece| substitute::parameter(piece).and_then(|name| values.get(name));
        if let [piece] = pieces
            && let Some(size) = value(piece)
        {
            return *size;
        }
        let bytes = pieces.iter().map(|piece| match (value(piece), piece) {
            (Some(size), _) => size.bytes,
            (None, Piece::Text(text)) => text.len(),
            (None, Piece::Expression(expression)) => expression.source.len(),
        });
        Self::leaf(bytes.fold(0, usize::saturating_add))
    }

    const fn leaf(bytes: usize) -> Self {
        Self { nodes: 1, bytes, depth: 0 }
    }

    const fn level() -> Self {
        Self { nodes: 1, bytes: 0, depth: 1 }
    }

    /// A list or map with one more value in it.
    fn around(self, inner: Self) -> Self {
        let both = self.and(inner);
        Self { depth: self.depth.max(inner.depth + 1), ..both }
    }

    /// Two trees side by side.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            bytes: self.bytes.saturating_add(other.bytes),
            depth: self.depth.max(other.depth),
        }
    }

    /// What is too much of it, if anything is: "… values, the limit is …".
    pub(super) fn too_much(self) -> Option<String> {
        let Self { nodes, bytes, depth } = self;
        if nodes > NODE_LIMIT {
            Some(format!("{nodes} values, the limit is {NODE_LIMIT}"))
        } else if bytes > BYTE_LIMIT {
            Some(format!("texts of {bytes} bytes, the limit is {BYTE_LIMIT}"))
        } else if depth > DEPTH_LIMIT {
            Some(format!("{depth} levels of lists and maps, the limit is {DEPTH_LIMIT}"))
        } else {
            None
        }
    }
}
