//! `shipline init`: a pipeline for a repository that has none.

use std::path::Path;

use pipeline::{Answers, FOLDER, Lock, Proposal, SINGLE_FILE, SourceFile, pipeline_text, propose};
use serde_json::json;

use crate::arguments::{Format, InitArguments};
use crate::docker_credentials;
use crate::error::{CommandError, Context as _};
use crate::question::{ask, can_ask};
use crate::{local_templates, pipeline_file, repository, written};

/// Where the schema for editors lies, from the root of the repository.
const SCHEMA: &str = ".shipline/schema.json";
/// What belongs to one machine.
const IGNORED: &str = "# Of local runs; not for others.\nout/\nsecrets.env\n";

pub(super) async fn init(arguments: &InitArguments) -> Result<u8, CommandError> {
    let root = local_templates::root(Path::new("."));
    if let Some((name, _)) = pipeline_file::all(&root).first() {
        return Err(CommandError::usage(format!("`{name}` is there already")).hint(
            "`shipline check` finds every mistake of it, `shipline plan` says what it does",
        ));
    }
    let proposals = propose(&repository::listing(&root));
    let fitting = fitting(&proposals, arguments)?;
    let asks = !arguments.yes && arguments.format == Format::Text && can_ask();
    let proposal = choose(&fitting, asks).await?;
    let answers = answers(arguments, &root, asks).await?;
    let text = pipeline_text(&proposal, &answers, (!arguments.no_schema).then_some(SCHEMA));
    let written = write(&root, &text, !arguments.no_schema).await?;
    match arguments.format {
        Format::Json => {
            let fits: Vec<_> = proposals.iter().map(as_json).collect();
            let value = json!({ "chosen": as_json(&proposal), "fits": fits, "written": written });
            super::print(&format!("{value:#}\n"))?;
        }
        Format::Text => super::print(&told(&proposal, &proposals, &written))?,
    }
    Ok(0)
}

/// What fits, and is what the options ask for.
fn fitting(
    proposals: &[Proposal],
    arguments: &InitArguments,
) -> Result<Vec<Proposal>, CommandError> {
    if proposals.is_empty() {
        return Err(CommandError::usage("nothing here tells what the repository is")
            .hint("looked for pom.xml, build.gradle, package.json, go.mod, Cargo.toml, composer.json, pyproject.toml, requirements.txt, CMakeLists.txt, Makefile, index.html and Dockerfile, at the root and one folder down")
            .hint(format!("write {SINGLE_FILE} by hand; the smallest is\n           image: debian:12\n           stages:\n             build: make"))
            .hint("`shipline template list` lists the templates"));
    }
    let fits = |one: &&Proposal| {
        let name = one.template.split('@').next().unwrap_or_default();
        let template = arguments.template.as_deref();
        let folder = arguments.folder.as_deref().map(|folder| folder.trim_matches(['.', '/']));
        template.is_none_or(|wanted| wanted == name || wanted == one.template)
            && folder.is_none_or(|wanted| wanted == one.folder)
    };
    let fitting: Vec<Proposal> = proposals.iter().filter(fits).cloned().collect();
    if fitting.is_empty() {
        let all: Vec<String> = proposals.iter().map(shown).collect();
        return Err(CommandError::usage("no template that fits is the one that was asked for")
            .hint(format!("what fits: {}", all.join(", "))));
    }
    Ok(fitting)
}

/// `node-service@1 in web`.
fn shown(proposal: &Proposal) -> String {
    match proposal.folder.as_str() {
        "" => proposal.template.clone(),
        folder => format!("{} in {folder}", proposal.template),
    }
}

async fn choose(fitting: &[Proposal], asks: bool) -> Result<Proposal, CommandError> {
    let first = fitting.first().cloned().expect("what fits is never empty");
    if !asks || fitting.len() == 1 {
        return Ok(first);
    }
    eprintln!("several templates fit:");
    for (at, proposal) in fitting.iter().enumerate() {
        eprintln!("  {}  {:30} {}", at + 1, shown(proposal), proposal.why);
    }
    loop {
        let answer = ask("which one", "1").await?;
        match answer.parse::<usize>().ok().and_then(|at| fitting.get(at.checked_sub(1)?)) {
            Some(chosen) => return Ok(chosen.clone()),
            None => eprintln!("a number from 1 to {}", fitting.len()),
        }
    }
}

/// What the files do not tell: given, else asked, else guessed.
async fn answers(
    arguments: &InitArguments,
    root: &Path,
    asks: bool,
) -> Result<Answers, CommandError> {
    let only = docker_credentials::only_registry();
    let (image, image_why) = guessed_image(root, only.as_ref().map(|(_, host)| host)).await?;
    let (registry, registry_why) = match only.and_then(|(name, _)| name) {
        Some(name) => (name, "the credential this machine has"),
        None => ("harbor".to_owned(), "a guess: the name of your credential"),
    };
    let one = async |given: &Option<String>, question: &str, guess: String, why: &str| {
        Ok::<_, CommandError>(match given {
            Some(given) => (given.clone(), "as you gave it".to_owned()),
            None if asks => (ask(question, &guess).await?, "as you gave it".to_owned()),
            None => (guess, why.to_owned()),
        })
    };
    Ok(Answers {
        image: one(&arguments.image, "repository of the image", image, &image_why).await?,
        registry: one(&arguments.registry, "credential of the registry", registry, registry_why)
            .await?,
        environment: one(
            &arguments.environment,
            "environment to deploy to",
            "test".to_owned(),
            "a guess: an environment of your server",
        )
        .await?,
    })
}

/// The registry this machine knows, and the name the repository has at its forge.
async fn guessed_image(
    root: &Path,
    host: Option<&String>,
) -> Result<(String, String), CommandError> {
    let local = runner::git::local(root).await.environment("cannot read the repository")?;
    let remote = local.and_then(|local| local.remote_url);
    let name = match &remote {
        Some(url) => {
            let path = url.trim_end_matches('/').trim_end_matches(".git");
            let parts: Vec<&str> = path.rsplit(['/', ':']).take(2).collect();
            parts.into_iter().rev().map(pipeline::slug).collect::<Vec<_>>().join("/")
        }
        None => {
            let folder = root.file_name().map(|name| name.to_string_lossy().into_owned());
            format!("team/{}", pipeline::slug(&folder.unwrap_or_default()))
        }
    };
    let name = if name.ends_with('/') { format!("{name}service") } else { name };
    Ok(match host {
        Some(host) => {
            (format!("{host}/{name}"), "the registry this machine has a login for".to_owned())
        }
        None => {
            (format!("registry.example.net/{name}"), "a guess: put your registry here".to_owned())
        }
    })
}

/// Writes the files, and returns their paths.
async fn write(root: &Path, text: &str, schema: bool) -> Result<Vec<String>, CommandError> {
    let mut lock = Lock::default();
    let (document, _) = pipeline::parse(&SourceFile::new(SINGLE_FILE, text));
    local_templates::update(&document, root, &Lock::default(), &mut lock, true).await?;
    let folder = root.join(FOLDER);
    written::folder(root, Path::new(FOLDER))
        .environment(&format!("cannot make the folder {}", folder.display()))?;
    let mut paths = Vec::new();
    let mut file = |path: &str, text: &str| {
        let target = root.join(path);
        written::write(&target, text).environment(&format!("cannot write {}", target.display()))?;
        paths.push(path.to_owned());
        Ok::<_, CommandError>(())
    };
    if schema {
        file(SCHEMA, &format!("{:#}\n", pipeline::schema()))?;
    }
    let ignored = format!("{FOLDER}/.gitignore");
    if !root.join(&ignored).exists() {
        file(&ignored, IGNORED)?;
    }
    local_templates::write_lock(root, &lock)?;
    // Last: with it the repository has a pipeline, and everything else is there.
    file(SINGLE_FILE, text)?;
    paths.push(pipeline::LOCK_FILE.to_owned());
    paths.sort();
    Ok(paths)
}

fn as_json(proposal: &Proposal) -> serde_json::Value {
    let with = proposal.with.iter();
    let with: Vec<_> =
        with.map(|one| json!({ "name": one.name, "value": one.value, "why": one.why })).collect();
    json!({
        "template": proposal.template, "folder": proposal.folder, "why": proposal.why, "with": with,
    })
}

fn told(chosen: &Proposal, all: &[Proposal], written: &[String]) -> String {
    let mut text = format!("{}, so this is for {}\n", chosen.why, shown(chosen));
    let others: Vec<String> = all.iter().filter(|one| *one != chosen).map(shown).collect();
    if !others.is_empty() {
        text.push_str(&format!(
            "also fitting: {}; `--template` and `--folder` choose\n",
            others.join(", ")
        ));
    }
    for path in written {
        text.push_str(&format!("wrote {path}\n"));
    }
    text.push_str(
        "\nnext:\n  shipline plan                 what a push would do, and why\n  \
         shipline run                  builds and tests here; pushes and deploys nothing\n  \
         git add .shipline* && git commit\n",
    );
    text
}
