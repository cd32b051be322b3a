//! The functions and operators of expressions: what they take, what they give, and
//! whether what they give still holds the text they read.

mod call;
mod number;
mod regular;
mod slug;
mod version;

pub(crate) use regular::{is_match, regex};
pub use slug::slug;

use super::flow::Kind;

macro_rules! functions {
    ($($function:ident $name:literal ($least:literal..$most:literal) -> $kind:ident $carries:ident;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Function { $($function),+ }

        impl Function {
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$function),)+ _ => None }
            }

            /// As it is called; operators are `_+_`.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$function => $name),+ }
            }

            /// The least and the most arguments, what a method is called on included.
            const fn counts(self) -> (usize, usize) {
                match self { $(Self::$function => ($least, $most)),+ }
            }

            pub(crate) const fn gives(self) -> Kind {
                match self { $(Self::$function => Kind::$kind),+ }
            }

            /// Whether the result can hold text that an argument held.
            pub(crate) const fn carries(self) -> bool {
                match self { $(Self::$function => $carries),+ }
            }
        }

        /// Names that can be called.
        pub(crate) const CALLABLE: &[&str] = &["default", "has", $($name),+];
    };
}

functions! {
    Add "_+_" (2..2) -> Any true;
    Subtract "_-_" (2..2) -> Any false;
    Multiply "_*_" (2..2) -> Any false;
    Divide "_/_" (2..2) -> Any false;
    Remainder "_%_" (2..2) -> Int false;
    Negate "-_" (1..1) -> Any false;
    Equal "_==_" (2..2) -> Bool false;
    Unequal "_!=_" (2..2) -> Bool false;
    Less "_<_" (2..2) -> Bool false;
    LessEqual "_<=_" (2..2) -> Bool false;
    Greater "_>_" (2..2) -> Bool false;
    GreaterEqual "_>=_" (2..2) -> Bool false;
    In "@in" (2..2) -> Bool false;
    Size "size" (1..1) -> Int false;
    Contains "contains" (2..2) -> Bool false;
    StartsWith "startsWith" (2..2) -> Bool false;
    EndsWith "endsWith" (2..2) -> Bool false;
    Matches "matches" (2..2) -> Bool false;
    ToText "string" (1..1) -> Text true;
    ToInt "int" (1..1) -> Int false;
    ToUint "uint" (1..1) -> Int false;
    ToFloat "double" (1..1) -> Float false;
    ToBool "bool" (1..1) -> Bool false;
    Type "type" (1..1) -> Text false;
    Dyn "dyn" (1..1) -> Any true;
    Slug "slug" (1..1) -> Text false;
    Hash "hash" (1..32) -> Text false;
    Changed "changed" (1..32) -> Bool false;
    Lower "lower" (1..1) -> Text true;
    Upper "upper" (1..1) -> Text true;
    Trim "trim" (1..1) -> Text true;
    Replace "replace" (3..3) -> Text true;
    Split "split" (2..2) -> List true;
    Join "join" (1..2) -> Text true;
    Semver "semver" (1..1) -> Version true;
}

impl Function {
    /// Says that it cannot take this many arguments.
    pub(crate) fn wrong_count(self, count: usize) -> Option<String> {
        let (least, most) = self.counts();
        if (least..=most).contains(&count) {
            return None;
        }
        let takes = if least == most { least.to_string() } else { format!("{least} to {most}") };
        let values = if most == 1 { "value" } else { "values" };
        Some(format!("`{}` takes {takes} {values}, and here are {count}", self.shown()))
    }

    /// As a message names it.
    pub(crate) fn shown(self) -> &'static str {
        match self.name().trim_matches('_') {
            "@in" => "in",
            name => name,
        }
    }

    /// Whether these kinds of arguments can ever go together.
    pub(crate) fn takes(self, kinds: &[Kind]) -> bool {
        use Kind::{Any, Bool, Float, Int, List, Map, Null, Text, Version};
        let text = |kind: Kind| matches!(kind, Text | Any);
        let number = |kind: Kind| matches!(kind, Int | Float | Any);
        match (self, kinds) {
            (Self::Add, [one, other]) => {
                number(*one) && number(*other)
                    || text(*one) && text(*other)
                    || matches!((one, other), (List | Any, List | Any))
            }
            (Self::Subtract | Self::Multiply | Self::Divide, [one, other]) => {
                number(*one) && number(*other)
            }
            (Self::Remainder, [one, other]) => {
                matches!((one, other), (Int | Any, Int | Any))
            }
            (Self::Negate, [one]) => number(*one),
            (Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual, [one, other]) => {
                number(*one) && number(*other)
                    || text(*one) && text(*other)
                    || matches!((one, other), (Bool | Any, Bool | Any))
            }
            (Self::In, [_, among]) => matches!(among, List | Map | Version | Any),
            (Self::Size, [one]) => matches!(one, Text | List | Map | Version | Any),
            (Self::ToText, [one]) => matches!(one, Text | Int | Float | Bool | Any),
            (Self::ToInt | Self::ToUint, [one]) => matches!(one, Text | Int | Float | Bool | Any),
            (Self::ToFloat, [one]) => matches!(one, Text | Int | Float | Any),
            (Self::ToBool, [one]) => matches!(one, Text | Bool | Any),
            (Self::Join, [list]) => matches!(list, List | Any),
            (Self::Join, [list, between]) => matches!(list, List | Any) && text(*between),
            (Self::Equal | Self::Unequal | Self::Type | Self::Dyn, _) => true,
            (_, kinds) => kinds.iter().all(|kind| text(*kind) && *kind != Null),
        }
    }

    /// What a function takes, in words; operators take several things.
    const fn expects(self) -> Option<&'static str> {
        Some(match self {
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Split => "text and text",
            Self::Matches => "text and a regular expression",
            Self::Replace => "text, text and text",
            Self::Slug
            | Self::Lower
            | Self::Upper
            | Self::Trim
            | Self::Semver
            | Self::Hash
            | Self::Changed => "text",
            Self::Size => "text, a list or a map",
            Self::Join => "a list of text, and text",
            Self::ToText => "text, a number or true or false",
            Self::ToInt | Self::ToUint | Self::ToFloat => "text or a number",
            Self::ToBool => "text or true or false",
            _ => return None,
        })
    }

    /// Says which kinds do not go together.
    pub(crate) fn misfit(self, kinds: impl IntoIterator<Item = &'static str>) -> String {
        let kinds: Vec<_> = kinds.into_iter().collect();
        let kinds = kinds.join(" and ");
        match self.expects() {
            Some(expected) => format!("`{}` takes {expected}, not {kinds}", self.shown()),
            None => format!("`{}` does not go with {kinds}", self.shown()),
        }
    }
}
