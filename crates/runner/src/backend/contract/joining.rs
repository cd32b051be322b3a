//! Layers of stages that ran in parallel, below one that needs both.

use pipeline::Merge;
use tokio_util::sync::CancellationToken;

use super::super::{AttemptSpec, Backend, BackendError, RunContext};
use super::{attempt, layer, run_to_end};

/// Runs `commands` over the layers `lower` and seals what they wrote.
async fn stage(
    backend: &dyn Backend,
    run: &RunContext,
    (index, image): (u32, &str),
    lower: &[u32],
    commands: &[&str],
) {
    let lower = lower.iter().map(|&index| layer(run, index)).collect();
    let attempt = AttemptSpec { lower, ..attempt(run, index, image, commands) };
    assert_eq!(run_to_end(backend, run, &attempt).await.2.code, 0);
    backend.seal(run, attempt.layer).await.unwrap();
}

/// Both changed one path differently: that is refused with both names, unless `merge` lets
/// the later one win. The same contents are no conflict, and one that was settled stays so.
pub(crate) async fn parallel_layers_are_joined_or_refused(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let both = ["echo same >same"];
    let [left, right] = [["echo left >which", "echo l >l"], ["echo right >which", "echo r >r"]];
    stage(backend, run, (71, image), &[0], &[&both[..], &left].concat()).await;
    stage(backend, run, (72, image), &[0], &[&both[..], &right].concat()).await;
    let join = |index: u32, merge: Option<Merge>| AttemptSpec {
        lower: [72, 71, 0].map(|index| layer(run, index)).into(),
        merge,
        ..attempt(run, index, image, &["cat l", "cat r", "cat same", "cat which"])
    };
    for (index, merge) in [(73, None), (74, Some(Merge::Paths(vec!["l".to_owned()])))] {
        let joined = backend.start(run, &join(index, merge), &CancellationToken::new()).await;
        let Err(BackendError::User { code, message }) = joined.map(drop) else {
            panic!("both changed `which`");
        };
        assert_eq!(code, Some("E095"));
        for part in ["`which` was changed by both `s71` and `s72`", "merge: [\"which\"]"] {
            assert!(message.contains(part), "{message}");
        }
    }
    let paths = Merge::Paths(vec!["wh*".to_owned()]);
    for (index, merge) in [(75, Merge::Last), (76, paths)] {
        let joined = join(index, Some(merge));
        let (stdout, _, exit) = run_to_end(backend, run, &joined).await;
        assert_eq!((stdout.as_str(), exit.code), ("l\nr\nsame\nright\n", 0));
        backend.seal(run, joined.layer).await.unwrap();
    }
    // Who stands on a join does not join again.
    let above = [75, 72, 71, 0].map(|index| layer(run, index)).into();
    let above = AttemptSpec { lower: above, ..attempt(run, 77, image, &["cat which"]) };
    assert_eq!(run_to_end(backend, run, &above).await.0, "right\n");
}
