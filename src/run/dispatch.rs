//! From the command line to the exit code: load the configuration, build what the command needs, run
//! it, and end with 0 (done), 1 (refused or failed) or 2 (wrong usage).

use std::io::{self, BufRead, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::ambient::Ambient;
use crate::config::layers::Flag;
use crate::config::{Config, environment};
use crate::entry::cli::asks::{Around, Asks};
use crate::entry::cli::{self, Cli, Command, Failure, SettingFlags};

use super::door::through;
use super::{
    bench, demo, doctor, keyring, mcp, on_paper, on_store, sandbox, serve, sidecar, watch, worker,
};

/// The whole program, from the command line to the exit code.
pub fn program() -> ExitCode {
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
    let out = &mut out;
    let flags = &cli.settings;
    match &cli.command {
        // These need nothing, so that a mistake in the configuration cannot stop them.
        Command::Hash(args) => cli::hash::run(args, &mut input(), out),
        Command::Scan(args) => cli::scan::run(args, &mut input(), out, on_paper::secrets_in),
        Command::Policy(cli::policy::Command::Simulate(_)) => on_paper::simulate(&mut input(), out),
        Command::Completions { shell } => {
            cli::completions(*shell, out);
            Ok(out.flush()?)
        }
        Command::Man { folder } => cli::man(folder),
        Command::Audit(args) => match cli::audit::without_store(args, out) {
            Some(ended) => ended,
            None => ask(args, flags, out),
        },

        // These ask a broker.
        Command::Freeze(args) => ask(args, flags, out),
        Command::Unfreeze(args) => ask(args, flags, out),
        Command::Source(command) => ask(command, flags, out),
        Command::Server(command) => ask(command, flags, out),
        Command::Access(command) => ask(command, flags, out),
        Command::Person(command) => ask(command, flags, out),
        Command::Org(command) => ask(command, flags, out),
        Command::Role(args) => ask(args, flags, out),
        Command::Invoke(args) => ask(args, flags, out),
        Command::Trace(args) => ask(args, flags, out),
        Command::Prices(command) => ask(command, flags, out),
        Command::Document(command) => ask(command, flags, out),
        Command::Search(args) => ask(args, flags, out),
        Command::Queue(args) => ask(args, flags, out),
        Command::Apply(args) => ask(args, flags, out),
        Command::Export(args) => ask(args, flags, out),
        Command::Key(command) => ask(command, flags, out),
        Command::Proposal(command) => ask(command, flags, out),
        Command::Policy(command) => ask(command, flags, out),
        Command::Payee(command) => ask(command, flags, out),
        Command::Tool(command) => ask(command, flags, out),

        // These need the configuration, its secrets or its store, and no server.
        Command::Bench(args) => bench::run(args, flags, out),
        Command::Doctor(args) => doctor::run(args, flags, out),
        Command::Score(_) => on_paper::score(&load(flags)?, &mut input(), out),
        Command::Token(command) => on_paper::token(command, &load(flags)?, &mut input(), out),
        Command::Config(args) => on_paper::config(args, &load(flags)?, out),
        Command::Keyring(cli::keyring::Command::Rotate(rotate)) if rotate.master => {
            ask(rotate, flags, out)
        }
        Command::Keyring(command) => keyring::run(command, &load(flags)?, out),
        Command::Webhook(command) => on_store::webhook(command, &load(flags)?, out),
        Command::Migrate(args) => on_store::migrate(*args, &load(flags)?, out),
        Command::Retention(args) => on_store::retention(args, &load(flags)?, out),
        Command::Demo(args) => demo::run(args.json, out),

        // These serve.
        Command::Serve(args) => serve::run(args, &load(flags)?, out),
        Command::Worker(args) => worker::run(args, &load(flags)?, out),
        Command::Mcp(args) => mcp::run(args, &load(flags)?),
        Command::Sandbox(args) => sandbox::run(args, &load(flags)?, out),
        // The child has no configuration file and no data folder: only its variables.
        Command::Sidecar(cli::SidecarCommand::Razorpay) => sidecar::razorpay(),
        Command::Sidecar(cli::SidecarCommand::Watch) => watch::children(),
    }
}

/// Asks the broker whose door the command names.
fn ask(command: &impl Asks, flags: &SettingFlags, out: &mut dyn Write) -> Result<(), Failure> {
    command.check()?;
    through(&command.actor(), flags, command.looks(), async |door| {
        let mut around = Around {
            now: Ambient::real().now(),
            input: &mut input(),
            out,
        };
        command.ask(door, &mut around).await
    })
}

/// Enough that bulk commands write to the system once per some hundred lines.
const OUT_BYTES: usize = 64 * 1024;

fn input() -> impl BufRead {
    io::BufReader::with_capacity(OUT_BYTES, io::stdin().lock())
}

/// The configuration, with the flags of the command line on top.
pub fn load(flags: &SettingFlags) -> Result<Config, Failure> {
    let given = flags.given()?.into_iter();
    let given = given.map(|(key, value, flag)| Flag { key, value, flag });
    let given: Vec<Flag> = given.collect();
    Config::load(flags.config.as_deref(), &environment(), &given).map_err(Failure::of)
}
