//! Commands that work on the configured store, next to a running server or without one.

use std::io::{BufRead, Write};

use hundi::ambient::Ambient;
use hundi::app::App;
use hundi::config::Config;
use hundi::domain::ids::OrgId;
use hundi::domain::principal::{Principal, Role};
use hundi::entry::cli::{self, Actor, Failure, MigrateArgs};
use serde_json::json;

use super::{block_on, program, start_logs, told};

/// `hundi key ...`
pub fn key(
    command: &cli::key::Command,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if !matches!(command, cli::key::Command::Create { .. }) {
        expect_store(config)?;
    }
    on_store(config, async |app| {
        let who = acting(app, command.actor()).await?;
        cli::key::run(command, &app.broker, &who, out).await
    })
}

/// `hundi proposal ...`
pub fn proposal(
    command: &cli::proposal::Command,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    command.check()?;
    expect_store(config)?;
    on_store(config, async |app| {
        let who = acting(app, command.actor()).await?;
        cli::proposal::run(command, &app.broker, &who, out).await
    })
}

/// `hundi policy ...`
pub fn policy(
    command: &cli::policy::Command,
    config: &Config,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    use cli::policy::Command::{Delete, Get, History, List};
    if matches!(command, Get(_) | History(_) | List(_) | Delete(_)) {
        expect_store(config)?;
    }
    on_store(config, async |app| {
        let who = match command.actor() {
            Some(actor) => acting(app, actor).await?,
            None => local_admin(),
        };
        cli::policy::run(command, &app.broker, &who, input, out).await
    })
}

/// `hundi payee ...`
pub fn payee(
    command: &cli::payee::Command,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    expect_store(config)?;
    on_store(config, async |app| {
        let who = acting(app, command.actor()).await?;
        cli::payee::run(command, &app.broker, &who, out).await
    })
}

/// `hundi audit ...`
pub fn audit(args: &cli::audit::Args, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    expect_store(config)?;
    on_store(config, async |app| {
        let who = match args.actor() {
            Some(actor) => acting(app, actor).await?,
            None => local_admin(),
        };
        cli::audit::run(args, &app.broker, &who, out).await
    })
}

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
        None => hundi::app::kept_sandbox_secret(config)
            .map_err(|error| told(&error))?
            .ok_or_else(|| {
                Failure::of(
                    "set HUNDI_RAZORPAY_WEBHOOK_SECRET to what the server has, or name its data \
                     folder",
                )
            })?,
    };
    let tag = hundi::domain::ids::hex(&ambient.bytes::<5>());
    block_on(cli::webhook::run(command, &secret, &tag, out))
}

/// `hundi tool ...`
pub fn tool(
    command: &cli::tool::Command,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    on_store(config, async |app| {
        let who = acting(app, command.actor()).await?;
        cli::tool::run(command, &app.broker, &who, out).await
    })
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
fn expect_store(config: &Config) -> Result<(), Failure> {
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
    let program = program()?;
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

/// The holder of `--key`, or whoever owns the data folder.
async fn acting(app: &App, actor: &Actor) -> Result<Principal, Failure> {
    match &actor.key {
        Some(key) => Ok(app.broker.access.authenticate(key).await?),
        None => Ok(local_admin()),
    }
}

/// Whoever owns the data folder.
pub fn local_admin() -> Principal {
    Principal {
        id: "cli:local".to_owned(),
        name: "the command line".to_owned(),
        org: OrgId::default(),
        roles: Role::Admin.into(),
        agent: None,
        person: None,
    }
}
