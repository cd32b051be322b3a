//! TLS: one certificate, which can be replaced while the proxy runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use pingora_core::listeners::tls::Acceptor;
use pingora_core::tls::sign::CertifiedKey;
use pingora_core::tls::{
    ClientHello, CryptoProvider, ResolvesServerCert, ServerConfig, install_default_crypto_provider,
    load_certs_and_key_files,
};

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} has no certificate or {} has no private key: both are PEM files", files.certificate.display(), files.key.display())]
    Empty { files: CertificateFiles },
    #[error("certificate {} and key {} cannot be used: {reason}", files.certificate.display(), files.key.display())]
    Unusable { files: CertificateFiles, reason: String },
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    files: CertificateFiles,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    pub fn load(files: CertificateFiles) -> Result<Certificate, CertificateError> {
        let current = RwLock::new(Arc::new(read(&files)?));
        Ok(Certificate { files, current })
    }

    /// Reads the files again; when they are no good the certificate stays what it was.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let read = Arc::new(read(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Speaks TLS 1.2 and 1.3 with `certificate`, and HTTP/2 with who can.
pub fn acceptor(certificate: Arc<Certificate>) -> Acceptor {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Acceptor::from_server_config(Arc::new(config))
}

fn read(files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    install_default_crypto_provider();
    let unusable = |reason: String| CertificateError::Unusable { files: files.clone(), reason };
    let empty = || CertificateError::Empty { files: files.clone() };
    let name = |path: &Path| match std::fs::File::open(path) {
        Ok(_) => path
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| unusable("a path is no UTF-8".to_owned())),
        Err(source) => Err(CertificateError::Read { path: path.to_owned(), source }),
    };
    let (certificate, key) = (name(&files.certificate)?, name(&files.key)?);
    let loaded = load_certs_and_key_files(&certificate, &key);
    let (chain, key) = loaded.map_err(|error| unusable(error.to_string()))?.ok_or_else(empty)?;
    let provider =
        CryptoProvider::get_default().ok_or_else(|| unusable("no cryptography".to_owned()))?;
    // Also refuses a key that is another certificate's.
    CertifiedKey::from_der(chain, key, provider).map_err(|error| unusable(error.to_string()))
}
