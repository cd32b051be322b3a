//! Whole-product tests: the `shipline` binary against a real engine, registry,
//! mail server and repository. Fast rules are tested beside the code; what is
//! here proves that the parts fit.

#[path = "../harness/mod.rs"]
mod harness;

mod arrows;
mod bad_input;
mod capabilities;
mod deployment;
mod examples;
mod faults;
mod guides;
mod init;
mod interruption;
mod kept_files;
mod local_run;
mod order;
mod plans;
mod real_program;
mod same_events;
mod server_faults;
mod template_commands;
mod templates;
mod whole_way;
