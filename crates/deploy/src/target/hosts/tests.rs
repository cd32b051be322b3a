mod contract;
mod faults;
mod haproxy;
mod profiles;
mod rolling;
pub(crate) mod sshd;
mod world;
