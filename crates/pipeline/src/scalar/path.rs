//! Paths of a stage: where it works, what it caches, which files it means.

use super::{Misfit, Scalar};
use crate::pattern::Pattern;
use crate::plan::ValueKind;
use crate::yaml::{Node, Value};

/// Where every stage finds the files.
const WORKSPACE: &str = "/workspace";

/// A directory of the workspace, as the absolute path in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkingDirectory(pub(crate) String);

impl Scalar for WorkingDirectory {
    const KIND: ValueKind = ValueKind::WorkingDirectory;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        let inside = match below_workspace(&text) {
            Some(inside) => inside,
            None if text.starts_with('/') => return Err(outside("web")),
            None => &text,
        };
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(Misfit::bad("is no directory", "for example `web`"));
        }
        if leaves(inside) {
            return Err(outside("web"));
        }
        let parts: Vec<_> = inside.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        Ok(Self([&[WORKSPACE], parts.as_slice()].concat().join("/")))
    }
}

/// A pattern of files of the workspace, without `./` in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkspacePattern(pub(crate) String);

impl Scalar for WorkspacePattern {
    const KIND: ValueKind = ValueKind::WorkspaceGlob;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = Pattern::read(node)?.text;
        let (not, glob) = match text.strip_prefix('!') {
            Some(glob) => ("!", glob),
            None => ("", text.as_str()),
        };
        if let Some(inside) = below_workspace(glob).filter(|inside| !inside.is_empty()) {
            return Err(outside_as(format!("write `{not}{inside}`")));
        }
        if glob.starts_with('/') || glob.starts_with('~') || leaves(glob) {
            return Err(outside("target/*.jar"));
        }
        let glob = glob.trim_start_matches("./");
        match glob.strip_suffix('/') {
            Some(directory) => {
                let label = format!("all files of a directory are `{not}{directory}/**`");
                Err(Misfit::bad("takes patterns of files", label))
            }
            None if matches!(glob, "" | ".") => {
                Err(Misfit::bad("takes patterns of files", "all files are `**`"))
            }
            None => Ok(Self(format!("{not}{glob}"))),
        }
    }
}

/// A directory that is kept between runs: in the workspace, in the home directory
/// or anywhere else in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachePath(pub(crate) String);

impl Scalar for CachePath {
    const KIND: ValueKind = ValueKind::CachePath;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        if matches!(node.value, Value::Null) {
            let label = "`~` alone is nothing in YAML; name a directory, for example `~/.m2`";
            return Err(Misfit::wrong_type("a path", node).label(label));
        }
        let text = String::read(node)?;
        let bad = |label| Err(Misfit::bad("is no directory that can be cached", label));
        if text.is_empty() || text.chars().any(char::is_control) {
            return bad("for example `~/.m2` or `node_modules`");
        }
        if leaves(&text) {
            return bad("write the path without `..`");
        }
        if text.contains(['*', '?', '{', '}', '[', ']']) {
            return bad(
                "a cache keeps whole directories, so this is no pattern; for example `~/.m2`",
            );
        }
        let named = text.trim_start_matches('~').split('/').any(|part| !matches!(part, "" | "."));
        let home = text.starts_with('~') && !text.starts_with("~/");
        if !named || home || text.trim_end_matches('/') == WORKSPACE {
            return bad("name a directory, for example `~/.m2` or `node_modules`");
        }
        Ok(Self(text))
    }
}

fn below_workspace(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(WORKSPACE)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn leaves(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

fn outside(example: &str) -> Misfit {
    outside_as(format!(
        "a path within the workspace does not begin with `/` or `~` and has no `..`; for example \
         `{example}`"
    ))
}

fn outside_as(label: String) -> Misfit {
    Misfit::bad("takes paths within the workspace", label)
}
