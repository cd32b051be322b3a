//! `shipline init`.

use clap::Args;

use super::Format;

/// Looks at the repository and writes a pipeline for it.
///
/// The build file tells the template; what its parameters need and the files tell is filled
/// in, each with where it was seen. Asked is only what cannot be seen: where the image goes,
/// with which credential, and to which environment.
#[derive(Debug, Args)]
#[command(
    after_help = "Writes .shipline.yml, .shipline.lock, and the schema for editors; nothing that is there is overwritten.\n\nExit codes: 0 the files are written; 2 there is a pipeline already, or nothing tells what the repository is;\n3 a file cannot be read or written.\n\nExamples:\n  shipline init\n  shipline init --yes\n  shipline init --template node-service --folder web\n  shipline init --yes --image harbor.example.net/team/orders --registry harbor --environment test"
)]
pub(crate) struct InitArguments {
    /// Take this template of those that fit.
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// For this folder, where several have a build of their own.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<String>,
    /// Repository of the image, host/path.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Name of the credential for the registry.
    #[arg(long, value_name = "NAME")]
    pub(crate) registry: Option<String>,
    /// Name of the environment to deploy to.
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Ask nothing; guesses are marked as such.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Write no schema for editors.
    #[arg(long)]
    pub(crate) no_schema: bool,
    /// `json` prints what fits and what was written, and asks nothing.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
