//! The names that the event gives: `git`, `event`, `pipeline`, `project`.

use std::collections::BTreeMap;

use crate::context::Context;
use crate::expression::value::Datum;

pub(super) fn names(context: &Context, pipeline: &str) -> BTreeMap<&'static str, Datum> {
    let git = &context.git;
    let request = context.pull_request.as_ref();
    let number = request.map_or(Datum::Null, |request| {
        Datum::Int(i64::try_from(request.number).unwrap_or(i64::MAX))
    });
    BTreeMap::from([
        (
            "git",
            Datum::map([
                ("sha", Datum::text(&git.sha)),
                ("sha_short", Datum::text(git.sha_short())),
                ("branch", Datum::maybe(git.branch.as_deref())),
                ("tag", Datum::maybe(git.tag.as_deref())),
                ("message", Datum::text(&git.message)),
                ("author", Datum::text(&git.author)),
                ("default_branch", Datum::text(&git.default_branch)),
                ("url", Datum::text(&git.url)),
            ]),
        ),
        (
            "event",
            Datum::map([
                ("name", Datum::text(context.event.name())),
                ("title", Datum::maybe(request.map(|request| request.title.as_str()))),
                ("number", number),
                (
                    "target_branch",
                    Datum::maybe(request.map(|request| request.target_branch.as_str())),
                ),
                ("trusted", Datum::Bool(context.trusted)),
            ]),
        ),
        ("pipeline", Datum::map([("name", Datum::text(pipeline))])),
        ("project", Datum::map([("name", Datum::text(&context.project))])),
    ])
}
