//! The functions and operators of expressions: what they take, what they give, and
//! whether what they give still holds the text they read.

use std::cmp::Ordering;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::evaluate::{Budget, Fault};
use super::flow::Kind;
use super::value::Datum;

/// The most characters a slug has: a label of DNS.
const SLUG_LIMIT: usize = 63;
/// Of a regular expression; matching takes time for each byte of it.
const REGEX_LIMIT_BYTES: usize = 256;
/// Of a compiled one: `\w{1000}` is short and is not small.
const REGEX_PROGRAM_BYTES: usize = 128 << 10;
/// What compiling one counts in steps.
const REGEX_STEPS: usize = 2_000;

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

    /// Applies everything but `hash` and `changed`, which ask the world.
    pub(super) fn apply(self, given: &[Datum], budget: &Budget) -> Result<Datum, Fault> {
        let kinds = || Fault::Type(self.misfit(given.iter().map(Datum::kind)));
        let text = |at: usize| match given.get(at) {
            Some(Datum::Text(text)) => Ok(&**text),
            _ => Err(kinds()),
        };
        Ok(match self {
            Self::Add => add(given, budget, kinds)?,
            Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder => {
                self.calculate(given, kinds)?
            }
            Self::Negate => match given {
                [Datum::Int(value)] => Datum::Int(value.checked_neg().ok_or_else(too_large)?),
                [Datum::Float(value)] => Datum::Float(-value),
                _ => return Err(kinds()),
            },
            Self::Equal | Self::Unequal => {
                let [one, other] = given else { return Err(kinds()) };
                Datum::Bool(same(one, other, budget)? == (self == Self::Equal))
            }
            Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual => {
                let [one, other] = given else { return Err(kinds()) };
                let both_numbers = matches!(
                    (one, other),
                    (Datum::Int(_) | Datum::Float(_), Datum::Int(_) | Datum::Float(_))
                );
                match one.order(other) {
                    Some(order) => Datum::Bool(match self {
                        Self::Less => order == Ordering::Less,
                        Self::LessEqual => order != Ordering::Greater,
                        Self::Greater => order == Ordering::Greater,
                        _ => order != Ordering::Less,
                    }),
                    // What is no number is neither less nor greater.
                    None if both_numbers => Datum::Bool(false),
                    None => return Err(kinds()),
                }
            }
            Self::In => match given {
                [wanted, Datum::List(list)] => {
                    let mut found = false;
                    for item in list.iter() {
                        found = found || same(wanted, item, budget)?;
                    }
                    Datum::Bool(found)
                }
                [Datum::Text(key), Datum::Map(map)] => Datum::Bool(map.contains_key(key)),
                [_, Datum::Map(_)] => Datum::Bool(false),
                _ => return Err(kinds()),
            },
            Self::Size => {
                let size = match given {
                    [Datum::Text(text)] => {
                        budget.bytes(text.len())?;
                        text.chars().count()
                    }
                    [Datum::List(list)] => list.len(),
                    [Datum::Map(map)] => map.len(),
                    _ => return Err(kinds()),
                };
                Datum::Int(i64::try_from(size).unwrap_or(i64::MAX))
            }
            Self::Contains | Self::StartsWith | Self::EndsWith => {
                let (whole, part) = (text(0)?, text(1)?);
                budget.bytes(whole.len())?;
                Datum::Bool(match self {
                    Self::Contains => whole.contains(part),
                    Self::StartsWith => whole.starts_with(part),
                    _ => whole.ends_with(part),
                })
            }
            Self::Matches => {
                let (whole, pattern) = (text(0)?, text(1)?);
                budget.spend(REGEX_STEPS)?;
                Datum::Bool(is_match(&regex(pattern).map_err(Fault::Bad)?, whole, budget)?)
            }
            Self::ToText => match given {
                [Datum::Text(text)] => Datum::Text(text.clone()),
                [Datum::Bool(value)] => Datum::text(value.to_string()),
                [Datum::Int(value)] => Datum::text(value.to_string()),
                [Datum::Float(value)] => Datum::text(value.to_string()),
                _ => return Err(kinds()),
            },
            Self::ToInt | Self::ToUint => to_int(self, given, kinds)?,
            Self::ToFloat => match given {
                [Datum::Float(value)] => Datum::Float(*value),
                #[expect(clippy::cast_precision_loss, reason = "what CEL does, too")]
                [Datum::Int(value)] => Datum::Float(*value as f64),
                [Datum::Text(text)] => {
                    Datum::Float(text.trim().parse().map_err(|_| not_a(text, "a number"))?)
                }
                _ => return Err(kinds()),
            },
            Self::ToBool => match given {
                [Datum::Bool(value)] => Datum::Bool(*value),
                [Datum::Text(text)] => match &**text {
                    "true" => Datum::Bool(true),
                    "false" => Datum::Bool(false),
                    _ => return Err(not_a(text, "`true` or `false`")),
                },
                _ => return Err(kinds()),
            },
            Self::Type => Datum::text(match given {
                [Datum::Null] => "null",
                [Datum::Bool(_)] => "bool",
                [Datum::Int(_)] => "int",
                [Datum::Float(_)] => "double",
                [Datum::Text(_)] => "string",
                [Datum::List(_)] => "list",
                _ => "map",
            }),
            Self::Dyn => given.first().cloned().unwrap_or(Datum::Null),
            Self::Slug => {
                budget.bytes(text(0)?.len())?;
                Datum::text(slug(text(0)?))
            }
            Self::Lower | Self::Upper | Self::Trim => {
                let text = text(0)?;
                budget.bytes(text.len())?;
                match self {
                    Self::Lower => Datum::text(text.to_lowercase()),
                    Self::Upper => Datum::text(text.to_uppercase()),
                    _ => Datum::text(text.trim()),
                }
            }
            Self::Replace => {
                let (whole, from, to) = (text(0)?, text(1)?, text(2)?);
                let times =
                    if from.is_empty() { whole.len() + 1 } else { whole.len() / from.len() };
                budget.bytes(whole.len().saturating_add(times.saturating_mul(to.len())))?;
                Datum::text(whole.replace(from, to))
            }
            Self::Split => {
                let (whole, between) = (text(0)?, text(1)?);
                budget.bytes(whole.len())?;
                let parts: Vec<Datum> = match between {
                    "" => whole.chars().map(|one| Datum::text(one.to_string())).collect(),
                    _ => whole.split(between).map(Datum::text).collect(),
                };
                budget.spend(parts.len())?;
                Datum::list(parts)
            }
            Self::Join => {
                let Some(Datum::List(list)) = given.first() else { return Err(kinds()) };
                let between = if given.len() > 1 { text(1)? } else { "" };
                let mut joined = String::new();
                for (at, item) in list.iter().enumerate() {
                    let Datum::Text(item) = item else {
                        let message =
                            format!("`join` takes a list of text, and one item is {}", item.kind());
                        return Err(Fault::Type(message));
                    };
                    budget.bytes(item.len() + between.len())?;
                    if at > 0 {
                        joined.push_str(between);
                    }
                    joined.push_str(item);
                }
                Datum::text(joined)
            }
            Self::Semver => {
                budget.bytes(text(0)?.len())?;
                semver(text(0)?)?
            }
            Self::Hash | Self::Changed => return Err(kinds()),
        })
    }

    fn calculate(self, given: &[Datum], kinds: impl Fn() -> Fault) -> Result<Datum, Fault> {
        let float = |value: &Datum| match value {
            #[expect(clippy::cast_precision_loss, reason = "what CEL does, too")]
            Datum::Int(value) => Some(*value as f64),
            Datum::Float(value) => Some(*value),
            _ => None,
        };
        match given {
            [Datum::Int(one), Datum::Int(other)] => {
                let zero = *other == 0 && matches!(self, Self::Divide | Self::Remainder);
                if zero {
                    return Err(Fault::Bad("there is no division by zero".to_owned()));
                }
                let result = match self {
                    Self::Subtract => one.checked_sub(*other),
                    Self::Multiply => one.checked_mul(*other),
                    Self::Divide => one.checked_div(*other),
                    _ => one.checked_rem(*other),
                };
                result.map(Datum::Int).ok_or_else(too_large)
            }
            [one, other] => match (self, float(one), float(other)) {
                (Self::Subtract, Some(one), Some(other)) => Ok(Datum::Float(one - other)),
                (Self::Multiply, Some(one), Some(other)) => Ok(Datum::Float(one * other)),
                (Self::Divide, Some(one), Some(other)) => Ok(Datum::Float(one / other)),
                _ => Err(kinds()),
            },
            _ => Err(kinds()),
        }
    }
}

fn add(given: &[Datum], budget: &Budget, kinds: impl Fn() -> Fault) -> Result<Datum, Fault> {
    match given {
        [Datum::Int(one), Datum::Int(other)] => {
            one.checked_add(*other).map(Datum::Int).ok_or_else(too_large)
        }
        [Datum::Float(one), Datum::Float(other)] => Ok(Datum::Float(one + other)),
        #[expect(clippy::cast_precision_loss, reason = "what CEL does, too")]
        [Datum::Int(one), Datum::Float(other)] | [Datum::Float(other), Datum::Int(one)] => {
            Ok(Datum::Float(*one as f64 + other))
        }
        [Datum::Text(one), Datum::Text(other)] => {
            budget.bytes(one.len() + other.len())?;
            Ok(Datum::Text(Arc::from(format!("{one}{other}"))))
        }
        [Datum::List(one), Datum::List(other)] => {
            budget.spend(one.len() + other.len())?;
            Ok(Datum::list(one.iter().chain(other.iter()).cloned().collect()))
        }
        _ => Err(kinds()),
    }
}

fn to_int(function: Function, given: &[Datum], kinds: impl Fn() -> Fault) -> Result<Datum, Fault> {
    let value = match given {
        [Datum::Int(value)] => *value,
        [Datum::Bool(value)] => i64::from(*value),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        #[expect(clippy::cast_precision_loss, reason = "the range is checked")]
        [Datum::Float(value)] if *value > i64::MIN as f64 && *value < i64::MAX as f64 => {
            value.trunc() as i64
        }
        [Datum::Float(_)] => return Err(too_large()),
        [Datum::Text(text)] => text.trim().parse().map_err(|_| not_a(text, "a whole number"))?,
        _ => return Err(kinds()),
    };
    if function == Function::ToUint && value < 0 {
        return Err(Fault::Bad(format!("{value} is below zero")));
    }
    Ok(Datum::Int(value))
}

fn too_large() -> Fault {
    Fault::Bad("the number is too large".to_owned())
}

fn not_a(text: &str, what: &str) -> Fault {
    const SHOWN: usize = 40;
    let shown: String = text.escape_debug().take(SHOWN).collect();
    Fault::Bad(format!("`{shown}` is not {what}"))
}

/// Whether two values are equal; what is compared is paid for.
fn same(one: &Datum, other: &Datum, budget: &Budget) -> Result<bool, Fault> {
    budget.spend(1)?;
    Ok(match (one, other) {
        (Datum::Null, Datum::Null) => true,
        (Datum::Text(one), Datum::Text(other)) => {
            budget.bytes(one.len().min(other.len()))?;
            one == other
        }
        (Datum::List(one), Datum::List(other)) => {
            let mut equal = one.len() == other.len();
            for (one, other) in one.iter().zip(other.iter()) {
                equal = equal && same(one, other, budget)?;
            }
            equal
        }
        (Datum::Map(one), Datum::Map(other)) => {
            let mut equal = one.len() == other.len();
            for ((key, one), (other_key, other)) in one.iter().zip(other.iter()) {
                equal = equal && key == other_key && same(one, other, budget)?;
            }
            equal
        }
        _ => one.order(other) == Some(Ordering::Equal),
    })
}

/// Searches a text. A byte of it meets at most every state of the pattern.
pub(super) fn is_match(regex: &Regex, text: &str, budget: &Budget) -> Result<bool, Fault> {
    budget.bytes(text.len().saturating_mul(regex.as_str().len().max(16) / 16))?;
    Ok(regex.is_match(text))
}

/// Compiles a regular expression, within limits.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > REGEX_LIMIT_BYTES {
        return Err(format!(
            "the regular expression is {} bytes long, the limit is {REGEX_LIMIT_BYTES}",
            pattern.len()
        ));
    }
    let built = RegexBuilder::new(pattern)
        .size_limit(REGEX_PROGRAM_BYTES)
        .dfa_size_limit(REGEX_PROGRAM_BYTES)
        .nest_limit(32)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression `{pattern}` repeats too much")
        }
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("`{pattern}` is no regular expression: {reason}")
        }
    })
}

/// `1.2.3-rc.1+build`, with or without `v` in front, as semver.org has it.
fn semver(text: &str) -> Result<Datum, Fault> {
    let bad = || {
        let shown: String = text.escape_debug().take(40).collect();
        Fault::Bad(format!("`{shown}` is no version such as `1.2.3` or `v1.2.3-rc.1`"))
    };
    let rest = text.strip_prefix('v').unwrap_or(text);
    let rest = match rest.split_once('+') {
        Some((rest, build)) if is_identifiers(build, false) => rest,
        Some(_) => return Err(bad()),
        None => rest,
    };
    let (numbers, pre) = match rest.split_once('-') {
        Some((numbers, pre)) if is_identifiers(pre, true) => (numbers, pre),
        Some(_) => return Err(bad()),
        None => (rest, ""),
    };
    let numbers: Option<Vec<i64>> = numbers
        .split('.')
        .map(|number| is_number(number).then(|| number.parse().ok()).flatten())
        .collect();
    let Some([major, minor, patch]) = numbers.as_deref() else { return Err(bad()) };
    Ok(Datum::map([
        ("major", Datum::Int(*major)),
        ("minor", Datum::Int(*minor)),
        ("patch", Datum::Int(*patch)),
        ("pre", Datum::text(pre)),
    ]))
}

fn is_number(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text.len() == 1 || !text.starts_with('0'))
}

/// Words between dots; of a pre-release, numbers have no zero in front.
fn is_identifiers(text: &str, pre: bool) -> bool {
    text.split('.').all(|word| {
        let letters = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let number = word.bytes().all(|byte| byte.is_ascii_digit());
        !word.is_empty() && letters && (!pre || !number || is_number(word))
    })
}

/// Lower case, `[a-z0-9-]`, at most 63 characters, no dash at either end.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(SLUG_LIMIT);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_fits_a_tag_a_label_and_a_host() {
        for (text, expected) in [
            ("main", "main"),
            ("Feature/JIRA-12_x", "feature-jira-12-x"),
            ("--a--b--", "a-b"),
            ("Größe", "gr-e"),
            ("$(rm -rf /)", "rm-rf"),
            ("…", ""),
        ] {
            assert_eq!(slug(text), expected);
        }
        assert_eq!(slug(&"ab/".repeat(40)).len(), 62);
    }

    #[test]
    fn a_version_has_three_numbers_and_perhaps_a_word() {
        for good in ["1.2.3", "v1.2.3", "0.0.0", "1.2.3-rc.1", "1.2.3-x-y.0a+build.01"] {
            assert!(semver(good).is_ok(), "{good}");
        }
        for bad in
            ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3-01", "1.2.3+", "-1.2.3"]
        {
            assert!(semver(bad).is_err(), "{bad}");
        }
        let version = semver("v1.20.3-rc.1+b").ok().unwrap();
        assert_eq!(
            version.to_json(),
            serde_json::json!({ "major": 1, "minor": 20, "patch": 3, "pre": "rc.1" })
        );
    }
}
