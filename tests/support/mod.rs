//! Helpers that more than one test module uses.

pub mod house;
pub mod nasty;
