mod contract;
mod faults;
mod profiles;
mod rolling;
mod sshd;
mod world;
