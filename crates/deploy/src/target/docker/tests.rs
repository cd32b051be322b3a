//! Deployments on the engine of this machine.

mod environment;
mod exposed;
mod image;
mod registry;
mod rolling;
