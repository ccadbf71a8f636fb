//! How work arrives: a call, a click, a webhook, the clock.

pub mod gate;
pub mod shapes;
