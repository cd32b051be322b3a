//! Engines that are reached over TLS and SSH: the engine of this machine behind a
//! forwarder of the test and behind a server of `sshd`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    DockerTarget, EngineAccess, EnvironmentKey, Observed, ObservedUnit, Target, TargetError,
    UnitId, UnitState,
};

const SOCKET: &str = "/var/run/docker.sock";

/// Connects, looks, and says how that went.
async fn reached(access: EngineAccess) -> Result<(), String> {
    let target = DockerTarget::connect(access, None, "test-access".to_owned(), Vec::new()).await;
    let target = target.map_err(|error| match error {
        TargetError::Infrastructure { message, .. } | TargetError::Refused { message } => message,
        TargetError::Fenced(message) => panic!("{message}"),
    })?;
    let key = EnvironmentKey { project: "none".to_owned(), environment: "none".to_owned() };
    // More than one connection, and at once.
    let (one, two) = tokio::join!(target.observe(&key), target.observe(&key));
    assert_eq!((one.unwrap().units, two.unwrap().units), (Vec::new(), Vec::new()));
    Ok(())
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// Makes an authority, and certificates of it.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "ca-key.pem",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
        ]);
        authority.issue("server", "2", "subjectAltName=IP:127.0.0.1");
        authority.issue("client", "2", "extendedKeyUsage=clientAuth");
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        run("openssl", arguments, self.folder.path());
    }

    fn issue(&self, name: &str, days: &str, extension: &str) {
        std::fs::write(self.path("extension"), extension).unwrap();
        let (key, request, cert) =
            (format!("{name}-key.pem"), format!("{name}.csr"), format!("{name}.pem"));
        self.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &request,
            "-subj",
            &format!("/CN={name}"),
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca-key.pem",
            "-CAcreateserial",
            "-out",
            &cert,
            "-days",
            days,
            "-extfile",
            "extension",
        ]);
    }

    /// A folder as `DOCKER_CERT_PATH` has it, with a client's certificate.
    fn client(&self, trusting: &Self) -> PathBuf {
        let folder = self.path("of-client");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(trusting.path("ca.pem"), folder.join("ca.pem")).unwrap();
        std::fs::copy(self.path("client.pem"), folder.join("cert.pem")).unwrap();
        std::fs::copy(self.path("client-key.pem"), folder.join("key.pem")).unwrap();
        folder
    }
}

/// Ends TLS, wants a certificate, and hands the rest to the engine of this machine.
async fn tls(authority: &Authority) -> (String, AbortOnDropHandle<()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = |name: &str| CertificateDer::from_pem_file(authority.path(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path("server-key.pem")).unwrap();
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate("server.pem")], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut engine = UnixStream::connect(SOCKET).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut engine).await;
            });
        }
    });
    (host, AbortOnDropHandle::new(serving))
}

fn over_tls(host: &str, certificates: PathBuf) -> EngineAccess {
    EngineAccess { certificates: Some(certificates), ..host.into() }
}

#[tokio::test]
async fn an_engine_behind_tls_is_reached_with_certificates_of_one_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (host, _serving) = tls(&ours).await;
    reached(over_tls(&host, ours.client(&ours))).await.unwrap();

    let why = reached(over_tls(&host, ours.client(&theirs))).await.unwrap_err();
    assert!(why.ends_with("its certificate is not signed by the authority in `ca.pem`"), "{why}");
    let why = reached(over_tls(&host, theirs.client(&ours))).await.unwrap_err();
    assert!(why.ends_with("it does not take our certificate, `cert.pem`"), "{why}");
    let why = reached(over_tls(&host, theirs.path("nothing"))).await.unwrap_err();
    assert!(
        why.starts_with("certificate ") && why.contains("nothing/ca.pem cannot be read"),
        "{why}"
    );
    let elsewhere = over_tls("tcp://127.0.0.1:1", ours.client(&ours));
    let why = reached(elsewhere).await.unwrap_err();
    assert!(why.contains("cannot reach the engine at tcp://127.0.0.1:1: "), "{why}");
    assert!(why.contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_for_another_name_is_said_so() {
    let authority = Authority::new();
    authority.issue("server", "2", "subjectAltName=IP:127.0.0.9");
    let (host, _serving) = tls(&authority).await;
    let why = reached(over_tls(&host, authority.client(&authority))).await.unwrap_err();
    assert!(why.ends_with("its certificate is for another name"), "{why}");
    authority.issue("server", "-1", "subjectAltName=IP:127.0.0.1");
    let (host, _serving) = tls(&authority).await;
    let why = reached(over_tls(&host, authority.client(&authority))).await.unwrap_err();
    assert!(why.ends_with("its certificate has expired"), "{why}");

    authority.issue("server", "2", "subjectAltName=IP:127.0.0.1");
    authority.issue("client", "-1", "extendedKeyUsage=clientAuth");
    let (host, _serving) = tls(&authority).await;
    let why = reached(over_tls(&host, authority.client(&authority))).await.unwrap_err();
    assert!(why.ends_with("it says that our certificate, `cert.pem`, has expired"), "{why}");
}

/// A server of SSH on this machine, for the user who runs the test.
struct Sshd {
    folder: tempfile::TempDir,
    process: std::process::Child,
    port: u16,
}

impl Sshd {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["host", "client", "other"] {
            let key = ["-q", "-t", "ed25519", "-N", "", "-f", name];
            run("ssh-keygen", &key, folder.path());
        }
        std::fs::copy(path("client.pub"), path("authorized")).unwrap();
        let free = std::net::TcpListener::bind("127.0.1.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = format!(
            "Port {port}\nListenAddress 127.0.1.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile none\nStrictModes no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            path("host"),
            path("authorized"),
        );
        std::fs::write(path("config"), config).unwrap();
        // Wants to be called by its whole path, and this folder to be there.
        let _ = std::fs::create_dir_all("/run/sshd");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &path("config")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let host_key = std::fs::read_to_string(path("host.pub")).unwrap();
        std::fs::write(path("known"), format!("[127.0.1.1]:{port} {host_key}")).unwrap();
        std::fs::write(path("unknown"), "").unwrap();
        let answers = async {
            while tokio::net::TcpStream::connect(("127.0.1.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answers).await.unwrap();
        Self { folder, process, port }
    }

    fn access(&self, identity: &str, known_hosts: &str) -> EngineAccess {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        EngineAccess {
            host: format!("ssh://{}@127.0.1.1:{}", user.trim(), self.port),
            certificates: None,
            identity: Some(self.folder.path().join(identity)),
            known_hosts: Some(self.folder.path().join(known_hosts)),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn an_engine_behind_ssh_is_reached_when_both_sides_are_known() {
    let sshd = Sshd::start().await;
    reached(sshd.access("client", "known")).await.unwrap();

    let why = reached(sshd.access("client", "unknown")).await.unwrap_err();
    assert!(why.contains("the key of that host is not in "), "{why}");
    let why = reached(sshd.access("other", "known")).await.unwrap_err();
    assert!(why.contains("permission denied: that host does not take the key "), "{why}");
    let why = reached(sshd.access("missing", "known")).await.unwrap_err();
    assert!(why.contains("the key ") && why.contains("cannot be read"), "{why}");
    let mut away = sshd.access("client", "known");
    away.host = "ssh://127.0.1.1:1".to_owned();
    let why = reached(away).await.unwrap_err();
    assert!(why.contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn the_room_of_an_engine_is_asked_for_over_ssh_and_said_to_be_unknown_over_tcp() {
    let sshd = Sshd::start().await;
    let open = async |access| {
        DockerTarget::connect(access, None, "test-access".to_owned(), Vec::new()).await.unwrap()
    };
    let target = open(sshd.access("client", "known")).await;
    let tunnel = target.tunnel.as_ref().unwrap();
    assert!(tunnel.free_bytes("/").await.is_some_and(|free| free > 0));
    assert_eq!(tunnel.free_bytes("/nonexistent").await, None);

    let authority = Authority::new();
    let (host, _serving) = tls(&authority).await;
    let target = open(over_tls(&host, authority.client(&authority))).await;
    let info = target.docker.info().await.unwrap();
    let found = target.little_room(&info, &Observed::default()).await.unwrap();
    assert_eq!((found.id.as_str(), found.severity), ("disk", event::Severity::Warning));
    assert!(found.cause.starts_with("nobody here can say how much room there is"), "{found}");
    // Where units are there was room.
    let unit = ObservedUnit {
        unit: UnitId("web-prod-0".to_owned()),
        slot: 0,
        release: event::ReleaseId::new(uuid::Uuid::from_u128(1)),
        deployment: event::DeploymentId::new(uuid::Uuid::from_u128(1)),
        spec: String::new(),
        state: UnitState::Running,
        admitted: true,
        address: None,
        image: String::new(),
        fence: 1,
    };
    assert_eq!(
        target.little_room(&info, &Observed { units: vec![unit], ..Observed::default() }).await,
        None
    );
}

#[tokio::test]
async fn a_connection_that_was_lost_is_made_again() {
    let sshd = Sshd::start().await;
    let access = sshd.access("client", "known");
    let target = DockerTarget::connect(access, None, "test-access".to_owned(), Vec::new()).await;
    let target = target.unwrap();
    let key = EnvironmentKey { project: "none".to_owned(), environment: "none".to_owned() };
    target.observe(&key).await.unwrap();
    // Its children carry the connections, and end with their session.
    let pid = sshd.process.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert!(!children.trim().is_empty());
    for child in children.split_ascii_whitespace() {
        run("kill", &[child], Path::new("/"));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    target.observe(&key).await.unwrap();
}
