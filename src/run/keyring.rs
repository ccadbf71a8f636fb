//! `hundi keyring ...`: changes the key file of the data folder, and has the audit log tell of it.
//!
//! The change comes first and stands by itself: a leaked key is retired even while the store is
//! away. Then the log cannot be told, which is said loudly.

use std::io::Write;

use crate::ambient::Ambient;
use crate::config::Config;
use crate::domain::token::KeyEntry;
use crate::entry::cli::{self, Failure};
use crate::keyring::Keyring;

use crate::broker::access::owner::owner;

use super::on_store::on_store;

/// Runs the command.
pub fn run(
    command: &cli::keyring::Command,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let ambient = Ambient::real();
    let kept = Kept {
        keyring: Keyring::existing(config, &ambient).map_err(Failure::of)?,
        token_ttl_secs: config.token_ttl_secs,
    };
    let before = kept.keyring.list().map_err(Failure::of)?;
    // A reader that has gone away must not keep the log from being told.
    let printed = cli::keyring::run(command, &kept, ambient.now(), out);
    let after = kept.keyring.list().map_err(Failure::of)?;
    let changed: Vec<&KeyEntry> = after.iter().filter(|key| !before.contains(key)).collect();
    if changed.is_empty() {
        return printed;
    }
    let told = on_store(config, async |app| {
        Ok(app
            .broker
            .pay
            .token_keys_changed(&owner(), &changed)
            .await?)
    });
    let told = told.map_err(|failure| match failure {
        Failure::Failed(why) | Failure::Usage(why) => Failure::of(format!(
            "the keys are changed, but the audit log was not told: {why}"
        )),
        Failure::Told | Failure::Unread => failure,
    });
    told.and(printed)
}

/// The ring as the command line changes it: tokens live as long as the configuration says.
struct Kept {
    keyring: Keyring,
    token_ttl_secs: i64,
}

impl cli::keyring::Ring for Kept {
    fn list(&self) -> Result<Vec<KeyEntry>, String> {
        self.keyring.list().map_err(|error| error.to_string())
    }

    fn rotate(&self) -> Result<KeyEntry, String> {
        let rotated = self.keyring.rotate(self.token_ttl_secs);
        rotated.map_err(|error| error.to_string())
    }

    fn retire(&self, kid: &str) -> Result<Vec<KeyEntry>, String> {
        self.keyring.retire(kid).map_err(|error| error.to_string())
    }
}
