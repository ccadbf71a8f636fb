//! How calls leave: the only code that reaches outward. It sends bytes and reports what it heard;
//! what that means is for a connector to say.

mod answer;
pub mod breaker;
mod calls;
mod child;
mod direct;
mod fetch;
pub mod gleif;
pub mod group;
pub mod guarded;
pub mod jwks;
mod lines;
pub mod mcp;
pub mod model;
mod offers;
mod outline;
mod pipes;
pub mod post;
mod posting;
pub mod program;
pub mod reach;
pub mod reputation;
pub mod rest;
mod session;
pub mod sources;
pub mod sql;
mod streamable;
mod supervisor;
mod ticket;
mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::call::{Call, Reply};
use crate::domain::echo::Echo;
use crate::domain::facts::{Entity, EntityRecord, Fact, Reputation};
use crate::domain::ids::OrgId;
use crate::domain::notice::{Answer, Post};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::tools::{Invalid, Source};

/// Sends calls to upstreams.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Sends once and answers within `deadline` (monotonic). Sends a second time only where the
    /// first answer proves that nothing was done because the session is gone. The caller is
    /// answered even if the upstream hangs, dies or talks rubbish.
    async fn send(&self, call: &Call, deadline: Duration) -> Reply;

    /// As [`Wire::send`], for whoever passes the answer on instead of reading it.
    async fn relay(&self, call: &Call, deadline: Duration) -> Heard {
        self.send(call, deadline).await.into()
    }

    /// As [`Wire::relay`]. An answer that comes after the deadline, while the conversation lasts,
    /// goes to `late`.
    async fn send_and_mind(&self, call: &Call, deadline: Duration, late: Late) -> Heard {
        drop(late);
        self.relay(call, deadline).await
    }

    /// The tools that a configured upstream offers now.
    async fn offered(&self, upstream: &str, deadline: Duration) -> Result<Vec<Offered>, String>;

    /// Wakes with an upstream's name whenever its list of tools may have changed.
    fn changes(&self) -> tokio::sync::broadcast::Receiver<String>;

    /// Whether each configured upstream is up, for `readyz` and `doctor`: name, state, detail.
    fn health(&self) -> Vec<UpstreamHealth>;

    /// How the upstreams behind a breaker are doing, by the breaker's name.
    fn breakers(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }
}

/// Sources that people registered.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Exactly these are open from now on. One of the same version stays as it is.
    async fn replace(&self, sources: Vec<OpenSource>);

    /// Asks whether a source is there.
    async fn ping(&self, org: &OrgId, name: &str, deadline: Duration) -> SourceAnswer;

    /// Makes what a database needs so that writes can be settled after a crash.
    async fn prepare(&self, org: &OrgId, name: &str, deadline: Duration) -> SourceAnswer;

    /// How each source is doing, by the organisation that registered it.
    fn health(&self) -> Vec<(OrgId, UpstreamHealth)>;

    /// Asks those again, in the background, that were not well and that nobody has asked since.
    fn look_after(&self);

    /// Fetches a text, for a source and within its reach, without its credentials.
    async fn fetch(
        &self,
        org: &OrgId,
        name: &str,
        url: &str,
        deadline: Duration,
    ) -> Result<String, FetchTrouble>;

    /// What the configuration does not let a source of this organisation reach, as far as its
    /// document tells.
    fn refuses(&self, org: &OrgId, source: &Source) -> Option<Invalid>;
}

/// A source with what opens it.
pub struct OpenSource {
    /// Whose it is.
    pub org: OrgId,
    /// Counts its changes.
    pub version: u64,
    /// Its document.
    pub source: Source,
    /// What opens it.
    pub secrets: BTreeMap<String, Secret>,
    /// When each of these was set.
    pub set: BTreeMap<String, Timestamp>,
}

/// Why a text was not fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchTrouble {
    /// The address is none that may be asked.
    pub refused: bool,
    /// In words.
    pub why: String,
}

impl FetchTrouble {
    fn refused(why: &str) -> Self {
        let why = why.to_owned();
        Self { refused: true, why }
    }

    fn failed(why: String) -> Self {
        Self {
            refused: false,
            why,
        }
    }
}

/// What a source answered when it was asked how it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceAnswer {
    /// It is there, and lets us in.
    pub ok: bool,
    /// How long that took.
    pub latency_ms: Option<u64>,
    /// What runs there, or what is wrong.
    pub detail: String,
    /// What its operator had better change.
    pub advice: Vec<String>,
}

impl SourceAnswer {
    /// It is not there, for this reason.
    pub fn not(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::default()
        }
    }
}

/// Where an answer goes that came too late for its call. Dropped, none will come.
pub type Late = tokio::sync::oneshot::Sender<Heard>;

/// A reply, and the content of a tool result as it came.
#[derive(Clone, PartialEq, Debug)]
pub struct Heard {
    /// What was read out of it.
    pub reply: Reply,
    /// Every content block: texts, images, links. Null where there are none.
    pub blocks: Value,
}

impl Heard {
    /// Hides what the upstream repeats of the secrets it was given.
    pub(crate) fn without(&mut self, echo: &Echo) {
        echo.hide_in_reply(&mut self.reply);
        echo.hide_in(&mut self.blocks);
    }
}

impl From<Reply> for Heard {
    fn from(reply: Reply) -> Self {
        let blocks = Value::Null;
        Self { reply, blocks }
    }
}

/// Posts to the services that tell people: Slack, ntfy.
#[async_trait]
pub trait Outbound: Send + Sync {
    /// Posts once, follows no redirect, and answers within `deadline` (monotonic). Any status is
    /// an answer; an error says why there was none, for people and without secrets.
    async fn post(&self, post: &Post, deadline: Duration) -> Result<Answer, String>;
}

/// One tool as an upstream describes it. None of it is trusted.
#[derive(Clone, PartialEq, Debug)]
pub struct Offered {
    /// Its name there.
    pub name: String,
    /// Its words.
    pub description: String,
    /// Its schema of arguments.
    pub input_schema: Value,
    /// Its schema of results, if it has one.
    pub output_schema: Option<Value>,
    /// Its hints, or null.
    pub annotations: Value,
    /// What is wrong with its definition, where it is none that could be used.
    pub odd: Option<String>,
}

impl Offered {
    /// Hides what the upstream repeats of the secrets it was given.
    pub(crate) fn without(&mut self, echo: &Echo) {
        if let Cow::Owned(hidden) = echo.hide(&self.description) {
            self.description = hidden;
        }
        echo.hide_in(&mut self.input_schema);
        echo.hide_in(&mut self.annotations);
        if let Some(schema) = &mut self.output_schema {
            echo.hide_in(schema);
        }
    }
}

/// How one upstream is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamHealth {
    /// Its configured name.
    pub name: String,
    /// True if the last thing it did was answer, or nothing was asked of it yet.
    pub ok: bool,
    /// For people: `not started`, `running, pid 7`, `restarting in 2 s: exited with 1`.
    pub detail: String,
}

/// Who knows whether a URL is listed as a threat.
#[async_trait]
pub trait ReputationSource: Send + Sync {
    /// What is known of the URL; `Missing` when nobody could be asked in time.
    async fn reputation(&self, url: &str) -> Fact<Reputation>;

    /// How it is doing.
    fn health(&self) -> UpstreamHealth;
}

/// Who knows the keys of the issuer whose bearer tokens are taken.
#[async_trait]
pub trait IssuerDocument: Send + Sync {
    /// Its keys as it tells them now, or why they could not be had.
    async fn keys(&self) -> Result<Value, String>;
}

/// Who knows whether a name is that of an active legal entity.
#[async_trait]
pub trait EntitySource: Send + Sync {
    /// The entities of this name, or of this LEI; `Missing` when nobody could be asked in time.
    async fn records(&self, name: &str) -> Fact<Vec<EntityRecord>>;

    /// Whether one of them is the one that was asked for, active, and its registration issued.
    async fn entity(&self, name: &str) -> Fact<Entity> {
        match self.records(name).await {
            Fact::Known(records) => {
                let mut records = records.iter();
                let found = records.any(|record| record.is_verified() && record.answers_to(name));
                Fact::Known(if found {
                    Entity::Verified
                } else {
                    Entity::Unverified
                })
            }
            Fact::Missing => Fact::Missing,
        }
    }

    /// How it is doing.
    fn health(&self) -> UpstreamHealth;
}
