mod contract;
mod faults;
mod lease;
mod profiles;
mod rolling;
mod sshd;
mod world;
