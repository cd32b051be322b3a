//! Commands about the places that are deployed to.

use clap::{Args, Subcommand};

use super::{Format, PlaceArguments};

/// Places that are deployed to.
#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    Bootstrap(BootstrapArguments),
}

/// Looks at the hosts of an environment before their first release: keys, users, tools, disks.
///
/// Nothing is changed without `--apply`. With it the keys that are accepted are added to the
/// list of known hosts, and the folders of the project are made. A key that has changed is
/// never accepted. Users, packages and services are for other tools.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all hosts can be deployed to; 1 some cannot, as told; 2 the environment has no hosts;\n3 the local store cannot be read.\n\nExamples:\n  shipline target bootstrap prod\n  shipline target bootstrap prod --apply --fingerprint SHA256:Nq1c…\n  shipline target bootstrap test --apply --accept-new --format json"
)]
pub(crate) struct BootstrapArguments {
    pub(crate) environment: String,
    /// Pin accepted keys and make folders.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Accept new keys with this fingerprint, as `ssh-keygen -l` shows it on the host; may be
    /// given several times.
    #[arg(long, value_name = "SHA256:…", requires = "apply")]
    pub(crate) fingerprint: Vec<String>,
    /// Accept whatever keys new hosts show now: on a network that nobody else is on.
    #[arg(long, requires = "apply")]
    pub(crate) accept_new: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
