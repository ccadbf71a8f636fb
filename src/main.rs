//! From the command line to the exit code: load the configuration, build what the command needs, run
//! it, and end with 0 (done), 1 (refused or failed) or 2 (wrong usage).
//!
//! A module of the library, so that the futures it runs are compiled once and not again for the
//! binary (`hundi.rs`), which only calls it.

pub mod run;

use std::io::{self, BufRead, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use hundi::ambient::Ambient;
use hundi::broker::Keys;
use hundi::config::layers::Flag;
use hundi::config::{Config, Shown, environment};
use hundi::domain::facts::OnMissing;
use hundi::domain::mark::KeyKind;
use hundi::entry::cli::{self, Cli, Command, Failure, SettingFlags};
use hundi::governance::{integrity, secrets, simulate};
use hundi::keyring::Keyring;

use run::door::{Expects, through};

/// The whole program, from the command line to the exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let ended = carry_out(&cli);
    match ended {
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::from(1),
        Err(Failure::Failed(text)) => say(&text, 1),
        Err(Failure::Usage(text)) => say(&text, 2),
    }
}

/// Nothing can be done about a closed stderr, so whether it was heard does not matter.
fn say(text: &str, code: u8) -> ExitCode {
    // It may quote what a server or an upstream said.
    let lines: Vec<String> = text.lines().map(cli::print::plain).collect();
    let _ = writeln!(io::stderr(), "hundi: {}", lines.join("\n"));
    ExitCode::from(code)
}

fn carry_out(cli: &Cli) -> Result<(), Failure> {
    // Not locked for good: `hundi mcp` writes its answers from another thread.
    let mut out = BufWriter::with_capacity(OUT_BYTES, io::stdout());
    let settings = &cli.settings;
    match &cli.command {
        // These need nothing, so that a mistake in the configuration cannot stop them.
        Command::Hash(args) => cli::hash::run(args, &mut input(), &mut out),
        Command::Scan(args) => cli::scan::run(args, &mut input(), &mut out, secrets_in),
        Command::Completions { shell } => {
            cli::completions(*shell, &mut out);
            Ok(out.flush()?)
        }
        Command::Man { folder } => cli::man(folder),
        Command::Bench(args) => {
            let config = || match load(&cli.settings) {
                Ok(config) => Ok(config),
                Err(Failure::Failed(why) | Failure::Usage(why)) => Err(why),
                Err(Failure::Told | Failure::Unread) => Err("nothing to measure on".to_owned()),
            };
            let disk = cli::bench::Disk {
                floor: &|bare| run::bench::floor(&config()?, bare),
                flush: &|| run::bench::flush(&config()?),
            };
            cli::bench::run(args, &disk, &mut out)
        }
        Command::Audit(args) => match cli::audit::without_store(args, &mut out) {
            Some(ended) => ended,
            None => {
                let now = Ambient::real().now();
                through(&args.actor(), settings, Expects::Store, async |door| {
                    cli::audit::run(args, now, door, &mut out).await
                })
            }
        },
        Command::Webhook(command) => {
            run::on_store::webhook(command, &load(&cli.settings)?, &mut out)
        }
        Command::Freeze(args) => {
            args.check(true)?;
            through(&args.actor, settings, Expects::Store, async |door| {
                cli::freeze::run(args, true, door, &mut out).await
            })
        }
        Command::Unfreeze(args) => through(&args.actor, settings, Expects::Store, async |door| {
            cli::freeze::run(args, false, door, &mut out).await
        }),
        Command::Source(command) => {
            through(command.actor(), settings, Expects::Nothing, async |door| {
                cli::source::run(command, door, &mut out).await
            })
        }
        Command::Server(command) => {
            through(command.actor(), settings, Expects::Nothing, async |door| {
                cli::server::run(command, door, &mut out).await
            })
        }
        Command::Access(command) => {
            through(command.actor(), settings, Expects::Nothing, async |door| {
                cli::access::run(command, door, &mut out).await
            })
        }
        Command::Person(command) => {
            through(command.actor(), settings, Expects::Nothing, async |door| {
                cli::people::person(command, door, &mut out).await
            })
        }
        Command::Org(command) => {
            through(command.actor(), settings, Expects::Nothing, async |door| {
                cli::people::org(command, door, &mut out).await
            })
        }
        Command::Role(how) => through(&how.actor, settings, Expects::Nothing, async |door| {
            cli::people::roles(how.json, door, &mut out).await
        }),
        Command::Invoke(args) => {
            let actor = args.actor();
            through(&actor, settings, Expects::Store, async |door| {
                cli::invoke::run(args, door, &mut out).await
            })
        }
        Command::Trace(args) => through(&args.how.actor, settings, Expects::Store, async |door| {
            cli::invoke::trace(args, door, &mut out).await
        }),
        Command::Prices(command) => {
            let now = Ambient::real().now().to_string();
            let today = now.get(..10).unwrap_or_default().to_owned();
            through(command.actor(), settings, Expects::Store, async |door| {
                cli::prices::run(command, &today, door, &mut out).await
            })
        }
        Command::Queue(args) => through(&args.how.actor, settings, Expects::Store, async |door| {
            cli::queue::run(args, door, &mut out).await
        }),
        Command::Doctor(args) => run::doctor::run(args, &cli.settings, &mut out),
        Command::Score(_) => score(&load(&cli.settings)?, &mut out),
        Command::Token(command) => token(command, &load(&cli.settings)?, &mut out),
        Command::Keyring(cli::keyring::Command::Rotate(rotate)) if rotate.master => {
            through(&rotate.how.actor, settings, Expects::Store, async |door| {
                cli::keyring::rotate_master(&rotate.how, door, &mut out).await
            })
        }
        Command::Keyring(command) => run::keyring::run(command, &load(&cli.settings)?, &mut out),
        Command::Config(args) => config(args, &load(&cli.settings)?, &mut out),
        Command::Apply(args) => {
            through(&args.how.actor, settings, Expects::Nothing, async |door| {
                cli::apply::apply(args, door, &mut out).await
            })
        }
        Command::Export(args) => through(&args.how.actor, settings, Expects::Store, async |door| {
            cli::apply::export(args, door, &mut out).await
        }),
        Command::Key(command) => {
            let expects = match command {
                cli::key::Command::Create { .. } => Expects::Nothing,
                cli::key::Command::List { .. } | cli::key::Command::Revoke { .. } => Expects::Store,
            };
            through(command.actor(), settings, expects, async |door| {
                cli::key::run(command, door, &mut out).await
            })
        }
        Command::Proposal(command) => {
            command.check()?;
            through(command.actor(), settings, Expects::Store, async |door| {
                cli::proposal::run(command, door, &mut out).await
            })
        }
        Command::Policy(cli::policy::Command::Simulate(_)) => {
            let now = Ambient::real().now();
            let decide = |line: &[u8]| simulate::simulate_line(line, now);
            cli::policy::simulate(&mut input(), &mut out, decide)
        }
        Command::Policy(command) => {
            let expects = match command.looks() {
                true => Expects::Store,
                false => Expects::Nothing,
            };
            through(command.actor(), settings, expects, async |door| {
                cli::policy::run(command, door, &mut input(), &mut out).await
            })
        }
        Command::Payee(command) => {
            through(command.actor(), settings, Expects::Store, async |door| {
                cli::payee::run(command, door, &mut out).await
            })
        }
        Command::Tool(command) => {
            through(command.actor(), settings, Expects::Nothing, async |door| {
                cli::tool::run(command, door, &mut out).await
            })
        }
        Command::Migrate(args) => run::on_store::migrate(*args, &load(&cli.settings)?, &mut out),
        Command::Retention(args) => run::on_store::retention(args, &load(&cli.settings)?, &mut out),
        Command::Serve(args) => run::serve::run(args, &load(&cli.settings)?, &mut out),
        Command::Worker(args) => run::worker::run(args, &load(&cli.settings)?, &mut out),
        Command::Mcp(args) => run::mcp::run(args, &load(&cli.settings)?),
        Command::Sandbox(args) => run::sandbox::run(args, &load(&cli.settings)?, &mut out),
        // The child has no configuration file and no data folder: only its variables.
        Command::Sidecar(cli::SidecarCommand::Razorpay) => run::sidecar::razorpay(),
        Command::Sidecar(cli::SidecarCommand::Watch) => run::watch::children(),
        Command::Demo(args) => run::demo::run(args.json, &mut out),
    }
}

/// Enough that bulk commands write to the system once per some hundred lines.
const OUT_BYTES: usize = 64 * 1024;

fn input() -> impl BufRead {
    io::BufReader::with_capacity(OUT_BYTES, io::stdin().lock())
}

fn secrets_in(text: &[u8]) -> Vec<cli::scan::Found> {
    let found = |find: secrets::Find| cli::scan::Found {
        rule: find.rule,
        start: find.start,
        end: find.end,
    };
    secrets::find(text).into_iter().map(found).collect()
}

fn load(flags: &SettingFlags) -> Result<Config, Failure> {
    let given = flags.given()?.into_iter();
    let given = given.map(|(key, value, flag)| Flag { key, value, flag });
    let given: Vec<Flag> = given.collect();
    Config::load(flags.config.as_deref(), &environment(), &given).map_err(Failure::of)
}

fn config(args: &cli::config::Args, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = config.rows().iter().map(|row| cli::config::Row {
        key: row.key.clone(),
        value: match &row.value {
            Shown::Unset(()) => serde_json::Value::Null,
            Shown::One(text) => text.as_str().into(),
            Shown::Many(texts) => texts.clone().into(),
        },
        layer: row.layer.to_owned(),
        source: row.source.clone(),
        variable: row.variable.clone(),
        help: row.help.to_owned(),
    });
    let (held, wrong) = run::keys_at_hand(config)?;
    let keys = held.map(|held| {
        let master = held.masters.first().cloned().unwrap_or_default();
        let named = [KeyKind::Token, KeyKind::Audit, KeyKind::Master].map(KeyKind::name);
        let names = [held.sealing, held.audit, master];
        named.into_iter().zip(names).collect()
    });
    let remarks = cli::config::Remarks {
        keys: keys.unwrap_or_default(),
        off: config.off(),
        warnings: config.warnings.iter().cloned().chain(wrong).collect(),
    };
    cli::config::run(args, &rows.collect::<Vec<_>>(), &remarks, out)
}

fn score(config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    // On paper there is nobody to ask, and what waits for a person is not allowed.
    let unscored = match config.on_missing {
        OnMissing::Allow => "allow",
        OnMissing::Hold | OnMissing::Block => "block",
    };
    cli::score::run(&mut input(), out, |case| {
        let weights = weights(case, config.weights)?;
        if case.samples.len() > integrity::MAX_SAMPLES {
            let most = integrity::MAX_SAMPLES;
            return Err(format!("at most {most} samples are compared"));
        }
        let prompt_hash = case.prompt.as_deref().map(integrity::prompt_hash);
        let score = match case.signals {
            Some(signals) => integrity::scored(signals, &weights),
            None => {
                let baseline = case.baseline_hash.as_deref();
                integrity::score_with(&case.samples, prompt_hash.as_deref(), baseline, &weights)
            }
        };
        let decision = match score.composite {
            None => unscored,
            Some(composite) if integrity::is_low(composite, config.block_at) => "block",
            Some(_) => "allow",
        };
        Ok(cli::score::Scored {
            score,
            decision,
            prompt_hash,
        })
    })
}

/// Those of the case; one that is left out is the broker's own.
fn weights(
    case: &cli::score::Case,
    usual: integrity::Weights,
) -> Result<integrity::Weights, String> {
    let [instability, variance, drift] = case.weights.unwrap_or_default();
    let weights = integrity::Weights {
        output_instability: instability.unwrap_or(usual.output_instability),
        numeric_variance: variance.unwrap_or(usual.numeric_variance),
        prompt_drift: drift.unwrap_or(usual.prompt_drift),
    };
    if weights.are_usable() {
        Ok(weights)
    } else {
        Err("weights cannot be negative, nor all zero".to_owned())
    }
}

fn token(
    command: &cli::token::Command,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let cli::token::Command::Inspect(json) = command;
    let ambient = Ambient::real();
    let ring = Keyring::existing(config, &ambient).map(|keys| keys.ring());
    let ring = ring.as_deref().map_err(ToString::to_string);
    cli::token::run(*json, ring, ambient.now(), &mut input(), out)
}
