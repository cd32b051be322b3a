//! What a `run` stage put out: the lines of `$SHIPLINE_OUTPUT`, each checked against
//! the `outputs` of the stage.

use std::collections::BTreeMap;

use event::Outputs;
use pipeline::OutputType;
use serde_json::Value;
use shipline_init::frame::OUTPUTS_LIMIT;

/// Reads `written`, or says what is wrong with it (E096). `mask` hides what nobody may see.
pub(crate) fn read(
    written: &[u8],
    declared: &BTreeMap<String, OutputType>,
    mask: impl Fn(&str) -> String,
) -> Result<Outputs, String> {
    if written.len() > OUTPUTS_LIMIT {
        return Err(format!(
            "the outputs of the stage are longer than {} KiB, which is the limit",
            OUTPUTS_LIMIT >> 10
        ));
    }
    let text = std::str::from_utf8(written)
        .map_err(|_| "`$SHIPLINE_OUTPUT` is not UTF-8: outputs are text".to_owned())?;
    let mut outputs = Outputs::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!(
                "line {} of `$SHIPLINE_OUTPUT` is not `name=value`: `{}`",
                number + 1,
                mask(line)
            ));
        };
        let Some(kind) = declared.get(name) else { return Err(undeclared(&mask(name), declared)) };
        let value = typed(name, &mask(value), *kind)?;
        if outputs.insert(name.to_owned(), value).is_some() {
            return Err(format!("output `{name}` is given twice"));
        }
    }
    Ok(outputs)
}

fn undeclared(name: &str, declared: &BTreeMap<String, OutputType>) -> String {
    if declared.is_empty() {
        return format!("output `{name}` is not declared: add `outputs: [{name}]` to the stage");
    }
    let names: Vec<String> = declared.keys().map(|name| format!("`{name}`")).collect();
    format!("output `{name}` is not declared: `outputs` of the stage has {}", names.join(", "))
}

fn typed(name: &str, text: &str, kind: OutputType) -> Result<Value, String> {
    let wrong = |what: &str| Err(format!("output `{name}` is not {what}: `{text}`"));
    match kind {
        OutputType::String => Ok(Value::from(text)),
        OutputType::Int => {
            text.parse::<i64>().map(Value::from).or_else(|_| wrong("a whole number"))
        }
        OutputType::Bool => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => wrong("`true` or `false`"),
        },
        OutputType::Json => serde_json::from_str(text).or_else(|_| wrong("JSON in one line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_out(written: &str) -> Result<String, String> {
        let declared = BTreeMap::from([
            ("version".to_owned(), OutputType::String),
            ("count".to_owned(), OutputType::Int),
            ("ready".to_owned(), OutputType::Bool),
            ("list".to_owned(), OutputType::Json),
        ]);
        let mask = |text: &str| text.replace("s3cret", "***");
        read(written.as_bytes(), &declared, mask)
            .map(|outputs| serde_json::to_string(&outputs).unwrap())
    }

    #[test]
    fn a_value_is_the_rest_of_its_line_in_its_type() {
        let written = "version=1.2=rc\ncount=-3\n\nready=true\nlist=[1, \"a\"]\n";
        let read = r#"{"count":-3,"list":[1,"a"],"ready":true,"version":"1.2=rc"}"#;
        assert_eq!(put_out(written), Ok(read.to_owned()));
        assert_eq!(put_out(""), Ok("{}".to_owned()));
        assert_eq!(put_out("version=a s3cret"), Ok(r#"{"version":"a ***"}"#.to_owned()));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_name_and_the_rule() {
        for (written, reason) in [
            ("version", "line 1 of `$SHIPLINE_OUTPUT` is not `name=value`: `version`"),
            (
                "verison=1",
                "output `verison` is not declared: `outputs` of the stage has `count`, `list`, `ready`, `version`",
            ),
            ("version=1\nversion=1", "output `version` is given twice"),
            ("count=1.5", "output `count` is not a whole number: `1.5`"),
            ("ready=yes", "output `ready` is not `true` or `false`: `yes`"),
            ("list=[1", "output `list` is not JSON in one line: `[1`"),
        ] {
            assert_eq!(put_out(written), Err(reason.to_owned()), "{written}");
        }
        let long = format!("version={}", "x".repeat(OUTPUTS_LIMIT));
        let reason = "the outputs of the stage are longer than 64 KiB, which is the limit";
        assert_eq!(put_out(&long), Err(reason.to_owned()));
        let undeclared = read(b"version=1", &BTreeMap::new(), str::to_owned);
        let reason = "output `version` is not declared: add `outputs: [version]` to the stage";
        assert_eq!(undeclared, Err(reason.to_owned()));
        assert!(read(&[0xff], &BTreeMap::new(), str::to_owned).is_err());
    }
}
