//! Commands that need the configured store or its secrets, and no server: they say why in their
//! help. All others go through a door (`run/door`).

use std::io::Write;

use crate::ambient::Ambient;
use crate::app::App;
use crate::config::Config;
use crate::entry::cli::{self, Failure, MigrateArgs};
use serde_json::json;

use super::{block_on, start_logs, this_program, told};

/// `hundi webhook ...`: only the secret is needed, not the store.
pub fn webhook(
    command: &cli::webhook::Command,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let ambient = Ambient::real();
    let secret = match config.razorpay.webhook_secrets.first() {
        Some(secret) => secret.clone(),
        // The sandbox's own, which a server of this data folder takes as well.
        None => crate::app::kept_sandbox_secret(config)
            .map_err(|error| told(&error))?
            .ok_or_else(|| {
                Failure::of(
                    "set HUNDI_RAZORPAY_WEBHOOK_SECRET to what the server has, or name its data \
                     folder",
                )
            })?,
    };
    let tag = crate::domain::ids::hex(&ambient.bytes::<5>());
    block_on(cli::webhook::run(command, &secret, &tag, out))
}

/// `hundi retention`
pub fn retention(
    args: &cli::retention::Args,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    expect_store(config)?;
    on_store(config, async |app| {
        cli::retention::run(args, &app.broker, out).await
    })
}

/// `hundi migrate`: opening the store is what migrates it.
pub fn migrate(args: MigrateArgs, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    on_store_as(config, args.adopt, async |_| {
        if args.json.json {
            cli::print::json(out, &json!({"status": "up_to_date"}))?;
        } else {
            writeln!(out, "the store is up to date")?;
        }
        Ok(out.flush()?)
    })
}

/// For the commands that look at what is there, or change it: a folder that was named wrong is
/// told, rather than made and found empty.
pub fn expect_store(config: &Config) -> Result<(), Failure> {
    match config.sqlite_path().filter(|path| !path.exists()) {
        None => Ok(()),
        Some(path) => Err(Failure::of(format!(
            "there is no store at {} yet: `hundi serve` makes it; if it is elsewhere, name its \
             folder with --data-dir or HUNDI_DATA_DIR",
            path.display()
        ))),
    }
}

/// Opens the store as a running server would find it, does the work, and closes it again.
pub fn on_store(
    config: &Config,
    work: impl AsyncFnOnce(&App) -> Result<(), Failure>,
) -> Result<(), Failure> {
    on_store_as(config, false, work)
}

fn on_store_as(
    config: &Config,
    adopt: bool,
    work: impl AsyncFnOnce(&App) -> Result<(), Failure>,
) -> Result<(), Failure> {
    start_logs(config);
    let program = this_program()?;
    block_on(async {
        let app = match adopt {
            true => App::adopting(config, &program).await,
            false => App::beside(config, &program).await,
        };
        let app = app.map_err(|error| told(&error))?;
        let ended = work(&app).await;
        app.shut_down().await;
        ended
    })
}
