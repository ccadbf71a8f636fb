//! How work arrives: a call, a click, a webhook, the clock.

pub mod cli;
pub mod console;
pub mod gate;
pub mod http;
pub mod mcp;
pub mod operations;
pub mod origin;
pub mod readiness;
pub mod shapes;
pub mod sse;
mod words;
pub mod worker;
