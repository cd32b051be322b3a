//! Passwords lie in files of their own, so that the configuration can be shown.

use std::path::{Path, PathBuf};

/// Why a password file gives no password. Never carries what is in it.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("cannot read the password file `{}`", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the password file `{}` is empty", file.display())]
    Empty { file: PathBuf },
    #[error("the password file `{}` has more than one line", file.display())]
    Lines { file: PathBuf },
}

/// Returns the one line of the file, without its end.
pub fn read_password(file: &Path) -> Result<String, PasswordError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| PasswordError::Read { file: file.to_owned(), source })?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(PasswordError::Empty { file: file.to_owned() });
    }
    if password.contains(['\r', '\n']) {
        return Err(PasswordError::Lines { file: file.to_owned() });
    }
    Ok(password.to_owned())
}
