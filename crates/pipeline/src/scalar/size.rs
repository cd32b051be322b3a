//! Sizes as the language writes them: `512Mi`, `4Gi`, `512M`.

use super::{Misfit, Scalar};
use crate::codes::Code;
use crate::plan::ValueKind;
use crate::yaml::{Node, Value};

/// Powers of 1024, and of 1000 as disks are sold.
const UNITS: [(&str, u64); 8] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];
const LARGEST_BYTES: u64 = 1 << 50;
/// Container engines refuse less.
const LEAST_MEMORY_BYTES: u64 = 6 << 20;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Scalar for Size {
    const KIND: ValueKind = ValueKind::Size;

    fn unknown(_: &str) -> Self {
        Self(0)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Text(text) => parse(text).map(Self),
            Value::Int(0.., text) => Err(without_unit(text)),
            Value::Int(..) => {
                Err(Misfit::bad("takes a size", "a size is not negative; for example `512Mi`"))
            }
            Value::Float(value, _) if (0.0..1e6).contains(value) => Err(without_unit(
                // Rounded up: a limit is better too large than too small.
                &format!("{}", value.ceil()),
            )),
            Value::Float(..) => Err(Misfit::bad("takes a size", "for example `512Mi`")),
            _ => Err(Misfit::wrong_type("a size", node).label("for example `512Mi` or `4Gi`")),
        }
    }
}

/// Returns the bytes of a size as the language writes it, or how to write it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse(text).map_err(|misfit| misfit.label.unwrap_or(misfit.message))
}

fn parse(text: &str) -> Result<u64, Misfit> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (amount, unit) = text.split_at(digits);
    if amount.is_empty() {
        return Err(not_a_size(text));
    }
    if unit.is_empty() {
        return Err(without_unit(text));
    }
    let Some((_, scale)) = UNITS.iter().find(|(known, _)| *known == unit) else {
        return Err(not_a_size(text));
    };
    amount
        .parse::<u64>()
        .ok()
        .and_then(|amount| amount.checked_mul(*scale))
        .filter(|bytes| *bytes <= LARGEST_BYTES)
        .ok_or_else(|| Misfit::bad("takes at most 1024Ti", "too large"))
}

fn without_unit(number: &str) -> Misfit {
    Misfit {
        code: Code::E012,
        message: "takes a size, and a number alone has no unit".to_owned(),
        label: Some(format!("write `{number}Mi` or `{number}Gi`")),
        part: None,
    }
}

/// What to write instead: `512MB`, `512mi` and `1.5Gi` have a form here.
fn not_a_size(text: &str) -> Misfit {
    let number = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (amount, unit) = text.split_at(number);
    let folded = unit.trim().to_ascii_lowercase();
    let binary = folded.ends_with("ib") || folded.ends_with('i');
    let unit = folded.chars().next().and_then(|first| {
        let suffix = if binary { "i" } else { "" };
        let unit = format!("{}{suffix}", first.to_ascii_uppercase());
        let rest = folded.strip_prefix(first).unwrap_or_default();
        (matches!(rest, "" | "b" | "i" | "ib"))
            .then(|| UNITS.iter().position(|(known, _)| *known == unit))
            .flatten()
    });
    let written = match (unit, amount.parse::<u64>(), amount.parse::<f64>()) {
        (Some(unit), Ok(amount), _) => Some(format!("{amount}{}", UNITS[unit].0)),
        // The same in the next smaller unit, which has no fraction to speak of.
        (Some(unit), Err(_), Ok(amount)) if amount < 1e6 && unit % 4 > 0 => {
            let step = if unit < 4 { 1024.0 } else { 1000.0 };
            Some(format!("{}{}", (amount * step).ceil(), UNITS[unit - 1].0))
        }
        _ => None,
    };
    Misfit::bad(
        "takes a size",
        match written {
            Some(written) => format!("write `{written}`"),
            None => "units are `Ki`, `Mi`, `Gi` and `Ti`, and `K`, `M`, `G` and `T` in powers of \
                     1000; for example `512Mi`"
                .to_owned(),
        },
    )
}

/// Memory of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory(pub(crate) u64);

impl Scalar for Memory {
    const KIND: ValueKind = ValueKind::Memory;

    fn unknown(_: &str) -> Self {
        Self(LEAST_MEMORY_BYTES)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match Size::read(node)?.0 {
            bytes if bytes < LEAST_MEMORY_BYTES => {
                Err(Misfit::bad("takes at least 6Mi", "too little; for example `512Mi`"))
            }
            bytes => Ok(Self(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> String {
        parse(text).unwrap_err().label.unwrap()
    }

    #[test]
    fn sizes_are_numbers_of_bytes() {
        for (text, bytes) in [
            ("512Mi", 512 << 20),
            ("4Gi", 4 << 30),
            ("512M", 512_000_000),
            ("1Ki", 1024),
            ("0K", 0),
        ] {
            assert_eq!(parse(text).ok(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_corrected_where_it_can_be() {
        for (text, meant) in [
            ("512MB", "write `512M`"),
            ("512mi", "write `512Mi`"),
            ("512MiB", "write `512Mi`"),
            ("4 Gi", "write `4Gi`"),
            ("1.5Gi", "write `1536Mi`"),
            ("0.5g", "write `500M`"),
            ("512", "write `512Mi` or `512Gi`"),
            ("2000Ti", "too large"),
        ] {
            assert_eq!(label(text), meant, "{text}");
        }
        for text in ["", "Gi", "much", "1e9G", "-1Gi", "4é"] {
            assert!(label(text).starts_with("units are"), "{text}");
        }
    }
}
