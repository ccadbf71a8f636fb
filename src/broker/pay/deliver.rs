//! Telling people: the outbox is worked off, one message after the other.
//!
//! A message was written with its cause, so none is lost; it leaves the outbox only when a channel
//! took it, or when there is nobody to tell. Slack comes first, ntfy when Slack is off or failing;
//! programs (see `hooks`) are told by copies of their own.
//! If a process dies between telling and noting it, the message is told twice: better than never.
//! A decision never waits for any of this.
//!
//! A hold's message carries two buttons with random values. What they mean is kept here, by the
//! hash of the value, and is bound to the proposal and its arguments.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Pay;
use crate::broker::core::documents::version_of;
use crate::broker::core::{Slack, Trouble};
use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::ids::{ArgsHash, OrgId, ProposalId, hex};
use crate::domain::notice::{CopyFor, Notice, NoticeKind};
use crate::domain::proposal::{Proposal, State};
use crate::domain::time::Timestamp;
use crate::notify::slack::{Buttons, Place};
use crate::notify::{ntfy, slack};
use crate::store::Waiting;
use crate::telemetry::{self, Channel, Delivery};
use crate::wire::UpstreamHealth;

/// Messages per turn.
const BATCH: usize = 20;
/// Messages taken at once: few, so that a hold that comes meanwhile is told next and not after a
/// crowd of alerts.
const TAKEN: u32 = 4;
/// Longest that one post may take.
const DEADLINE: Duration = Duration::from_secs(8);
/// Nobody else takes a message before this: longer than what is taken at once can take.
const HIDDEN_SECS: i64 = 4 * 2 * 8 + 30;
/// Pause after the first failure; doubles up to the longest.
const FIRST_PAUSE_MS: i64 = 2_000;
/// Longest pause between two tries.
const LONGEST_PAUSE_MS: i64 = 300_000;

/// What a button does. Named by the hash of its value; of the default organisation, because a press
/// does not say which one it means.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct StoredButton {
    pub(super) proposal: ProposalId,
    pub(super) org: OrgId,
    pub(super) args_hash: ArgsHash,
    pub(super) approves: bool,
    /// Who is pressing it right now, and since when.
    #[serde(default)]
    pub(super) pressed: Option<(String, Timestamp)>,
}

impl Document for StoredButton {
    const KIND: &'static str = "button";
    const CACHED: bool = false;
    type Id = str;
}

/// Where a hold is shown, and the ids of its live buttons. Named by the proposal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Card {
    channel: String,
    ts: String,
    buttons: Vec<String>,
}

impl Document for Card {
    const KIND: &'static str = "card";
    const CACHED: bool = false;
    type Id = ProposalId;
}

/// What became of one message.
#[derive(Debug)]
pub(super) enum Told {
    Yes,
    /// Nothing to say any more, or nobody to say it to.
    Moot,
    /// Not before so many seconds, if the service said so.
    Failed(Option<u32>),
}

/// What is known of the channels during one turn.
#[derive(Default)]
struct Turn {
    /// Slack failed a moment ago; asking it again for each message would only cost time.
    slack_is_down: bool,
    /// So did these webhooks.
    hooks_down: BTreeSet<String>,
}

impl Pay {
    /// Works off the outbox. Returns how many messages were taken.
    pub async fn deliver(&self) -> Result<usize, Trouble> {
        let (mut turn, mut count) = (Turn::default(), 0);
        while count < BATCH {
            let now = self.ports().ambient.now();
            let hidden = now.plus_secs(HIDDEN_SECS);
            let mut taken = self.ports().store.take_notices(now, hidden, TAKEN).await?;
            taken.sort_by_key(|waiting| (waiting.notice.kind.urgency(), waiting.id));
            let mut all = taken.len() < TAKEN as usize;
            count += taken.len();
            for waiting in taken {
                let told = match self.copied(&waiting).await {
                    // Its copies are due at once.
                    Ok(true) => {
                        all = false;
                        Told::Moot
                    }
                    Ok(false) => self.tell_one(&waiting.notice, &mut turn).await,
                    Err(_) => Told::Failed(None),
                };
                let retry_at = match told {
                    Told::Yes | Told::Moot => None,
                    Told::Failed(after) => Some(self.retry_at(&waiting, after)),
                };
                self.ports().store.notice_done(waiting.id, retry_at).await?;
            }
            if all {
                break;
            }
        }
        Ok(count)
    }

    async fn tell_one(&self, notice: &Notice, turn: &mut Turn) -> Told {
        match &notice.copy {
            Some(CopyFor::Webhook { key, id, since }) => {
                self.tell_hook(notice, (key, id, *since), &mut turn.hooks_down)
                    .await
            }
            Some(CopyFor::People) | None => self.tell(notice, turn).await,
        }
    }

    async fn tell(&self, notice: &Notice, turn: &mut Turn) -> Told {
        let people = &self.settings().people;
        if self.ports().outbound.is_none() || !people.wants(notice.kind, &notice.reason) {
            return Told::Moot;
        }
        let proposal = match notice.proposal {
            Some(id) => match self.ports().store.proposal(id).await {
                Ok(Some(proposal)) => Some(self.masked(proposal).await),
                Ok(None) => None,
                Err(_) => return Told::Failed(None),
            },
            None => None,
        };
        let mut after = None;
        if let Some(slack) = people.slack.as_ref().filter(|_| !turn.slack_is_down) {
            let told = self.tell_slack(slack, notice, proposal.as_ref()).await;
            self.count(Channel::Slack, &told);
            match told {
                Told::Failed(secs) => {
                    turn.slack_is_down = true;
                    after = secs;
                }
                told @ (Told::Yes | Told::Moot) => return told,
            }
        }
        let told = self.tell_ntfy(notice, proposal.as_ref()).await;
        match told {
            Told::Failed(secs) => Told::Failed(secs.or(after)),
            told @ (Told::Yes | Told::Moot) => told,
        }
    }

    async fn tell_slack(
        &self,
        slack: &Slack,
        notice: &Notice,
        proposal: Option<&Proposal>,
    ) -> Told {
        match (notice.kind, proposal) {
            (NoticeKind::Held | NoticeKind::Decided, Some(proposal)) => {
                let told = self.show_hold(slack, notice, proposal).await;
                told.unwrap_or(Told::Failed(None))
            }
            (NoticeKind::Held | NoticeKind::Decided, None) => Told::Moot,
            (
                NoticeKind::Blocked
                | NoticeKind::InDoubt
                | NoticeKind::Reversed
                | NoticeKind::Alert,
                _,
            ) => {
                let message = slack::message(
                    &slack.channel,
                    notice,
                    proposal,
                    None,
                    self.link(notice).as_deref(),
                );
                self.post_slack(slack, message)
                    .await
                    .err()
                    .unwrap_or(Told::Yes)
            }
        }
    }

    /// Shows a hold as it stands now: a new message with buttons, or the old one replaced.
    async fn show_hold(
        &self,
        slack: &Slack,
        notice: &Notice,
        proposal: &Proposal,
    ) -> Result<Told, Trouble> {
        let fixed = &proposal.fixed;
        let found = self.find::<Card>(&fixed.org, &fixed.id).await?;
        let version = version_of(found.as_ref());
        // One that does not read back is shown anew, and replaced.
        let card = found.and_then(Result::ok).map(|stored| stored.value);
        let held = proposal.state == State::Held;
        let asks = held && slack.signing_secret.is_some() && !proposal.fixed.needs_passkey();
        let message = match (&card, notice.kind) {
            // Decided before anybody was asked, or asked already.
            (None, NoticeKind::Held) if !held => return Ok(Told::Moot),
            (None, NoticeKind::Decided) => return Ok(Told::Moot),
            (Some(_), NoticeKind::Held) => return Ok(Told::Moot),
            (card, _) => {
                let buttons = match asks {
                    true => Some(self.make_buttons(proposal).await?),
                    false => None,
                };
                let link = self.link(notice);
                let message = match card {
                    None => {
                        let shown = Some(proposal);
                        slack::message(
                            &slack.channel,
                            notice,
                            shown,
                            buttons.as_ref(),
                            link.as_deref(),
                        )
                    }
                    Some(card) => {
                        let place = Place {
                            channel: card.channel.clone(),
                            ts: card.ts.clone(),
                        };
                        slack::update(&place, notice, proposal, buttons.as_ref(), link.as_deref())
                    }
                };
                (message, buttons)
            }
        };
        let (message, buttons) = message;
        let place = match self.post_slack(slack, message).await {
            Ok(place) => place,
            Err(told) => return Ok(told),
        };
        let live = buttons.map_or_else(Vec::new, |buttons| {
            vec![button_id(&buttons.approve), button_id(&buttons.reject)]
        });
        self.keep_card(proposal, version, card, place, live).await?;
        Ok(Told::Yes)
    }

    /// Remembers where the hold is shown, and forgets the buttons that are not shown any more.
    async fn keep_card(
        &self,
        proposal: &Proposal,
        version: u64,
        before: Option<Card>,
        place: Place,
        live: Vec<String>,
    ) -> Result<(), Trouble> {
        let org = OrgId::default();
        let stale = before.iter().flat_map(|card| &card.buttons);
        let stale = stale.map(|id| StoredButton::delete(&org, id, None));
        let mut docs: Vec<DocWrite> = stale.collect();
        let card = Card {
            channel: place.channel,
            ts: place.ts,
            buttons: live,
        };
        let fixed = &proposal.fixed;
        docs.push(card.write(&fixed.org, &fixed.id, Some(version)));
        match self.write(docs).await {
            // Somebody else has shown it at the same moment; both messages' buttons work.
            Err(Trouble::Changed) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn make_buttons(&self, proposal: &Proposal) -> Result<Buttons, Trouble> {
        let value = || hex(&self.ports().ambient.bytes::<24>());
        let buttons = Buttons {
            approve: value(),
            reject: value(),
        };
        let doc = |value: &str, approves| {
            let button = StoredButton {
                proposal: proposal.fixed.id,
                org: proposal.fixed.org.clone(),
                args_hash: proposal.fixed.args_hash,
                approves,
                pressed: None,
            };
            button.write(&OrgId::default(), &button_id(value), None)
        };
        self.write(vec![
            doc(&buttons.approve, true),
            doc(&buttons.reject, false),
        ])
        .await?;
        Ok(buttons)
    }

    async fn post_slack(&self, slack: &Slack, message: Value) -> Result<Place, Told> {
        let post = slack::post(&slack.api_base, &slack.bot_token, message);
        let Some(outbound) = &self.ports().outbound else {
            return Err(Told::Moot);
        };
        match outbound.post(&post, DEADLINE).await {
            Ok(answer) => slack::posted(&answer).map_err(|why| {
                tracing::warn!(%why, "Slack did not take a message");
                Told::Failed(answer.retry_after_secs)
            }),
            Err(why) => {
                tracing::warn!(%why, "Slack cannot be reached");
                Err(Told::Failed(None))
            }
        }
    }

    async fn tell_ntfy(&self, notice: &Notice, proposal: Option<&Proposal>) -> Told {
        let people = &self.settings().people;
        let (Some(ntfy), Some(outbound)) = (&people.ntfy, &self.ports().outbound) else {
            // Without a second channel, the first one has to be tried again.
            return match people.slack {
                Some(_) => Told::Failed(None),
                None => Told::Moot,
            };
        };
        let settled = proposal.is_some_and(|proposal| proposal.state != State::Held);
        if notice.kind == NoticeKind::Held && settled {
            return Told::Moot;
        }
        let message = ntfy::message(&ntfy.topic, notice, proposal, self.link(notice).as_deref());
        let post = ntfy::post(&ntfy.url, ntfy.token.as_ref(), message);
        let told = match outbound.post(&post, DEADLINE).await {
            Ok(answer) if (200..300).contains(&answer.status) => Told::Yes,
            Ok(answer) => {
                tracing::warn!(status = answer.status, "ntfy did not take a message");
                Told::Failed(answer.retry_after_secs)
            }
            Err(why) => {
                tracing::warn!(%why, "ntfy cannot be reached");
                Told::Failed(None)
            }
        };
        self.count(Channel::Ntfy, &told);
        told
    }

    /// Doubling pauses with up to half as much again by chance, so that many messages that failed
    /// together do not come back together.
    fn retry_at(&self, waiting: &Waiting, after_secs: Option<u32>) -> Timestamp {
        let pause = FIRST_PAUSE_MS
            .saturating_mul(1 << waiting.attempts.min(10))
            .min(LONGEST_PAUSE_MS);
        let asked = i64::from(after_secs.unwrap_or(0)).saturating_mul(1_000);
        let pause = pause.max(asked.min(LONGEST_PAUSE_MS));
        let chance = i64::from(u16::from_be_bytes(self.ports().ambient.bytes()));
        let jitter = pause / 2 * chance / i64::from(u16::MAX);
        self.ports().ambient.now().plus_millis(pause + jitter)
    }
}

impl crate::broker::core::People {
    /// Whether people want to hear of this at all.
    pub fn wants(&self, kind: NoticeKind, reason: &str) -> bool {
        let listens = self.slack.is_some() || self.ntfy.is_some() || !self.webhooks.is_empty();
        let refused = kind == NoticeKind::Blocked;
        let listed = self.alert_on.iter().any(|listed| listed.code() == reason);
        listens && (listed || !refused)
    }
}

/// A button's document: opaque values are stored hashed, so that a reader of the store presses
/// nothing.
pub(super) fn button_id(value: &str) -> String {
    hex(&Sha256::digest(value.as_bytes()))
}

/// Whether each channel took the last message it was given.
#[derive(Default)]
pub(super) struct Channels {
    slack_failed: AtomicBool,
    ntfy_failed: AtomicBool,
}

impl Pay {
    /// How the configured channels to people are doing, by the last message.
    pub fn channels(&self) -> Vec<UpstreamHealth> {
        let people = &self.settings().people;
        let failed = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let channels = &self.channels;
        let slack = people
            .slack
            .is_some()
            .then_some(("slack", &channels.slack_failed));
        let ntfy = people
            .ntfy
            .is_some()
            .then_some(("ntfy", &channels.ntfy_failed));
        let health = |(name, flag): (&str, &AtomicBool)| UpstreamHealth {
            name: name.to_owned(),
            ok: !failed(flag),
            detail: match failed(flag) {
                true => "it did not take the last message; it is tried again".to_owned(),
                false => "it took the last message, if there was one".to_owned(),
            },
        };
        let people = slack.into_iter().chain(ntfy).map(health);
        people.chain(self.hooks_health()).collect()
    }

    fn count(&self, channel: Channel, told: &Told) {
        let result = match told {
            Told::Yes => Delivery::Sent,
            Told::Moot => return,
            Told::Failed(_) => Delivery::Failed,
        };
        let channels = &self.channels;
        let flag = match channel {
            Channel::Slack => &channels.slack_failed,
            Channel::Ntfy => &channels.ntfy_failed,
            // They keep count of themselves.
            Channel::Webhook => return,
        };
        flag.store(result == Delivery::Failed, Ordering::Relaxed);
        telemetry::notification(channel, result);
    }
}
