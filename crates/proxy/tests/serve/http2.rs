//! HTTP/2 and TLS from clients; units are spoken to in HTTP/1.1.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pingora_core::tls::{
    ClientConfig, ClientTlsStream, RootCertStore, ServerName, TlsConnector,
    install_default_crypto_provider, load_ca_file_into_store,
};
use shipline_proxy::{CertificateFiles, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Client, Http2, ok};
use crate::proxy::{TestProxy, config};
use crate::unit::{Unit, Witness};

/// An authority and a certificate of this machine, made anew.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    pub fn new() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/services/certificate.sh");
        let made = Command::new("bash").arg(script).arg(folder.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Certificates(folder)
    }

    pub fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.path("server.pem"), key: self.path("server.key") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Connects as a client that trusts this authority alone.
    pub async fn connect(
        &self,
        address: std::net::SocketAddr,
        protocol: &str,
    ) -> std::io::Result<ClientTlsStream<TcpStream>> {
        install_default_crypto_provider();
        let mut roots = RootCertStore::empty();
        load_ca_file_into_store(self.path("ca.pem"), &mut roots).unwrap();
        let mut client =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(client)).connect(name, stream).await
    }
}

#[tokio::test]
async fn without_tls_a_client_that_knows_speaks_http_2_and_others_what_they_like() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let client = Http2::to(proxy.address).await;
    let mut requests = JoinSet::new();
    let client = Arc::new(client);
    for id in 0..30 {
        let client = client.clone();
        requests.spawn(async move {
            match id % 3 {
                0 => ok(client.get("/").await),
                1 => ok(client.get("/slow/50").await),
                _ => ok(client.send("POST", &format!("/post/{id}"), &id.to_string()).await),
            }
        });
    }
    for said in requests.join_all().await {
        assert_eq!(said.unwrap(), "unit");
    }
    assert_eq!(witness.lock().unwrap().len(), 10);
    let headers = ok(client.get("/headers").await).unwrap();
    assert_eq!(
        headers,
        "host: web.example.com\nx-forwarded-for: 127.0.0.1\n\
         x-forwarded-host: web.example.com\nx-forwarded-proto: http"
    );
    let body = "x".repeat(5 << 20);
    assert_eq!(ok(client.send("POST", "/upload", &body).await).unwrap(), body.len().to_string());
    assert_eq!(ok(client.get("/big/8").await).unwrap().len(), 8 << 20);
    assert_eq!(client.get("/nothing").await.unwrap().status, 404);
    assert_eq!(proxy.counts("r1").await, "2xx=33 4xx=1");

    // The shortest request of HTTP/1 is shorter than the first words of HTTP/2.
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nunit"), "{answer}");
    assert_eq!(ok(Client::new(proxy.address).get("/").await).unwrap(), "unit");
}

#[tokio::test]
async fn of_one_connection_the_streams_of_a_drained_unit_are_cut_and_no_others() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let old = Unit::start("old", &witness).await;
    let new = Unit::start("new", &witness).await;
    proxy.route(&[&old]).await;
    let client = Arc::new(Http2::to(proxy.address).await);
    let mut cut = JoinSet::new();
    for _ in 0..3 {
        let client = client.clone();
        cut.spawn(async move { client.get("/slow/60000").await });
    }
    proxy.until_in_flight(&old, 3).await;
    proxy.route(&[&new]).await;
    let goes_on = client.clone();
    let goes_on = tokio::spawn(async move { goes_on.get("/slow/800").await });
    proxy.until_in_flight(&new, 1).await;
    assert_eq!(proxy.drain(&old, 200).await.cut, 3);
    for answer in cut.join_all().await {
        assert!(answer.is_err(), "{answer:?}");
    }
    assert_eq!(ok(goes_on.await.unwrap()).unwrap(), "new");
    assert_eq!(ok(client.get("/").await).unwrap(), "new", "the connection is still good");
    assert_eq!(proxy.counts("r1").await, "2xx=2 cut=3");
}

/// The stop says so (GOAWAY) and waits for the streams that are open.
#[tokio::test]
async fn a_proxy_that_stops_lets_streams_end_and_takes_no_new_ones() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let client = Arc::new(Http2::to(proxy.address).await);
    let slow = client.clone();
    let slow = tokio::spawn(async move { slow.get("/slow/800").await });
    proxy.until_in_flight(&unit, 1).await;
    let began = std::time::Instant::now();
    proxy.stop();
    assert_eq!(ok(slow.await.unwrap()).unwrap(), "unit");
    proxy.ended().await;
    assert!(began.elapsed().as_secs() < 5);
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_client_that_leaves_gives_all_its_streams_back() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let client = Arc::new(Http2::to(proxy.address).await);
    let mut requests = JoinSet::new();
    for _ in 0..5 {
        let client = client.clone();
        requests.spawn(async move { client.get("/slow/60000").await });
    }
    proxy.until_in_flight(&unit, 5).await;
    requests.shutdown().await;
    drop(client);
    proxy.until_in_flight(&unit, 0).await;
    assert_eq!(proxy.counts("r1").await, "gone=5");
}

#[tokio::test]
async fn over_tls_clients_speak_http_1_or_2_and_the_unit_learns_of_it() {
    let certificates = Certificates::new();
    let witness = Witness::default();
    let proxy = TestProxy::start_with_tls(&certificates.files()).await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;

    let stream = certificates.connect(proxy.tls_address(), "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let client = Http2::on(stream).await;
    let headers = ok(client.get("/headers").await).unwrap();
    assert!(headers.ends_with("x-forwarded-proto: https"), "{headers}");

    let mut stream = certificates.connect(proxy.tls_address(), "http/1.1").await.unwrap();
    stream
        .write_all(b"GET /headers HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("x-forwarded-proto: https"), "{answer}");

    // Without TLS nobody is let in, and elsewhere nothing has changed.
    let mut plain = TcpStream::connect(proxy.tls_address()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert_eq!(ok(Client::new(proxy.address).get("/").await).unwrap(), "unit");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_at_the_start() {
    let [one, other] = [Certificates::new(), Certificates::new()];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pem"), "nothing here\n").unwrap();
    let missing = folder.path().join("missing.pem");
    let empty = folder.path().join("empty.pem");
    let key = one.path("server.key");
    for (certificate, key, expected) in [
        (missing.clone(), key.clone(), format!("cannot read {}", missing.display())),
        (
            empty.clone(),
            key.clone(),
            format!(
                "{} has no certificate or {} has no private key: both are PEM files",
                empty.display(),
                key.display()
            ),
        ),
        (
            other.path("server.pem"),
            key.clone(),
            format!(
                "certificate {} and key {} cannot be used: ",
                other.path("server.pem").display(),
                key.display()
            ),
        ),
    ] {
        let mut config = config(&folder, "127.0.0.1:0".parse().unwrap());
        config.tls_listen = config.listen.clone();
        config.certificate = Some(CertificateFiles { certificate, key });
        let error = Proxy::bind(config).await.err().unwrap().to_string();
        assert!(error.starts_with(&expected), "{error}");
    }
    let mut config = config(&folder, "127.0.0.1:0".parse().unwrap());
    config.tls_listen = config.listen.clone();
    let error = Proxy::bind(config).await.err().unwrap().to_string();
    assert_eq!(error, "an address for TLS needs a certificate and its key");
}
