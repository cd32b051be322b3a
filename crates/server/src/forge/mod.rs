//! Webhooks: who may say that something was pushed, and in which words.
//!
//! A delivery is verified, written down, and answered, in this order; what
//! becomes of it is the work of [`crate::triggers`].

pub mod generic;
mod signature;

#[cfg(test)]
pub(crate) use signature::sign;
