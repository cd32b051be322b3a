//! Against a real swarm: the engine of this machine, which is one for the time of a test.

mod contract;
mod environment;
mod rolling;
