//! Providers that people register, beside those of the configuration: their documents are kept in the
//! open, their keys only sealed, and no key is ever told again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::Requests;
use super::health::Standing;
use super::offers::Entry;
use crate::broker::core::kept::{Keepable, Kept, Records};
use crate::broker::core::sealed::Sealed;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::connector::model::{Auth, providers as known};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Record};
use crate::domain::envelope::{self, Envelope, Place};
use crate::domain::ids::OrgId;
use crate::domain::principal::{Principal, Right};
use crate::domain::requests::ask::Format;
use crate::domain::requests::provider::{Provider, USUAL_WEIGHT, are_models, is_key, is_name};
use crate::domain::requests::sending::{Sending, Unanswered};
use crate::domain::secret::Secret;
use crate::store::requests::{By, UsageFilter};

/// Longest that a ping waits.
const PING: Duration = Duration::from_secs(10);
/// How long what was read of the registry is used before it is read again.
const FRESH: Duration = Duration::from_secs(1);

/// A provider as it is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoredProvider {
    provider: Provider,
    /// Its key, sealed; `None` where it needs none.
    sealed: Option<Envelope>,
}

impl Sealed for Kept<StoredProvider> {
    fn envelope(&self) -> Option<(&Envelope, u64)> {
        Some((self.value.sealed.as_ref()?, VERSION))
    }

    fn wrapped(self, envelope: Envelope) -> Self {
        let value = StoredProvider {
            sealed: Some(envelope),
            ..self.value
        };
        Self { value, ..self }
    }
}

/// The version that is bound into the seal of a provider's key.
const VERSION: u64 = 1;

impl Keepable for StoredProvider {
    const KIND: &'static str = "model_provider";
    const NOUN: &'static str = "provider";
    const RECORDS: Records = Records {
        created: RecordKind::ProviderCreated,
        changed: RecordKind::ProviderChanged,
        deleted: RecordKind::ProviderDeleted,
    };
    const HISTORY: Option<&'static str> = None;

    fn told(&self) -> Value {
        json!({"provider": self.provider, "key": self.sealed.is_some()})
    }
}

/// Entries of one organisation, and when they were read.
pub(super) type Fresh = (Instant, Arc<Vec<Arc<Entry>>>);

/// A provider as somebody writes it. What is left out is what the known service of that name has.
#[derive(Debug, Default)]
pub struct NewProvider {
    /// Its name.
    pub name: String,
    /// How it is talked to.
    pub kind: Option<String>,
    /// Where it answers.
    pub base_url: Option<String>,
    /// The rest.
    pub more: Provider,
    /// How much it is wanted.
    pub weight: Option<u32>,
    /// It runs here.
    pub local: Option<bool>,
    /// Its key.
    pub key: Option<Secret>,
}

/// A provider as people see it.
#[derive(Clone, Debug)]
pub struct ProviderView {
    /// The provider.
    pub provider: Provider,
    /// Where it is from: `configuration`, `api` or `sandbox`.
    pub from: &'static str,
    /// A key is set.
    pub has_key: bool,
    /// The models it is known to have.
    pub models: Vec<String>,
    /// How it is doing, as this process sees it.
    pub standing: Standing,
    /// What it cost the organisation today, in nano-dollars.
    pub cost_today: u64,
}

/// What a provider answered when it was asked how it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pinged {
    /// It is there, and lets us in.
    pub ok: bool,
    /// How long that took.
    pub latency_ms: u64,
    /// What it said, in short.
    pub detail: String,
}

impl Requests {
    /// The providers of an organisation: its own and everybody's; the sandbox's model where there is
    /// no other.
    pub(super) async fn entries(&self, org: &OrgId) -> Result<Arc<Vec<Arc<Entry>>>, Trouble> {
        if let Some((at, entries)) = self.known_entries().get(org)
            && at.elapsed() < FRESH
        {
            return Ok(entries.clone());
        }
        let settings = self.model_settings();
        let configured = settings.providers.iter().map(|configured| Entry {
            provider: configured.provider.clone(),
            key: configured.key.clone(),
            org: None,
            is_sandbox: false,
        });
        let mut entries: Vec<Arc<Entry>> = configured.map(Arc::new).collect();
        for (key, kept) in self.all_kept::<StoredProvider>(Some(org)).await? {
            let taken = entries.iter().any(|entry| entry.provider.name == key.id);
            match self.unsealed(org, &kept.value) {
                Ok(_) if taken => {
                    tracing::warn!(provider = %key.id, "the configuration has a provider of this name, which counts");
                }
                Ok(secret) => entries.push(Arc::new(Entry {
                    provider: kept.value.provider,
                    key: secret,
                    org: Some(org.clone()),
                    is_sandbox: false,
                })),
                Err(_) => {
                    tracing::error!(provider = %key.id, "its key cannot be unsealed with the master keys that this process has");
                }
            }
        }
        if entries.is_empty() {
            entries.extend(settings.sandbox.iter().map(|provider| {
                Arc::new(Entry {
                    provider: provider.clone(),
                    key: None,
                    org: None,
                    is_sandbox: true,
                })
            }));
        }
        let entries = Arc::new(entries);
        let fresh = (Instant::now(), entries.clone());
        self.known_entries().insert(org.clone(), fresh);
        Ok(entries)
    }

    /// Every provider that this organisation's requests may go to.
    pub async fn providers(&self, who: &Principal) -> Result<Vec<ProviderView>, Trouble> {
        if !who.may(Right::ReadSetup) {
            return Err(forbidden(who));
        }
        let entries = self.entries(&who.org).await?;
        self.views(&who.org, &entries).await
    }

    /// Providers as people of an organisation see them, with what each cost it today.
    async fn views(
        &self,
        org: &OrgId,
        entries: &[Arc<Entry>],
    ) -> Result<Vec<ProviderView>, Trouble> {
        let filter = UsageFilter {
            org: org.clone(),
            agent: None,
            since: None,
            until: None,
            day: Some(self.day(self.ports().ambient.now())),
        };
        let store = &self.model_ports()?.store;
        let sums = store.usage(By::Provider, &filter).await?;
        let view = |entry: &Arc<Entry>| {
            let spent = sums.iter().find(|sum| sum.key == entry.provider.name);
            self.view_of(entry, spent.map_or(0, |sum| sum.nanos))
        };
        Ok(entries.iter().map(view).collect())
    }

    async fn view_one(&self, org: &OrgId, entry: Arc<Entry>) -> Result<ProviderView, Trouble> {
        let views = self.views(org, &[entry]).await?;
        views.into_iter().next().ok_or(Trouble::StoreUnavailable)
    }

    fn view_of(&self, entry: &Entry, cost_today: u64) -> ProviderView {
        ProviderView {
            provider: entry.provider.clone(),
            from: match (entry.is_sandbox, &entry.org) {
                (true, _) => "sandbox",
                (false, Some(_)) => "api",
                (false, None) => "configuration",
            },
            has_key: entry.key.is_some(),
            models: entry.models(),
            standing: self.health.standing(entry.scope(), &entry.provider),
            cost_today,
        }
    }

    /// Registers a provider.
    pub async fn create_provider(
        &self,
        who: &Principal,
        new: NewProvider,
    ) -> Result<ProviderView, Trouble> {
        self.may_keep(who)?;
        let provider = checked(&new, false)?;
        let name = provider.name.clone();
        if self.is_configured(&name) {
            return Err(Trouble::NameTaken(
                "provider of the configuration file",
                name,
            ));
        }
        let sealed = match &new.key {
            Some(key) => Some(self.sealed(&who.org, &name, key)?),
            None => None,
        };
        let stored = StoredProvider { provider, sealed };
        self.make(who, &name, stored).await?;
        self.known_entries().remove(&who.org);
        let entry = self.entry(&who.org, &name).await?;
        self.view_one(&who.org, entry).await
    }

    fn is_configured(&self, name: &str) -> bool {
        let configured = &self.model_settings().providers;
        configured.iter().any(|known| known.provider.name == name)
    }

    /// One provider.
    pub async fn provider(&self, who: &Principal, name: &str) -> Result<ProviderView, Trouble> {
        if !who.may(Right::ReadSetup) {
            return Err(forbidden(who));
        }
        let entry = self.entry(&who.org, name).await?;
        self.view_one(&who.org, entry).await
    }

    /// Puts a provider in the place of the registered one of its name. Its key stays where none is
    /// given, but for another address: who may write here need not know the key.
    pub async fn replace_provider(
        &self,
        who: &Principal,
        new: NewProvider,
    ) -> Result<ProviderView, Trouble> {
        self.may_keep(who)?;
        if self.is_configured(&new.name) {
            return Err(in_the_file());
        }
        let before: Kept<StoredProvider> = self.found(&who.org, &new.name).await?;
        let kept = new.key.is_none().then(|| before.value.sealed.clone());
        let kept = kept.flatten();
        let provider = checked(&new, kept.is_some())?;
        if kept.is_some() && provider.base_url != before.value.provider.base_url {
            let words = "`key` has to be given anew for another `base_url`";
            return Err(Trouble::InvalidRequest(words.to_owned()));
        }
        let name = provider.name.clone();
        let sealed = match &new.key {
            Some(key) => Some(self.sealed(&who.org, &name, key)?),
            None => kept,
        };
        let stored = StoredProvider { provider, sealed };
        self.replace(who, &name, before, None, stored).await?;
        self.known_entries().remove(&who.org);
        let entry = self.entry(&who.org, &name).await?;
        self.view_one(&who.org, entry).await
    }

    /// Takes a registered provider away.
    pub async fn delete_provider(&self, who: &Principal, name: &str) -> Result<(), Trouble> {
        self.may_keep(who)?;
        if self.is_configured(name) {
            return Err(in_the_file());
        }
        let before: Kept<StoredProvider> = self.found(&who.org, name).await?;
        self.take_away(who, name, &before).await?;
        self.known_entries().remove(&who.org);
        Ok(())
    }

    /// Forgets what this process holds against a provider: breakers, rests, counts.
    pub async fn reset_provider(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<ProviderView, Trouble> {
        self.may_keep(who)?;
        let entry = self.entry(&who.org, name).await?;
        // What this process holds against a provider of the configuration holds for everybody.
        if entry.org.is_none() && !who.may_for_all(Right::Operate) {
            return Err(forbidden(who));
        }
        let now = self.ports().ambient.now();
        let record = Record::new(now, &who.org, RecordKind::ProviderReset, &who.id)
            .with(json!({"name": name}));
        let change = Change::record(record, None);
        self.ports().store.apply(change).await.map_err(failed)?;
        self.health.reset(entry.scope(), name);
        self.view_one(&who.org, entry).await
    }

    /// Asks a provider which models it has, and tells only whether it answered.
    pub async fn ping_provider(&self, who: &Principal, name: &str) -> Result<Pinged, Trouble> {
        self.may_keep(who)?;
        let entry = self.entry(&who.org, name).await?;
        let provider = &entry.provider;
        let probe = provider.format.probe(&provider.base_url, entry.manner());
        let sending = Sending {
            url: probe.url,
            headers: probe.headers,
            key: key_header(entry.key.as_ref(), probe.auth),
            body: None,
            private: self.private_of(&entry),
        };
        let began = Instant::now();
        let answered = self.model_ports()?.wire.send(&sending, PING).await;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (ok, detail) = match answered {
            Ok(answering) => {
                let ok = (200..300).contains(&answering.status);
                (ok, format!("HTTP {}", answering.status))
            }
            Err(Unanswered::Late) => (false, "no answer in time".to_owned()),
            Err(Unanswered::Unreachable(why) | Unanswered::Broken(why)) => (false, why),
        };
        Ok(Pinged {
            ok,
            latency_ms: took,
            detail,
        })
    }

    /// A provider that this organisation's requests may go to.
    async fn entry(&self, org: &OrgId, name: &str) -> Result<Arc<Entry>, Trouble> {
        let entries = self.entries(org).await?;
        let found = entries.iter().find(|entry| entry.provider.name == name);
        found.cloned().ok_or(Trouble::NotFound("provider"))
    }

    fn may_keep(&self, who: &Principal) -> Result<(), Trouble> {
        match who.may(Right::Operate) {
            true => Ok(()),
            false => Err(forbidden(who)),
        }
    }

    fn sealed(&self, org: &OrgId, name: &str, key: &Secret) -> Result<Envelope, Trouble> {
        let random = Zeroizing::new(self.ports().ambient.bytes());
        let place = place(org, name);
        let text = key.expose().as_bytes();
        let sealed = envelope::seal(&self.ports().masters, &place, text, &random);
        sealed.map_err(|why| Trouble::Off(why.to_string()))
    }

    fn unsealed(&self, org: &OrgId, stored: &StoredProvider) -> Result<Option<Secret>, Trouble> {
        let Some(sealed) = &stored.sealed else {
            return Ok(None);
        };
        let place = place(org, &stored.provider.name);
        let opened = envelope::open(&self.ports().masters, &place, sealed);
        let opened = opened.map_err(|why| Trouble::Off(why.to_string()))?;
        let text = String::from_utf8(opened.to_vec()).map_err(|_| Trouble::StoreUnavailable)?;
        Ok(Some(Secret::new(text)))
    }
}

/// The header that holds a provider's key.
pub(super) fn key_header(key: Option<&Secret>, auth: Auth) -> Option<(&'static str, Secret)> {
    key.map(|key| match auth {
        Auth::Bearer => {
            let bearer = format!("Bearer {}", key.expose());
            ("authorization", Secret::new(bearer))
        }
        Auth::Header(name) => (name, key.clone()),
    })
}

fn place<'a>(org: &'a OrgId, name: &'a str) -> Place<'a> {
    Place {
        org,
        kind: StoredProvider::KIND,
        name,
        version: VERSION,
    }
}

fn in_the_file() -> Trouble {
    let words = "this provider stands in the configuration file: change it there";
    Trouble::InvalidRequest(words.to_owned())
}

/// The provider that somebody wrote, whole; one with a key that is kept need not have one.
fn checked(new: &NewProvider, has_key: bool) -> Result<Provider, Trouble> {
    let invalid = |text: String| Trouble::InvalidRequest(text);
    if !is_name(&new.name) {
        return Err(invalid(
            "`name` is 1 to 64 letters, digits, `.`, `_` or `-`".to_owned(),
        ));
    }
    if !new.key.as_ref().is_none_or(|key| is_key(key.expose())) {
        return Err(invalid(
            "`key` is 1 to 4096 visible letters of ASCII".to_owned(),
        ));
    }
    if !are_models(&new.more.models) {
        return Err(invalid(
            "`models` are names of 1 to 256 bytes, none of them twice".to_owned(),
        ));
    }
    let service = known::known(&new.name);
    let format = match &new.kind {
        None => service.map_or(Format::OpenAi, |service| service.format),
        Some(kind) => Format::parse(kind).ok_or_else(|| {
            invalid("`kind` is openai, openai_responses, anthropic or ollama".to_owned())
        })?,
    };
    let keyless = !has_key && new.key.is_none() && new.base_url.is_none();
    if let Some(service) = service.filter(|service| keyless && !service.key_variable.is_empty()) {
        return Err(invalid(format!(
            "`key` is missing: {} answers nobody without one",
            service.name
        )));
    }
    let base_url = new
        .base_url
        .clone()
        .or_else(|| service.map(|service| service.base_url.to_owned()));
    let base_url = base_url.ok_or_else(|| {
        invalid("`base_url` is missing: this is none of the known services".to_owned())
    })?;
    let url = Url::parse(&base_url).ok();
    let plain = url.filter(|url| {
        let named = url.username().is_empty() && url.password().is_none();
        named && url.query().is_none() && url.fragment().is_none() && url.has_host()
    });
    let private = new.more.allow_private;
    let scheme = plain.as_ref().map(Url::scheme);
    let fits = scheme == Some("https") || (scheme == Some("http") && private);
    if !fits {
        return Err(invalid(
            "`base_url` has to be an https:// URL without user name or query (http:// with `allow_private`)"
                .to_owned(),
        ));
    }
    let manner = service.map(|service| service.manner).unwrap_or_default();
    let local = service.is_some_and(known::Known::is_local);
    Ok(Provider {
        name: new.name.clone(),
        format,
        base_url,
        weight: new.weight.unwrap_or(USUAL_WEIGHT),
        local: new.local.unwrap_or(local),
        completion_tokens: manner.completion_tokens,
        bare: manner.bare,
        ..new.more.clone()
    })
}
