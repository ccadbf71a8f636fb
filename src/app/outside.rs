//! Who is told, and who may speak to us: the parts of the configuration that reach beyond a single
//! call.

use anyhow::Result;

use crate::ambient::Ambient;
use crate::broker::{BankSettings, Ntfy, People, Slack};
use crate::config::Config;
use crate::config::secret::KeyBytes;
use crate::domain::ids::hex;
use crate::domain::secret::Secret;
use crate::keyring::kept::{self, SANDBOX_SECRET_FILE};

/// How people are told and asked.
pub(super) fn people(config: &Config) -> People {
    People {
        slack: config.slack.as_ref().map(|slack| Slack {
            api_base: slack.api_base.clone(),
            bot_token: slack.bot_token.clone(),
            channel: slack.channel_id.clone(),
            signing_secret: slack.signing_secret.clone(),
            teams: slack.team_ids.clone(),
        }),
        ntfy: config.ntfy.as_ref().map(|ntfy| Ntfy {
            url: ntfy.url.clone(),
            topic: ntfy.topic.clone(),
            token: ntfy.token.clone(),
        }),
        webhooks: config.webhooks.clone(),
        alert_on: config.alert_on.clone(),
    }
}

/// What is known of the bank beyond our own calls.
pub(super) fn bank(config: &Config, sandbox: Option<Secret>) -> BankSettings {
    let secs = u32::try_from(config.poll_interval.as_secs()).unwrap_or(u32::MAX);
    let configured = config.razorpay.webhook_secrets.iter().cloned();
    BankSettings {
        webhook_secrets: configured.chain(sandbox).collect(),
        external_agent: config.razorpay.external_agent.clone(),
        holders: config.razorpay.holders.clone(),
        poll_interval_secs: config.auto_poll.then_some(secs),
    }
}

/// What the sandbox bank signs its webhooks with: made once and kept in the data folder (0600), so
/// that whoever runs there can sign as it does. `None` where the bank is a real one.
pub(super) fn sandbox_secret(config: &Config, ambient: &Ambient) -> Result<Option<Secret>> {
    if !config.sandbox_mode() {
        return Ok(None);
    }
    let keys = kept::read_or_make(&config.data_dir.join(SANDBOX_SECRET_FILE), ambient)?;
    Ok(first(&keys))
}

/// The same where a server has made it already.
pub fn kept_sandbox_secret(config: &Config) -> Result<Option<Secret>> {
    if !config.sandbox_mode() {
        return Ok(None);
    }
    let keys = kept::read(&config.data_dir.join(SANDBOX_SECRET_FILE))?;
    Ok(keys.as_deref().and_then(first))
}

fn first(keys: &[KeyBytes]) -> Option<Secret> {
    keys.first().map(|key| Secret::new(hex(key.expose())))
}
