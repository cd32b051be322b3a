//! Where the templates of a project's pipelines may be fetched from.
//!
//! Whoever pushes chooses the address, and the server asks it from inside the
//! network. So it asks only the host of the project's own repository, and those that
//! the configuration names.

use std::collections::BTreeSet;

use runner::git::{Credential, RemoteUrl};
use runner::template::{Remote, RemoteError};

use crate::reference;

/// Who may be asked for the templates of a project.
pub(super) struct Hosts<'a> {
    pub(super) allowed: &'a BTreeSet<String>,
    /// The address of the project's repository.
    pub(super) repository: &'a str,
    pub(super) credential: Option<Credential>,
}

impl Hosts<'_> {
    pub(super) fn remote(&self, address: &str) -> Result<Remote, RemoteError> {
        let url = RemoteUrl::parse(address)?;
        let own = reference::repository(self.repository).ok();
        // A host is allowed at its usual ports; at another one only if that is said.
        let place = url.host_and_port();
        let is_own = own.as_ref().is_some_and(|own| {
            !place.is_empty() && (own.host_and_port() == place || own.host() == place)
        });
        if !is_own && !self.allowed.contains(place) {
            return Err(RemoteError::Forbidden(format!(
                "this server fetches no templates from `{place}`; its administrator allows that \
                 with `hosts` of [templates]"
            )));
        }
        // What proves who we are goes to the place it was made for, and to no other.
        let same = own.is_some_and(|own| own.origin() == url.origin());
        Ok(Remote { url, credential: self.credential.clone().filter(|_| same) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_come_from_the_host_of_the_repository_and_from_those_that_are_named() {
        let allowed = ["templates.example".to_owned()].into();
        let credential = Some(Credential::Key { file: "/key".into() });
        let hosts = Hosts {
            allowed: &allowed,
            repository: "ssh://git@git.example:29418/team/orders.git",
            credential,
        };
        let ask = |address: &str| {
            hosts
                .remote(address)
                .map(|remote| remote.credential.is_some())
                .map_err(|e| e.to_string())
        };
        assert_eq!(ask("ssh://git@git.example:29418/ci/templates.git"), Ok(true));
        assert_eq!(ask("https://git.example/ci/templates.git"), Ok(false));
        assert_eq!(ask("https://templates.example/x.git"), Ok(false));
        for address in [
            "https://10.0.0.1/x.git",
            "https://git.example.evil.example/x.git",
            "https://git.example:8443/x.git",
            "https://templates.example:22/x.git",
        ] {
            assert!(ask(address).unwrap_err().contains("fetches no templates from"), "{address}");
        }
        assert!(ask("file:///etc").is_err());
        let local = Hosts { repository: "/srv/git/orders.git", ..hosts };
        assert!(local.remote("https://git.example/x.git").is_err());
    }
}
