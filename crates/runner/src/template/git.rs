//! Templates of a Git repository: which tag is which version, and the files of one.
//!
//! A version is a tag: `v2.3.1` or `2.3.1` for everything in the repository, or
//! `java-service/v2.3.1` for one template, which then counts alone. The template is
//! the file `PATH/template.yml`, else `PATH.yml`.

use std::path::Path;

use pipeline::{
    GitTemplate, NotFound, TemplateReference, is_version, newest_version, sort_versions,
};

use super::store::Store;
use super::{Remote, TemplateError, TemplateSources};
use crate::git::{
    self, GitError, RefKind, RefName, Remote as Listing, Sha, commit, fetch_mirror, ls_remote,
    read_file, resolve,
};

/// A template file of a repository, and where it was.
pub(super) struct Found {
    pub(super) version: String,
    pub(super) commit: String,
    pub(super) bytes: Vec<u8>,
}

/// Looks for the newest version that a reference allows.
pub(super) async fn newest(
    reference: &TemplateReference,
    template: &GitTemplate,
    store: &Store,
    sources: &TemplateSources<'_>,
) -> Result<Result<Found, NotFound>, TemplateError> {
    let remote = match remote(template, sources) {
        Ok(remote) => remote,
        Err(why) => return Ok(Err(why)),
    };
    if sources.offline {
        return Ok(Err(unreachable(template, "`--offline` asks nobody for versions".to_owned())));
    }
    let credential = remote.credential.as_ref();
    let listing = match answered(ls_remote(&remote.url, credential).await, template)? {
        Ok(listing) => listing,
        Err(why) => return Ok(Err(why)),
    };
    let mut versions = versions(reference.name(), &listing);
    let mut names: Vec<String> = versions.iter().map(|(version, _)| version.clone()).collect();
    sort_versions(&mut names);
    names.dedup();
    let Some(version) = newest_version(&names, &template.version).cloned() else {
        return Ok(Err(NotFound::Version { versions: names }));
    };
    versions.retain(|(own, _)| *own == version);
    let Some((_, tag)) = versions.into_iter().next() else {
        return Ok(Err(NotFound::Version { versions: names }));
    };

    let (mirror, _right) = store.mirror(remote.url.as_str()).await?;
    if let Err(why) = answered(fetch_mirror(&remote.url, credential, &mirror).await, template)? {
        return Ok(Err(why));
    }
    let full = RefName::parse(&format!("refs/tags/{tag}")).map_err(GitError::from)?;
    let Some(sha) = resolve(&mirror, &full).await? else {
        return Ok(Err(unreachable(
            template,
            format!("tag `{tag}` went away while it was fetched"),
        )));
    };
    let commit = sha.to_string();
    Ok(file(reference, template, &mirror, &sha).await?.map(|bytes| Found {
        version,
        commit,
        bytes,
    }))
}

/// Reads a template, or a file beside it, at one commit of its repository.
pub(super) async fn at_commit(
    reference: &TemplateReference,
    template: &GitTemplate,
    sha: &str,
    store: &Store,
    sources: &TemplateSources<'_>,
) -> Result<Result<Vec<u8>, NotFound>, TemplateError> {
    let remote = match remote(template, sources) {
        Ok(remote) => remote,
        Err(why) => return Ok(Err(why)),
    };
    let sha = Sha::parse(sha).map_err(GitError::from)?;
    let (mirror, _right) = store.mirror(remote.url.as_str()).await?;
    if !has(&mirror, &sha).await? {
        if sources.offline {
            let reason = "it is not stored here, and `--offline` asks nobody".to_owned();
            return Ok(Err(unreachable(template, reason)));
        }
        let fetched = fetch_mirror(&remote.url, remote.credential.as_ref(), &mirror).await;
        if let Err(why) = answered(fetched, template)? {
            return Ok(Err(why));
        }
        if !has(&mirror, &sha).await? {
            let reason = format!("commit {sha} of the lock is gone from the repository");
            return Ok(Err(unreachable(template, reason)));
        }
    }
    file(reference, template, &mirror, &sha).await
}

async fn has(mirror: &Path, sha: &Sha) -> Result<bool, TemplateError> {
    if !mirror.join("HEAD").is_file() {
        return Ok(false);
    }
    match commit(mirror, sha).await {
        Ok(_) => Ok(true),
        Err(GitError::Gone { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn file(
    reference: &TemplateReference,
    template: &GitTemplate,
    mirror: &Path,
    sha: &Sha,
) -> Result<Result<Vec<u8>, NotFound>, TemplateError> {
    let paths = match reference {
        TemplateReference::Beside { path, .. } => vec![path.clone()],
        _ => vec![format!("{}/template.yml", template.path), format!("{}.yml", template.path)],
    };
    for path in &paths {
        if let Some(bytes) = read_file(mirror, sha, path).await? {
            return Ok(Ok(bytes));
        }
    }
    let short = &sha.as_str()[..8];
    let searched = paths
        .iter()
        .map(|path| format!("{} at {short}: no file `{path}`", template.repository))
        .collect();
    Ok(Err(NotFound::Unknown { searched, names: names(mirror, sha).await? }))
}

/// What a repository has at its root that could be a template.
async fn names(mirror: &Path, sha: &Sha) -> Result<Vec<String>, TemplateError> {
    let mut names: Vec<String> = git::list_folders(mirror, sha).await?;
    let files = git::list_files(mirror, sha, "").await?;
    names.extend(files.iter().filter_map(|path| Some(path.strip_suffix(".yml")?.to_owned())));
    Ok(names)
}

/// The versions of one template with their tags. Tags of its own go before those
/// of the whole repository.
fn versions(name: &str, listing: &Listing) -> Vec<(String, String)> {
    let tags = || listing.refs.iter().filter(|known| known.kind == RefKind::Tag);
    let of = |prefix: &str| -> Vec<(String, String)> {
        let version = |tag: &str| {
            let version = tag.strip_prefix(prefix)?;
            let version = version.strip_prefix('v').unwrap_or(version);
            is_version(version).then(|| (version.to_owned(), tag.to_owned()))
        };
        tags().filter_map(|tag| version(&tag.name)).collect()
    };
    let own = of(&format!("{name}/"));
    if own.is_empty() { of("") } else { own }
}

fn remote(template: &GitTemplate, sources: &TemplateSources<'_>) -> Result<Remote, NotFound> {
    (sources.remote)(&template.repository).map_err(|error| unreachable(template, error.to_string()))
}

fn unreachable(template: &GitTemplate, reason: String) -> NotFound {
    NotFound::Unreachable { address: template.repository.clone(), reason }
}

/// What the remote said is about the template; what git cannot do at all is a fault here.
fn answered<T>(
    result: Result<T, GitError>,
    template: &GitTemplate,
) -> Result<Result<T, NotFound>, TemplateError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(GitError::Failed { message, .. }) => {
            let lines: Vec<&str> =
                message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            Ok(Err(unreachable(template, lines.join("; "))))
        }
        Err(error @ (GitError::TimedOut { .. } | GitError::TooLong { .. })) => {
            Ok(Err(unreachable(template, error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}
