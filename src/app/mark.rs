//! The mark of the store as a start meets it: compared, written where there is none, and with it the
//! keys that go with the store (`domain::mark` says what a mark is).
//!
//! Whoever is first writes the mark, and whoever else starts at the same moment reads it; so nodes
//! that differ cannot both begin. Only a store without any record makes keys. A store that was
//! filled before there were marks is taken for what its records show; where they show nothing, a
//! person has to say so ([`Adopt`]).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::SANDBOX_ACCOUNT;
use crate::ambient::Ambient;
use crate::broker::access::first::first_agent_id;
use crate::config::Config;
use crate::config::secret::KeyBytes;
use crate::domain::audit::AuditKey;
use crate::domain::audit::stored::StoredLog;
use crate::domain::change::{Change, Conflict, DocKey};
use crate::domain::document::{Document, Single};
use crate::domain::ids::OrgId;
use crate::domain::mark::{Bank, Foreign, Held, KeyKind, Keys, Mark, Mode};
use crate::domain::policy::{PastPolicy, VersionOf};
use crate::keyring::kept::{self, AUDIT_KEY_FILE, MASTER_KEY_FILE};
use crate::keyring::{Keyring, RING_FILE, master_name};
use crate::store::{ApplyError, ProposalFilter, RecordFilter, Store};

/// How long a look at the store may take.
const LOOK: Duration = Duration::from_secs(3);
/// How often a start tries again when others start at the same moment.
const TRIES: u32 = 8;
/// The built-in bank has no address of its own: its port may be another each time.
const BUILT_IN: &str = "built-in";
/// Tools that exist in the sandbox alone.
const SANDBOX_TOOLS: [&str; 2] = ["transfer_funds", "noop"];

/// Whether a person says that store and configuration belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adopt {
    /// Nobody does: what is unclear is refused.
    No,
    /// `hundi migrate --adopt`: an unmarked store is this configuration's, and token and master keys
    /// that were lost are given up for the ones given now.
    Yes,
}

/// Why a start and a store do not go together. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// Another mode, account or address of the bank; or nobody knows which.
    #[error("{0}")]
    Bank(String),
    /// A key is missing, or is another.
    #[error("{0}")]
    Keys(String),
}

/// The keys of one process, all of them the store's.
pub(super) struct StoreKeys {
    /// Signs commit tokens.
    pub ring: Keyring,
    /// Signs the heads of the audit log.
    pub audit: Arc<AuditKey>,
    /// Guard what the store keeps secret, the newest first.
    pub masters: Vec<KeyBytes>,
}

impl StoreKeys {
    /// The keys that are given or kept; makes those that `may_make` names. `None` if one is missing.
    fn gather(
        config: &Config,
        ambient: &Ambient,
        may_make: impl Fn(KeyKind) -> bool,
    ) -> Result<Self> {
        let file = |kind: KeyKind, name: &str| {
            let path = config.data_dir.join(name);
            match may_make(kind) {
                true => kept::read_or_make(&path, ambient).map_err(anyhow::Error::from),
                false => kept::read(&path)?.ok_or_else(|| missing(config, kind, name)),
            }
        };
        let ring_there = !config.token_keys.is_empty() || config.data_dir.join(RING_FILE).exists();
        if !ring_there && !may_make(KeyKind::Token) {
            return Err(missing(config, KeyKind::Token, RING_FILE));
        }
        let ring = Keyring::open(config, ambient).context("the token keys")?;
        let audit = match &config.audit_key {
            Some(given) => vec![given.clone()],
            None => file(KeyKind::Audit, AUDIT_KEY_FILE)?,
        };
        let audit = audit.first().map(KeyBytes::expose);
        let audit = audit.and_then(AuditKey::from_bytes);
        let masters = match config.master_keys.is_empty() {
            false => config.master_keys.clone(),
            true => file(KeyKind::Master, MASTER_KEY_FILE)?,
        };
        Ok(Self {
            ring,
            audit: Arc::new(audit.context("the audit key is too short")?),
            masters,
        })
    }

    /// Their names.
    pub fn held(&self) -> Result<Held> {
        let ring = self.ring.list()?;
        let sealing = ring.iter().find(|key| key.sealing);
        Ok(Held {
            sealing: sealing.map_or_else(String::new, |key| key.kid.clone()),
            tokens: ring.into_iter().map(|key| key.kid).collect(),
            audit: self.audit.public().id(),
            masters: self.masters.iter().map(master_name).collect(),
        })
    }
}

/// Compares the start with the mark of the store, writes it where there is none, and gives the keys.
pub(super) async fn settle(
    config: &Config,
    ambient: &Ambient,
    store: &dyn Store,
    adopt: Adopt,
) -> Result<StoreKeys> {
    for _ in 0..TRIES {
        let found = store.doc(&mark_key()).await?;
        let found = found.as_ref().map(Mark::read).transpose()?;
        let (version, known) = match found {
            None => (0, None),
            Some(stored) => (stored.version, Some(stored.value)),
        };
        let (keys, mark) = match &known {
            Some(mark) => marked(config, ambient, mark, adopt)?,
            None => unmarked(config, ambient, store, adopt).await?,
        };
        if known.as_ref() == Some(&mark) {
            return Ok(keys);
        }
        let write = mark.write_only(&OrgId::default(), Some(version));
        let change = Change::documents(vec![write], Vec::new(), Vec::new(), Vec::new());
        match store.apply(change).await {
            Ok(_) => return Ok(keys),
            // Somebody else starts at this moment: what they wrote is what counts.
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("others kept changing the mark of the store; start again")
}

/// How the keys at hand and the store that is there go together, for those who only look: the names
/// of the keys, if all are there, and what is wrong, if something is. Makes nothing.
pub async fn standing(config: &Config) -> (Option<Held>, Option<String>) {
    let ambient = Ambient::real();
    let told = |error: anyhow::Error| Some(format!("{error:#}"));
    let keys = StoreKeys::gather(config, &ambient, |_| false);
    let held = keys.as_ref().ok().and_then(|keys| keys.held().ok());
    if config.sqlite_path().is_some_and(|path| !path.exists()) {
        return (held, None);
    }
    let seen = async {
        let opened = super::open_store(config, &ambient, Duration::ZERO).await;
        let doc = opened.ok()?.store.doc(&mark_key()).await.ok()??;
        match Mark::read(&doc) {
            Ok(stored) => marked(config, &ambient, &stored.value, Adopt::No)
                .err()
                .and_then(told),
            Err(error) => told(error.into()),
        }
    };
    let wrong = tokio::time::timeout(LOOK, seen).await.ok().flatten();
    (held, wrong)
}

/// The document that holds the mark.
fn mark_key() -> DocKey {
    Mark::only(&OrgId::default())
}

/// The bank that this configuration pays through.
pub(super) fn bank(config: &Config) -> Bank {
    let razorpay = &config.razorpay;
    let account = razorpay.account_number.as_deref();
    let account = account.unwrap_or(SANDBOX_ACCOUNT).trim().to_owned();
    match &razorpay.key {
        None => Bank {
            mode: Mode::Sandbox,
            account,
            api_base: BUILT_IN.to_owned(),
        },
        Some(key) => Bank {
            mode: Mode::of_key(&key.id),
            account,
            api_base: one_spelling(&razorpay.api_base),
        },
    }
}

/// Host in lower case, no usual port, and neither a slash nor `/v1` at the end.
fn one_spelling(base: &str) -> String {
    let parsed = url::Url::parse(base).map_or_else(|_| base.to_owned(), String::from);
    let bare = parsed.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").unwrap_or(bare);
    bare.trim_end_matches('/').to_owned()
}

fn marked(
    config: &Config,
    ambient: &Ambient,
    mark: &Mark,
    adopt: Adopt,
) -> Result<(StoreKeys, Mark)> {
    let asked = bank(config);
    if let Some(way) = mark.bank.differs_from(&asked) {
        return Err(another_bank(config, way, &mark.bank, &asked));
    }
    // The audit log goes on under one key or not at all, so that one is never made anew.
    let lost = |kind| adopt == Adopt::Yes && kind != KeyKind::Audit;
    let keys = StoreKeys::gather(config, ambient, lost)?;
    let held = keys.held()?;
    let named = match mark.keys.after(&held) {
        Ok(named) => named,
        Err(foreign) if foreign.iter().all(|foreign| lost(foreign.kind)) => Keys::of(&held),
        Err(foreign) => return Err(other_keys(&foreign)),
    };
    let mark = Mark {
        bank: asked,
        keys: named,
    };
    Ok((keys, mark))
}

async fn unmarked(
    config: &Config,
    ambient: &Ambient,
    store: &dyn Store,
    adopt: Adopt,
) -> Result<(StoreKeys, Mark)> {
    let asked = bank(config);
    let past = past(store).await?;
    match past {
        Past::None => {}
        Past::Sandbox if asked.mode == Mode::Sandbox => {}
        Past::Sandbox => {
            let was = Bank {
                mode: Mode::Sandbox,
                account: SANDBOX_ACCOUNT.to_owned(),
                api_base: BUILT_IN.to_owned(),
            };
            return Err(another_bank(config, "mode", &was, &asked));
        }
        Past::Unclear if adopt == Adopt::Yes => {}
        Past::Unclear => bail!(Mismatch::Bank(format!(
            "the store {} was filled before stores were marked, and its records do not show for \
             which bank. If it has only ever been used with {asked}, say so once with `hundi \
             migrate --adopt`; if not, or if you do not know, begin anew: {}",
            config.database_url,
            begin_anew(config)
        ))),
    }
    // Before there were marks there was no master key, so there is nothing that one could have
    // sealed.
    let may_make = |kind| past == Past::None || adopt == Adopt::Yes || kind == KeyKind::Master;
    let keys = StoreKeys::gather(config, ambient, may_make)?;
    let held = keys.held()?;
    if let Some(foreign) = foreign_head(store, &held.audit).await? {
        return Err(other_keys(&[foreign]));
    }
    let mark = Mark {
        bank: asked,
        keys: Keys::of(&held),
    };
    Ok((keys, mark))
}

/// What the records of an unmarked store show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Past {
    /// There are none.
    None,
    /// It was a sandbox's.
    Sandbox,
    /// It was somebody's.
    Unclear,
}

async fn past(store: &dyn Store) -> Result<Past> {
    let records = RecordFilter {
        limit: 1,
        ..RecordFilter::default()
    };
    let proposals = ProposalFilter {
        limit: 1,
        ..ProposalFilter::default()
    };
    if store.records(&records).await?.is_empty() && store.proposals(&proposals).await?.is_empty() {
        return Ok(Past::None);
    }
    // The first start of a sandbox gives its agent a policy, in our own name.
    let first = VersionOf {
        agent: first_agent_id()?,
        version: 1,
    };
    let seeded = store
        .doc(&PastPolicy::key(&OrgId::default(), &first))
        .await?;
    let seeded = seeded.and_then(|doc| PastPolicy::read(&doc).ok());
    if seeded.is_some_and(|stored| stored.value.by == "hundi") {
        return Ok(Past::Sandbox);
    }
    for tool in SANDBOX_TOOLS {
        let of_tool = ProposalFilter {
            tool: Some(tool.to_owned()),
            ..proposals.clone()
        };
        if !store.proposals(&of_tool).await?.is_empty() {
            return Ok(Past::Sandbox);
        }
    }
    Ok(Past::Unclear)
}

/// A head of the audit log that another key has signed.
async fn foreign_head(store: &dyn Store, ours: &str) -> Result<Option<Foreign>> {
    for doc in store.docs(StoredLog::KIND, None).await? {
        let stored = StoredLog::read(&doc);
        let signed = stored.map_or_else(|_| "unreadable".to_owned(), |log| log.value.head.key_id);
        if signed != ours {
            return Ok(Some(Foreign {
                kind: KeyKind::Audit,
                wanted: signed,
                found: ours.to_owned(),
            }));
        }
    }
    Ok(None)
}

fn another_bank(config: &Config, way: &str, was: &Bank, asked: &Bank) -> anyhow::Error {
    Mismatch::Bank(format!(
        "the store {} belongs to {was}, and this start is for {asked}, another {way}: nothing of \
         the one is ever used for the other. To begin anew, {}; to go on with this store, start \
         it with the bank it belongs to",
        config.database_url,
        begin_anew(config)
    ))
    .into()
}

fn begin_anew(config: &Config) -> &'static str {
    match config.on_postgres() {
        true => {
            "name an empty database with HUNDI_DATABASE_URL and an empty folder with HUNDI_DATA_DIR"
        }
        false => "name an empty folder with HUNDI_DATA_DIR",
    }
}

fn other_keys(foreign: &[Foreign]) -> anyhow::Error {
    let told: Vec<String> = foreign.iter().map(ToString::to_string).collect();
    let variables: Vec<&str> = foreign
        .iter()
        .map(|foreign| foreign.kind.variable())
        .collect();
    let audit = foreign.iter().any(|foreign| foreign.kind == KeyKind::Audit);
    let lost = match audit {
        true => "its audit log cannot go on under another key: without it, begin anew",
        false => {
            "a key is replaced by giving the new one first and this one after it; if it is lost, \
             `hundi migrate --adopt` gives it up"
        }
    };
    Mismatch::Keys(format!(
        "{}: give this process the keys that the store was written with ({}, or the files of its \
         data folder). {}",
        told.join("; "),
        variables.join(", "),
        lost
    ))
    .into()
}

fn missing(config: &Config, kind: KeyKind, file: &str) -> anyhow::Error {
    let path = config.data_dir.join(file);
    let lost = match kind {
        KeyKind::Token | KeyKind::Master => {
            "if it is lost, `hundi migrate --adopt` makes a new one"
        }
        KeyKind::Audit => "if it is lost, begin anew: the audit log cannot go on under another",
    };
    Mismatch::Keys(format!(
        "the {} is missing: neither {} nor {} is there, and only an empty store makes keys. \
         Restore it from a backup; {lost}",
        kind.name(),
        kind.variable(),
        path.display(),
    ))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn an_address_has_one_spelling() {
        for (typed, expected) in [
            ("https://api.razorpay.com",          "https://api.razorpay.com"),
            ("https://API.Razorpay.com:443/",     "https://api.razorpay.com"),
            ("https://api.razorpay.com/v1/",      "https://api.razorpay.com"),
            ("http://bank:8788",                  "http://bank:8788"),
            ("https://proxy/razorpay",            "https://proxy/razorpay"),
        ] {
            assert_eq!(one_spelling(typed), expected);
        }
    }
}
