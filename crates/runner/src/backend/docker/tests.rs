//! The backend on a real engine. Everything these make carries an instance of its
//! own and is removed when a test ends, however it ends.

mod bench;
mod build;
mod cache;
mod fault;
mod layers;
mod stage;
