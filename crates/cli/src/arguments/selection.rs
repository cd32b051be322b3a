//! Which part of a plan is to run.

use clap::Args;
use pipeline::Selection;

use crate::error::CommandError;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Part of the pipeline")]
pub(crate) struct SelectionArguments {
    /// Run these and what they need; default every stage.
    #[arg(value_name = "STAGE", conflicts_with = "only")]
    pub(crate) stages: Vec<String>,
    /// Run this stage and what needs it, on the files that the last run here left.
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    pub(crate) from: Option<String>,
    /// Run this stage and what it needs, and nothing after it.
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    pub(crate) until: Option<String>,
    /// Run this stage alone, on the files that the last run here left.
    #[arg(long, value_name = "STAGE")]
    pub(crate) only: Option<String>,
    /// Of stages with this axis, run the cells with this value; may be given several times.
    #[arg(long, value_name = "AXIS=VALUE")]
    pub(crate) matrix: Vec<String>,
}

impl SelectionArguments {
    pub(crate) fn selection(&self) -> Result<Selection, CommandError> {
        let matrix = self.matrix.iter().map(|text| {
            let (axis, value) =
                text.split_once('=').filter(|(axis, _)| !axis.is_empty()).ok_or_else(|| {
                    CommandError::usage(format_args!("`--matrix {text}` has no value"))
                        .hint("write axis and value as `--matrix db=mysql:8`")
                })?;
            Ok::<_, CommandError>((axis.to_owned(), value.to_owned()))
        });
        Ok(Selection {
            stages: self.stages.clone(),
            from: self.from.clone(),
            until: self.until.clone(),
            only: self.only.clone(),
            matrix: matrix.collect::<Result<_, _>>()?,
        })
    }
}
