//! How an engine is reached: a socket of this machine, TCP with or without TLS, or
//! SSH; and in which words it is said that it is not.

use std::error::Error;
use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};

use super::CALL;
use super::ssh::Tunnel;
use crate::TargetError;

/// The client waits for the head of an answer at most this long; a stop answers
/// when it is done.
const CLIENT_SECONDS: u64 = 120;
/// The oldest API that has all that is asked for.
const OLDEST: (usize, usize) = (1, 40);

/// Where an engine is, and what proves who we are to it and it to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineAccess {
    /// As in `DOCKER_HOST`: `unix://PATH`, `tcp://HOST:PORT`, `ssh://USER@HOST:PORT`.
    pub host: String,
    /// A folder with `ca.pem`, `cert.pem` and `key.pem`, as `DOCKER_CERT_PATH` names
    /// one; with it, TCP is TLS.
    pub certificates: Option<PathBuf>,
    /// The private key for SSH; without it, those of the SSH client's own
    /// configuration and agent.
    pub identity: Option<PathBuf>,
    /// Hosts whose keys are known; without it, those of the user who runs this.
    pub known_hosts: Option<PathBuf>,
}

impl From<&str> for EngineAccess {
    fn from(host: &str) -> Self {
        Self { host: host.to_owned(), ..Self::default() }
    }
}

/// A client, and what keeps its connections open.
pub(super) struct Connected {
    pub(super) docker: Docker,
    pub(super) tunnel: Option<Tunnel>,
}

pub(super) async fn connect(access: &EngineAccess) -> Result<Connected, TargetError> {
    let tunnel = match access.host.starts_with("ssh://") {
        true => Some(Tunnel::open(access).await.map_err(|why| unreachable(access, &why))?),
        false => None,
    };
    let docker = client(access, tunnel.as_ref())?;
    let negotiated = tokio::time::timeout(CALL, docker.negotiate_version()).await;
    // What the other side of a tunnel says is the reason, not that it was closed.
    let told = || tunnel.as_ref().and_then(Tunnel::last_failure);
    let docker = match negotiated {
        Ok(Ok(docker)) => docker,
        Ok(Err(error)) => {
            return Err(unreachable(access, &told().unwrap_or_else(|| words(&error))));
        }
        Err(_) => {
            let silent = format!("no answer within {} s", CALL.as_secs());
            return Err(unreachable(access, &told().unwrap_or(silent)));
        }
    };
    let version = docker.client_version();
    if (version.major_version, version.minor_version) < OLDEST {
        let message = format!(
            "the engine at {} speaks API {}.{}, and {}.{} is the oldest that can be used: it needs Docker 19.03 or newer",
            access.host, version.major_version, version.minor_version, OLDEST.0, OLDEST.1
        );
        return Err(TargetError::Refused { message });
    }
    Ok(Connected { docker, tunnel })
}

fn client(access: &EngineAccess, tunnel: Option<&Tunnel>) -> Result<Docker, TargetError> {
    let host = access.host.as_str();
    let scheme = |scheme: &str| host.starts_with(scheme);
    let made = if let Some(tunnel) = tunnel {
        let socket = format!("unix://{}", tunnel.socket().display());
        Docker::connect_with_unix(&socket, CLIENT_SECONDS, API_DEFAULT_VERSION)
    } else if scheme("unix://") {
        Docker::connect_with_unix(host, CLIENT_SECONDS, API_DEFAULT_VERSION)
    } else if let (true, Some(folder)) =
        (scheme("tcp://") || scheme("https://"), &access.certificates)
    {
        // Some other crate may have chosen already, and chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let [ca, cert, key] = certificates(folder)?;
        Docker::connect_with_ssl(host, &key, &cert, &ca, CLIENT_SECONDS, API_DEFAULT_VERSION)
    } else if scheme("tcp://") || scheme("http://") {
        Docker::connect_with_http(host, CLIENT_SECONDS, API_DEFAULT_VERSION)
    } else {
        let message = format!(
            "`{host}` is not the address of a docker engine: unix://PATH, tcp://HOST:PORT or ssh://USER@HOST:PORT, and with TLS `certificates` beside it"
        );
        return Err(TargetError::Refused { message });
    };
    made.map_err(|error| unreachable(access, &words(&error)))
}

/// Returns the three files of a folder of certificates, each of which can be read.
fn certificates(folder: &Path) -> Result<[PathBuf; 3], TargetError> {
    let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    for file in &files {
        if let Err(error) = std::fs::File::open(file) {
            let message = format!("certificate {} cannot be read: {error}", file.display());
            return Err(TargetError::Refused { message });
        }
    }
    Ok(files)
}

fn unreachable(access: &EngineAccess, why: &str) -> TargetError {
    TargetError::Infrastructure {
        part: "docker".to_owned(),
        message: format!("cannot reach the engine at {}: {why}", access.host),
    }
}

/// Says why a connection failed: the innermost cause, and what it means where that
/// is about trust.
pub(in crate::target) fn words(error: &(dyn Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = inner.source();
    }
    let all = texts.join(": ");
    meaning(&all).unwrap_or_else(|| texts.pop().unwrap_or(all))
}

/// What the words of the TLS library mean to whoever set it up.
fn meaning(all: &str) -> Option<String> {
    let has = |word: &str| all.contains(word);
    let text = if has("UnknownIssuer") || has("BadSignature") {
        "its certificate is not signed by the authority in `ca.pem`"
    } else if has("invalid peer certificate") && has("xpired") {
        "its certificate has expired"
    } else if has("invalid peer certificate") && has("NotValidYet") {
        "its certificate is not valid yet: look at the clocks of both machines"
    } else if has("NotValidForName") || has("not valid for name") {
        "its certificate is for another name"
    } else if has("CertificateExpired") {
        "it says that our certificate, `cert.pem`, has expired"
    } else if has("CertificateRequired")
        || has("UnknownCA")
        || has("BadCertificate")
        || has("AccessDenied")
        || has("DecryptError")
        || has("CertificateUnknown")
    {
        "it does not take our certificate, `cert.pem`"
    } else if has("InvalidContentType") || has("corrupt message") {
        "it does not speak TLS there"
    } else {
        return None;
    };
    Some(text.to_owned())
}
