//! Webhooks out: each message is copied for every program that wants it, and each copy is delivered,
//! and tried again for a day, by itself, so that one that is down holds up nobody.
//!
//! Copies take the place of the message in one change with nothing lost: if a process dies between
//! the two, a copy goes out twice, under the same id. A program that took nothing for a day is let
//! go until hundi starts again: people are told, and `/readyz` says so. Each node judges by what it
//! saw itself. Order is not promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Pay;
use super::deliver::Told;
use crate::broker::core::{People, Trouble, Webhook};
use crate::domain::change::Change;
use crate::domain::ids::{OrgId, hex};
use crate::domain::money::Effective;
use crate::domain::notice::{CopyFor, Notice, NoticeKind};
use crate::domain::time::Timestamp;
use crate::domain::tool::Payee;
use crate::notify::webhook;
use crate::store::Waiting;
use crate::telemetry::{self, Channel, Delivery};
use crate::wire::UpstreamHealth;

/// Longest that one post may take.
const DEADLINE: Duration = Duration::from_secs(8);
/// How long a message is tried, and a program that takes none is put up with.
const PATIENCE_SECS: i64 = 24 * 60 * 60;
/// What a receiver says that wants nothing more, ever.
const GONE: u16 = 410;

/// How each program is doing, by its key.
#[derive(Default)]
pub(super) struct Hooks(Mutex<BTreeMap<String, Standing>>);

#[derive(Clone, Default)]
struct Standing {
    failing_since: Option<Timestamp>,
    why: String,
    let_go: bool,
}

impl Hooks {
    fn of(&self, key: &str) -> Standing {
        let all = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(key).cloned().unwrap_or_default()
    }

    fn put(&self, key: &str, standing: Standing) {
        let mut all = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert(key.to_owned(), standing);
    }
}

impl Pay {
    /// Puts copies in the place of a message where there are programs to tell. Whether it did.
    pub(super) async fn copied(&self, waiting: &Waiting) -> Result<bool, Trouble> {
        let people = &self.settings().people;
        let notice = &waiting.notice;
        if people.webhooks.is_empty() || notice.copy.is_some() {
            return Ok(false);
        }
        let since = self.ports().ambient.now();
        let wanted = people
            .webhooks
            .iter()
            .filter(|hook| hook.wants(people, notice));
        let copies = wanted.map(|hook| {
            let key = hook.key();
            // The outbox numbers its messages once.
            let id = id_of(&format!("{key}/{}/{}", waiting.id, notice.at));
            CopyFor::Webhook { key, id, since }
        });
        let copies = copies.chain([CopyFor::People]).map(|copy| Notice {
            copy: Some(copy),
            ..notice.clone()
        });
        self.tell_all(copies.collect()).await?;
        Ok(true)
    }

    async fn tell_all(&self, notices: Vec<Notice>) -> Result<(), Trouble> {
        let change = Change::documents(Vec::new(), Vec::new(), Vec::new(), notices);
        let applied = self.ports().store.apply(change).await;
        applied.map(drop).map_err(|_| Trouble::Changed)
    }

    /// One copy for one program. `down` are those that failed a moment ago.
    pub(super) async fn tell_hook(
        &self,
        notice: &Notice,
        (key, id, since): (&str, &str, Timestamp),
        down: &mut BTreeSet<String>,
    ) -> Told {
        let hooks = &self.settings().people.webhooks;
        let found = hooks.iter().find(|hook| hook.key() == key);
        let (Some(hook), Some(outbound)) = (found, &self.ports().outbound) else {
            return Told::Moot;
        };
        let now = self.ports().ambient.now();
        let mut standing = self.hooks.of(key);
        if standing.let_go || now.secs() - since.secs() > PATIENCE_SECS {
            return Told::Moot;
        }
        if down.contains(key) {
            return Told::Failed(None);
        }
        let proposal = match notice.proposal {
            Some(id) => match self.ports().store.proposal(id).await {
                Ok(proposal) => proposal,
                Err(_) => return Told::Failed(None),
            },
            None => None,
        };
        let body = webhook::message(notice, proposal.as_ref(), self.link(notice).as_deref());
        let Some(post) = webhook::post(hook.url.expose(), &hook.secret, id, now, body) else {
            return Told::Moot;
        };
        let (why, after, gone) = match outbound.post(&post, DEADLINE).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                telemetry::notification(Channel::Webhook, Delivery::Sent);
                self.hooks.put(key, Standing::default());
                return Told::Yes;
            }
            Ok(answer) => {
                let why = format!("HTTP {}", answer.status);
                (why, answer.retry_after_secs, answer.status == GONE)
            }
            Err(why) => (why, None, false),
        };
        let name = self.name_of(hook);
        tracing::warn!(%why, %name, "a webhook did not take a message");
        telemetry::notification(Channel::Webhook, Delivery::Failed);
        let first = *standing.failing_since.get_or_insert(now);
        standing.let_go = gone || now.secs() - first.secs() >= PATIENCE_SECS;
        standing.why = why;
        let told = match standing.let_go {
            true => {
                let told = vec![self.let_go(&name, &standing.why, now)];
                match self.tell_all(told).await {
                    Ok(()) => Told::Moot,
                    // Said at the next failure.
                    Err(_) => {
                        standing.let_go = false;
                        Told::Failed(after)
                    }
                }
            }
            false => Told::Failed(after),
        };
        down.insert(key.to_owned());
        self.hooks.put(key, standing);
        told
    }

    fn let_go(&self, name: &str, why: &str, now: Timestamp) -> Notice {
        Notice {
            kind: NoticeKind::Alert,
            at: now,
            org: OrgId::default(),
            proposal: None,
            agent: None,
            tool: None,
            effective: Effective::Nothing,
            payee: Payee::default(),
            args_hash: String::new(),
            reason: "webhook_disabled".to_owned(),
            findings: Vec::new(),
            detail: format!(
                "{name} takes no messages ({why}) and is told nothing more until hundi starts again"
            ),
            copy: None,
        }
    }

    /// The page of the console that a message is about, where there is a console.
    pub(super) fn link(&self, notice: &Notice) -> Option<String> {
        let origin = self.public_origin()?;
        Some(format!("{origin}{}", crate::notify::page(notice)))
    }

    /// What people know a webhook by: its place in the file and its host, never its whole address.
    fn name_of(&self, hook: &Webhook) -> String {
        let hooks = &self.settings().people.webhooks;
        let key = hook.key();
        let place = hooks.iter().position(|other| other.key() == key);
        let url = url::Url::parse(hook.url.expose()).ok();
        let host = url
            .as_ref()
            .and_then(url::Url::host_str)
            .unwrap_or_default();
        format!("webhook {} ({host})", place.map_or(0, |place| place + 1))
    }

    /// How the webhooks are doing.
    pub(super) fn hooks_health(&self) -> Vec<UpstreamHealth> {
        let hooks = self.settings().people.webhooks.iter();
        let health = hooks.map(|hook| {
            let standing = self.hooks.of(&hook.key());
            let why = &standing.why;
            UpstreamHealth {
                name: self.name_of(hook),
                ok: standing.failing_since.is_none(),
                detail: match (standing.let_go, standing.failing_since) {
                    (true, _) => format!(
                        "disabled: it took no message for a day ({why}); mend it, then start hundi again"
                    ),
                    (false, Some(since)) => {
                        format!("it takes no messages since {since} ({why}); they are tried again")
                    }
                    (false, None) => "it took the last message, if there was one".to_owned(),
                },
            }
        });
        health.collect()
    }
}

impl Webhook {
    /// What its copies name it by. Changes with its address.
    fn key(&self) -> String {
        hex(&Sha256::digest(self.url.expose().as_bytes())[..8])
    }

    fn wants(&self, people: &People, notice: &Notice) -> bool {
        let listed = self.events.is_empty() || self.events.contains(&notice.kind);
        listed && people.wants(notice.kind, &notice.reason)
    }
}

fn id_of(text: &str) -> String {
    format!("msg_{}", hex(&Sha256::digest(text.as_bytes())[..16]))
}
