//! Units as processes of this machine.

mod contract;
mod exec;
mod image;
mod rolling;
mod world;
