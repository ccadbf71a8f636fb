//! What people register: sources, and the tools that work on them.
//!
//! A document of either kind is read strictly: a field that nobody knows, a value of another type
//! or a rule that contradicts another refuses the whole, and the refusal names the place. Secrets
//! are never part of a document; what a source needs of them is only named here.
//!
//! Whether the SQL parses or a path is whole is for the connectors to say, in the same words
//! ([`Invalid`]). What both sides share is here as well: [`statement`] and [`http`] are what
//! connectors make and wires send.

mod def;
pub mod difference;
pub mod effect;
mod exec;
mod headers;
pub mod http;
mod invalid;
mod money;
pub mod numbers;
mod payee;
mod place;
pub mod pointer;
pub mod reach;
mod source;
pub mod statement;
mod template;
pub mod word;
pub mod work;

pub use def::{Annotations, RateBy, RateLimit, ToolDef, valid_name};
pub use exec::{
    ContentType, Exec, ExpectRows, Idempotency, Lookup, McpExec, Method, ProgramExec, RestExec,
    RestPreview, SqlHigh, SqlLow, ToolKind,
};
pub use headers::{header_name, header_value};
pub use invalid::{Invalid, Position};
pub use money::{Money, MoneyAmounts};
pub use payee::{PayeePlaces, PaysTo};
pub use place::reach_of;
pub use source::{
    Auth, Limits, McpSource, PostgresSource, ProgramSource, RestSource, Source, SourceConfig,
    SourceKind, SqliteSource, Tls,
};
pub use template::{Slot, Template};
