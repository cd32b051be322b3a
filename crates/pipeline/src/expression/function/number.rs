//! Arithmetic, and numbers from other values.

use std::sync::Arc;

use super::Function;
use crate::expression::evaluate::{Budget, Fault};
use crate::expression::value::Datum;

impl Function {
    pub(super) fn calculate(
        self,
        given: &[Datum],
        kinds: impl Fn() -> Fault,
    ) -> Result<Datum, Fault> {
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

pub(super) fn add(
    given: &[Datum],
    budget: &Budget,
    kinds: impl Fn() -> Fault,
) -> Result<Datum, Fault> {
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

pub(super) fn to_int(
    function: Function,
    given: &[Datum],
    kinds: impl Fn() -> Fault,
) -> Result<Datum, Fault> {
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

pub(super) fn too_large() -> Fault {
    Fault::Bad("the number is too large".to_owned())
}

pub(super) fn not_a(text: &str, what: &str) -> Fault {
    const SHOWN: usize = 40;
    let shown: String = text.escape_debug().take(SHOWN).collect();
    Fault::Bad(format!("`{shown}` is not {what}"))
}
