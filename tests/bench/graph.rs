//! Graphs of stages, as a pipeline, as files of peers, and walked by a floor.

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::lab::IMAGE;

/// What each stage needs, by number; a stage needs only those before it.
pub struct Graph(pub Vec<Vec<usize>>);

impl Graph {
    /// One after another.
    pub fn sequence(count: usize) -> Self {
        Self((0..count).map(|stage| stage.checked_sub(1).into_iter().collect()).collect())
    }

    /// One, then `width` beside each other, then one.
    pub fn fan(width: usize) -> Self {
        let mut needs = vec![Vec::new()];
        needs.extend((0..width).map(|_| vec![0]));
        needs.push((1..=width).collect());
        Self(needs)
    }

    /// Rows, each of whose stages needs two of the row before.
    pub fn lattice(rows: usize, width: usize) -> Self {
        let stages = (0..rows * width).map(|stage| match (stage / width).checked_sub(1) {
            None => Vec::new(),
            Some(above) => {
                let column = stage % width;
                vec![above * width + column, above * width + (column + 1) % width]
            }
        });
        Self(stages.collect())
    }

    pub fn pipeline(&self) -> String {
        let mut text = format!("image: {IMAGE}\nstages:\n");
        for (stage, needs) in self.0.iter().enumerate() {
            let _ = writeln!(text, "  s{stage}: {{ needs: [{}], run: \"true\" }}", names(needs));
        }
        text
    }

    /// For act.
    pub fn workflow(&self) -> String {
        let mut text = "on: push\njobs:\n".to_owned();
        for (stage, needs) in self.0.iter().enumerate() {
            let _ = writeln!(
                text,
                "  s{stage}:\n    runs-on: ubuntu-latest\n    needs: [{}]\n    steps:\n      \
                 - {{ shell: sh, run: \"true\" }}",
                names(needs)
            );
        }
        text
    }

    /// For gitlab-ci-local.
    pub fn gitlab(&self) -> String {
        let mut text = format!("default: {{ image: {IMAGE} }}\n");
        for (stage, needs) in self.0.iter().enumerate() {
            let _ = writeln!(text, "s{stage}: {{ needs: [{}], script: [\"true\"] }}", names(needs));
        }
        text
    }

    /// Does `work` for each stage as soon as what it needs is done, so many at a time.
    pub async fn walk<F>(&self, limit: usize, work: impl Fn() -> F) -> io::Result<()>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let turns = Arc::new(Semaphore::new(limit));
        let done: Vec<CancellationToken> =
            self.0.iter().map(|_| CancellationToken::new()).collect();
        let mut tasks = JoinSet::new();
        for (stage, needs) in self.0.iter().enumerate() {
            let needs: Vec<_> = needs.iter().map(|need| done[*need].clone()).collect();
            let (own, turns, work) = (done[stage].clone(), Arc::clone(&turns), work());
            tasks.spawn(async move {
                for need in needs {
                    need.cancelled().await;
                }
                let _turn = turns.acquire().await;
                let worked = work.await;
                own.cancel();
                worked
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

fn names(stages: &[usize]) -> String {
    stages.iter().map(|stage| format!("s{stage}")).collect::<Vec<_>>().join(", ")
}
