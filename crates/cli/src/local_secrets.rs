//! `.shipline/secrets.env`: the secrets of local runs, one `NAME=value` a line.

use std::collections::BTreeMap;
use std::path::Path;

use pipeline::SecretScope;

use crate::error::{CommandError, Context as _};

const FILE: &str = ".shipline/secrets.env";

/// Returns the names there are, for the plan; values stay in the file.
pub(crate) async fn offered(
    directory: &Path,
) -> Result<BTreeMap<String, SecretScope>, CommandError> {
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
    let scope = || SecretScope { defined_in: FILE.to_owned(), ..SecretScope::default() };
    Ok(names(&text).map(|name| (name.to_owned(), scope())).collect())
}

/// What stands before the first `=` of each line that is no comment.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_line_is_a_name_and_a_value() {
        let text = "# for local runs\nTOKEN=a=b\n\n  KEY = c \nnothing\n#OLD=d\n";
        assert_eq!(names(text).collect::<Vec<_>>(), ["TOKEN", "KEY"]);
    }
}
