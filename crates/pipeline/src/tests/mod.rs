//! Tests of the whole way: text in, diagnostics or plan out.

mod actions;
mod against_cel;
mod availability;
mod cases;
mod catalogue;
mod conditions;
mod deploys;
mod drawing;
mod environments;
mod errors;
mod expressions;
mod habits;
mod lints;
mod matrix;
mod mounts;
mod offers;
mod order;
mod plans;
mod property;
mod proposals;
mod reference;
mod resolving;
mod sarif;
mod schema;
mod selecting;
mod stage_keys;
mod taint;
mod template_files;
mod templates;
mod top_level;
mod triggers;
mod waiting;

use std::collections::BTreeMap;

use crate::{
    Bundled, Context, Diagnostics, Environment, Files, Git, InlineTarget, NotFound, Pipeline,
    Place, Plan, SourceFile, TargetSpec, Template, TemplateReference, TriggerEvent, check,
    newest_version, parse, plan,
};

/// Templates of the tests over the bundled ones: name, version, text.
struct TestFiles<'a>(&'a [(&'a str, &'a str, &'a str)]);

impl Files for TestFiles<'_> {
    fn find(&self, reference: &TemplateReference) -> Result<Template, NotFound> {
        let (name, wanted) = match reference {
            TemplateReference::Named { name, version } => (name.clone(), version.as_str()),
            TemplateReference::Git(git) => {
                let (address, reason) = (git.repository.clone(), "no route to host".to_owned());
                return Err(NotFound::Unreachable { address, reason });
            }
            local => (local.to_string(), ""),
        };
        if name == "unlocked" {
            return Err(NotFound::NotLocked);
        }
        let own = || self.0.iter().filter(|file| file.0 == name);
        let versions: Vec<String> = own().map(|file| file.1.to_owned()).collect();
        let found = match reference {
            TemplateReference::Local { .. } => own().next(),
            _ => newest_version(&versions, wanted)
                .and_then(|version| own().find(|file| file.1 == version)),
        };
        match found {
            Some((_, version, text)) => Ok(Template {
                version: (*version).to_owned(),
                source: SourceFile::new(
                    if version.is_empty() {
                        name
                    } else {
                        format!("{name}@{version}/template.yml")
                    },
                    *text,
                ),
            }),
            None if !versions.is_empty() => Err(NotFound::Version { versions }),
            None => Bundled.find(reference).map_err(|why| match why {
                NotFound::Unknown { searched, mut names } => {
                    names.extend(self.0.iter().map(|file| file.0.to_owned()));
                    NotFound::Unknown { searched, names }
                }
                why => why,
            }),
        }
    }
}

/// A push to `main`, locally.
fn on_main() -> Context {
    Context {
        event: TriggerEvent::Push,
        git: Git {
            sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            branch: Some("main".to_owned()),
            tag: None,
            message: "Fix it".to_owned(),
            author: "Ada <ada@corp.example>".to_owned(),
            default_branch: "main".to_owned(),
            url: "https://git.corp.example/team/orders".to_owned(),
        },
        project: "orders".to_owned(),
        trusted: true,
        changed: None,
        place: Place::Local,
        ..Context::default()
    }
}

fn on_branch(branch: &str) -> Context {
    let mut context = on_main();
    context.git.branch = Some(branch.to_owned());
    context
}

fn docker() -> TargetSpec {
    TargetSpec::Inline(InlineTarget::Docker {
        host: "unix:///d.sock".to_owned(),
        proxy: None,
        switch: None,
        certificates: None,
        identity: None,
        known_hosts: None,
    })
}

fn environment(replicas: Option<u32>) -> Environment {
    Environment { target: docker(), replicas, ..Environment::default() }
}

fn checked(text: &str, files: &dyn Files) -> (Option<Pipeline>, Diagnostics) {
    let (document, mut diagnostics) = parse(&SourceFile::new(".shipline.yml", text));
    let (pipeline, more) = check(&document, files);
    diagnostics.extend(more);
    assert_eq!(pipeline.is_none(), diagnostics.has_errors(), "{diagnostics}");
    (pipeline, diagnostics)
}

/// Everything there is to say, from parsing to the plan on `main`.
fn found_in(text: &str, files: &dyn Files, context: &Context) -> Diagnostics {
    let (pipeline, mut diagnostics) = checked(text, files);
    if let Some(Err(more)) = pipeline.map(|pipeline| plan(&pipeline, context)) {
        diagnostics.extend(more);
    }
    diagnostics
}

fn planned(text: &str, context: &Context) -> Plan {
    let (pipeline, diagnostics) = checked(text, &Bundled);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics}"));
    plan(&pipeline, context).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// One finding in a line: `E010 3:5 message | label | help`.
fn lines(diagnostics: &Diagnostics) -> String {
    let line = |diagnostic: &crate::Diagnostic| {
        let place = diagnostic
            .place
            .as_ref()
            .map_or_else(String::new, |place| place.to_string().replace(".shipline.yml:", ""));
        let mut parts = vec![format!("{} {place} {}", diagnostic.code, diagnostic.message)];
        parts.extend(diagnostic.label.clone());
        parts.extend(diagnostic.help.as_ref().map(|help| help.replace('\n', " / ")));
        parts.join(" | ")
    };
    diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Removes the indentation that a text has in the source of a test.
fn flush(text: &str) -> String {
    let text = text.strip_prefix('\n').unwrap_or(text);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let least = text.lines().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    text.lines().map(|line| line.get(least..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
