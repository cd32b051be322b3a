//! `shipline target bootstrap`: hosts before their first release.

use deploy::{Acceptance, Bootstrapped, KeyState};

use crate::arguments::BootstrapArguments;
use crate::environments::Environments;
use crate::error::CommandError;
use crate::text;

pub(super) async fn bootstrap(arguments: &BootstrapArguments) -> Result<u8, CommandError> {
    let environments = Environments::open(&arguments.place).await?;
    let Environments::Local(local) = &environments else {
        return Err(CommandError::usage(
            "`shipline target bootstrap` does not go through a server",
        )
        .hint(
            "run it where the hosts are in reach, in a directory whose pipeline file names them",
        ));
    };
    let accept =
        Acceptance { new: arguments.accept_new, fingerprints: arguments.fingerprint.clone() };
    let hosts = local.bootstrap(&arguments.environment, &accept, arguments.apply).await?;
    let ready = hosts.iter().all(|host| host.problems.is_empty());
    let value = serde_json::json!(hosts);
    super::show(arguments.format, &value, |_| told(&hosts, arguments.apply))?;
    Ok(u8::from(!ready))
}

fn told(hosts: &[Bootstrapped], applied: bool) -> String {
    let header = ["HOST", "KEY", "USER", "FREE", "RUNTIMES", "READY"];
    let rows: Vec<_> = hosts.iter().map(row).collect();
    let mut told = text::table(&header, &rows);
    for host in hosts {
        let name = text::plain(&host.host);
        for key in &host.keys {
            told += &format!(
                "{name}: key {} {}\n",
                text::plain(&key.kind),
                text::plain(&key.fingerprint)
            );
        }
        let (made, would) = ("made", "would make");
        for folder in &host.folders {
            let did = if applied { made } else { would };
            told += &format!("{name}: {did} {}\n", text::plain(folder));
        }
        for problem in &host.problems {
            told += &format!("{name}: {}\n", text::plain(problem));
        }
    }
    told
}

fn row(host: &Bootstrapped) -> Vec<String> {
    let key = match host.key {
        KeyState::Known => "known",
        KeyState::Pinned => "pinned",
        KeyState::Unknown => "unknown",
        KeyState::Changed => "changed",
        KeyState::Unreachable => "unreachable",
    };
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let free = host.free_mb.map(|free| format!("{free} MB")).unwrap_or_default();
    vec![
        text::plain(&host.host),
        key.to_owned(),
        or_dash(text::plain(host.user.as_deref().unwrap_or_default())),
        or_dash(free),
        or_dash(text::plain(&host.runtimes.join(", "))),
        if host.problems.is_empty() { "yes" } else { "no" }.to_owned(),
    ]
}
