//! What things are: values, and the rules by which they may change.
//!
//! Pure: no clock, no randomness, no environment, no `async`. Time and random bits are handed in,
//! so a test hands in its own. Serde here is for stored forms only; what MCP, REST or a console
//! show are separate types in `entry`.

pub mod above;
pub mod access;
pub mod account;
pub mod audit;
pub mod call;
pub mod canonical;
pub mod change;
pub mod document;
pub mod echo;
pub mod envelope;
pub mod errands;
pub mod facts;
pub mod hostname;
pub mod ids;
pub mod legal_name;
pub mod mark;
pub mod merkle;
pub mod money;
pub mod names;
pub mod nearest;
pub mod notice;
pub mod organisation;
pub mod past;
pub mod payee;
pub mod person;
pub mod policy;
pub mod principal;
pub mod proposal;
pub mod reason;
pub mod request_state;
pub mod requests;
pub mod retention;
pub mod roles;
pub mod rules;
pub mod schema;
pub mod search;
pub mod secret;
pub mod signed;
pub mod statement;
pub mod strict;
pub mod time;
pub mod token;
pub mod tool;
pub mod tools;
pub mod upstream;
pub mod visible;
pub mod webauthn;
pub mod written;
