//! Stages that do nothing, in the shapes that pipelines have.

use std::io;
use std::time::Duration;

use crate::floor::docker_run;
use crate::graph::Graph;
use crate::lab::{IMAGE, Lab};
use crate::measure::{Contestant, call, interleave};
use crate::peers;
use crate::table::{Goal, OWN, Table};

/// How often each takes its turn.
struct Turns {
    own: usize,
    /// Those of peers, which take long; none leaves them out.
    act: usize,
    gitlab: usize,
}

pub fn one(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let turns = Turns { own: 21, act: 7, gitlab: 5 };
    let contestants = measured(lab, "one", &Graph::sequence(1), 4, &turns)?;
    let [own, api, ..] = medians(&contestants);
    let own = own.unwrap_or_default();
    let goals = [
        Goal::ratio(own, api, 1.1, "engine API"),
        Goal::time("CPU", own.cpu.unwrap_or(Duration::MAX), Duration::from_millis(15)),
        Goal::memory(own.memory, 25 << 20),
    ];
    table.add("W1: one stage `true`", &contestants, &goals);
    Ok(())
}

pub fn sequence(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let turns = Turns { own: 7, act: 2, gitlab: 1 };
    let contestants = measured(lab, "sequence", &Graph::sequence(20), 4, &turns)?;
    let [own, _, docker] = medians(&contestants);
    let goals = [Goal::ratio(own.unwrap_or_default(), docker, 0.45, "`docker run`")];
    table.add("W2: 20 stages in sequence", &contestants, &goals);
    Ok(())
}

pub fn fan(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let turns = Turns { own: 5, act: 1, gitlab: 1 };
    let contestants = measured(lab, "fan", &Graph::fan(50), 8, &turns)?;
    let [own, _, docker] = medians(&contestants);
    let goals = [Goal::ratio(own.unwrap_or_default(), docker, 0.6, "`docker run`")];
    table.add("W3: 1 → 50 → 1 stages, 8 at a time", &contestants, &goals);
    Ok(())
}

pub fn lattice(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let turns = Turns { own: 3, act: 0, gitlab: 0 };
    let contestants = measured(lab, "lattice", &Graph::lattice(10, 20), 8, &turns)?;
    let [own, _, docker] = medians(&contestants);
    let goals = [Goal::ratio(own.unwrap_or_default(), docker, 0.6, "`docker run`")];
    table.add("W4: a lattice of 200 stages, 8 at a time", &contestants, &goals);
    Ok(())
}

/// Lets all do the work of a graph of stages.
fn measured(
    lab: &Lab,
    name: &str,
    graph: &Graph,
    limit: usize,
    turns: &Turns,
) -> io::Result<Vec<Contestant<'static>>> {
    let files = [
        (".shipline.yml", graph.pipeline()),
        (".github/workflows/run.yml", graph.workflow()),
        (".gitlab-ci.yml", graph.gitlab()),
        (".gitignore", ".gitlab-ci-local\n".to_owned()),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let folder = lab.repository(name, &files)?;
    let jobs = limit.to_string();
    // What is delivered to an engine once is no part of a run.
    lab.run(&folder, &[])?;
    let own = || lab.run(&folder, &["--jobs", &jobs]);
    let api = || {
        let container = || {
            let engine = lab.engine.clone();
            async move { engine.container(&["true"]).await }
        };
        call(|| lab.runtime.block_on(graph.walk(limit, container)))
    };
    let docker = || {
        let container = || docker_run(&[], &[IMAGE, "true"]);
        call(|| lab.runtime.block_on(graph.walk(limit, container)))
    };
    let mut contestants = vec![
        Contestant::new(OWN, turns.own, own),
        Contestant::new("engine API", turns.own, api),
        Contestant::new("`docker run`", turns.own, docker),
    ];
    if turns.act > 0 {
        contestants.extend(peers::act(lab, &folder, IMAGE, limit, turns.act));
    }
    if turns.gitlab > 0 {
        contestants.extend(peers::gitlab(&folder, limit, turns.gitlab));
    }
    interleave(&mut contestants);
    contestants.into_iter().map(Contestant::over).collect()
}

fn medians(contestants: &[Contestant<'_>]) -> [Option<crate::measure::Sample>; 3] {
    [0, 1, 2].map(|index| contestants.get(index).and_then(Contestant::median))
}
