//! Answering a request: one provider after the other, until one answers or none is left.
//!
//! Whoever waits gets each piece as it arrives; what is written lags a quarter of a second behind.
//! Every write names the version of the last, so a worker that lost its request to another, or whose
//! request was taken back, notices and stops. A fallback is taken only while nothing of an answer has
//! been told. Whatever ends an attempt, what was used of it is paid.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Requests;
use super::accept::{Begun, Held, over_budget};
use super::ledger::{self, Outcome};
use super::offers::{Offer, Work};
use super::providers::key_header;
use crate::broker::core::{NoAnswer, Trouble};
use crate::connector::model::{MAX_ANSWER, Reader, refusal, vectors};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{BudgetMove, Change, Conflict, Record};
use crate::domain::document::Document;
use crate::domain::ids::{AttemptId, OrgId};
use crate::domain::requests::ask::{Ask, Embed, Format};
use crate::domain::requests::count;
use crate::domain::requests::event::Event;
use crate::domain::requests::failure::{Failure, Why};
use crate::domain::requests::piece::{Piece, Stop, Tokens};
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Attempt, Ended, Request, State};
use crate::domain::requests::rows::{Beside, Entry, Line};
use crate::domain::requests::sealing::ContentKey;
use crate::domain::requests::sending::{Sending, Unanswered};
use crate::domain::requests::shipped;
use crate::domain::requests::spent::LlmLimits;
use crate::store::{ApplyError, StoreError};
use crate::telemetry::models::{self, Attempted, OTHER, TASKS};
use crate::wire::model::Answering;

/// How often what was told is written down.
const FLUSH: Duration = Duration::from_millis(250);
/// How often it is looked whether the request is still this worker's.
const LOOK: Duration = Duration::from_secs(1);
/// How long a caller may read nothing before he counts as gone.
const CALLER_PATIENCE: Duration = Duration::from_secs(120);
/// Pause before a store that did not answer is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 * 1024;
/// Longest that a refusal's body may take.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

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
    embed: Option<Embed>,
    offers: Vec<Offer>,
    limits: LlmLimits,
    tell: Option<mpsc::Sender<Told>>,
    stop: CancellationToken,
    events: Vec<Event>,
    calls: BTreeMap<u64, Call>,
    /// Bytes that the attempt wrote, whatever of.
    said: usize,
    counted: Option<Tokens>,
    first_ms: Option<u64>,
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
            embed: None,
            offers: begun.offers,
            limits: begun.limits,
            tell,
            stop,
            events: begun.events,
            calls: BTreeMap::new(),
            said: 0,
            counted: None,
            first_ms: None,
            finish: None,
            flushed: Instant::now(),
            _held: held,
        }
    }

    /// Texts are to be turned into vectors.
    pub(super) fn embeds(&mut self, embed: Option<Embed>) {
        self.embed = embed;
    }

    /// Tokens that are read.
    fn input(&self) -> u64 {
        Work::of(&self.ask, self.embed.as_ref()).tokens().0
    }

    /// Answers it.
    pub(super) async fn go(mut self) {
        self.answer().await;
        self.requests.running().remove(&self.request.id);
    }

    async fn answer(&mut self) {
        let offers = std::mem::take(&mut self.offers);
        let mut last: Option<(String, Failure)> = None;
        for offer in &offers {
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
                    let again = failure.why.falls_back() && !self.request.told;
                    let settled = self.settle(Some(&failure)).await;
                    last = Some((offer.entry.provider.name.clone(), failure));
                    match settled {
                        Ok(()) if again => {}
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
        self.counted = None;
        self.first_ms = None;
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

    /// Asks one provider.
    async fn attempt(&mut self, offer: &Offer) -> Heard {
        let entry = offer.entry.clone();
        let provider = &entry.provider;
        let mut ask = self.ask.clone();
        ask.model.clone_from(&offer.model);
        let embed = self.embed.clone().map(|embed| Embed {
            model: offer.model.clone(),
            ..embed
        });
        let outgoing = match Work::of(&ask, embed.as_ref()).outgoing(&entry) {
            Ok(outgoing) => outgoing,
            Err(malformed) => {
                return Heard::Failure(Failure::new(Why::Refused, malformed.to_string()));
            }
        };
        let key = key_header(entry.key.as_ref(), outgoing.auth);
        let sending = Sending {
            url: outgoing.url,
            headers: outgoing.headers,
            key,
            body: Some(outgoing.body.to_string().into_bytes()),
            private: self.requests.private_of(&entry),
        };
        let tokens = self.input();
        let requests = self.requests.clone();
        let pass = requests
            .health
            .enter(entry.scope(), provider, &offer.model, tokens);
        let heard = self.exchange(&sending, offer).await;
        match &heard {
            Heard::Answer => pass.good(),
            Heard::Failure(failure) => pass.bad(failure),
            Heard::Unwanted | Heard::Lost => drop(pass),
        }
        heard
    }

    async fn exchange(&mut self, sending: &Sending, offer: &Offer) -> Heard {
        let settings = self.requests.model_settings();
        let provider = &offer.entry.provider;
        let first_byte = provider
            .timeout_ms
            .map_or(settings.first_byte, Duration::from_millis);
        let stall = settings.stall;
        let began = Instant::now();
        let ports = match self.requests.model_ports() {
            Ok(ports) => ports.clone(),
            Err(_) => return Heard::Failure(Failure::new(Why::Unreachable, "no wire")),
        };
        let sent = ports.wire.send(sending, first_byte);
        let answering = match self.wait(sent, first_byte).await {
            Waited::Got(Ok(answering)) => answering,
            Waited::Got(Err(unanswered)) => return Heard::Failure(unsent(unanswered)),
            Waited::Late => return Heard::Failure(late()),
            Waited::Unwanted => return Heard::Unwanted,
            Waited::Lost => return Heard::Lost,
        };
        if !(200..300).contains(&answering.status) {
            return Heard::Failure(self.refusal(answering).await);
        }
        if self.ask.stream {
            return self
                .stream(answering, offer, began, first_byte, stall)
                .await;
        }
        self.whole(answering, offer, began, first_byte).await
    }

    /// What a status other than a success says.
    async fn refusal(&self, mut answering: Answering) -> Failure {
        let body = collect(&mut answering, MAX_REFUSAL);
        let body = tokio::time::timeout(REFUSAL_PATIENCE, body).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let now = self.requests.ports().ambient.now();
        let header = |name: &str| answering.header(name);
        refusal::of_status(answering.status, header, &body, now)
    }

    /// An answer that comes whole.
    async fn whole(
        &mut self,
        mut answering: Answering,
        offer: &Offer,
        began: Instant,
        within: Duration,
    ) -> Heard {
        let left = within.saturating_sub(began.elapsed());
        let body = collect(&mut answering, MAX_ANSWER);
        let body = match self.wait(body, left).await {
            Waited::Got(Ok(body)) => body,
            Waited::Got(Err(why)) => return Heard::Failure(Failure::new(Why::Cut, why)),
            Waited::Late => return Heard::Failure(late()),
            Waited::Unwanted => return Heard::Unwanted,
            Waited::Lost => return Heard::Lost,
        };
        let format = offer.entry.provider.format;
        if let Some(embed) = &self.embed {
            return self.vectors(format, &body, embed.texts.len()).await;
        }
        match format.answer(&body) {
            Ok(pieces) => match self.take(pieces, began).await {
                None => Heard::Answer,
                Some(heard) => heard,
            },
            Err(failure) => Heard::Failure(failure),
        }
    }

    /// Vectors of so many texts.
    async fn vectors(&mut self, format: Format, body: &[u8], texts: usize) -> Heard {
        let read = match vectors::vectors(format, body, texts) {
            Ok(read) => read,
            Err(failure) => return Heard::Failure(failure),
        };
        self.counted = read.tokens;
        if let Some(tell) = self.tell.clone() {
            let told = tell.send(Told::Vectors(read.vectors));
            match tokio::time::timeout(CALLER_PATIENCE, told).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Heard::Unwanted,
            }
        }
        Heard::Answer
    }

    /// An answer that comes in pieces.
    async fn stream(
        &mut self,
        mut answering: Answering,
        offer: &Offer,
        began: Instant,
        first_byte: Duration,
        stall: Duration,
    ) -> Heard {
        let mut reader = Reader::new(offer.entry.provider.format);
        loop {
            let limit = match self.first_ms {
                None => first_byte.saturating_sub(began.elapsed()),
                Some(_) => stall,
            };
            let next = futures_util::StreamExt::next(&mut answering.body);
            let chunk = match self.wait(next, limit).await {
                Waited::Got(chunk) => chunk,
                Waited::Late => return Heard::Failure(late()),
                Waited::Unwanted => return Heard::Unwanted,
                Waited::Lost => return Heard::Lost,
            };
            let mut pieces = Vec::new();
            let (read, over) = match chunk {
                Some(Ok(bytes)) => (reader.push(&bytes, &mut pieces), false),
                Some(Err(why)) => (Err(Failure::new(Why::Cut, why)), true),
                None => (reader.end(&mut pieces), true),
            };
            if let Some(heard) = self.take(pieces, began).await {
                return heard;
            }
            if let Some(failure) = self.overrun() {
                return Heard::Failure(failure);
            }
            match read {
                Err(failure) => return Heard::Failure(failure),
                Ok(()) if reader.is_ended() && !over => {
                    return match reader.end(&mut Vec::new()) {
                        Ok(()) => Heard::Answer,
                        Err(failure) => Heard::Failure(failure),
                    };
                }
                Ok(()) if over => return Heard::Answer,
                Ok(()) => {}
            }
        }
    }

    /// Why a stream is stopped that goes on and on: it wrote far more than it was asked for, or cost
    /// three times what was reserved for an agent whose spending is bounded. Without this a reservation
    /// would be no ceiling, for a provider need not heed `max_tokens`.
    fn overrun(&self) -> Option<Failure> {
        let open = self.request.open.as_ref()?;
        let bounded = self.limits.daily_usd.is_some() || self.limits.per_request_usd.is_some();
        let so_far = Tokens {
            input: open.input,
            output: self.written(),
            ..Tokens::default()
        };
        let cost = open.prices.cost(&so_far).map_or(0, |nanos| nanos.0);
        let words = if self.said > count::most_bytes(&self.ask) {
            "it wrote far more than it was asked for, and was stopped"
        } else if bounded && cost > open.reserved.saturating_mul(3) {
            "it cost three times what was reserved for it, and was stopped; name a `max_tokens` that is \
             enough for the answer"
        } else {
            return None;
        };
        Some(Failure::new(Why::Cut, words))
    }

    /// Tokens of what the attempt wrote, as counted here.
    fn written(&self) -> u64 {
        count::bytes(self.said)
    }

    /// Pieces of the answer: told at once, noted for later. `None` if it goes on.
    async fn take(&mut self, pieces: Vec<Piece>, began: Instant) -> Option<Heard> {
        for piece in pieces {
            if self.first_ms.is_none() && piece.is_answer() {
                let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.first_ms = Some(took);
            }
            self.note(&piece);
            let Some(tell) = self.tell.clone() else {
                continue;
            };
            let told = async move { tell.send(Told::Piece(piece)).await.is_ok() };
            match self.wait(told, CALLER_PATIENCE).await {
                Waited::Got(true) => {}
                Waited::Got(false) | Waited::Late | Waited::Unwanted => {
                    return Some(Heard::Unwanted);
                }
                Waited::Lost => return Some(Heard::Lost),
            }
        }
        None
    }

    fn note(&mut self, piece: &Piece) {
        match piece {
            Piece::Text(text) | Piece::Refusal(text) => {
                self.request.told |= !text.is_empty();
                self.said += text.len();
                match self.events.last_mut() {
                    Some(Event::Delta { text: so_far }) => so_far.push_str(text),
                    Some(_) | None => self.events.push(Event::Delta { text: text.clone() }),
                }
            }
            Piece::ToolCall { index, id, name } => {
                self.request.told = true;
                let call = self.calls.entry(*index).or_default();
                call.id.clone_from(id);
                call.name.clone_from(name);
            }
            Piece::Arguments { index, part } => {
                self.said += part.len();
                let call = self.calls.entry(*index).or_default();
                call.arguments.push_str(part);
            }
            Piece::Thought(text) => self.said += text.len(),
            Piece::Counted(tokens) => self.counted = Some(*tokens),
            Piece::Stopped(stop) => self.finish = Some(*stop),
            Piece::Started { .. } | Piece::Signature(_) => {}
        }
    }

    /// Waits, and meanwhile keeps the request: writes what was told, prolongs the lease, and looks
    /// whether it is still wanted.
    async fn wait<T>(&mut self, awaited: impl Future<Output = T>, limit: Duration) -> Waited<T> {
        let mut awaited = std::pin::pin!(awaited);
        let late = Instant::now() + limit;
        let mut ticks = tokio::time::interval(FLUSH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        ticks.tick().await;
        loop {
            let (stop, tell) = (self.stop.clone(), self.tell.clone());
            let gone = async move {
                match tell {
                    Some(tell) => tell.closed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                got = &mut awaited => return Waited::Got(got),
                () = stop.cancelled() => return Waited::Unwanted,
                () = gone => return Waited::Unwanted,
                () = tokio::time::sleep_until(late) => return Waited::Late,
                _ = ticks.tick() => {}
            }
            if self.keep().await.is_err() {
                return Waited::Lost;
            }
        }
    }

    /// Writes what there is to write, or looks whether the request is still ours.
    async fn keep(&mut self) -> Result<(), Unwritten> {
        let since = self.flushed.elapsed();
        let waits = !self.events.is_empty() && since >= FLUSH;
        let lease = self.requests.model_settings().lease;
        if waits || since >= lease / 3 {
            return match self.write(Vec::new(), None, None).await {
                // It is tried again at the next turn, until somebody else takes over.
                Err(Unwritten::Away) if since < lease => Ok(()),
                written => written,
            };
        }
        if since < LOOK {
            return Ok(());
        }
        let id = self.request.id;
        match self.requests.document::<Request>(&self.org, &id).await {
            Ok(Some(stored)) if stored.version == self.version => Ok(()),
            Ok(_) => Err(Unwritten::Lost),
            Err(_) => Ok(()),
        }
    }

    /// One change: the document under its version, its line, events, and what comes with it.
    async fn write(
        &mut self,
        more: Vec<Beside>,
        money: Option<(AttemptId, BudgetMove)>,
        record: Option<Record>,
    ) -> Result<(), Unwritten> {
        let now = self.requests.ports().ambient.now();
        if self.request.state == State::Running {
            self.request.lease_until = Some(self.requests.lease_end(now));
        }
        let mut next = self.request.clone();
        let mut besides = more;
        if !self.events.is_empty() {
            let first = next.last_event + 1;
            let text = serde_json::to_vec(&self.events).map_err(|_| Unwritten::Away)?;
            let part = self
                .requests
                .part(&self.org, &self.key, next.id, first, &text)
                .map_err(|_| Unwritten::Away)?;
            besides.push(Beside::Part(part));
            next.last_event += u64::try_from(self.events.len()).unwrap_or(0);
        }
        let line = Line::of(&self.org, &next, self.requests.ageing_ms());
        besides.push(Beside::Line(Box::new(line)));
        let docs = vec![next.write(&self.org, &next.id, Some(self.version))];
        let ceiling = next.open.as_ref().map_or(0, |open| open.reserved);
        let records: Vec<Record> = record.into_iter().collect();
        let change = Change::request(Vec::new(), docs, besides, money, records);
        match self.requests.ports().store.apply(change).await {
            Ok(_) => {
                self.wrote(next);
                Ok(())
            }
            Err(ApplyError::Conflict(Conflict::OverBudget { taken, limit })) => {
                Err(Unwritten::OverBudget(over_budget(taken, limit, ceiling)))
            }
            Err(ApplyError::Conflict(_)) => Err(Unwritten::Lost),
            Err(ApplyError::Store(StoreError::Unknown(_))) => self.read_back(next).await,
            Err(ApplyError::Store(StoreError::Unavailable(_) | StoreError::Corrupt(_))) => {
                Err(Unwritten::Away)
            }
        }
    }

    fn wrote(&mut self, next: Request) {
        self.request = next;
        self.version += 1;
        self.events.clear();
        self.flushed = Instant::now();
        self.requests.told(self.request.id);
    }

    /// The store did not say whether it wrote.
    async fn read_back(&mut self, next: Request) -> Result<(), Unwritten> {
        match self.requests.document::<Request>(&self.org, &next.id).await {
            Ok(Some(stored)) if stored.version == self.version + 1 && stored.value == next => {
                self.wrote(next);
                Ok(())
            }
            Ok(Some(stored)) if stored.version == self.version => Err(Unwritten::Away),
            Ok(_) => Err(Unwritten::Lost),
            Err(_) => Err(Unwritten::Away),
        }
    }

    /// The same, tried again while the store is away, for as long as the request is ours.
    async fn write_surely(
        &mut self,
        more: &[Beside],
        money: Option<(AttemptId, BudgetMove)>,
        record: Option<Record>,
    ) -> Result<(), Unwritten> {
        let until = Instant::now() + self.requests.model_settings().lease;
        loop {
            let written = self
                .write(more.to_vec(), money.clone(), record.clone())
                .await;
            match written {
                Err(Unwritten::Away) if Instant::now() < until => {
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                written => return written,
            }
        }
    }

    /// What the attempt came to.
    fn outcome(&mut self, failure: Option<&Failure>) -> Outcome {
        let told = self.counted.take().filter(count::is_believable);
        let open = self.request.open.as_ref();
        let input = open.map_or(0, |open| open.input);
        let began = self.first_ms.is_some() || self.said > 0;
        // A failure before any piece used nothing that anybody would charge for.
        let guessed = began || failure.is_none();
        let tokens = told.unwrap_or(match guessed {
            true => Tokens {
                input,
                output: self.written(),
                ..Tokens::default()
            },
            false => Tokens::default(),
        });
        // Usage that comes first tells what was read, and not yet what was written.
        let unfinished = failure.is_some() && began;
        let tokens = match unfinished && tokens.written() < self.written() {
            true => Tokens {
                output: self.written(),
                ..tokens
            },
            false => tokens,
        };
        Outcome {
            tokens,
            estimated: guessed && (told.is_none() || unfinished),
            first_ms: self.first_ms,
            why: failure.map(|failure| failure.why.name().to_owned()),
        }
    }

    /// Ends the open attempt in the document, and says what goes with that.
    fn close(&mut self, failure: Option<&Failure>) -> Option<(Attempt, Beside)> {
        let outcome = self.outcome(failure);
        let open = self.request.open.take()?;
        let now = self.requests.ports().ambient.now();
        let attempt = ledger::ended(&open, outcome, now);
        let payer = self.requests.payer(&self.org, &self.request, open.held_at);
        let entry = Beside::Entry(Box::new(Entry::settled(&payer, &attempt)));
        for (_, call) in std::mem::take(&mut self.calls) {
            self.events.push(Event::ToolCall {
                id: call.id,
                name: call.name,
                arguments: call.arguments,
            });
        }
        self.events.push(Event::Usage {
            tokens: attempt.tokens,
            estimated: attempt.estimated,
        });
        self.events.push(Event::Cost {
            cost_usd: Nanos(attempt.nanos).to_string(),
            cost_nanos: attempt.nanos,
            estimated: attempt.estimated,
        });
        self.request.attempts.push(attempt.clone());
        models::attempted(&Attempted {
            provider: self.provider_label(&attempt.provider),
            model: model_label(&attempt.model),
            tokens: attempt.tokens,
            nanos: attempt.nanos,
            first: attempt.first_ms.map(Duration::from_millis),
        });
        Some((attempt, entry))
    }

    /// A provider as metrics name it, whose readers are of the default organisation: what another
    /// one registered is not theirs to know.
    fn provider_label<'n>(&self, name: &'n str) -> &'n str {
        let configured = &self.requests.settings().models.providers;
        let known = configured.iter().any(|it| it.provider.name == name);
        match known || self.org == OrgId::default() {
            true => name,
            false => OTHER,
        }
    }

    /// An attempt failed, and the request goes on.
    async fn settle(&mut self, failure: Option<&Failure>) -> Result<(), Unwritten> {
        let Some((attempt, entry)) = self.close(failure) else {
            return Ok(());
        };
        let money = Some((attempt.id, ledger::post(&attempt)));
        self.write_surely(&[entry], money, None).await
    }

    /// The end of the request, with its last attempt if one is open.
    async fn end(
        &mut self,
        state: State,
        event: Event,
        failure: Option<&Failure>,
    ) -> Result<(), Unwritten> {
        let closed = self.close(failure);
        let now = self.requests.ports().ambient.now();
        self.request.state = state;
        self.request.ended_at = Some(now);
        self.request.lease_until = None;
        self.events.push(event);
        let (attempt, entry) = closed.unzip();
        let money = attempt.map(|attempt| (attempt.id, ledger::post(&attempt)));
        let record = self.requests.end_record(&self.org, &self.request);
        let entries: Vec<Beside> = entry.into_iter().collect();
        let written = self.write_surely(&entries, money, Some(record)).await;
        if written.is_ok() {
            let took = now.millis() - self.request.created_at.millis();
            let took = Duration::from_millis(u64::try_from(took).unwrap_or(0));
            models::request_ended(task_label(&self.request.task), state.name(), took);
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
            format!("no provider answered: {}", no.why.name())
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
        let cut = Failure::new(Why::Cut, "the caller hung up");
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
            let cut = Failure::new(Why::Cut, "it was taken back");
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
            }));
        record.agent = Some(request.owner.clone());
        record
    }
}

async fn collect(answering: &mut Answering, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = futures_util::StreamExt::next(&mut answering.body).await {
        let chunk = chunk?;
        if body.len() + chunk.len() > most {
            return Err("more came than any answer has".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A caller may name any task and, at some providers, any model; metrics have room for few.
fn task_label(task: &str) -> &'static str {
    let known = TASKS.into_iter().find(|known| *known == task);
    known.unwrap_or(OTHER)
}

fn model_label(model: &str) -> &str {
    match shipped::ROWS.iter().any(|row| row.1 == model) {
        true => model,
        false => OTHER,
    }
}

fn late() -> Failure {
    Failure::new(Why::Timeout, "it took too long")
}

fn unsent(unanswered: Unanswered) -> Failure {
    match unanswered {
        Unanswered::Unreachable(why) => Failure::new(Why::Unreachable, why),
        Unanswered::Broken(why) => Failure::new(Why::ServerError, why),
        Unanswered::Late => late(),
    }
}

/// What the caller is told of the last failure.
fn no_answer(provider: &str, failure: &Failure) -> Trouble {
    let secs = failure.retry_after_ms.map(|ms| ms.div_ceil(1_000).max(1));
    Trouble::Provider(Box::new(NoAnswer {
        why: failure.why,
        words: format!(
            "the provider {provider} gave no answer ({}): {}",
            failure.why.name(),
            failure.words
        ),
        retry_after_secs: secs.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX)),
    }))
}
