//! The traffic switch in front of deployed containers.
//!
//! [`control`] is the language between the deploy engine and the proxy: serde
//! types and a client. The data plane itself is behind the feature `serve`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod control;
#[cfg(feature = "serve")]
mod serve;

#[cfg(feature = "serve")]
pub use serve::{CertificateFiles, Proxy, ProxyConfig, ServeError, serve};
