//! Every integration test, in one binary.
#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::float_arithmetic,
    reason = "a test may fail loudly, in its helpers too"
)]

mod access;
mod amounts_and_payees;
mod answers;
mod approval_rules;
mod architecture;
mod audit;
mod catalogue;
mod chaos;
mod cli;
mod complete;
mod connectors;
mod console;
mod deploy;
mod edges;
mod ephemeral;
mod exactly_once;
mod fair_shares;
mod fuzz;
mod governance;
mod governed;
mod limits;
mod mandates;
mod mcp_door;
mod metrics;
mod nodes;
mod odd_upstreams;
mod overload;
mod payouts_of_others;
mod people;
mod razorpay_mcp;
mod readme;
mod recovery;
mod registered;
mod replay_attacks;
mod reputation;
mod requests;
mod rest;
mod sandbox;
mod secrets;
mod sidecar;
mod spool;
mod starts;
mod store_conformance;
mod support;
mod tokens;
mod tools;
mod traces;
mod upstream;
mod upstream_http;
mod webhooks;
mod webhooks_out;
