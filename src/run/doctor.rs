//! `hundi doctor`: examines what a start would need, without being one. It opens an existing
//! store and starts the sidecar; it makes no folder, no key and no store, and the only thing it
//! asks of a provider is to be read.

mod local;
mod outside;

use std::io::Write;

use crate::app::{self, App, Mismatch};
use crate::config::Config;
use crate::entry::cli::doctor::{Args, Check, report};
use crate::entry::cli::{Failure, SettingFlags};
use crate::wire::mcp::Upstreams;

use super::dispatch::load;
use super::{block_on, this_program};

/// Examines, and prints what was seen.
pub fn run(args: &Args, flags: &SettingFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let config = match load(flags) {
        Ok(config) => config,
        Err(Failure::Failed(why)) => {
            let advice = "correct this first; the rest depends on it";
            let broken = [Check::fail("configuration", one_line(&why), advice)];
            return report(args, &broken, out);
        }
        Err(other) => return Err(other),
    };
    block_on(async {
        let checks = examine(&config).await;
        report(args, &checks, out)
    })
}

async fn examine(config: &Config) -> Vec<Check> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut checks = local::settings(config);
    checks.push(local::canonical_form());
    checks.extend(local::folder(config));
    checks.push(local::token_keys(config));
    let program = match this_program() {
        Ok(program) => program,
        Err(Failure::Failed(why) | Failure::Usage(why)) => {
            checks.push(Check::fail("program", why, "start hundi by its full path"));
            return checks;
        }
        Err(Failure::Told | Failure::Unread) => return checks,
    };
    let app = if local::store_exists(config) {
        match App::beside(config, &program).await {
            Ok(app) => Some(app),
            Err(error) => {
                checks.push(unusable(&error));
                None
            }
        }
    } else {
        let seen = format!("there is none at {} yet", config.database_url);
        checks.push(Check::ok(
            "store",
            format!("{seen}; the first `hundi serve` makes it"),
        ));
        None
    };
    if let Some(app) = &app {
        checks.push(local::keys(app));
        checks.push(Check::ok("mode", &app.bank_told));
        checks.extend(local::store(&app.broker).await);
        checks.extend(local::bank_agent(&app.broker).await);
        checks.extend(local::going_live(config, &app.broker).await);
    }
    checks.extend(outside::redis(config).await);
    let server = outside::server(config).await;
    let bank_runs = outside::bank(config, &mut checks).await;
    checks.push(server);
    match app {
        Some(app) => {
            let wire = app.broker.ports().wire.clone();
            checks.extend(outside::sidecar(config, &*wire, bank_runs).await);
            checks.extend(outside::upstreams(config, &*wire).await);
            checks.extend(local::waiting_tools(config, &app.broker).await);
            checks.extend(local::settled_by_people(&app.broker).await);
            app.shut_down().await;
        }
        None => {
            let base = config.sandbox_mode().then(|| outside::sandbox_url(config));
            let wire = Upstreams::new(app::specs(config, &program, base.as_deref()));
            checks.extend(outside::sidecar(config, &wire, bank_runs).await);
            checks.extend(outside::upstreams(config, &wire).await);
            wire.shut_down().await;
        }
    }
    checks.push(local::ways_around(config));
    checks
}

/// A store that this configuration cannot use.
fn unusable(error: &anyhow::Error) -> Check {
    let (name, advice) = match error.downcast_ref::<Mismatch>() {
        Some(Mismatch::Bank(_)) => ("mode", "nothing starts on this store until they agree"),
        Some(Mismatch::Keys(_)) => ("keys", "nothing starts on this store until they agree"),
        None => (
            "store",
            "nothing can be decided without it; `hundi migrate` tells more",
        ),
    };
    Check::fail(name, one_line(&format!("{error:#}")), advice)
}

/// The report has one line for each check.
fn one_line(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("- "));
    // The heading of a list of mistakes says nothing that the check's name does not.
    lines
        .filter(|line| !line.is_empty() && !line.ends_with("cannot be used:"))
        .collect::<Vec<_>>()
        .join(" | ")
}
