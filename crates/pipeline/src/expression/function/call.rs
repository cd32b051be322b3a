//! What a call gives, once all of its arguments have values.

use std::cmp::Ordering;

use super::Function;
use super::number::{add, not_a, to_int, too_large};
use super::regular::{REGEX_STEPS, is_match, regex};
use super::slug::slug;
use super::version::semver;
use crate::expression::evaluate::{Budget, Fault};
use crate::expression::value::Datum;

impl Function {
    /// Applies everything but `hash` and `changed`, which ask the world.
    pub(crate) fn apply(self, given: &[Datum], budget: &Budget) -> Result<Datum, Fault> {
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
