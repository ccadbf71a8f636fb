//! Who is told, who may speak to us, and what signs the log: the parts of the configuration that
//! reach beyond a single call.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use crate::ambient::Ambient;
use crate::broker::{Bank, Ntfy, People, Slack};
use crate::config::Config;
use crate::config::secret::unhex;
use crate::domain::audit::AuditKey;
use crate::domain::ids::hex;
use crate::domain::secret::Secret;

/// The generated key's file in the data folder.
const AUDIT_KEY_FILE: &str = "audit-key";
/// The same for the secret of the sandbox's webhooks.
const SANDBOX_SECRET_FILE: &str = "sandbox-webhook-secret";

/// How people are told and asked.
pub(super) fn people(config: &Config) -> People {
    People {
        slack: config.slack.as_ref().map(|slack| Slack {
            api_base: slack.api_base.clone(),
            bot_token: slack.bot_token.clone(),
            channel: slack.channel_id.clone(),
            signing_secret: slack.signing_secret.clone(),
        }),
        ntfy: config.ntfy.as_ref().map(|ntfy| Ntfy {
            url: ntfy.url.clone(),
            topic: ntfy.topic.clone(),
            token: ntfy.token.clone(),
        }),
        alert_on: config.alert_on.clone(),
    }
}

/// What is known of the bank beyond our own calls.
pub(super) fn bank(config: &Config, sandbox: Option<Secret>) -> Bank {
    let secs = u32::try_from(config.poll_interval.as_secs()).unwrap_or(u32::MAX);
    let configured = config.razorpay.webhook_secrets.iter().cloned();
    Bank {
        webhook_secrets: configured.chain(sandbox).collect(),
        external_agent: config.razorpay.external_agent.clone(),
        poll_interval_secs: config.auto_poll.then_some(secs),
    }
}

/// What the sandbox bank signs its webhooks with: made once and kept in the data folder (0600), so
/// that whoever runs there can sign as it does. `None` where the bank is a real one.
pub fn sandbox_secret(config: &Config, ambient: &Ambient) -> Result<Option<Secret>> {
    if !config.sandbox_mode() {
        return Ok(None);
    }
    let bytes = kept(&config.data_dir.join(SANDBOX_SECRET_FILE), ambient)?;
    Ok(Some(Secret::new(hex(&bytes))))
}

/// The key that signs heads of the audit log: given from outside, or made once and kept beside the
/// store (0600).
pub(super) fn audit_key(config: &Config, ambient: &Ambient) -> Result<Arc<AuditKey>> {
    let bytes = match &config.audit_key {
        Some(given) => Zeroizing::new(given.expose().to_vec()),
        None => kept(&config.data_dir.join(AUDIT_KEY_FILE), ambient)?,
    };
    let key = AuditKey::from_bytes(&bytes).context("the audit key is too short")?;
    Ok(Arc::new(key))
}

fn kept(path: &Path, ambient: &Ambient) -> Result<Zeroizing<Vec<u8>>> {
    if !path.exists() {
        let fresh = Zeroizing::new(hex(&ambient.bytes::<32>()));
        write_once(path, &fresh).with_context(|| format!("{} cannot be made", path.display()))?;
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
    match unhex(text.trim()) {
        Some(bytes) => Ok(bytes),
        None => bail!("{} is damaged; restore it from a backup", path.display()),
    }
}

/// Whole or not at all, and never over a key that another process made meanwhile.
fn write_once(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension(format!("new{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
