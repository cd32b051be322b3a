//! Whole-product tests: the `shipline` binary against a real engine, registry,
//! mail server and repository. Fast rules are tested beside the code; what is
//! here proves that the parts fit.

#[path = "../deploy-lab/mod.rs"]
mod deploy_lab;
#[path = "../harness/mod.rs"]
mod harness;

mod arrows;
mod bad_input;
mod capabilities;
mod concurrency;
mod deploy_faults;
mod deploy_under_load;
mod deployment;
mod engines;
mod examples;
mod failures;
mod faults;
mod first_tries;
mod fleet;
mod followers;
mod guides;
mod held;
mod hosts;
mod images;
mod init;
mod interruption;
mod kept_files;
mod layers;
mod local_run;
mod looking;
mod order;
mod parts;
mod people;
mod plans;
mod real_programs;
mod replay;
mod reproduce;
mod same_events;
mod server_faults;
mod services;
mod suites;
mod survival;
mod survival_output;
mod switches;
mod template_commands;
mod templates;
mod terminal;
mod trace;
mod unchanged;
mod verbs;
mod verdicts;
mod watcher;
mod whole_way;
mod workstations;
