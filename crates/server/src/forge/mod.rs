//! Webhooks: who may say that something was pushed, and in which words.
//!
//! A delivery is verified, written down, and answered, in this order; what
//! becomes of it is the work of [`crate::triggers`].

pub(crate) mod generic;
mod rate;
mod replay;
mod signature;

pub(crate) use rate::Rate;
pub(crate) use replay::Replays;

#[cfg(test)]
pub(crate) use signature::sign;
