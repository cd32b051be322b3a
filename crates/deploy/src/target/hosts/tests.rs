mod contract;
mod faults;
mod haproxy;
mod lease;
mod profiles;
mod rolling;
pub(crate) mod sshd;
mod world;
