//! `make deploy-lab`: every experiment on every kind of unit, and what others make of the
//! same service, as a table on stdout.
//!
//! `EXPERIMENT=bad` plays those whose name contains it, such as `crash Back process`,
//! `RPS=500` requests a second, `DEPLOYS=20` rolling deployments, `KILLS=10` places of some
//! hundred, `PAIRS=100` pairs of deployments at once, `LOG=FILE` a line for each request of
//! the rolling deployments.

#[path = "mod.rs"]
mod deploy_lab;
#[path = "../harness/mod.rs"]
mod harness;

use std::process::ExitCode;
use std::time::Duration;

use deploy_lab::baselines;
use deploy_lab::experiments::bad::Bad;
use deploy_lab::experiments::crash::Way;
use deploy_lab::experiments::{Scale, again, bad, crash, hosts, rolling, together};
use deploy_lab::place::Kind;
use deploy_lab::table::Table;
use harness::load::Mix;

/// The least number of requests under rolling deployments.
const REQUESTS: u64 = 100_000;
/// The same, of hosts.
const OF_HOSTS: u64 = 50_000;

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let deploys = number("DEPLOYS");
    let scale = Scale {
        per_second: number("RPS").unwrap_or(500),
        deploys: deploys.unwrap_or(20) as usize,
        mix: Mix::whole(),
        others: Mix::quick(),
        alone: Duration::from_secs(10),
        kills: number("KILLS").map(|kills| kills as usize),
        pairs: number("PAIRS").unwrap_or(100) as usize,
    };
    let only = std::env::var("EXPERIMENT").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || name.contains(&only);
    // Fewer deployments are under fewer requests.
    let least = if deploys.is_none() { REQUESTS } else { 0 };

    let mut table = Table::default();
    if wanted("client") {
        table.add(rolling::client_alone(&scale));
    }
    for kind in Kind::ALL {
        let wanted = |name: &str| wanted(&format!("{name} {}", kind.name()));
        if wanted("sockets") {
            table.add(rolling::sockets(kind, &scale));
        }
        if wanted("rolling") {
            table.add(rolling::rolling(kind, &scale, least));
        }
        for wrong in Bad::ALL {
            for batch in [1, 2] {
                if wanted(&format!("bad {wrong:?}")) {
                    table.add(bad::bad(kind, wrong, batch, &scale));
                }
            }
        }
        for way in [Way::Forward, Way::Back] {
            if wanted(&format!("crash {way:?}")) {
                table.add(crash::killed(kind, way, &scale));
            }
        }
        if wanted("back") {
            table.add(again::back(kind, &scale));
        }
        if wanted("again") {
            table.add(again::again(kind, &scale));
        }
        if wanted("together") {
            table.add(together::together(kind, &scale));
        }
    }
    if wanted("hosts") {
        let least = if deploys.is_none() { OF_HOSTS } else { 0 };
        let scale = Scale { deploys: deploys.unwrap_or(10) as usize, ..scale };
        table.add(hosts::rolling(&scale, least));
        table.add(hosts::seventh());
        table.add(hosts::haste());
        table.add(hosts::incremental());
    }
    for (name, baseline) in baselines::ALL {
        if wanted(&format!("baseline {name}")) {
            match baseline(&scale) {
                Ok(row) => table.add(row),
                Err(why) => table.leave_out(name, &why),
            }
        }
    }
    print!("{table}");
    let complaints = table.complaints();
    if complaints.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("deploy-lab: {} experiments miss a goal", complaints.len());
    for complaint in complaints {
        eprintln!("\n{complaint}");
    }
    ExitCode::FAILURE
}
