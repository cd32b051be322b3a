//! Faults of the kind that a change of the runner would bring, to see that they are found.
//!
//! Each is brought in where the runner meets the world, so that nothing of it stands in the
//! code that is shipped.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    /// Nothing is removed at the end.
    NoCleaning,
    /// After a restart nothing is removed of what still runs.
    NoCleaningAfterRestart,
    /// What was appended last before a crash is not on the disk.
    VolatileJournal,
    /// Nobody is stopped.
    DeafStop,
    /// Every command seems to pass.
    Rosy,
    /// Every group has room.
    OpenGroups,
    /// Stages do not wait for what they need.
    NoNeeds,
    /// What failed is tried again, whatever the plan says.
    Stubborn,
    /// The time of a stage is not the plan's.
    NoDeadline,
    /// A container of somebody else is removed too.
    Greedy,
    /// What another process began is not found.
    Amnesia,
}

pub(super) const ALL: [Mutation; 11] = [
    Mutation::NoCleaning,
    Mutation::NoCleaningAfterRestart,
    Mutation::VolatileJournal,
    Mutation::DeafStop,
    Mutation::Rosy,
    Mutation::OpenGroups,
    Mutation::NoNeeds,
    Mutation::Stubborn,
    Mutation::NoDeadline,
    Mutation::Greedy,
    Mutation::Amnesia,
];
