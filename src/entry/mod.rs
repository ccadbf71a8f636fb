//! How work arrives: a call, a click, a webhook, the clock.

pub mod cli;
pub mod fields;
pub mod gate;
pub mod govern;
pub mod http;
pub mod mcp;
pub mod origin;
pub mod readiness;
pub mod shapes;
pub mod sse;
pub mod worker;
