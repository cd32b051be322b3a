//! What `docker login` left: passwords and tokens in Docker's configuration, or with
//! the credential helpers that it names.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use runner::Registry;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::CommandError;
use crate::home;

/// A helper may ask its user to unlock a key ring.
const HELPER: Duration = Duration::from_secs(60);
/// As Docker's configuration calls its default registry, and as references do.
const HUB: &str = "https://index.docker.io/v1/";
const HUB_HOST: &str = "docker.io";
/// The user name of a helper's answer that is a token.
const TOKEN_USER: &str = "<token>";
/// How helpers say that they know nothing, as their common library words it.
const UNKNOWN: &str = "credentials not found";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DockerConfiguration {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
    /// The helper of all registries that have none of their own.
    #[serde(default)]
    creds_store: String,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
struct Login {
    /// `USER:PASSWORD` in base64.
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl DockerConfiguration {
    /// Reads it, if there is one.
    pub(crate) fn read() -> Result<Self, CommandError> {
        let Some(path) = home::docker_configuration_file() else { return Ok(Self::default()) };
        let unreadable = |why: &dyn std::fmt::Display| {
            CommandError::environment(format_args!("cannot read {}: {why}", path.display()))
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| unreadable(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Hosts that there is a login for, as far as it is known without asking helpers.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> {
        let with_store = !self.creds_store.is_empty();
        let auths = self.auths.iter().filter(move |(_, login)| with_store || login.is_there());
        auths.map(|(key, _)| key).chain(self.cred_helpers.keys()).map(|key| host(key))
    }

    /// Returns the login for a host: its helper's word, or what is written down.
    pub(crate) async fn login(&self, wanted: &str) -> Result<Option<Registry>, CommandError> {
        let own = self.cred_helpers.iter().find(|(key, _)| host(key) == wanted);
        let helper = own.map_or(&self.creds_store, |(_, helper)| helper);
        if !helper.is_empty() {
            // Helpers know registries by the names that `docker login` gave them.
            let key = own.map(|(key, _)| key.as_str()).or_else(|| self.key(wanted));
            let key = key.unwrap_or(if wanted == HUB_HOST { HUB } else { wanted });
            return ask(helper, key, wanted).await;
        }
        let written = self.key(wanted).and_then(|key| self.auths.get(key));
        Ok(written.and_then(|login| login.registry(wanted)))
    }

    fn key(&self, wanted: &str) -> Option<&str> {
        self.auths.keys().find(|key| host(key) == wanted).map(String::as_str)
    }
}

impl Login {
    fn is_there(&self) -> bool {
        self.registry("").is_some()
    }

    fn registry(&self, host: &str) -> Option<Registry> {
        if !self.identitytoken.is_empty() {
            return Some(Registry::with_identity_token(
                host.to_owned(),
                self.identitytoken.clone(),
            ));
        }
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let decoded = base64::engine::general_purpose::STANDARD.decode(&self.auth).ok()?;
            let text = String::from_utf8(decoded).ok()?;
            // The name of a robot may hold anything but a colon; the password that too.
            let (username, password) = text.split_once(':')?;
            (username.to_owned(), password.trim_matches('\0').to_owned())
        };
        (!username.is_empty()).then(|| registry(host, username, password))
    }
}

fn registry(host: &str, username: String, password: String) -> Registry {
    Registry { host: host.to_owned(), username, password, ca_file: None }
}

/// The host of a key of the configuration, which may be a whole address.
fn host(key: &str) -> String {
    if key == HUB || key == "index.docker.io" {
        return HUB_HOST.to_owned();
    }
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    key.split('/').next().unwrap_or(key).to_owned()
}

/// Asks `docker-credential-HELPER` on its stdin; nothing of it goes through a shell.
async fn ask(helper: &str, key: &str, host: &str) -> Result<Option<Registry>, CommandError> {
    let program = format!("docker-credential-{helper}");
    let failed = |why: String| {
        CommandError::environment(format_args!("`{program}` gives no login for {host}: {why}"))
            .hint("Docker's configuration names it (`credsStore`, `credHelpers`): `docker login` would ask it too")
    };
    if Path::new(helper).components().count() != 1 {
        return Err(failed("this is no name of a helper".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let input = child.stdin.take();
    let asking = async {
        if let Some(mut input) = input {
            // A helper that does not read has its answer all the same.
            drop(input.write_all(key.as_bytes()).await);
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER, asking).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {} seconds", HELPER.as_secs()))),
    };
    if !output.status.success() {
        // It complains on stdout.
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let also = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let said = if said.is_empty() { also } else { said };
        if said.contains(UNKNOWN) {
            return Ok(None);
        }
        return Err(failed(if said.is_empty() { output.status.to_string() } else { said }));
    }
    // What it answered stays out of the message: it may be half a password.
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer is not what a helper answers".to_owned()))?;
    Ok(Some(if answer.username == TOKEN_USER {
        Registry::with_identity_token(host.to_owned(), answer.secret)
    } else {
        registry(host, answer.username, answer.secret)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DockerConfiguration {
        serde_json::from_str(text).unwrap()
    }

    async fn login(configuration: &DockerConfiguration, host: &str) -> Option<String> {
        let login = configuration.login(host).await.unwrap()?;
        Some(format!("{} {}", login.login(), login.password))
    }

    #[tokio::test]
    async fn what_is_written_down_is_found_by_host() {
        // `robot$team+ci:a:b$c`
        let configuration = read(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "YWRhOnNlY3JldA=="},
                "harbor.example:8443": {"auth": "cm9ib3QkdGVhbStjaTphOmIkYw=="},
                "https://old.example/v2/": {"username": "bo", "password": "pw"},
                "azure.example": {"auth": "MDAwOg==", "identitytoken": "eyJ0"},
                "empty.example": {}
            }}"#,
        );
        assert_eq!(login(&configuration, "docker.io").await.unwrap(), "ada secret");
        assert_eq!(
            login(&configuration, "harbor.example:8443").await.unwrap(),
            "robot$team+ci a:b$c"
        );
        assert_eq!(login(&configuration, "old.example").await.unwrap(), "bo pw");
        assert_eq!(login(&configuration, "azure.example").await.unwrap(), "an identity token eyJ0");
        assert_eq!(login(&configuration, "empty.example").await, None);
        assert_eq!(login(&configuration, "harbor.example").await, None);
        let hosts: Vec<String> = configuration.hosts().collect();
        assert_eq!(hosts.len(), 4, "{hosts:?}");
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named() {
        let configuration = read(r#"{"credHelpers": {"h.example": "none-of-this-name"}}"#);
        let error = configuration.login("h.example").await.unwrap_err().to_string();
        assert!(
            error.contains("`docker-credential-none-of-this-name` gives no login for h.example: "),
            "{error}"
        );
        let configuration = read(r#"{"credsStore": "../../evil"}"#);
        let error = configuration.login("h.example").await.unwrap_err().to_string();
        assert!(error.contains("this is no name of a helper"), "{error}");
    }
}
