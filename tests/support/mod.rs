//! Helpers that more than one test module uses.

pub mod bank;
pub mod house;
pub mod nasty;
