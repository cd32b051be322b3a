//! `shipline explain`: a code in full, or all of them in a line each.

use pipeline::Explanation;
use serde_json::{Value, json};

use crate::arguments::{ExplainArguments, Format};
use crate::error::CommandError;
use crate::text;

pub(super) fn explain(arguments: &ExplainArguments) -> Result<u8, CommandError> {
    let codes = codes();
    let Some(wanted) = &arguments.code else {
        match arguments.format {
            Format::Json => {
                let all: Value = codes.iter().map(|code| as_json(code)).collect();
                super::print(&format!("{all:#}\n"))?;
            }
            Format::Text => super::print(&list(&codes))?,
        }
        return Ok(0);
    };
    let found = codes.iter().find(|code| code.code.eq_ignore_ascii_case(wanted.trim()));
    let Some(found) = found else { return Err(unknown(wanted, &codes)) };
    match arguments.format {
        Format::Json => super::print(&format!("{:#}\n", as_json(found)))?,
        Format::Text => super::print(&found.to_string())?,
    }
    Ok(0)
}

/// Those of the file and those of the run, by number.
fn codes() -> Vec<&'static Explanation> {
    let mut codes: Vec<_> = pipeline::CATALOGUE.iter().chain(runner::CATALOGUE).collect();
    codes.sort_by_key(|code| (number(code.code), code.code));
    codes.dedup_by_key(|code| code.code);
    codes
}

/// `W024` is between `E021` and `E030`: what belongs together has near numbers.
fn number(code: &str) -> u32 {
    let digits: String = code.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn list(codes: &[&Explanation]) -> String {
    let rows: Vec<Vec<String>> =
        codes.iter().map(|code| vec![code.code.to_owned(), code.title.to_owned()]).collect();
    text::table(&["CODE", "MEANING"], &rows)
}

fn as_json(code: &Explanation) -> Value {
    json!({
        "code": code.code, "title": code.title, "cause": code.cause,
        "example": code.example, "repair": code.repair,
    })
}

/// The same number with the other letter, else the nearest number.
fn unknown(wanted: &str, codes: &[&Explanation]) -> CommandError {
    let error = CommandError::usage(format_args!("`{wanted}` is no code of Shipline"));
    let digits = wanted.chars().any(|character| character.is_ascii_digit());
    let near = codes.iter().min_by_key(|code| number(code.code).abs_diff(number(wanted)));
    let error = match near {
        Some(near) if digits => {
            error.hint(format_args!("did you mean `{}` ({})?", near.code, near.title))
        }
        _ => error.hint(
            "codes look like `E010` or `W070` and stand in brackets after `error` and `warning`",
        ),
    };
    error.hint("`shipline explain` lists all codes")
}
