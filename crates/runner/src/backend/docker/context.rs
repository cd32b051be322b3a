//! What a build may see: a folder of the workspace, without what `.dockerignore`
//! leaves out.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
};
use futures_util::StreamExt;
use tar::EntryType;

use super::archive::{self, Builder, Reader};
use super::dockerignore::DockerIgnore;
use super::engine::{Engine, fault, status, text};
use crate::WORKSPACE;
use crate::backend::BackendError;

/// Dockerfiles and `.dockerignore` are read whole.
const FILE_LIMIT: u64 = 1 << 20;
/// How the Dockerfile is called in a context that it is not part of.
const OUTSIDE: &str = ".shipline.Dockerfile";

/// Why a build has no context.
#[derive(Debug)]
pub(super) enum ContextError {
    /// The stage names what the workspace does not have at `path`.
    Missing {
        message: String,
        path: String,
    },
    Backend(BackendError),
}

impl From<BackendError> for ContextError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

fn outside(path: &str, key: &str) -> BackendError {
    let message = format!("`{path}` of `{key}` leads out of the workspace");
    BackendError::User { code: Some("E097"), message }
}

/// Where the context is and what of it goes into the build.
pub(super) struct Context {
    /// Absolute, in the helper.
    pub(super) directory: String,
    /// Of the Dockerfile, relative to the context.
    pub(super) dockerfile: String,
    /// What stands in it.
    pub(super) text: String,
    pub(super) filter: Arc<Filter>,
}

impl Context {
    pub(super) async fn find(
        engine: &Engine,
        helper: &str,
        context: &str,
        file: &str,
    ) -> Result<Self, ContextError> {
        let folder = inside(context).ok_or_else(|| outside(context, "build.context"))?;
        let directory = join(WORKSPACE, &folder);
        let stat =
            ContainerArchiveInfoOptionsBuilder::default().path(&format!("{directory}/.")).build();
        match engine.docker.get_container_archive_info(helper, Some(stat)).await {
            Ok(_) => {}
            Err(error) if matches!(status(&error), Some(400 | 404)) => {
                let message =
                    format!("`{folder}` of `build.context` is no directory of the workspace");
                return Err(ContextError::Missing { message, path: folder });
            }
            Err(error) => return Err(fault("the build context cannot be read", &error).into()),
        }
        let file_path = inside(file)
            .filter(|file| !file.is_empty())
            .ok_or_else(|| outside(file, "build.file"))?;

        // In the context, as by default; else from the top of the workspace, as `docker build -f` has it.
        let in_context = join(&directory, &file_path);
        let in_workspace = join(WORKSPACE, &file_path);
        let (path, contents, dockerfile, outside) = match read(engine, helper, &in_context).await? {
            Some((at, contents)) if at == in_context => (in_context, contents, file_path, false),
            // A link may lead out of the context, or to what is left out of it.
            Some((_, contents)) => (in_context, contents, OUTSIDE.to_owned(), true),
            None => match read(engine, helper, &in_workspace).await? {
                Some((_, contents)) => (in_workspace, contents, OUTSIDE.to_owned(), true),
                None => {
                    let place = match folder.as_str() {
                        "" => "not in the workspace".to_owned(),
                        folder => format!("neither in `{folder}/` nor in the workspace"),
                    };
                    let message = format!("`{file_path}` of `build.file` is {place}");
                    let path = [folder, file_path].join("/").trim_start_matches('/').to_owned();
                    return Err(ContextError::Missing { message, path });
                }
            },
        };
        let ignore = rules(engine, helper, &path, &directory).await?;
        let text = String::from_utf8_lossy(&contents).into_owned();
        let added = outside.then_some(contents);
        let filter = Filter { ignore, dockerfile: dockerfile.clone(), added };
        Ok(Self { directory, dockerfile, text, filter: filter.into() })
    }
}

/// What is left out, as the file beside the Dockerfile has it, else that of the context.
async fn rules(
    engine: &Engine,
    helper: &str,
    dockerfile: &str,
    directory: &str,
) -> Result<DockerIgnore, BackendError> {
    let rules = match read(engine, helper, &format!("{dockerfile}.dockerignore")).await? {
        Some(rules) => Some(rules),
        None => read(engine, helper, &join(directory, ".dockerignore")).await?,
    };
    let Some((at, rules)) = rules else { return Ok(DockerIgnore::default()) };
    DockerIgnore::parse(&String::from_utf8_lossy(&rules)).map_err(|error| {
        let file = inside(&at).unwrap_or(at);
        let message = format!("{error} ({file}:{}:1)", error.line);
        BackendError::User { code: Some("E015"), message }
    })
}

/// Makes a path of the pipeline relative to the workspace; `None` when it leads out.
fn inside(path: &str) -> Option<String> {
    let path = path.strip_prefix(WORKSPACE).unwrap_or(path);
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn join(directory: &str, path: &str) -> String {
    if path.is_empty() { directory.to_owned() } else { format!("{directory}/{path}") }
}

/// Reads a small file of the helper, through symbolic links inside the workspace; says
/// also where it is.
async fn read(
    engine: &Engine,
    helper: &str,
    path: &str,
) -> Result<Option<(String, Vec<u8>)>, BackendError> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        let options = DownloadFromContainerOptionsBuilder::default().path(&path).build();
        let mut download =
            Box::pin(engine.docker.download_from_container(helper, Some(options)).peekable());
        if let Some(Err(error)) = download.as_mut().peek().await {
            return match status(error) {
                // A parent that is a file is `not a directory`.
                Some(404 | 400) => Ok(None),
                _ if text(error).contains("too many links") => Ok(None),
                _ => Err(fault(format!("`{path}` cannot be read"), error)),
            };
        }
        let (reader, pump) = archive::reader(download);
        let reading = tokio::task::spawn_blocking(move || read_first(reader));
        let ((), read) = tokio::join!(pump, reading);
        let broken = |error: String| BackendError::Infrastructure {
            part: "workspace",
            message: format!("`{path}` cannot be read: {error}"),
        };
        match read
            .map_err(|error| broken(error.to_string()))?
            .map_err(|error| broken(error.to_string()))?
        {
            First::File(bytes) => return Ok(Some((path, bytes))),
            First::Other => return Ok(None),
            First::Link(target) => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let target =
                    if target.starts_with('/') { target } else { format!("{folder}/{target}") };
                let target = target.strip_prefix(WORKSPACE).and_then(inside);
                let Some(target) = target else { return Ok(None) };
                path = join(WORKSPACE, &target);
            }
        }
    }
    Ok(None)
}

enum First {
    File(Vec<u8>),
    Link(String),
    Other,
}

fn read_first(reader: Reader) -> io::Result<First> {
    let mut archive = tar::Archive::new(reader);
    let Some(entry) = archive.entries()?.next() else { return Ok(First::Other) };
    let entry = entry?;
    match entry.header().entry_type() {
        EntryType::Regular if entry.size() <= FILE_LIMIT => {
            let mut bytes = Vec::new();
            entry.take(FILE_LIMIT).read_to_end(&mut bytes)?;
            Ok(First::File(bytes))
        }
        EntryType::Symlink => Ok(match entry.link_name()? {
            Some(target) => First::Link(target.to_string_lossy().into_owned()),
            None => First::Other,
        }),
        _ => Ok(First::Other),
    }
}

/// What of the workspace's archive goes into the context.
pub(super) struct Filter {
    ignore: DockerIgnore,
    /// Goes in whatever the rules say.
    dockerfile: String,
    /// The Dockerfile, when it lies outside.
    added: Option<Vec<u8>>,
}

impl Filter {
    pub(super) fn copy(&self, from: impl Read, to: &mut Builder) -> io::Result<()> {
        if let Some(contents) = &self.added {
            archive::append(to, OUTSIDE, 0o644, contents)?;
        }
        let mut left_out = HashSet::new();
        for entry in tar::Archive::new(from).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let path = path.strip_prefix(".").unwrap_or(&path).to_owned();
            if path.as_os_str().is_empty() {
                continue;
            }
            let name = path.to_string_lossy().into_owned();
            if name != self.dockerfile && self.ignore.leaves_out(&name) {
                left_out.insert(path);
                continue;
            }
            let kind = entry.header().entry_type();
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            // Everybody may write in a workspace; that is no mode for an image.
            header.set_mode(entry.header().mode()? & !0o022);
            header.set_uid(entry.header().uid()?);
            header.set_gid(entry.header().gid()?);
            header.set_mtime(entry.header().mtime()?);
            header.set_size(0);
            match kind {
                EntryType::Regular | EntryType::Directory => {
                    header.set_size(entry.size());
                    to.append_data(&mut header, &path, &mut entry)?;
                }
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name()?.map(|target| target.into_owned());
                    let mut target = target.unwrap_or_default();
                    if kind == EntryType::Link {
                        target = target.strip_prefix(".").unwrap_or(&target).to_owned();
                        if left_out.contains(&target) {
                            let message = format!(
                                "`{name}` is a hard link to `{}`, which .dockerignore leaves out",
                                target.display()
                            );
                            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
                        }
                    }
                    to.append_link(&mut header, &path, &target)?;
                }
                // FIFOs and devices have no place in an image.
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_build_stay_in_the_workspace() {
        for (path, expected) in [
            (".", Some("")),
            ("", Some("")),
            ("./web/", Some("web")),
            ("web/../api", Some("api")),
            ("/workspace/web", Some("web")),
            ("..", None),
            ("web/../../etc", None),
        ] {
            assert_eq!(inside(path).as_deref(), expected, "{path}");
        }
    }

    /// Filters an archive of `path mode` entries and returns what is left, in order.
    async fn filtered(entries: &[(&str, u32)], rules: &str, added: bool) -> Vec<String> {
        let mut source = tar::Builder::new(Vec::new());
        for (path, mode) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_size(1);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            source.append_data(&mut header, format!("./{path}"), &b"x"[..]).unwrap();
        }
        let source = source.into_inner().unwrap();
        let dockerfile = if added { OUTSIDE } else { "Dockerfile" }.to_owned();
        let filter = Filter {
            ignore: DockerIgnore::parse(rules).unwrap(),
            dockerfile,
            added: added.then(|| b"FROM a".to_vec()),
        };
        let (stream, writing) = archive::write(move |builder| filter.copy(&source[..], builder));
        let (reader, pump) = archive::reader(stream);
        let reading = tokio::task::spawn_blocking(move || {
            let mut archive = tar::Archive::new(reader);
            let entries = archive.entries().unwrap().map(|entry| {
                let entry = entry.unwrap();
                format!("{} {:o}", entry.path().unwrap().display(), entry.header().mode().unwrap())
            });
            entries.collect::<Vec<_>>()
        });
        let (written, read, ()) = tokio::join!(writing, reading, pump);
        written.unwrap().unwrap();
        read.unwrap()
    }

    #[tokio::test]
    async fn the_dockerfile_goes_in_whatever_the_rules_say() {
        let entries = [("Dockerfile", 0o666), ("a/b.o", 0o666), ("a/run", 0o777)];
        assert_eq!(
            filtered(&entries, "*\n!a\n**/*.o", false).await,
            ["Dockerfile 644", "a/run 755"]
        );
    }

    #[tokio::test]
    async fn a_dockerfile_from_outside_is_added() {
        assert_eq!(
            filtered(&[("a", 0o666)], "", true).await,
            [".shipline.Dockerfile 644", "a 644"]
        );
    }
}
