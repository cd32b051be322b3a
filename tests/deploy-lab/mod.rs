//! The deploy lab: a service that may be bad, load on it all the time, somebody who looks
//! every 50 ms whether what is promised holds, and deployments meanwhile.
//!
//! `make deploy-lab` plays everything and writes the table of docs/performance.md; `make
//! test` plays a short form ([`crate::deploy_under_load`] of the product tests).

// The long form and the tests use different parts of it.
#![allow(dead_code)]

pub mod application;
pub mod baselines;
pub mod experiments;
pub mod observer;
pub mod place;
pub mod sampler;
pub mod table;
pub mod told;
pub mod witness;
