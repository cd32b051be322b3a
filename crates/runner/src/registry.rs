//! Registry credentials, by the name a pipeline uses for them.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// An entry `[registries.NAME]` of the configuration, its password already read.
#[derive(Clone)]
pub struct Registry {
    /// Host with port, as in an image reference.
    pub host: String,
    pub username: String,
    pub password: String,
    /// Trusted beside the system's authorities.
    pub ca_file: Option<PathBuf>,
}

/// The user name under which Docker keeps a token in place of a password.
const TOKEN_USER: &str = "<token>";

impl Registry {
    /// Makes a login of what some registries give out in place of a password.
    pub fn with_identity_token(host: String, token: String) -> Self {
        Self { host, username: TOKEN_USER.to_owned(), password: token, ca_file: None }
    }

    pub fn identity_token(&self) -> Option<&str> {
        (self.username == TOKEN_USER).then_some(self.password.as_str())
    }

    /// Who we are to it, for messages.
    pub fn login(&self) -> &str {
        match self.username.as_str() {
            "" => "nobody",
            TOKEN_USER => "an identity token",
            name => name,
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("host", &self.host)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The registries a run may use.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    pub named: BTreeMap<String, Registry>,
}

impl Registries {
    pub fn get(&self, name: &str) -> Option<&Registry> {
        self.named.get(name)
    }

    /// Returns the entry whose host an image reference names.
    pub fn for_reference(&self, reference: &str) -> Option<&Registry> {
        let host = reference.split('/').next()?;
        self.named.values().find(|registry| registry.host == host)
    }
}
