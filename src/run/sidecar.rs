//! `hundi sidecar razorpay`: reads its own variables and nothing else.

use crate::config::environment;
use crate::entry::cli::Failure;
use crate::sidecar::{self, Settings};
use crate::telemetry;

use super::block_on;

/// Serves until standard input ends.
pub fn razorpay() -> Result<(), Failure> {
    telemetry::start(telemetry::LogFormat::Text, telemetry::DEFAULT_FILTER);
    let environment = environment();
    let variable = |name: &str| {
        let value = environment.iter().find(|(known, _)| known.as_str() == name);
        value.and_then(|(_, value)| value.clone().into_string().ok())
    };
    let settings = Settings::read(&variable).map_err(Failure::of)?;
    block_on(async { sidecar::run(settings).await.map_err(Failure::of) })
}
