//! Sources: where registered tools reach. Their documents are kept in the open, their secrets only
//! sealed; what leaves this file tells which secrets are set and never one of them.
//!
//! The wire is handed what it needs to open a source, and told again whenever that changed on any
//! node ([`Tools::opened`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Tools;
use super::registry::Registered;
use crate::broker::core::kept::{Keepable, Kept, Records};
use crate::broker::core::sealed::Sealed;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, DocKey, Record};
use crate::domain::envelope::{self, Envelope, Place};
use crate::domain::ids::OrgId;
use crate::domain::principal::{Principal, Right};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::tools::Source;
use crate::wire::OpenSource;

// The doors tell what a source said in its own words, and need no wire for that.
pub use crate::wire::SourceAnswer;

/// Longest that a ping waits.
const PING_DEADLINE: Duration = Duration::from_secs(10);

/// A source as it is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoredSource {
    /// `{name, kind, config, limits}`.
    document: Value,
    /// The secrets, sealed; `None` where there are none.
    sealed: Option<Envelope>,
    /// Names the sealed secrets, so that none can be put in the place of another's.
    seal: u64,
    /// When each secret was set.
    set: BTreeMap<String, Timestamp>,
}

impl Keepable for StoredSource {
    const KIND: &'static str = "source";
    const NOUN: &'static str = "source";
    const RECORDS: Records = Records {
        created: RecordKind::SourceCreated,
        changed: RecordKind::SourceChanged,
        deleted: RecordKind::SourceDeleted,
    };
    const HISTORY: Option<&'static str> = None;

    fn told(&self) -> Value {
        json!({"document": self.document, "secrets": self.set})
    }
}

impl Sealed for Kept<StoredSource> {
    fn envelope(&self) -> Option<(&Envelope, u64)> {
        Some((self.value.sealed.as_ref()?, self.value.seal))
    }

    fn wrapped(self, envelope: Envelope) -> Self {
        let value = StoredSource {
            sealed: Some(envelope),
            ..self.value
        };
        Self { value, ..self }
    }
}

impl StoredSource {
    /// The source, read.
    pub(super) fn source(&self) -> Result<Source, Trouble> {
        Source::read(&self.document).map_err(|invalid| {
            tracing::error!(%invalid, "a stored source does not read back");
            Trouble::StoreUnavailable
        })
    }
}

/// A source as people see it.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceView {
    /// The document.
    pub source: Source,
    /// Which secrets are set, and since when.
    pub secrets: BTreeMap<String, Timestamp>,
    /// Counts its changes.
    pub version: u64,
    /// Who changed it last.
    pub changed_by: String,
    /// And when.
    pub changed_at: Timestamp,
}

/// Secrets as a caller gives them: a text sets one, null takes it away, the others stay.
pub type SecretChanges = BTreeMap<String, Option<Secret>>;

impl Tools {
    /// Makes a source.
    pub async fn create_source(
        &self,
        who: &Principal,
        document: &Value,
        secrets: SecretChanges,
    ) -> Result<SourceView, Trouble> {
        self.may_develop(who)?;
        let source = self.read(&who.org, document)?;
        let name = source.name.clone();
        let stored = self.sealed(who, &source, BTreeMap::new(), &BTreeMap::new(), secrets, 0)?;
        let kept = self.make(who, &name, stored).await?;
        self.reload().await?;
        view(kept)
    }

    /// Every source of the caller's organisation, by name.
    pub async fn sources(&self, who: &Principal) -> Result<Vec<SourceView>, Trouble> {
        self.may_see_registry(who)?;
        let kept = self.all_kept::<StoredSource>(Some(&who.org)).await?;
        kept.into_iter().map(|(_, kept)| view(kept)).collect()
    }

    /// One source.
    pub async fn source(&self, who: &Principal, name: &str) -> Result<SourceView, Trouble> {
        self.may_see_registry(who)?;
        view(self.found(&who.org, name).await?)
    }

    /// Replaces a source. Secrets that are not named stay, unless it reaches elsewhere: what opened
    /// one door is not shown to another. It becomes another kind of source only while no tool uses
    /// it, because none would be one of that kind.
    pub async fn replace_source(
        &self,
        who: &Principal,
        name: &str,
        document: &Value,
        secrets: SecretChanges,
        version: Option<u64>,
    ) -> Result<SourceView, Trouble> {
        self.may_develop(who)?;
        let before: Kept<StoredSource> = self.found(&who.org, name).await?;
        let source = self.read(&who.org, document)?;
        if source.name != name {
            let text = "`name` is another than that of the source; delete it and make a new one";
            return Err(Trouble::InvalidRequest(text.to_owned()));
        }
        let earlier = before.value.source()?;
        if source.kind() != earlier.kind() {
            self.unused(&who.org, name).await?;
        }
        let goes_elsewhere = !source.reaches_as(&earlier);
        let held = match goes_elsewhere {
            true => BTreeMap::new(),
            false => self.unsealed(&who.org, name, &before.value)?,
        };
        let stored = self.sealed(
            who,
            &source,
            held,
            &before.value.set,
            secrets,
            before.value.seal,
        )?;
        let kept = self.replace(who, name, before, version, stored).await?;
        self.reload().await?;
        view(kept)
    }

    /// Deletes a source that no tool uses.
    pub async fn delete_source(&self, who: &Principal, name: &str) -> Result<(), Trouble> {
        self.may_develop(who)?;
        let before: Kept<StoredSource> = self.found(&who.org, name).await?;
        self.unused(&who.org, name).await?;
        self.take_away(who, name, &before).await?;
        self.reload().await
    }

    /// Refuses while tools use a source.
    async fn unused(&self, org: &OrgId, name: &str) -> Result<(), Trouble> {
        let tools = self.all_kept::<Registered>(Some(org)).await?;
        let users: Vec<String> = tools
            .into_iter()
            .filter(|(_, kept)| kept.value.source() == Some(name))
            .map(|(key, _)| key.id)
            .collect();
        match users.is_empty() {
            true => Ok(()),
            false => Err(Trouble::InUse("source", users)),
        }
    }

    /// Seals the secrets of a source with a new data key.
    pub async fn rotate_source(&self, who: &Principal, name: &str) -> Result<SourceView, Trouble> {
        self.may_develop(who)?;
        let before: Kept<StoredSource> = self.found(&who.org, name).await?;
        let source = before.value.source()?;
        let held = self.unsealed(&who.org, name, &before.value)?;
        let (set, seal) = (before.value.set.clone(), before.value.seal);
        let stored = self.sealed(who, &source, held, &set, BTreeMap::new(), seal)?;
        let kept = self.rewrite(who, name, before, None, stored).await?;
        self.reload().await?;
        view(kept)
    }

    /// Puts the secrets of every source under the newest master key.
    pub(in crate::broker) async fn rewrap_sources(&self) -> Result<usize, Trouble> {
        let put = self.rewrap_all::<Kept<StoredSource>>().await?;
        self.reload().await?;
        Ok(put)
    }

    /// The names of the master keys under which secrets of sources are.
    pub(in crate::broker) async fn masters_of_sources(&self) -> Result<BTreeSet<String>, Trouble> {
        self.masters_of::<Kept<StoredSource>>().await
    }

    /// Asks a source whether it is there.
    pub async fn ping_source(&self, who: &Principal, name: &str) -> Result<SourceAnswer, Trouble> {
        self.may_develop(who)?;
        let _: Kept<StoredSource> = self.found(&who.org, name).await?;
        let sources = self.source_wire()?;
        Ok(sources.ping(&who.org, name, PING_DEADLINE).await)
    }

    /// Makes what a database needs so that writes through it can be settled after a crash.
    pub async fn prepare_source(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<SourceAnswer, Trouble> {
        self.may_develop(who)?;
        let _: Kept<StoredSource> = self.found(&who.org, name).await?;
        let sources = self.source_wire()?;
        // On record before it is done: it changes somebody's database.
        let now = self.ports().ambient.now();
        let record = Record::new(now, &who.org, RecordKind::SourcePrepared, &who.id)
            .with(json!({"name": name}));
        let change = Change::documents(Vec::new(), Vec::new(), vec![record], Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        Ok(sources.prepare(&who.org, name, PING_DEADLINE).await)
    }

    /// Every source of every organisation, unsealed, for the wire. One that cannot be unsealed is
    /// left out and said: its tools answer that it is not available.
    pub(super) fn opened(&self, sources: Vec<(DocKey, Kept<StoredSource>)>) -> Vec<OpenSource> {
        let mut open = Vec::new();
        for (key, kept) in sources {
            let secrets = self.unsealed(&key.org, &key.id, &kept.value);
            let source = kept.value.source();
            match (source, secrets) {
                (Ok(source), Ok(secrets)) => open.push(OpenSource {
                    org: key.org,
                    version: kept.version,
                    source,
                    secrets,
                    set: kept.value.set.clone(),
                }),
                (Err(_), _) | (_, Err(_)) => {
                    tracing::error!(source = %key.id, "it cannot be unsealed with the master keys that this process has");
                }
            }
        }
        open
    }

    fn unsealed(
        &self,
        org: &OrgId,
        name: &str,
        stored: &StoredSource,
    ) -> Result<BTreeMap<String, Secret>, Trouble> {
        let Some(sealed) = &stored.sealed else {
            return Ok(BTreeMap::new());
        };
        let place = place(org, name, stored.seal);
        let opened = envelope::open(&self.ports().masters, &place, sealed);
        let opened = opened.map_err(|why| Trouble::Off(why.to_string()))?;
        let texts: BTreeMap<String, String> =
            serde_json::from_slice(&opened).map_err(|_| Trouble::StoreUnavailable)?;
        let secrets = texts.into_iter();
        Ok(secrets
            .map(|(name, text)| (name, Secret::new(text)))
            .collect())
    }

    /// The source with its secrets changed and sealed anew.
    fn sealed(
        &self,
        who: &Principal,
        source: &Source,
        mut held: BTreeMap<String, Secret>,
        set: &BTreeMap<String, Timestamp>,
        changes: SecretChanges,
        seal: u64,
    ) -> Result<StoredSource, Trouble> {
        let now = self.ports().ambient.now();
        let mut set: BTreeMap<String, Timestamp> = set
            .iter()
            .filter(|(name, _)| held.contains_key(*name))
            .map(|(name, at)| (name.clone(), *at))
            .collect();
        for (name, secret) in changes {
            match secret {
                Some(secret) => {
                    set.insert(name.clone(), now);
                    held.insert(name, secret);
                }
                None => {
                    set.remove(&name);
                    held.remove(&name);
                }
            }
        }
        source.check_secrets(&held).map_err(Trouble::invalid)?;
        let seal = seal + 1;
        let sealed = match held.is_empty() {
            true => None,
            false => Some(self.envelope(&place(&who.org, &source.name, seal), &held)?),
        };
        Ok(StoredSource {
            document: source.document(),
            sealed,
            seal,
            set,
        })
    }

    fn envelope(
        &self,
        place: &Place<'_>,
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<Envelope, Trouble> {
        let texts: BTreeMap<&str, &str> = secrets
            .iter()
            .map(|(name, secret)| (name.as_str(), secret.expose()))
            .collect();
        let texts = serde_json::to_vec(&texts).map_err(|_| Trouble::StoreUnavailable)?;
        let texts = Zeroizing::new(texts);
        let random = Zeroizing::new(self.ports().ambient.bytes());
        let sealed = envelope::seal(&self.ports().masters, place, &texts, &random);
        sealed.map_err(|why| Trouble::Off(why.to_string()))
    }

    /// A source as somebody wrote it, that reaches what the configuration allows.
    pub(super) fn read(&self, org: &OrgId, document: &Value) -> Result<Source, Trouble> {
        let source = Source::read(document).map_err(Trouble::invalid)?;
        let wire = self.ports().sources.as_ref();
        match wire.and_then(|wire| wire.refuses(org, &source)) {
            None => Ok(source),
            Some(invalid) => Err(Trouble::invalid(invalid)),
        }
    }

    pub(super) fn may_develop(&self, who: &Principal) -> Result<(), Trouble> {
        match who.may(Right::Develop) {
            true => Ok(()),
            false => Err(forbidden(who)),
        }
    }

    pub(super) fn may_see_registry(&self, who: &Principal) -> Result<(), Trouble> {
        match who.may(Right::ReadSetup) {
            true => Ok(()),
            false => Err(forbidden(who)),
        }
    }
}

fn place<'a>(org: &'a OrgId, name: &'a str, seal: u64) -> Place<'a> {
    Place {
        org,
        kind: StoredSource::KIND,
        name,
        version: seal,
    }
}

fn view(kept: Kept<StoredSource>) -> Result<SourceView, Trouble> {
    Ok(SourceView {
        source: kept.value.source()?,
        secrets: kept.value.set,
        version: kept.version,
        changed_by: kept.changed_by,
        changed_at: kept.changed_at,
    })
}
