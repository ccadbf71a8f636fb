//! Answering a request: one provider after the other, until one answers or none is left.
//!
//! Whoever waits gets each piece as it arrives; what is written lags a quarter of a second behind.
//! Every write names the version of the last, so a worker that lost its request to another, or whose
//! request was taken back, notices and stops. A fallback is taken only while nothing of an answer has
//! been told. Whatever ends an attempt, what was used of it is paid.

mod exchange;
mod keep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Requests;
use super::accept::{Begun, Held};
use super::ledger;
use super::offers::{Offer, Work};
use crate::broker::core::{NoAnswer, Trouble};
use crate::connector::model::vectors::Ranked;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{BudgetMove, Record};
use crate::domain::ids::OrgId;
use crate::domain::requests::ask::{Ask, Other};
use crate::domain::requests::event::Event;
use crate::domain::requests::failure::{Failure, Why};
use crate::domain::requests::piece::{Piece, Stop, Tokens};
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Ended, OnCut, Request, State};
use crate::domain::requests::rows::{Beside, Entry};
use crate::domain::requests::sealing::ContentKey;
use crate::domain::requests::spent::LlmLimits;
use crate::telemetry::models;

/// How often what was told is written down.
const FLUSH: Duration = Duration::from_millis(250);
/// How often it is looked whether the request is still this worker's.
const LOOK: Duration = Duration::from_secs(1);
/// How long a caller may read nothing before he counts as gone.
const CALLER_PATIENCE: Duration = Duration::from_secs(120);
/// Pause before a store that did not answer is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// What whoever waits is told.
#[derive(Debug)]
pub enum Told {
    /// A provider is asked.
    Started {
        /// The provider.
        provider: String,
        /// The model.
        model: String,
    },
    /// A piece of the answer.
    Piece(Piece),
    /// Vectors, in the order of their texts.
    Vectors(Vec<Vec<f32>>),
    /// Documents, the best first.
    Ranked(Vec<Ranked>),
    /// It is complete.
    Done(Box<Done>),
    /// There is none.
    Failed(Trouble),
}

/// A complete answer, in figures.
#[derive(Clone, PartialEq, Debug)]
pub struct Done {
    /// What the answering attempt used.
    pub tokens: Tokens,
    /// What all attempts cost, in nano-dollars.
    pub nanos: u64,
    /// Counted here, since no provider told.
    pub estimated: bool,
    /// Why it ended.
    pub stop: Option<Stop>,
    /// Who answered.
    pub provider: String,
    /// As what.
    pub model: String,
}

/// One request being answered.
pub(super) struct Run {
    requests: Requests,
    org: OrgId,
    request: Request,
    version: u64,
    key: Arc<ContentKey>,
    ask: Ask,
    other: Option<Other>,
    offers: Vec<Offer>,
    limits: LlmLimits,
    tell: Option<mpsc::Sender<Told>>,
    stop: CancellationToken,
    events: Vec<Event>,
    calls: BTreeMap<u64, Call>,
    /// Bytes that the attempt wrote, whatever of.
    said: usize,
    /// Its words, to be looked through for secrets at its end.
    heard: String,
    counted: Option<Tokens>,
    first_ms: Option<u64>,
    /// The attempt's question was handed to the wire.
    sent: bool,
    finish: Option<Stop>,
    flushed: Instant,
    _held: Option<Held>,
}

/// A tool call as it grows.
#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

/// How an attempt ended.
enum Heard {
    /// With an answer.
    Answer,
    /// Without one.
    Failure(Failure),
    /// Nobody wants it any more: the caller hung up, or took it back here.
    Unwanted,
    /// It is somebody else's by now.
    Lost,
}

/// How waiting for something ended.
enum Waited<T> {
    Got(T),
    Late,
    Unwanted,
    Lost,
}

/// Why a write was not made.
enum Unwritten {
    /// The document is another's by now.
    Lost,
    /// The pot has no room.
    OverBudget(Trouble),
    /// The store does not answer.
    Away,
}

impl Run {
    pub(super) fn new(
        requests: Requests,
        org: OrgId,
        begun: Begun,
        ask: Ask,
        tell: Option<mpsc::Sender<Told>>,
        stop: CancellationToken,
        held: Option<Held>,
    ) -> Self {
        Self {
            requests,
            org,
            request: begun.request,
            version: begun.version,
            key: begun.key,
            ask,
            other: None,
            offers: begun.offers,
            limits: begun.limits,
            tell,
            stop,
            events: begun.events,
            calls: BTreeMap::new(),
            said: 0,
            heard: String::new(),
            counted: None,
            first_ms: None,
            sent: false,
            finish: None,
            flushed: Instant::now(),
            _held: held,
        }
    }

    /// Something else is asked than a conversation.
    pub(super) fn does(&mut self, other: Option<Other>) {
        self.other = other;
    }

    /// Tokens that are read.
    fn input(&self) -> u64 {
        Work::of(&self.ask, self.other.as_ref()).tokens().0
    }

    /// Answers it.
    pub(super) async fn go(mut self) {
        self.requests
            .cast_shadow(&self.org, &self.request, &self.ask);
        self.answer().await;
        self.requests.running().remove(&self.request.id);
    }

    async fn answer(&mut self) {
        let offers = std::mem::take(&mut self.offers);
        let mut last: Option<(String, Failure)> = None;
        for (index, offer) in offers.iter().enumerate() {
            match self.ready(offer, last.as_ref()).await {
                Ok(()) => {}
                Err(Unwritten::Lost) => return self.taken_back().await,
                Err(Unwritten::Away) => return self.give_up(Trouble::StoreUnavailable),
                Err(Unwritten::OverBudget(trouble)) => return self.fail(trouble).await,
            }
            match self.attempt(offer).await {
                Heard::Answer => return self.complete(offer).await,
                Heard::Unwanted => return self.unwanted().await,
                Heard::Lost => return self.taken_back().await,
                Heard::Failure(failure) => {
                    tracing::info!(
                        request = %self.request.id, provider = %offer.entry.provider.name,
                        model = %offer.model, why = failure.why.name(),
                        "a provider gave no answer"
                    );
                    let begins_anew = self.may_begin_anew(offers.len() > index + 1);
                    let again = failure.why.falls_back() && (begins_anew || !self.request.told);
                    let settled = self.settle(Some(&failure)).await;
                    last = Some((offer.entry.provider.name.clone(), failure));
                    match settled {
                        Ok(()) if again => {
                            if std::mem::take(&mut self.request.told) {
                                self.events.push(Event::Restarted);
                            }
                        }
                        Ok(()) => break,
                        Err(Unwritten::Lost) => return self.taken_back().await,
                        Err(Unwritten::Away | Unwritten::OverBudget(_)) => {
                            return self.give_up(Trouble::StoreUnavailable);
                        }
                    }
                }
            }
        }
        let trouble = match last {
            Some((provider, failure)) => no_answer(&provider, &failure),
            None => Trouble::StoreUnavailable,
        };
        self.fail(trouble).await;
    }

    /// Whether what was told may be told anew by another: nobody waits for it, its owner allows it, and
    /// there is another.
    fn may_begin_anew(&self, is_another: bool) -> bool {
        let allowed = self.request.wishes.on_cut == OnCut::Restart;
        allowed && is_another && self.tell.is_none()
    }

    /// An attempt's reservation stands before it is sent, and it is written down that it may be.
    async fn ready(
        &mut self,
        offer: &Offer,
        last: Option<&(String, Failure)>,
    ) -> Result<(), Unwritten> {
        let name = &offer.entry.provider.name;
        let reserved = self.request.open.as_ref();
        let ours = reserved
            .is_some_and(|open| open.sent && open.provider == *name && open.model == offer.model);
        if !ours {
            if let Some((from, failure)) = last {
                self.events.push(Event::Fallback {
                    from: from.clone(),
                    to: name.clone(),
                    why: failure.why.name().to_owned(),
                });
                let (from, to) = (self.provider_label(from), self.provider_label(name));
                models::fell_back(from, to, failure.why.name());
            }
            self.hold(offer).await?;
        }
        let attempt = self.request.attempts.len() + 1;
        self.events.push(Event::Started {
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            provider: name.clone(),
            model: offer.model.clone(),
        });
        self.calls.clear();
        self.said = 0;
        self.heard.clear();
        self.counted = None;
        self.first_ms = None;
        self.sent = false;
        self.finish = None;
        self.tell_later(Told::Started {
            provider: name.clone(),
            model: offer.model.clone(),
        });
        Ok(())
    }

    /// Holds what an attempt may cost. What was held when the request was queued is used for it, if
    /// that is enough; if not, it comes back, and more is held.
    async fn hold(&mut self, offer: &Offer) -> Result<(), Unwritten> {
        let now = self.requests.ports().ambient.now();
        let input = self.input();
        let mut open = self.requests.opening(offer, input, now, true);
        let mut held = None;
        match self.request.open.take() {
            Some(earlier) if earlier.reserved >= open.reserved => {
                open.id = earlier.id;
                open.reserved = earlier.reserved;
                // The day that it was held for is the day that pays.
                open.held_at = earlier.held_at;
            }
            Some(earlier) => {
                let row = self
                    .requests
                    .unsent(&self.org, &self.request, &earlier, now);
                let void = Some((earlier.id, BudgetMove::Void));
                self.write_surely(&[row], void, None).await?;
                held = Some(open.id);
            }
            None => held = Some(open.id),
        }
        let owner = self.request.owner.clone();
        let money = held.map(|id| {
            let held = self
                .requests
                .reserve(&self.org, &owner, &open, &self.limits);
            (id, held)
        });
        self.request.open = Some(open.clone());
        let payer = self.requests.payer(&self.org, &self.request, open.held_at);
        let entry = Beside::Entry(Box::new(Entry::open(&payer, &open)));
        let written = self.write(vec![entry], money, None).await;
        if let Err(Unwritten::OverBudget(_)) = &written {
            self.request.open = None;
        }
        written
    }

    async fn complete(&mut self, offer: &Offer) {
        let finish = self.finish;
        let event = Event::Completed {
            finish_reason: finish,
        };
        let written = self.end(State::Completed, event, None).await;
        match written {
            Ok(()) | Err(Unwritten::Away | Unwritten::OverBudget(_)) => {}
            Err(Unwritten::Lost) => return self.taken_back().await,
        }
        let attempt = self.request.attempts.last();
        let done = Done {
            tokens: attempt.map(|attempt| attempt.tokens).unwrap_or_default(),
            nanos: self.request.cost(),
            estimated: self.request.is_estimated(),
            stop: finish,
            provider: offer.entry.provider.name.clone(),
            model: offer.model.clone(),
        };
        self.tell_last(Told::Done(Box::new(done))).await;
    }

    async fn fail(&mut self, trouble: Trouble) {
        // A provider's words may repeat what was asked: for the event, which is sealed, alone.
        let words = if let Trouble::Provider(no) = &trouble {
            let asked = self.request.attempts.last();
            unanswered(asked.map_or("", |attempt| &attempt.provider), no.why)
        } else {
            trouble.to_string()
        };
        self.request.error = Some(Ended {
            code: trouble.code().to_owned(),
            words,
        });
        let event = Event::Failed {
            code: trouble.code().to_owned(),
            message: trouble.to_string(),
        };
        match self.end(State::Failed, event, None).await {
            Ok(()) | Err(Unwritten::Away | Unwritten::OverBudget(_)) => {
                self.tell_last(Told::Failed(trouble)).await;
            }
            Err(Unwritten::Lost) => self.taken_back().await,
        }
    }

    /// The caller hung up, or took it back through this process.
    async fn unwanted(&mut self) {
        let cut = Failure::new(Why::Cancelled, "the caller hung up");
        if self.stop.is_cancelled() {
            // Whoever took it back has written so.
            return self.taken_back().await;
        }
        let ended = self
            .end(State::Cancelled, Event::Cancelled, Some(&cut))
            .await;
        if let Err(Unwritten::Lost) = ended {
            self.taken_back().await;
        }
    }

    /// The document is another's: taken back, or taken over. If it was taken back, what was used is
    /// still ours to settle.
    async fn taken_back(&mut self) {
        let id = self.request.id;
        let stored = self.requests.document::<Request>(&self.org, &id).await;
        let stored = stored.ok().flatten();
        let ours = self.request.open.as_ref().map(|open| open.id);
        if let Some(stored) = stored
            && stored.value.state == State::Cancelled
            && stored.value.open.as_ref().map(|open| open.id) == ours
            && ours.is_some()
        {
            let told = self.request.told;
            self.request = stored.value;
            self.request.told = told;
            self.version = stored.version;
            let cut = Failure::new(Why::Cancelled, "it was taken back");
            if let Some((attempt, entry)) = self.close(Some(&cut)) {
                self.events.push(Event::Cancelled);
                let money = Some((attempt.id, ledger::post(&attempt)));
                let record = self.requests.end_record(&self.org, &self.request);
                // Whoever comes by later settles it otherwise.
                let _ = self.write_surely(&[entry], money, Some(record)).await;
            }
        }
        self.tell_last(Told::Failed(Trouble::RequestEnded(State::Cancelled.name())))
            .await;
    }

    /// The store is away for longer than the request is ours: somebody else goes on with it.
    fn give_up(&mut self, trouble: Trouble) {
        self.tell_later(Told::Failed(trouble));
    }

    /// Tells without waiting: there is room for it, or nobody who reads.
    fn tell_later(&self, told: Told) {
        if let Some(tell) = &self.tell {
            let _ = tell.try_send(told);
        }
    }

    async fn tell_last(&mut self, told: Told) {
        if let Some(tell) = self.tell.take() {
            // Who has gone is not told.
            let _ = tokio::time::timeout(CALLER_PATIENCE, tell.send(told)).await;
        }
    }
}

impl Requests {
    /// What the audit log tells of a request that ended.
    pub(super) fn end_record(&self, org: &OrgId, request: &Request) -> Record {
        let now = self.ports().ambient.now();
        let tokens = request.tokens();
        let attempts = request.attempts.iter().map(|attempt| {
            json!({"provider": attempt.provider, "model": attempt.model, "why": attempt.why})
        });
        let mut record = Record::new(now, org, RecordKind::RequestEnded, &request.by)
            .because(
                request
                    .error
                    .as_ref()
                    .map_or(request.state.name(), |error| error.code.as_str()),
            )
            .with(json!({
                "request_id": request.id,
                "state": request.state.name(),
                "attempts": attempts.collect::<Vec<_>>(),
                "cost_usd": Nanos(request.cost()).to_string(),
                "estimated": request.is_estimated(),
                "tokens_read": tokens.read(),
                "tokens_written": tokens.written(),
                "answer_secrets": request.answer_secrets,
                "shadow_of": request.shadow_of,
            }));
        record.agent = Some(request.owner.clone());
        record
    }
}

/// The same, without the provider's own words.
fn unanswered(provider: &str, why: Why) -> String {
    format!("the provider {provider} gave no answer ({})", why.name())
}

/// What the caller is told of the last failure.
fn no_answer(provider: &str, failure: &Failure) -> Trouble {
    let secs = failure.retry_after_ms.map(|ms| ms.div_ceil(1_000).max(1));
    Trouble::Provider(Box::new(NoAnswer {
        why: failure.why,
        words: format!("{}: {}", unanswered(provider, failure.why), failure.words),
        retry_after_secs: secs.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX)),
    }))
}
