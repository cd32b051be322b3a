//! The contract of [`Target`], as tests that take any target.
//!
//! A [`Subject`] is a target with an environment of its own and a way to make it
//! healthy or not; each function below is one clause of the contract.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use event::{DeploymentId, DeploymentKind};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::plan::plan;
use crate::{
    EnvironmentKey, ExecOptions, LeaseAnswer, LeaseAsk, LogOptions, Observed, Op, OpAction,
    OpOutcome, Spec, Target, TargetError, UnitId, UnitState,
};

/// What is tested.
pub(crate) trait Subject {
    fn target(&self) -> &dyn Target;

    /// One unit of release `number` that gets healthy, behind the switch if the
    /// target has one.
    fn healthy(&self, number: u128) -> Spec;

    /// As [`Subject::healthy`], and never gets healthy.
    fn sick(&self, number: u128) -> Spec;

    /// What the world is made of, in a text that changes with any effect: units with
    /// their beginnings, and what the switch was told.
    fn world(&self) -> impl Future<Output = String>;

    /// After how many polls calls are cut, so that each part of one is met.
    fn cuts(&self) -> &'static [usize] {
        &[1, 2, 4]
    }

    /// Puts something there that is not of the environment, and returns its text.
    fn stranger(&self) -> impl Future<Output = String>;
}

/// One deployment against a subject, op by op.
struct Deployment<'a> {
    target: &'a dyn Target,
    spec: Spec,
    id: DeploymentId,
    fence: u64,
}

impl<'a> Deployment<'a> {
    fn new(subject: &'a impl Subject, spec: Spec, fence: u64) -> Self {
        Self { target: subject.target(), spec, id: DeploymentId::new(Uuid::now_v7()), fence }
    }

    fn key(&self) -> EnvironmentKey {
        EnvironmentKey {
            project: self.spec.project.clone(),
            environment: self.spec.environment.clone(),
        }
    }

    async fn seen(&self) -> Observed {
        self.target.observe(&self.key()).await.unwrap()
    }

    async fn ops(&self) -> Vec<Op> {
        plan(DeploymentKind::Deploy, &self.spec, &self.seen().await, self.id)
            .ops()
            .cloned()
            .collect()
    }

    async fn try_apply(&self, op: &Op) -> Result<OpOutcome, TargetError> {
        self.target.apply(op, &self.spec, self.fence, &CancellationToken::new()).await
    }

    async fn apply(&self, op: &Op) {
        let outcome = self.try_apply(op).await.unwrap();
        let well = matches!(outcome, OpOutcome::Done { .. } | OpOutcome::Drained { .. });
        assert!(well, "{} {}: {outcome:?}", op.action.name(), op.unit);
    }

    async fn undo(&self, op: &Op) {
        self.target.undo(op, &self.spec, self.fence).await.unwrap();
    }

    /// Deploys all of it and returns the ops.
    async fn deploy(&self) -> Vec<Op> {
        let ops = self.ops().await;
        for op in &ops {
            self.apply(op).await;
        }
        ops
    }

    /// The unit that serves the only slot.
    async fn serving(&self) -> Option<UnitId> {
        self.seen().await.current(0).map(|unit| unit.unit.clone())
    }
}

fn of(ops: &[Op], action: OpAction) -> &Op {
    ops.iter().find(|op| op.action == action).unwrap()
}

/// Polls a call `polls` times and drops it, as a crash does; `None` where it was cut.
async fn cut<T>(call: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut call = pin!(call);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        call.as_mut().poll(context).map(Some)
    })
    .await
}

/// A next engine takes longer than this to take over; until then what was asked of
/// others before the crash may still come.
const TAKE_OVER: Duration = Duration::from_millis(700);

/// `observe` has no side effect, beside whatever else goes on.
pub(crate) async fn observing_changes_nothing(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.healthy(1), 1);
    assert_eq!(deployment.seen().await, Observed::default(), "an environment without units");
    deployment.deploy().await;
    let world = subject.world().await;
    let (seen, others) = tokio::join!(deployment.seen(), deployment.seen());
    assert_eq!(seen, others);
    assert_eq!(seen.units.len(), 1);
    let unit = &seen.units[0];
    assert_eq!((unit.release, unit.deployment), (deployment.spec.release, deployment.id));
    assert_eq!((unit.spec.clone(), unit.fence), (deployment.spec.unit_hash(), 1));
    assert_eq!((unit.state, unit.admitted), (UnitState::Running, true));
    subject.target().preflight(&deployment.spec, &seen).await.unwrap();
    assert_eq!(subject.world().await, world);
}

/// `apply` twice equals once, for every op, and so does `undo`.
pub(crate) async fn twice_is_once(subject: &impl Subject) {
    let first = Deployment::new(subject, subject.healthy(1), 1);
    let mut done = Vec::new();
    for op in first.ops().await {
        first.apply(&op).await;
        let (seen, world) = (first.seen().await, subject.world().await);
        first.apply(&op).await;
        assert_eq!(first.seen().await, seen, "{} twice", op.action.name());
        assert_eq!(subject.world().await, world, "{} twice", op.action.name());
        done.push(op);
    }
    for op in done.iter().rev() {
        first.undo(op).await;
        let seen = first.seen().await;
        first.undo(op).await;
        assert_eq!(first.seen().await, seen, "undo of {} twice", op.action.name());
    }
    assert_eq!(first.seen().await, Observed::default());
}

/// A repeat under the same names finds its own work, and makes no second unit.
pub(crate) async fn a_repeat_finds_its_own_work(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.healthy(1), 1);
    let ops = deployment.deploy().await;
    let seen = deployment.seen().await;
    for action in [OpAction::Fetch, OpAction::Create, OpAction::Start, OpAction::Gate] {
        deployment.apply(of(&ops, action)).await;
    }
    assert_eq!(deployment.seen().await, seen);
}

/// `undo` leads back to the unit that served, from after every single op.
pub(crate) async fn undo_leads_back_from_anywhere(subject: &impl Subject) {
    Deployment::new(subject, subject.healthy(1), 1).deploy().await;
    let mut length = usize::MAX;
    let mut count = 0;
    while count < length {
        count += 1;
        let next = Deployment::new(subject, subject.healthy(2), 2);
        let before = next.seen().await;
        let ops = next.ops().await;
        length = ops.len();
        for op in &ops[..count] {
            next.apply(op).await;
        }
        back(&next, &ops[..count], &before).await;
    }
}

/// `undo` leads back from a crash inside any op, however far that had got.
pub(crate) async fn undo_leads_back_from_a_crash_inside(subject: &impl Subject) {
    Deployment::new(subject, subject.healthy(1), 1).deploy().await;
    let mut length = usize::MAX;
    let mut at = 0;
    while at < length {
        for polls in subject.cuts().iter().copied() {
            let next = Deployment::new(subject, subject.healthy(2), 2);
            let before = next.seen().await;
            let ops = next.ops().await;
            length = ops.len();
            for op in &ops[..at] {
                next.apply(op).await;
            }
            // Some of these end before they are cut, which is an outcome as well.
            let _ = cut(next.try_apply(&ops[at]), polls).await;
            tokio::time::sleep(TAKE_OVER).await;
            back(&next, &ops[..=at], &before).await;
        }
        at += 1;
    }
}

/// Undoes ops newest first, and each twice.
async fn back(next: &Deployment<'_>, ops: &[Op], before: &Observed) {
    let last = ops.last().map_or("nothing", |op| op.action.name());
    for op in ops.iter().rev() {
        next.undo(op).await;
        next.undo(op).await;
    }
    let seen = next.seen().await;
    let what = |seen: &Observed| {
        let unit = |unit: &crate::ObservedUnit| (unit.unit.clone(), unit.state, unit.admitted);
        seen.units.iter().map(unit).collect::<Vec<_>>()
    };
    assert_eq!(what(&seen), what(before), "back from {last}");
}

/// A unit that is not healthy is an answer, no error; and it says why.
pub(crate) async fn an_unhealthy_unit_is_data(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.sick(1), 1);
    let ops = deployment.ops().await;
    for action in [OpAction::Fetch, OpAction::Create, OpAction::Start] {
        deployment.apply(of(&ops, action)).await;
    }
    let outcome = deployment.try_apply(of(&ops, OpAction::Gate)).await.unwrap();
    let OpOutcome::Unhealthy { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(!reason.is_empty());
    assert_eq!(deployment.serving().await, None);
    deployment.undo(of(&ops, OpAction::Create)).await;
    assert_eq!(deployment.seen().await, Observed::default());
}

/// Whoever holds a smaller fence than the target has seen changes nothing.
pub(crate) async fn a_smaller_fence_is_refused(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.healthy(1), 7);
    let ops = deployment.deploy().await;
    let unit = deployment.serving().await.unwrap();
    let world = subject.world().await;
    let mut late = Deployment::new(subject, subject.healthy(2), 6);
    let mut wanted = late.ops().await;
    let stop = Op { action: OpAction::Stop, unit, ..ops[0].clone() };
    wanted.extend([stop.clone(), Op { action: OpAction::Remove, ..stop }]);
    for op in &wanted {
        let refused = late.try_apply(op).await;
        assert!(matches!(refused, Err(TargetError::Fenced(_))), "{op:?}: {refused:?}");
    }
    for op in &ops {
        let refused = late.target.undo(op, &deployment.spec, 6).await;
        assert!(matches!(refused, Err(TargetError::Fenced(_))), "undo {op:?}: {refused:?}");
    }
    assert_eq!(subject.world().await, world);
    // An equal one is of the same holder, and a larger one of the next.
    late.fence = 8;
    late.deploy().await;
    assert_eq!(late.seen().await.current(0).map(|unit| unit.release), Some(late.spec.release));
}

/// A lease is had by one deployment at a time, under fences that grow; a smaller one
/// changes nothing from then on. A target that keeps none says so.
pub(crate) async fn a_lease_is_had_by_one_at_a_time(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.healthy(1), 7);
    let ops = deployment.deploy().await;
    let (target, key) = (subject.target(), deployment.key());
    let ask = |holder: &str| LeaseAsk {
        deployment: DeploymentId::new(Uuid::now_v7()),
        holder: holder.to_owned(),
        ttl: Duration::from_secs(30),
        above: 3,
    };
    let (ann, bob) = (ask("ann@one"), ask("bob@two"));
    let LeaseAnswer::Taken { fence } = target.lease(&key, &ann).await.unwrap() else {
        let renewed = target.renew(&key, 8, &ann).await;
        assert!(renewed.is_ok() && target.release(&key, 8, &ann).await.is_ok());
        return;
    };
    assert!(fence > 7, "{fence}");
    for op in &ops {
        let refused = deployment.try_apply(op).await;
        assert!(matches!(refused, Err(TargetError::Fenced(_))), "{op:?}: {refused:?}");
    }
    let held = target.lease(&key, &bob).await.unwrap();
    let LeaseAnswer::Held(by) = held else { panic!("{held:?}") };
    assert_eq!(by.holder, "ann@one");
    assert!(by.since.is_some());
    target.renew(&key, fence, &ann).await.unwrap();
    // Whoever takes up what a dead engine left is not kept waiting by it.
    let LeaseAnswer::Taken { fence: again } = target.lease(&key, &ann).await.unwrap() else {
        panic!("it is of the same deployment");
    };
    assert!(again > fence);
    let renewed = target.renew(&key, fence, &ann).await;
    assert!(matches!(renewed, Err(TargetError::Fenced(_))), "{renewed:?}");
    target.release(&key, fence, &ann).await.unwrap();
    assert!(matches!(target.lease(&key, &bob).await.unwrap(), LeaseAnswer::Held(_)));
    target.release(&key, again, &ann).await.unwrap();
    target.release(&key, again, &ann).await.unwrap();
    let LeaseAnswer::Taken { fence: next } = target.lease(&key, &bob).await.unwrap() else {
        panic!("it was given back");
    };
    assert!(next > again);
    target.release(&key, next, &bob).await.unwrap();
    let under = Deployment { fence: next, ..deployment };
    under.deploy().await;
}

/// A unit in traffic is neither stopped nor removed, by whatever mistake.
pub(crate) async fn a_unit_in_traffic_is_not_stopped(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.healthy(1), 1);
    let ops = deployment.deploy().await;
    let create = of(&ops, OpAction::Create);
    let world = subject.world().await;
    for action in [OpAction::Stop, OpAction::Remove] {
        let op = Op { action, ..create.clone() };
        let refused = deployment.try_apply(&op).await;
        let why = refused.as_ref().unwrap_err().to_string();
        assert!(why.contains("still gets traffic"), "{action:?}: {why}");
    }
    assert_eq!(subject.world().await, world);
    // Out of traffic, both are done, and what is gone may be removed again.
    for action in [OpAction::Drain, OpAction::Stop, OpAction::Remove, OpAction::Remove] {
        deployment.apply(&Op { action, ..create.clone() }).await;
    }
    assert_eq!(deployment.seen().await, Observed::default());
}

/// A stopped unit is warm: started again, it is the same unit.
pub(crate) async fn a_stopped_unit_can_be_gone_back_to(subject: &impl Subject) {
    let first = Deployment::new(subject, subject.healthy(1), 1);
    first.deploy().await;
    let old = first.serving().await.unwrap();
    let second = Deployment::new(subject, subject.healthy(2), 2);
    second.deploy().await;
    let new = second.serving().await.unwrap();
    let seen = second.seen().await;
    let warm = seen.unit(&old).unwrap();
    assert_eq!((warm.state, warm.admitted), (UnitState::Exited, false));
    let op = |action, unit: &UnitId, replaces: Option<&UnitId>| Op {
        action,
        unit: unit.clone(),
        slot: 0,
        replaces: replaces.cloned(),
        deployment: second.id,
    };
    let back =
        Deployment { target: first.target, spec: first.spec.clone(), id: first.id, fence: 3 };
    for action in [OpAction::Start, OpAction::Gate, OpAction::Admit] {
        back.apply(&op(action, &old, Some(&new))).await;
    }
    second_leaves(&Deployment { fence: 3, ..second }, &op, &new).await;
    assert_eq!(back.serving().await, Some(old));
    assert_eq!(back.seen().await.units.len(), 1);
}

async fn second_leaves(
    second: &Deployment<'_>,
    op: &impl Fn(OpAction, &UnitId, Option<&UnitId>) -> Op,
    new: &UnitId,
) {
    second.apply(&op(OpAction::Drain, new, None)).await;
    second.undo(&op(OpAction::Create, new, None)).await;
}

/// Cancelling ends the waiting, and the unit can be undone.
pub(crate) async fn cancelling_ends_the_waiting(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.sick(1), 1);
    let ops = deployment.ops().await;
    for action in [OpAction::Fetch, OpAction::Create, OpAction::Start] {
        deployment.apply(of(&ops, action)).await;
    }
    let cancel = CancellationToken::new();
    cancel.cancel();
    let gate = of(&ops, OpAction::Gate);
    let gating = deployment.target.apply(gate, &deployment.spec, 1, &cancel);
    let gated = tokio::time::timeout(Duration::from_secs(5), gating).await;
    gated.expect("it waits though it was cancelled").unwrap();
    deployment.undo(of(&ops, OpAction::Create)).await;
    assert_eq!(deployment.seen().await, Observed::default());
}

/// What is not of the environment is not seen and not touched.
pub(crate) async fn strangers_are_left_alone(subject: &impl Subject) {
    let stranger = subject.stranger().await;
    let deployment = Deployment::new(subject, subject.healthy(1), 1);
    let ops = deployment.deploy().await;
    assert_eq!(deployment.seen().await.units.len(), 1);
    deployment.undo(of(&ops, OpAction::Admit)).await;
    deployment.undo(of(&ops, OpAction::Create)).await;
    let world = subject.world().await;
    assert!(world.contains(&stranger), "{stranger} is not in {world}");
}

/// What a unit wrote can be read, and commands can be run beside it.
pub(crate) async fn units_can_be_looked_into(subject: &impl Subject) {
    let deployment = Deployment::new(subject, subject.healthy(1), 1);
    deployment.deploy().await;
    let unit = deployment.serving().await.unwrap();
    let target = subject.target();
    let mut told = target.logs(&unit, LogOptions::default()).await.unwrap();
    let first = told.next().await.unwrap().unwrap();
    assert!(!first.bytes.is_empty());
    let command = vec!["echo".to_owned(), "hello".to_owned()];
    let options = ExecOptions { command, terminal: None };
    let mut running = target.exec(&unit, options).await.unwrap();
    drop(running.input);
    let mut said = Vec::new();
    while let Some(piece) = running.output.next().await {
        said.extend(piece.unwrap().bytes);
    }
    assert!(String::from_utf8_lossy(&said).contains("hello"));
    assert_eq!(running.end.await.unwrap().code, 0);
    let nobody = UnitId("nobody".to_owned());
    assert!(target.logs(&nobody, LogOptions::default()).await.is_err());
    let shell = ExecOptions { command: Vec::new(), terminal: None };
    assert!(target.exec(&nobody, shell).await.is_err());
}

/// Makes a test of each clause; `$subject` is an expression for a subject.
macro_rules! contract {
    ($subject:expr) => {
        $crate::target::contract::contract! { $subject;
            observing_changes_nothing twice_is_once a_repeat_finds_its_own_work
            undo_leads_back_from_anywhere undo_leads_back_from_a_crash_inside
            an_unhealthy_unit_is_data a_smaller_fence_is_refused a_lease_is_had_by_one_at_a_time
            a_unit_in_traffic_is_not_stopped a_stopped_unit_can_be_gone_back_to
            cancelling_ends_the_waiting strangers_are_left_alone units_can_be_looked_into
        }
    };
    ($subject:expr; $($clause:ident)+) => {
        $(#[tokio::test]
        async fn $clause() {
            let subject = $subject;
            $crate::target::contract::$clause(&subject).await;
        })+
    };
}
pub(crate) use contract;

/// The target in memory keeps it too.
mod memory {
    use event::ReleaseId;

    use super::*;
    use crate::Artifact;
    use crate::testing::MemoryTarget;

    struct InMemory(MemoryTarget);

    impl Subject for InMemory {
        fn target(&self) -> &dyn Target {
            &self.0
        }

        fn healthy(&self, number: u128) -> Spec {
            Spec {
                project: "web".to_owned(),
                environment: "prod".to_owned(),
                release: ReleaseId::new(Uuid::from_u128(number)),
                artifact: Artifact::ImageId(format!("sha256:{number}")),
                replicas: 1,
                expose: None,
                health: None,
                verify: Vec::new(),
                checks: crate::CheckSettings::default(),
                hosts: Vec::new(),
                strategy: pipeline::Strategy::default(),
                env: std::collections::BTreeMap::new(),
                unit: crate::UnitSettings::default(),
            }
        }

        fn sick(&self, number: u128) -> Spec {
            let spec = self.healthy(number + 100);
            self.0.never_healthy(spec.release);
            spec
        }

        async fn world(&self) -> String {
            format!("{:?}", self.0.seen())
        }

        /// It has but one environment.
        async fn stranger(&self) -> String {
            String::new()
        }
    }

    contract!(InMemory(MemoryTarget::default()));
}
