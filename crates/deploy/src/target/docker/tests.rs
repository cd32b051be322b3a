//! Deployments on the engine of this machine.

mod access;
mod contract;
mod environment;
mod exposed;
mod image;
mod registry;
mod rolling;
mod settings;
