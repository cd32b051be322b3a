//! Which pipeline a repository without one should have: what `shipline init` writes.
//!
//! A build file tells the ecosystem, and the ecosystem the template. What can be read
//! from the files is filled in, each with where it was seen; what cannot, such as the
//! registry, is left to whoever asks. Nothing here opens a file: [`Listing`] has them.

mod docker;
mod java;
mod listing;
mod native;
mod node;
mod php;
mod python;
mod text;
mod web;

pub use listing::{Listing, is_telling};
use serde_json::Value as Json;
pub use text::{Answers, pipeline_text};

/// A template for a folder of the repository, with what could be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// With its version: `maven-service@1`.
    pub template: String,
    /// Where it is for; empty is the root.
    pub folder: String,
    /// What it was told by, in words: "`pom.xml` is a build of Maven".
    pub why: String,
    /// Parameters that differ from their default, in the order in which they are written.
    pub with: Vec<Setting>,
}

/// A parameter that could be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub name: String,
    pub value: Json,
    /// Where it was seen; it becomes the comment behind it.
    pub why: String,
}

/// Every template that fits, the best first: those of the root before those of
/// folders, and a language before a bare Dockerfile.
pub fn propose(listing: &Listing) -> Vec<Proposal> {
    let of_folder = |folder: &str| {
        let here = listing.folder(folder);
        let found = [
            native::rust(&here),
            native::go(&here),
            java::maven(&here),
            java::gradle(&here),
            php::php(&here),
            python::python(&here),
            node::node(&here),
            native::cmake(&here),
            native::make(&here),
            web::pages(&here),
            docker::dockerfile(&here),
        ];
        let folder = folder.to_owned();
        found.into_iter().flatten().map(move |draft| draft.proposal(&here, &folder)).collect()
    };
    let mut proposals: Vec<Proposal> = of_folder("");
    for folder in listing.folders() {
        let found: Vec<Proposal> = of_folder(&folder);
        // A folder of a build that has its own file above it is a part of that build.
        let part = |one: &Proposal| {
            proposals.iter().any(|other| other.template == one.template && other.folder.is_empty())
        };
        // Of a folder the best is enough.
        let best = found.into_iter().next().filter(|one| !part(one));
        proposals.extend(best);
    }
    proposals
}

/// A proposal before what all templates share has been looked for.
struct Draft {
    template: &'static str,
    why: String,
    with: Vec<Setting>,
}

impl Draft {
    fn new(template: &'static str, why: impl Into<String>) -> Self {
        Self { template, why: why.into(), with: Vec::new() }
    }

    fn set(mut self, name: &str, value: impl Into<Json>, why: impl Into<String>) -> Self {
        let (name, value, why) = (name.to_owned(), value.into(), why.into());
        self.with.push(Setting { name, value, why });
        self
    }

    fn set_if(self, setting: Option<(&str, Json, String)>) -> Self {
        match setting {
            Some((name, value, why)) => self.set(name, value, why),
            None => self,
        }
    }

    /// Adds the folder, and what a Dockerfile tells.
    fn proposal(self, here: &listing::Folder<'_>, folder: &str) -> Proposal {
        let of_folder = (!folder.is_empty())
            .then(|| ("context", Json::from(folder), "the build is there".into()));
        let draft =
            self.set_if(of_folder).set_if(docker::elsewhere(here)).set_if(docker::port(here));
        Proposal {
            template: format!("{}@1", draft.template),
            folder: folder.to_owned(),
            why: draft.why,
            with: draft.with,
        }
    }
}
