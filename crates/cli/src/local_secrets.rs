//! `.shipline/secrets.env`: the secrets of local runs, one `NAME=value` a line.

use std::collections::BTreeMap;
use std::path::Path;

use pipeline::{Plan, SecretScope};
use runner::Secrets;

use crate::error::{CommandError, Context as _};

const FILE: &str = ".shipline/secrets.env";

/// Returns the names there are, for the plan; values stay in the file.
pub(crate) async fn offered(
    directory: &Path,
) -> Result<BTreeMap<String, SecretScope>, CommandError> {
    let scope = || SecretScope { defined_in: FILE.to_owned(), ..SecretScope::default() };
    Ok(read(directory).await?.into_keys().map(|name| (name, scope())).collect())
}

/// Returns the secrets that stages of a plan name.
pub(crate) async fn values(directory: &Path, plan: &Plan) -> Result<Secrets, CommandError> {
    let mut secrets = read(directory).await?;
    let named = |name: &String| {
        plan.stages.iter().flat_map(|stage| &stage.secrets).any(|secret| secret.name == *name)
    };
    secrets.retain(|name, _| named(name));
    Ok(Secrets(secrets))
}

async fn read(directory: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let text = match std::fs::read_to_string(directory.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => {
            return Err(CommandError::environment(format_args!("cannot read {FILE}: {error}")));
        }
    };
    let ignored = runner::git::is_ignored(directory, FILE)
        .await
        .environment("cannot ask Git what it ignores")?;
    if !ignored {
        return Err(CommandError::usage(format_args!(
            "`{FILE}` holds secrets, and Git does not ignore it"
        ))
        .hint(format_args!("add the line `{FILE}` to .gitignore")));
    }
    Ok(parse(&text))
}

/// A line that is no comment is a name, `=`, and the value. In double quotes `\\n` is a
/// new line, so that a key of many lines fits one.
fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()))).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(c) = characters.next() {
        match (c, if c == '\\' { characters.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some(escaped)) => text.push(escaped),
            (c, _) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_is_a_name_and_a_value() {
        let text =
            "# for local runs\nTOKEN=a=b\n\n  KEY = c d \nnothing\n#OLD=d\nPEM=\"a\\nb\\\\\\\"\"\n";
        let found: Vec<_> = parse(text).into_iter().collect();
        let expected = [("KEY", "c d"), ("PEM", "a\nb\\\""), ("TOKEN", "a=b")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
