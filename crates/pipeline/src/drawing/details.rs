//! The second line of a stage: what it takes, keeps and may use.

use super::chart::Node;
use super::paint::{Part, Tone};
use super::words::{LISTED, listed};
use crate::Duration;
use crate::plan::{
    ArtifactsOn, Merge, OriginKind, PlannedStage, Retry, RetryOn, SecretUse, Shell, Work,
};

/// Of all cells together.
pub(super) fn details(node: &Node<'_>) -> Vec<Part> {
    let cells: Vec<Vec<Part>> = node.cells.iter().map(|cell| details_of(cell)).collect();
    let longest = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut parts: Vec<Part> = Vec::new();
    // What differs between cells stands side by side.
    for part in (0..longest).flat_map(|index| cells.iter().filter_map(move |own| own.get(index))) {
        if !parts.contains(part) {
            parts.push(part.clone());
        }
    }
    let more = parts.len().saturating_sub(2 * LISTED);
    if more > 0 {
        parts.truncate(2 * LISTED);
        parts.push(Part::quiet(format!("… {more} more")));
    }
    parts
}

fn details_of(stage: &PlannedStage) -> Vec<Part> {
    let mut parts: Vec<Part> = stage.secrets.iter().map(secret).collect();
    let mut say = |text: String| parts.push(Part::quiet(text));
    if let Work::Run(run) = &stage.work {
        for (name, service) in &run.services {
            say(format!("service {name} ({})", service.image));
        }
        match &run.shell {
            Shell::Sh => {}
            Shell::Bash => say("shell bash".to_owned()),
            Shell::Command(command) => say(format!("shell {}", command.join(" "))),
        }
        let named = [("user", &run.user), ("workdir", &run.workdir)];
        for (key, value) in named {
            if let Some(value) = value {
                say(format!("{key} {value}"));
            }
        }
        if run.pull {
            say("pulls always".to_owned());
        }
        if !run.outputs.is_empty() {
            let names: Vec<&String> = run.outputs.keys().collect();
            say(format!("outputs {}", listed(&names)));
        }
        if let Some(reports) = &run.reports {
            say(format!("junit {}", listed(&reports.junit)));
        }
    }
    for cache in &stage.cache {
        say(format!("cache {}", listed(&cache.paths)));
    }
    match &stage.merge {
        None => {}
        Some(Merge::Last) => say("merge last".to_owned()),
        Some(Merge::Paths(paths)) => say(format!("merge {}", listed(paths))),
    }
    if let Some(artifacts) = &stage.artifacts {
        let on = match artifacts.on {
            ArtifactsOn::Success => "",
            ArtifactsOn::Failure => " on failure",
            ArtifactsOn::Always => " always",
        };
        say(format!("artifacts {}{on}", listed(&artifacts.paths)));
    }
    if let Work::Deploy(deploy) = &stage.work {
        if let Some(expose) = &deploy.expose {
            let host = if expose.host == "*" { "every host" } else { &expose.host };
            let path = if expose.path == "/" { "" } else { &expose.path };
            say(format!("{host}{path} to port {}", expose.port));
        }
        if !deploy.volumes.is_empty() {
            say(format!("volumes {}", listed(&deploy.volumes)));
        }
    }
    if !stage.inputs.is_empty() {
        say(format!("reused while unchanged: {}", listed(&stage.inputs)));
    }
    if !stage.runner.is_empty() {
        say(format!("runner {}", listed(&stage.runner)));
    }
    let resources = resources(stage);
    if !resources.is_empty() {
        say(resources);
    }
    if let Some(concurrency) = &stage.concurrency {
        say(format!("{} at a time in group {}", concurrency.limit, concurrency.group));
    }
    if let Some(retry) = retry(stage) {
        say(retry);
    }
    // The limit that all stages have would stand in every line.
    let own = stage.origins.get("timeout").is_none_or(|origin| {
        !matches!(origin.by, OriginKind::Defaults | OriginKind::Builtin | OriginKind::Server)
    });
    let usual = match stage.work {
        Work::Approve(_) => Duration::from_secs(24 * 3600),
        _ => Duration::from_secs(3600),
    };
    if own && stage.timeout != usual {
        say(format!("timeout {}", stage.timeout));
    }
    parts
}

fn secret(secret: &SecretUse) -> Part {
    let way = match (&secret.env, secret.file) {
        (_, true) => format!(" as file /run/secrets/{}", secret.name),
        (Some(variable), false) => format!(" as {variable}"),
        (None, false) => String::new(),
    };
    if secret.present {
        Part::quiet(format!("secret {}{way} (present)", secret.name))
    } else {
        Part::new(Tone::Bad, format!("secret {}{way} (missing)", secret.name))
    }
}

fn resources(stage: &PlannedStage) -> String {
    let resources = &stage.resources;
    let cpu = resources.cpu.map(|cores| format!("cpu {cores}"));
    let memory = resources.memory.map(|bytes| format!("memory {}", size(bytes)));
    let pids = resources.pids.map(|count| format!("pids {count}"));
    [cpu, memory, pids].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Bytes in the largest unit that leaves no rest.
fn size(bytes: u64) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let unit = units.iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    unit.map_or_else(|| bytes.to_string(), |(name, bits)| format!("{}{name}", bytes >> bits))
}

fn retry(stage: &PlannedStage) -> Option<String> {
    let retry = &stage.retry;
    let never = matches!(stage.work, Work::Checkout { .. } | Work::Deploy(_) | Work::Approve(_));
    if never || *retry == Retry::builtin() {
        return None;
    }
    if retry.max == 0 {
        return Some("no retries".to_owned());
    }
    let on = retry.on.iter().map(|on| match on {
        RetryOn::Infrastructure => "infrastructure".to_owned(),
        RetryOn::Timeout => "timeout".to_owned(),
        RetryOn::ResourceLimit => "resource limit".to_owned(),
        RetryOn::Exit(codes) => format!("exit {}", numbers(codes)),
    });
    let times = if retry.max == 1 { "once".to_owned() } else { format!("{} times", retry.max) };
    Some(format!("retried {times} on {}", on.collect::<Vec<_>>().join(", ")))
}

pub(super) fn numbers(codes: &[u8]) -> String {
    codes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}
