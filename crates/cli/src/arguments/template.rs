//! `shipline template …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Format;

/// Templates: choose one, look into it, write one, move to a newer version.
#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    List(TemplateListArguments),
    Show(TemplateShowArguments),
    Update(TemplateUpdateArguments),
    New(TemplateNewArguments),
    Lint(TemplateLintArguments),
    Test(TemplateTestArguments),
}

/// Lists the templates there are: those that come with Shipline, and those this repository uses.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline template list\n  shipline template list --format json"
)]
pub(crate) struct TemplateListArguments {
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TemplateFormat {
    #[default]
    Text,
    Json,
    /// The table of parameters, for documents.
    Markdown,
}

/// Tells what a template does, what it asks for, and what may be changed of it.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it is shown; 2 there is no such template, or it is wrong; 3 it cannot be fetched.\n\nExamples:\n  shipline template show c-service\n  shipline template show c-service@1 --source\n  shipline template show ./ci/java/template.yml\n  shipline template show https://git.example.net/ci/templates.git//java-service@2"
)]
pub(crate) struct TemplateShowArguments {
    /// As behind `template:` in a pipeline; without a version the newest.
    pub(crate) template: String,
    /// The text of the file instead.
    #[arg(long, conflicts_with = "format")]
    pub(crate) source: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: TemplateFormat,
    /// Ask no network.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Moves the lock to the newest versions that the pipelines allow, and shows what that changes.
///
/// Writes `.shipline.lock` at the root of the repository: the exact version and digest of
/// every template that its pipelines use. Commit it. Nothing is written when a pipeline that
/// can be planned today could not be planned any more.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the lock is up to date; 1 with --check, it is not; 2 a template or pipeline is wrong;\n3 a file cannot be read or written.\n\nExamples:\n  shipline template update\n  shipline template update java-service\n  shipline template update --check"
)]
pub(crate) struct TemplateUpdateArguments {
    /// Only these, by name, or as a pipeline writes them; default all.
    #[arg(value_name = "TEMPLATE")]
    pub(crate) templates: Vec<String>,
    /// Write nothing; exit with 1 when there is something to write.
    #[arg(long)]
    pub(crate) check: bool,
    /// Ask no network: only bundled templates and files of the repository are looked at.
    #[arg(long)]
    pub(crate) offline: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Writes the files of a new template: the template, and a test of it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline template new java-service\n  shipline template new ci/java-service"
)]
pub(crate) struct TemplateNewArguments {
    /// The folder to make; its last part is the name of the template.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// Checks templates by themselves, whatever their parameters will be.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 there is no error; 2 there are errors, or warnings with --strict; 3 a file cannot be read.\n\nExamples:\n  shipline template lint java-service\n  shipline template lint . --strict"
)]
pub(crate) struct TemplateLintArguments {
    /// Files, or folders in which every `template.yml` is checked.
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Warnings exit with 2 as well.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Ask no network for the templates that they name.
    #[arg(long)]
    pub(crate) offline: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Plans the pipelines in `tests/` beside a template and compares with what they should give.
///
/// `tests/NAME.yml` is a pipeline that uses the template, `tests/NAME.expected` its plan for a
/// push to `main`, or what is wrong with it.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all are as expected; 1 one is not; 2 there is no test; 3 a file cannot be read.\n\nExamples:\n  shipline template test java-service\n  shipline template test . --update"
)]
pub(crate) struct TemplateTestArguments {
    /// Folders in which the tests beside every `template.yml` are run.
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Write what came out into the `.expected` files; read the difference before you commit it.
    #[arg(long)]
    pub(crate) update: bool,
    /// Ask no network for the templates that they name.
    #[arg(long)]
    pub(crate) offline: bool,
}
