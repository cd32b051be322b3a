//! The parts of a small installation, started for one test and gone after it:
//! a registry, a mail server, a Git repository, the proxy, the server, and load.
//!
//! Everything runs on loopback; every process is killed by the pid it was
//! started with; every object on the engine carries the instance of the lab's
//! own state directory and goes with [`Lab`].

// Each test binary uses its own part of the harness.
#![allow(dead_code)]

pub mod audit;
pub mod background;
pub mod engine;
pub mod git;
pub mod guide;
pub mod haproxy;
pub mod hosts;
pub mod lab;
pub mod load;
pub mod machine;
pub mod mail;
pub mod picture;
pub mod ports;
pub mod process;
pub mod pty;
pub mod registry;
pub mod screenshots;
pub mod server;
pub mod shop;
pub mod site;
pub mod template_server;
pub mod witness;
