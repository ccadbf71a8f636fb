//! hundi: a two-phase propose/commit transaction broker.

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
pub mod sandbox;
pub mod sidecar;
pub mod store;
pub mod telemetry;
pub mod wire;
