//! The bank's own word, by webhook: believed when signed, stored before it is answered, worked off
//! after.
//!
//! What is stored is an audit record with the event in it, and a marker by the event's id and the
//! body's hash in the same write, so that a repetition is known. The records are also the queue: one cursor
//! document says how far they are worked off, and moves when the work is done. So nothing is lost
//! between the answer and the work, and whatever is done twice has to be, and is, harmless:
//! events carry no time that is signed, and an old one may come again at any moment.
//!
//! An event's id is not signed, so a body that comes under the id of another is taken in all the
//! same, and reported.
//!
//! An event about a payout of ours is evidence. One about a payout that others made, and that
//! waits, opens a case ([`external`](super::external)).

use super::Bank;
use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::borrowed::Made;
use super::moved_on::Moved;
use crate::broker::audit::forgeries::Forgery;
use crate::broker::core::Trouble;
use crate::connector::bank::Event;
use crate::connector::registry;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Evidence, Sighting};
use crate::domain::change::{Change, Record};
use crate::domain::document::{Document, version};
use crate::domain::ids::{OrgId, hex};
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::proposal::Proposal;
use crate::domain::strict;
use crate::domain::time::Timestamp;
use crate::store::{ApplyError, RecordFilter, StoreError, StoredRecord};

/// Longest event id that is used as it came; the bank's have 14 characters.
const MAX_EVENT_ID: usize = 64;
/// Digits of a body's hash that tell it from another body under the same event id.
const NAMED_BY: usize = 32;
/// How much of a body that cannot be read is kept for people.
const KEPT_BYTES: usize = 2_048;
/// Records per round of work.
const BATCH: u32 = 500;
/// Rounds per turn of the duty.
const ROUNDS: u32 = 8;
/// Events worked on at once: most of them wait for the store's flush.
const AT_ONCE: usize = 32;
/// Another node takes the work over after this. A round takes a fraction of it; one that takes
/// longer is worked off twice, which does no harm.
const LEASE_SECS: i64 = 10;

/// What became of a webhook at the door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Stored; its work follows.
    Accepted,
    /// Known already.
    Duplicate,
    /// Genuine and of no use; kept for people.
    Kept,
    /// Not signed with any of our secrets. Nothing was stored.
    Forged,
}

impl Received {
    /// The word for answers.
    pub fn name(self) -> &'static str {
        match self {
            Received::Accepted => "accepted",
            Received::Duplicate => "duplicate",
            Received::Kept => "kept",
            Received::Forged => "forged",
        }
    }
}

/// What an event about a payout came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    /// It changed something, which is on record as such.
    News,
    /// A case was opened; its decision follows.
    Case,
    /// Nothing: the code, and the words.
    Nothing(&'static str, &'static str),
}

/// About a payout that is not ours, and that asks for nothing.
pub(super) const NOT_WAITING: Came = Came::Nothing(
    "NOT_WAITING",
    "a payout that others made, and that does not wait for anybody",
);
/// About a payout of ours, and known.
const NO_NEWS: Came = Came::Nothing("NO_NEWS", "it tells nothing new about this payout");

/// The mark of a seen event. Named by the event's id, or by its body where that is used up.
#[derive(Serialize, Deserialize)]
struct Seen {
    at: Timestamp,
    event: String,
    /// Of the body; marks of before do not say.
    #[serde(default)]
    sha256: Option<String>,
}

impl Document for Seen {
    const KIND: &'static str = "webhook";
    const CACHED: bool = false;
    type Id = str;
}

/// How far the records are worked off. Named by the bank.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    after_seq: i64,
    lease_until: Timestamp,
}

impl Document for Cursor {
    const KIND: &'static str = "webhook_cursor";
    const CACHED: bool = false;
    type Id = str;
}

impl Bank {
    /// Takes one webhook in: the raw body, its signature, and the id its header gives it.
    pub async fn receive_webhook(
        &self,
        body: &[u8],
        signature: &str,
        event_id: &str,
    ) -> Result<Received, Trouble> {
        let (received, _) = self.count_webhook(body, signature, event_id).await?;
        Ok(received)
    }

    /// The same, with the number of its record; 0 if none was written.
    pub(super) async fn count_webhook(
        &self,
        body: &[u8],
        signature: &str,
        event_id: &str,
    ) -> Result<(Received, i64), Trouble> {
        let (received, seq) = self.take_webhook(body, signature, event_id).await?;
        let result = match received {
            Received::Kept => "unusable",
            Received::Accepted | Received::Duplicate | Received::Forged => received.name(),
        };
        metrics::counter!("hundi_webhooks_total", "result" => result).increment(1);
        Ok((received, seq))
    }

    async fn take_webhook(
        &self,
        body: &[u8],
        signature: &str,
        event_id: &str,
    ) -> Result<(Received, i64), Trouble> {
        let secrets = &self.settings().bank.webhook_secrets;
        if secrets.is_empty() {
            let ours = registry::bank().variables();
            let what = format!("set {ours}_WEBHOOK_SECRET to accept the bank's webhooks");
            return Err(Trouble::Off(what));
        }
        // Every secret is tried, so that the time taken does not tell which one matched.
        let matching = secrets
            .iter()
            .filter(|secret| secret.signed(&[body], signature));
        if matching.count() == 0 {
            self.audit.forged(Forgery::Webhook);
            return Ok((Received::Forged, 0));
        }
        let (id, digest) = (event_name(event_id, body), hex(&Sha256::digest(body)));
        match self.keep_webhook(&id, &digest, body, false).await? {
            Some(kept) => Ok(kept),
            None if self.took(&id, &digest).await? => Ok((Received::Duplicate, 0)),
            // The name is not signed, so anybody may have used it up: the words count.
            None => {
                let named = format!("{id}~{}", &digest[..NAMED_BY]);
                let kept = self.keep_webhook(&named, &digest, body, true).await?;
                Ok(kept.unwrap_or((Received::Duplicate, 0)))
            }
        }
    }

    /// Stores an event under this name; `None` if the name is taken.
    async fn keep_webhook(
        &self,
        id: &str,
        digest: &str,
        body: &[u8],
        reused: bool,
    ) -> Result<Option<(Received, i64)>, Trouble> {
        let event = strict::parse(body).map(|document| registry::bank().event(&document));
        let event = event.unwrap_or(Event::Unusable("the body is not plain JSON"));
        let now = self.ports().ambient.now();
        let marker = Seen {
            at: now,
            event: event.name().to_owned(),
            sha256: Some(digest.to_owned()),
        };
        let marker = marker.write(&OrgId::default(), id, Some(0));
        let kept = matches!(event, Event::Unusable(_));
        let mut record = record_of(self.owner(), &event, id, body, now);
        let mut notices = self.worth_telling(&event, now);
        if reused {
            record.detail["reused_event_id"] = json!(true);
            let words = format!(
                "A genuine webhook of the bank came under the id of another event. It was taken in \
                 as {id}; an id that comes twice with other words is the bank's mistake, or \
                 somebody's try to hide an event"
            );
            let wanted = self.settings().people.wants(NoticeKind::Alert, "");
            notices.extend(Some(self.alert(now, "event_id_reused", &words)).filter(|_| wanted));
            tracing::warn!(event = id, "a genuine webhook came under a used event id");
        }
        let change = Change::documents(vec![marker], Vec::new(), vec![record], notices);
        match self.ports().store.apply(change).await {
            Ok(applied) if kept => Ok(Some((Received::Kept, applied.first_seq))),
            Ok(applied) => Ok(Some((Received::Accepted, applied.first_seq))),
            Err(ApplyError::Conflict(_)) => Ok(None),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// Whether the event of this name is this very body. Markers of before do not say.
    async fn took(&self, id: &str, digest: &str) -> Result<bool, StoreError> {
        let seen = self.find::<Seen>(&OrgId::default(), id).await?;
        let known = seen.and_then(Result::ok).and_then(|seen| seen.value.sha256);
        Ok(known.is_none_or(|known| known == digest))
    }

    /// What people should hear of at once.
    fn worth_telling(&self, event: &Event, now: Timestamp) -> Vec<Notice> {
        let words = match event {
            Event::Downtime { name, what } => format!("The bank reports {name}: {what}"),
            Event::Unusable(why) => format!("A genuine webhook of the bank is unusable: {why}"),
            Event::Payout { .. } | Event::Other(_) => return Vec::new(),
        };
        let wanted = self.settings().people.wants(NoticeKind::Alert, "");
        let notice = self.alert(now, "bank_event", &words);
        Some(notice).filter(|_| wanted).into_iter().collect()
    }

    /// Works off stored webhooks. Returns how many events.
    pub async fn work_webhooks(&self) -> Result<usize, Trouble> {
        if self.settings().bank.webhook_secrets.is_empty() {
            return Ok(0);
        }
        let mut worked = 0;
        for _ in 0..ROUNDS {
            let (events, more) = self.work_round().await?;
            worked += events;
            if !more {
                break;
            }
        }
        Ok(worked)
    }

    /// One round; true if there may be more.
    async fn work_round(&self) -> Result<(usize, bool), Trouble> {
        let (mut version, cursor) = self.webhook_cursor().await?;
        let now = self.ports().ambient.now();
        // A lease far ahead was made by a clock that has stepped back since.
        let far = now.plus_secs(2 * LEASE_SECS);
        if cursor.lease_until > now && cursor.lease_until < far {
            return Ok((0, false));
        }
        let filter = RecordFilter {
            after_seq: Some(cursor.after_seq),
            webhooks_only: true,
            limit: BATCH,
            ..RecordFilter::default()
        };
        let records = self.ports().store.records(&filter).await?;
        let Some(last) = records.last().map(|record| record.seq) else {
            return Ok((0, false));
        };
        let more = records.len() == BATCH as usize;
        let events: Vec<_> = records.into_iter().filter(is_work).collect();
        let count = events.len();
        if count > 0 {
            let lease = now.plus_secs(LEASE_SECS);
            if !self.move_cursor(version, cursor.after_seq, lease).await? {
                return Ok((0, false));
            }
            version += 1;
            let work = stream::iter(events).map(|record| self.work_on(record));
            let results: Vec<_> = work.buffer_unordered(AT_ONCE).collect().await;
            self.ports().ambient.step("w2");
            // Without the store nothing was done for good; the same events come again.
            if let Some(trouble) = results.into_iter().find_map(Result::err) {
                let free = Timestamp::default();
                self.move_cursor(version, cursor.after_seq, free).await.ok();
                return Err(trouble);
            }
        }
        let moved = self
            .move_cursor(version, last, Timestamp::default())
            .await?;
        if count > 0 {
            self.ports().ambient.step("w3");
        }
        Ok((count, more && moved))
    }

    async fn work_on(&self, stored: StoredRecord) -> Result<(), Trouble> {
        self.ports().ambient.step("w1");
        let payout = stored.record.detail.get("payout").cloned();
        let Some(payout) = payout else {
            return self.skip(&stored).await;
        };
        match self.heard_of(&payout, "webhook").await {
            Ok(Came::News | Came::Case) => Ok(()),
            Ok(Came::Nothing(code, why)) => {
                self.report_event(&stored.record, RecordKind::WebhookSkipped, code, why)
                    .await
            }
            Err(Trouble::StoreUnavailable) => Err(Trouble::StoreUnavailable),
            Err(trouble) => {
                tracing::error!(seq = stored.seq, %trouble, "a webhook could not be worked off");
                let why = trouble.to_string();
                self.report_event(
                    &stored.record,
                    RecordKind::WebhookFailed,
                    trouble.code(),
                    &why,
                )
                .await
            }
        }
    }

    /// What to do about a payout that the bank shows, by webhook or in a list.
    pub(super) async fn heard_of(&self, payout: &Value, heard: &str) -> Result<Came, Trouble> {
        let Some(payout) = registry::bank().payout(payout) else {
            return Ok(NOT_WAITING);
        };
        let Ok(evidence) = registry::bank().evidence(&payout) else {
            return Ok(NOT_WAITING);
        };
        if let Some(came) = self.about_its_maker(&evidence, &payout, heard).await? {
            return Ok(came);
        }
        match self.moved_on(&payout).await? {
            Moved::Unknown => self.open_case(&payout, heard).await,
            Moved::ByUs(proposal) => {
                let came = self.about_ours(*proposal, &payout, heard).await?;
                Ok(came.unwrap_or(NO_NEWS))
            }
            Moved::AtBank => match self.open_case(&payout, heard).await? {
                Came::Nothing(..) => Ok(Came::News),
                came @ (Came::News | Came::Case) => Ok(came),
            },
        }
    }

    /// Tells the proposal that made a payout, or let one of others go. `None` if there is none.
    pub(super) async fn about_its_maker(
        &self,
        evidence: &Evidence,
        payout: &Value,
        heard: &str,
    ) -> Result<Option<Came>, Trouble> {
        if let Some(id) = evidence.reference.as_deref().and_then(|r| r.parse().ok())
            && let Made::ByUs(proposal) = self.made_by(id, evidence, payout, heard).await?
        {
            let came = self.about_ours(*proposal, payout, heard).await?;
            return Ok(Some(came.unwrap_or(NO_NEWS)));
        }
        let payout_id = evidence.receipt.provider_id.as_deref().unwrap_or_default();
        match self.pay.letting_go(payout_id).await? {
            Some(proposal) => {
                let came = self.about_ours(proposal, payout, heard).await?;
                let came = came.unwrap_or(NO_NEWS);
                if came != NO_NEWS {
                    return Ok(Some(came));
                }
                Ok(self.known(payout).await?.or(Some(came)))
            }
            None => Ok(None),
        }
    }

    /// Evidence about one of our proposals; `None` if it is about no payout.
    pub(super) async fn about_ours(
        &self,
        proposal: Proposal,
        payout: &Value,
        heard: &str,
    ) -> Result<Option<Came>, Trouble> {
        let tool = proposal.fixed.tool.as_str();
        let Some(seen) = registry::bank().seen(tool, &proposal.order(), payout) else {
            return Ok(None);
        };
        let actor = format!("{}:{heard}", actor());
        match seen {
            Sighting::Found(receipt) => {
                let evidence = Evidence {
                    reference: Some(proposal.fixed.id.to_string()),
                    receipt,
                };
                let now = self.pay.evidence(&evidence, &actor).await?;
                let moved = now.is_some_and(|now| now.version != proposal.version);
                Ok(Some(if moved { Came::News } else { NO_NEWS }))
            }
            // Says nothing about the order, or not yet.
            Sighting::Absent | Sighting::Refused(_) => Ok(Some(NO_NEWS)),
            Sighting::Unclear(why) => {
                let now = self.ports().ambient.now();
                let mut record = Record::about(&proposal, now, RecordKind::EvidenceRefused, &actor);
                record.payout = payout_id(payout);
                let detail = json!({"why": why, "payout": payout});
                let record = record
                    .deciding(Decision::Skipped, "evidence_mismatch")
                    .with(detail);
                let words = format!("The bank's event does not fit our payout: {why}");
                let notice = Some(self.alert(now, "evidence_mismatch", &words));
                let wanted = self.settings().people.wants(NoticeKind::Alert, "");
                let change = Change::record(record, notice.filter(|_| wanted));
                match self.ports().store.apply(change).await {
                    Ok(_) | Err(ApplyError::Conflict(_)) => Ok(Some(Came::News)),
                    Err(ApplyError::Store(error)) => Err(error.into()),
                }
            }
        }
    }

    /// An event that asks for nothing is on record as such.
    async fn skip(&self, stored: &StoredRecord) -> Result<(), Trouble> {
        let (code, why) = match stored.record.reason.as_str() {
            "unusable" => return Ok(()),
            event if registry::bank().is_only_told(event) => ("DOWNTIME", "told to people"),
            _ => ("UNSUPPORTED_EVENT", "nothing is done about this event"),
        };
        self.report_event(&stored.record, RecordKind::WebhookSkipped, code, why)
            .await
    }

    async fn report_event(
        &self,
        about: &Record,
        kind: RecordKind,
        code: &str,
        why: &str,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let mut record =
            Record::new(now, &about.org, kind, actor()).deciding(Decision::Skipped, code);
        record.payout.clone_from(&about.payout);
        let event_id = about.detail.get("event_id");
        let record = record.with(json!({"event_id": event_id, "event": about.reason, "why": why}));
        match self.ports().store.apply(Change::record(record, None)).await {
            Ok(_) | Err(ApplyError::Conflict(_)) => Ok(()),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// The version of the cursor, and where it stands.
    async fn webhook_cursor(&self) -> Result<(u64, Cursor), Trouble> {
        let stored = self.document::<Cursor>(&OrgId::default(), actor()).await?;
        let version = version(stored.as_ref());
        Ok((
            version,
            stored.map_or_else(Cursor::default, |stored| stored.value),
        ))
    }

    /// False if another node has moved it meanwhile.
    async fn move_cursor(
        &self,
        version: u64,
        after_seq: i64,
        lease_until: Timestamp,
    ) -> Result<bool, Trouble> {
        let cursor = Cursor {
            after_seq,
            lease_until,
        };
        let write = cursor.write(&OrgId::default(), actor(), Some(version));
        match self.write(vec![write]).await {
            Ok(()) => Ok(true),
            Err(Trouble::Changed) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }
}

/// Who speaks in these records: the bank.
pub(super) fn actor() -> &'static str {
    registry::bank().name()
}

fn record_of(org: &OrgId, event: &Event, id: &str, body: &[u8], now: Timestamp) -> Record {
    let mut record = Record::new(now, org, RecordKind::Webhook, actor());
    let mut detail = json!({"event_id": id});
    match event {
        Event::Payout { name, payout } => {
            record.reason.clone_from(name);
            record.payout = payout_id(payout);
            record.amount = payout.get("amount").and_then(Value::as_i64);
            let currency = payout.get("currency").and_then(Value::as_str);
            record.currency = currency.and_then(crate::domain::money::Currency::parse);
            detail["payout"] = payout.clone();
        }
        Event::Downtime { name, what } => {
            record.reason.clone_from(name);
            detail["what"] = json!(what);
        }
        Event::Other(name) => record.reason.clone_from(name),
        Event::Unusable(why) => {
            "unusable".clone_into(&mut record.reason);
            let kept = &body[..body.len().min(KEPT_BYTES)];
            detail["why"] = json!(why);
            detail["body"] = json!(String::from_utf8_lossy(kept));
        }
    }
    record.with(detail)
}

fn is_work(stored: &StoredRecord) -> bool {
    stored.record.kind == RecordKind::Webhook && stored.record.actor == actor()
}

fn payout_id(payout: &Value) -> Option<String> {
    payout.get("id").and_then(Value::as_str).map(str::to_owned)
}

/// The event's own id, or, where the header is missing or strange, the hash of the body.
fn event_name(header: &str, body: &[u8]) -> String {
    let plain = header
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if plain && !header.is_empty() && header.len() <= MAX_EVENT_ID {
        return header.to_owned();
    }
    format!("sha256-{}", hex(&Sha256::digest(body)))
}
