//! The backend on a real engine. Everything these make carries an instance of its
//! own and is removed when a test ends, however it ends.

mod adopt;
mod bench;
mod build;
mod cache;
mod check;
mod copied;
mod dockerignore;
mod fault;
mod harbor;
mod layers;
mod push;
mod service;
mod session;
mod slot;
mod stage;
mod usage;
