//! The traffic switch in front of deployed containers.
//!
//! [`control`] is the language between the deploy engine and the proxy: serde
//! types and a client. The data plane itself is behind the feature `serve`.

pub mod control;
