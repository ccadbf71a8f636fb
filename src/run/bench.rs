//! `hundi bench --floor` and `--half-load`: what the bare store reaches on the disk of the data folder, or in a
//! schema of its own on the configured Postgres, and how long a flush of that disk takes, in the same process and
//! minute as the load that is compared with it.
#![allow(
    clippy::float_arithmetic,
    reason = "a speed is an estimate for people to read, not an amount"
)]

pub mod floor;
mod relay;

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::ambient::Ambient;
use crate::app;
use crate::config::Config;
use crate::entry::cli::bench::{Args, Bare, Disk};
use crate::entry::cli::{self, Failure, SettingFlags};
use crate::keyring::make_folder;

use self::floor::Load;
use super::dispatch::load;

/// `hundi bench`
pub fn run(args: &Args, flags: &SettingFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let config = || match load(flags) {
        Ok(config) => Ok(config),
        Err(Failure::Failed(why) | Failure::Usage(why)) => Err(why),
        Err(Failure::Told | Failure::Unread) => Err("nothing to measure on".to_owned()),
    };
    let disk = Disk {
        floor: &|bare| floor(&config()?, bare),
        flush: &|| flush(&config()?),
        relay: &relay::start,
    };
    cli::bench::run(args, &disk, out)
}

/// Cycles a second of the bare store, measured for about the asked time.
pub fn floor(config: &Config, bare: Bare) -> Result<f64, String> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if !config.on_postgres() {
        make_folder(&config.data_dir).map_err(|error| error.to_string())?;
    }
    let load = Load {
        callers: bare.callers,
        money: bare.money,
        naive: bare.naive,
    };
    // Why grouped callers share one thread, says the floor.
    let mut runtime = match bare.naive {
        true => Builder::new_multi_thread(),
        false => Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (address, ambient) = (app::store_address(config), Ambient::real());
    let floor = runtime.block_on(floor::beside(&address, load, bare.time, &ambient));
    let floor = floor.map_err(|error| format!("{error:#}"))?;
    let cycles = u32::try_from(floor.cycles).unwrap_or(u32::MAX);
    Ok(f64::from(cycles) / floor.took.as_secs_f64())
}

/// Bytes of one flush: about what a commit writes.
static FLUSHED: [u8; 32 * 1024] = [1; 32 * 1024];
/// Flushes measured; the middle one is told.
const FLUSHES: usize = 201;

/// How long a flush of the data folder's disk takes: a file that has its size already is written
/// over, as the store's log mostly is.
pub fn flush(config: &Config) -> Result<Duration, String> {
    if config.on_postgres() {
        return Err(
            "the disk of Postgres cannot be measured from here; --half-load is for SQLite"
                .to_owned(),
        );
    }
    make_folder(&config.data_dir).map_err(|error| error.to_string())?;
    let path = config
        .data_dir
        .join(format!("flush-{}.tmp", std::process::id()));
    let measured = flushes(&path);
    let removed = fs::remove_file(&path);
    let mut measured = measured.map_err(|error| error.to_string())?;
    removed.map_err(|error| error.to_string())?;
    measured.sort_unstable();
    Ok(measured[FLUSHES / 2])
}

fn flushes(path: &Path) -> std::io::Result<[Duration; FLUSHES]> {
    let mut file = File::create_new(path)?;
    for _ in 0..FLUSHES {
        file.write_all(&FLUSHED)?;
    }
    file.sync_all()?;
    file.rewind()?;
    let mut measured = [Duration::ZERO; FLUSHES];
    for took in &mut measured {
        let before = Instant::now();
        file.write_all(&FLUSHED)?;
        file.sync_data()?;
        *took = before.elapsed();
    }
    Ok(measured)
}
