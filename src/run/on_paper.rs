//! Commands that work on what they are given: no store is opened and nobody is asked.

use std::io::{BufRead, Write};

use crate::ambient::Ambient;
use crate::broker::Keys;
use crate::config::{Config, Shown};
use crate::domain::facts::OnMissing;
use crate::domain::mark::KeyKind;
use crate::entry::cli::{self, Failure};
use crate::governance::{integrity, secrets, simulate};
use crate::keyring::Keyring;

use super::keys_at_hand;

/// The secrets in a text, as `hundi scan` shows them.
pub fn secrets_in(text: &[u8]) -> Vec<cli::scan::Found> {
    let found = |find: secrets::Find| cli::scan::Found {
        rule: find.rule,
        start: find.start,
        end: find.end,
    };
    secrets::find(text).into_iter().map(found).collect()
}

/// `hundi policy simulate`
pub fn simulate(input: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), Failure> {
    let now = Ambient::real().now();
    cli::policy::simulate(input, out, |line| simulate::simulate_line(line, now))
}

/// `hundi config`
pub fn config(
    args: &cli::config::Args,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
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
    let (held, wrong) = keys_at_hand(config)?;
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

/// `hundi score`
pub fn score(config: &Config, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), Failure> {
    // On paper there is nobody to ask, and what waits for a person is not allowed.
    let unscored = match config.on_missing {
        OnMissing::Allow => "allow",
        OnMissing::Hold | OnMissing::Block => "block",
    };
    cli::score::run(input, out, |case| {
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

/// `hundi token inspect`
pub fn token(
    command: &cli::token::Command,
    config: &Config,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let cli::token::Command::Inspect(json) = command;
    let ambient = Ambient::real();
    let ring = Keyring::existing(config, &ambient).map(|keys| keys.ring());
    let ring = ring.as_deref().map_err(ToString::to_string);
    cli::token::run(*json, ring, ambient.now(), input, out)
}
