//! `hundi bench --floor`: what the bare store reaches on the disk of the data folder, or in a schema
//! of its own on the configured Postgres, in the same process and minute as the load that is compared with it.
#![allow(
    clippy::float_arithmetic,
    reason = "a speed is an estimate for people to read, not an amount"
)]

use std::time::Duration;

use hundi::ambient::Ambient;
use hundi::config::Config;
use hundi::entry::cli::bench::Bare;
use hundi::keyring::make_folder;
use hundi::store::floor::{self, Load};

/// Cycles per caller of the first, short measurement, from which the next ones are sized.
const FIRST: usize = 10;
/// Most cycles of one measurement: their rows are made beforehand, in memory.
const MOST: usize = 20_000;

/// Cycles a second of the bare store, measured for about the asked time.
pub fn floor(config: &Config, bare: Bare) -> Result<f64, String> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if !config.on_postgres() {
        make_folder(&config.data_dir).map_err(|error| error.to_string())?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(measure(config, bare))
}

async fn measure(config: &Config, bare: Bare) -> Result<f64, String> {
    let ambient = Ambient::real();
    let (mut done, mut took) = (0_u32, Duration::ZERO);
    let mut cycles = bare.callers.saturating_mul(FIRST).min(MOST);
    while took < bare.time {
        let load = Load {
            concurrency: bare.callers,
            cycles,
            money: bare.money,
        };
        let measured = if config.on_postgres() {
            floor::postgres(config.database_url.expose(), load, &ambient).await
        } else {
            floor::sqlite(&config.data_dir, load, &ambient).await
        };
        let measured = measured.map_err(|error| error.to_string())?;
        done = done.saturating_add(u32::try_from(measured.cycles).unwrap_or(u32::MAX));
        // A clock too coarse to see it must not make this endless.
        took += measured.elapsed.max(Duration::from_micros(1));
        cycles = cycles.saturating_mul(2).min(MOST);
    }
    Ok(f64::from(done) / took.as_secs_f64())
}
