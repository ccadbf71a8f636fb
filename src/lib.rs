//! hundi: a two-phase propose/commit broker. It stands between agents and the tools that move money or
//! cannot be undone, and lets each thing happen at most once, only as it was approved.
//!
//! # The map
//!
//! **Layers** say what kind of thing a file is; imports go down only (`tests/architecture.rs`).
//!
//! | layer | answers |
//! | --- | --- |
//! | [`domain`] | what things are; pure |
//! | [`governance`] | whether it may; pure: facts in, a verdict out |
//! | [`connector`] | how a provider, a database or a model spells it; pure |
//! | [`notify`] | how people are told; pure |
//! | [`store`] | what is remembered: SQLite, Postgres |
//! | [`ephemeral`] | what may be forgotten: local, Redis |
//! | [`wire`] | how calls leave: the only code that reaches outward |
//! | [`broker`] | what happens, in which order |
//! | [`entry`] | how work arrives: REST, MCP, command line, console, workers |
//! | [`sidecar`], [`sandbox`] | the child that holds the credentials; the pretend bank and model |
//! | [`config`], [`keyring`], [`telemetry`], [`ambient`] | settings; keys; logs, metrics and traces; clock and chance |
//! | [`app`], [`run`] | the parts put together; the program |
//!
//! **Subjects** say what a file is about, and carry one name in every layer: `pay` (proposals, tokens,
//! budgets, holds), `bank` (what happens at the provider), `tools` (sources, servers, upstreams,
//! invoking), `access` (keys, people, organisations, rules, masks), `requests` (calls of models),
//! `search` (documents), `audit`. Whoever looks for how a tool is masked opens `tools` or `access` in
//! whatever layer the question is about.
//!
//! **One path.** A payment arrives at a door of [`entry::operations`], becomes a proposal in
//! `broker::pay::propose` (facts are gathered, [`governance`] decides, one write stores it), waits in
//! `broker::pay::approve` if people have to decide, and leaves in `broker::pay::commit`: verified,
//! written as intent, sent by [`wire`], settled by evidence. What is unknown stays in doubt until
//! `broker::pay::reconcile` finds evidence.
//!
//! # Words
//!
//! | word | means |
//! | --- | --- |
//! | proposal | one call that somebody wants to make, its arguments bound by their hash |
//! | commit token | an HMAC over that proposal, good once, for about a minute |
//! | held | a person has to decide first |
//! | in doubt | it was, or may have been, sent, and the outcome is not known |
//! | settle | to end a doubt by evidence |
//! | door | a way in: REST, MCP, command line, console, webhook |
//! | handle | the one type through which a subject is reached |
//! | finding | what a check has to say of a proposal |
//! | source, tool, server | where a call goes; what can be called; which tools a client sees |
//! | effect | what a call would change, shown before and bound to the state it was shown for |
//! | statement | the bytes a person decides on, and signs |
//!
//! The pages of the manual are [`pages`].

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
pub mod run;
pub mod sandbox;
pub mod sidecar;
pub mod store;
pub mod telemetry;
pub mod wire;
