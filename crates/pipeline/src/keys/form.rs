//! What the value of a key may be, as data: for people in words, for editors as a schema.
//!
//! Lowering itself is stricter than these forms: it knows what stands elsewhere in
//! the file. Nothing that lowering accepts may be refused here; the tests of the
//! schema hold both against each other.

use super::Keys;

/// The shapes of a value.
#[derive(Debug)]
pub(crate) enum Form {
    Text,
    /// Text, a number, or true or false: it is used as it is written.
    AnyText,
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    /// A number above zero, with or without a fraction.
    Number,
    /// Text of a certain make: a duration, a size, a reference of an image.
    Like(&'static Make),
    /// One word alone: `off`, `auto`.
    Word(&'static str),
    Words(&'static [&'static str]),
    /// Whatever YAML can say.
    Value,
    Map(&'static Keys),
    /// A map with names that the file chooses.
    MapOf(&'static Make, &'static Form),
    ListOf(&'static Form),
    /// One, or a list of them.
    OneOrMany(&'static Form),
    OneOf(&'static [Form]),
}

/// A kind of text: its name, and what it looks like.
#[derive(Debug)]
pub(crate) struct Make {
    pub(crate) name: &'static str,
    /// A regular expression that every text of this make matches; not always the
    /// whole rule.
    pub(crate) pattern: &'static str,
}

pub(crate) const DURATION: Form = Form::Like(&Make {
    name: "duration",
    pattern: "^(([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
});
pub(crate) const SIZE: Form = Form::Like(&Make { name: "size", pattern: "^[0-9]+[KMGT]i?$" });
pub(crate) const GLOB: Form = Form::Like(&Make { name: "glob", pattern: "^!?[^!]" });
pub(crate) const GLOBS: Form = Form::OneOrMany(&GLOB);
pub(crate) const IMAGE: Form =
    Form::Like(&Make { name: "image reference", pattern: "^[a-z0-9]|^[A-Za-z0-9.:-]+/" });
/// A stage of this file, or a reference.
pub(crate) const STAGE_OR_IMAGE: Form =
    Form::Like(&Make { name: "stage name or image reference", pattern: "^[A-Za-z0-9]" });
pub(crate) const PATH: Form = Form::Like(&Make { name: "path in the workspace", pattern: "^[^/]" });
pub(crate) const URL_PATH: Form = Form::Like(&Make { name: "path of an address", pattern: "^/" });
pub(crate) const CRON: Form =
    Form::Like(&Make { name: "cron line of five fields", pattern: "^ *[^ ]+( +[^ ]+){4} *$" });
pub(crate) const PORT: Form = Form::Int { min: 1, max: 65_535 };
pub(crate) const COUNT: Form = Form::Int { min: 1, max: 10_000 };
/// A number of units, or a share of all.
pub(crate) const UNITS: Form = Form::OneOf(&[COUNT, PERCENT]);
pub(crate) const PERCENT: Form =
    Form::Like(&Make { name: "share in percent", pattern: "^[0-9]+%$" });
/// Arguments, or a line for a shell.
pub(crate) const COMMAND: Form = Form::OneOf(&[Form::Text, Form::ListOf(&Form::AnyText)]);
pub(crate) const TEXTS: Form = Form::OneOrMany(&Form::Text);

pub(crate) const STAGE_NAME: Make =
    Make { name: "stage name", pattern: "^[A-Za-z][A-Za-z0-9_-]{0,63}$" };
pub(crate) const LABEL: Make = Make { name: "name", pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" };
/// The name of a service is the name of a host.
pub(crate) const HOST_LABEL: Make =
    Make { name: "host name", pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" };
/// Labels that a runner must have.
pub(crate) const RUNNER: Form = Form::ListOf(&Form::Like(&LABEL));
pub(crate) const VARIABLE: Make = Make { name: "variable", pattern: "^[A-Za-z_][A-Za-z0-9_]*$" };
/// A name that another file or system gave.
pub(crate) const ANY_NAME: Make = Make { name: "name", pattern: "^.+$" };
pub(crate) const ENV: Form = Form::MapOf(&VARIABLE, &Form::AnyText);
