//! hundi: a two-phase propose/commit transaction broker.

// The commands name the library as any other user of it would.
extern crate self as hundi;

pub mod ambient;
pub mod app;
pub mod broker;
pub mod config;
pub mod connector;
pub mod domain;
pub mod entry;
pub mod ephemeral;
pub mod governance;
pub mod keyring;
pub mod notify;
pub mod pages;
#[path = "main.rs"]
pub mod program;
pub mod sandbox;
pub mod sidecar;
pub mod store;
pub mod telemetry;
pub mod wire;
