//! The admin token: until there are people, the one key to every route.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What is needed to recognise the token, which is not the token.
#[derive(Clone)]
pub struct AdminToken {
    digest: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot make the admin token `{}`", file.display())]
    Make {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot read the admin token `{}`", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the admin token `{}` can be read by others; `chmod 600` it", file.display())]
    Exposed { file: PathBuf },
    #[error("the admin token `{}` is shorter than 32 characters; remove it and start again", file.display())]
    Short { file: PathBuf },
}

impl AdminToken {
    /// Reads the token, or makes one of 256 random bits at the first start.
    pub fn open(file: &Path) -> Result<Self, TokenError> {
        let make = |source| TokenError::Make { file: file.to_owned(), source };
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(file) {
            Ok(mut made) => {
                let text = hex::encode(rand::random::<[u8; 32]>());
                writeln!(made, "{text}").and_then(|()| made.sync_all()).map_err(make)?;
                Ok(Self::of(&text))
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Self::read(file),
            Err(error) => Err(make(error)),
        }
    }

    fn read(file: &Path) -> Result<Self, TokenError> {
        let read = |source| TokenError::Read { file: file.to_owned(), source };
        if file.metadata().map_err(read)?.permissions().mode() & 0o077 != 0 {
            return Err(TokenError::Exposed { file: file.to_owned() });
        }
        let text = std::fs::read_to_string(file).map_err(read)?;
        let text = text.trim();
        if text.len() < 32 {
            return Err(TokenError::Short { file: file.to_owned() });
        }
        Ok(Self::of(text))
    }

    pub fn of(text: &str) -> Self {
        Self { digest: Sha256::digest(text.as_bytes()).into() }
    }

    /// Compares in a time that tells nothing about where the difference is.
    pub fn matches(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        self.digest.ct_eq(&presented).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_made_once_for_the_owner_only_and_recognised_later() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("admin.token");
        let made = AdminToken::open(&file).expect("made");
        let text = std::fs::read_to_string(&file).expect("readable");
        let text = text.trim();
        assert_eq!(text.len(), 64);
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        let read = AdminToken::open(&file).expect("read");
        for token in [made, read] {
            assert!(token.matches(text));
            assert!(!token.matches(&text[1..]));
            assert!(!token.matches(""));
        }
    }

    #[test]
    fn a_token_that_others_can_read_or_that_is_empty_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("admin.token");
        AdminToken::open(&file).expect("made");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(AdminToken::open(&file), Err(TokenError::Exposed { .. })));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("changed");
        std::fs::write(&file, "\n").expect("emptied");
        assert!(matches!(AdminToken::open(&file), Err(TokenError::Short { .. })));
    }
}
