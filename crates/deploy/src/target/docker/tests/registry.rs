//! A registry with one image of one empty layer, behind a password.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::RegistryLogin;

/// `ann:secret`, as Basic authentication has it.
const AUTHORIZATION: &str = "Basic YW5uOnNlY3JldA==";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(super) struct Registry {
    port: u16,
    image: Arc<Image>,
    _serving: AbortOnDropHandle<()>,
}

struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    broken: AtomicBool,
}

impl Registry {
    /// `mark` makes the image unlike that of any other test.
    pub(super) async fn start(mark: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let image = Arc::new(image(mark));
        let of_task = Arc::clone(&image);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &of_task).await;
            }
        });
        Self { port, image, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns `repo@sha256:…` of the image.
    pub(super) fn reference(&self) -> String {
        format!("{}/web@{}", self.host(), digest(&self.image.manifest))
    }

    pub(super) fn login(&self, password: &str) -> RegistryLogin {
        RegistryLogin {
            name: "main".to_owned(),
            host: self.host(),
            username: "ann".to_owned(),
            password: password.to_owned(),
        }
    }

    /// From now on it answers nothing but 503.
    pub(super) fn break_down(&self) {
        self.image.broken.store(true, Ordering::Relaxed);
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

fn image(mark: &str) -> Image {
    // The end of a tar archive, which makes an empty one.
    let layer = vec![0; 1024];
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"shipline.instance": mark}},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": config.len(),
            "digest": digest(&config),
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "size": layer.len(),
            "digest": digest(&layer),
        }],
    });
    let manifest = manifest.to_string().into_bytes();
    Image { manifest, config, layer, broken: AtomicBool::new(false) }
}

async fn answer(mut stream: TcpStream, image: &Image) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The engine tries TLS first; what it then says ends with its patience.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
        if !request.starts_with(b"GET") && !request.starts_with(b"HEAD") {
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
            return;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head = request.starts_with("HEAD");
    let authorized = request.lines().any(|line| {
        line.split_once(": ").is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value == AUTHORIZATION
        })
    });
    let found =
        [&image.config, &image.layer].into_iter().find(|blob| path.ends_with(&digest(blob)));
    let (status, kind, body) = if image.broken.load(Ordering::Relaxed) {
        ("503 Service Unavailable", "application/json", b"{}".as_slice())
    } else if !authorized {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        ("401 Unauthorized", "application/json", body.as_slice())
    } else if path == "/v2/" {
        ("200 OK", "application/json", b"{}".as_slice())
    } else if path.contains("/manifests/") && path.ends_with(&digest(&image.manifest)) {
        ("200 OK", MANIFEST, image.manifest.as_slice())
    } else if let Some(blob) = found {
        ("200 OK", "application/octet-stream", blob.as_slice())
    } else {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        ("404 Not Found", "application/json", body.as_slice())
    };
    let head_of_answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         docker-content-digest: {}\r\nwww-authenticate: Basic realm=\"test\"\r\n\
         docker-distribution-api-version: registry/2.0\r\nconnection: close\r\n\r\n",
        body.len(),
        digest(body),
    );
    let _ = stream.write_all(head_of_answer.as_bytes()).await;
    if !head {
        let _ = stream.write_all(body).await;
    }
    let _ = stream.shutdown().await;
}
