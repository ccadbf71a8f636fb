//! Helpers that more than one test module uses.

pub mod bank;
pub mod clock;
pub mod complete;
pub mod fixture;
pub mod fragile;
pub mod house;
pub mod issuer;
pub mod nasty;
pub mod nodes;
pub mod odd;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod server;
