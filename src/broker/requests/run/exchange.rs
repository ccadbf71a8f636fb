//! One attempt at one provider: what is sent, and what comes back, whole or in pieces.
//!
//! Each piece is told at once and noted for later. While something is waited for, the request is kept
//! ([`super::keep`]). A stream that goes on and on is stopped here, or a reservation would be no
//! ceiling.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::{CALLER_PATIENCE, FLUSH, Heard, Run, Told, Waited};
use crate::broker::requests::offers::{Offer, Work};
use crate::broker::requests::providers::key_header;
use crate::connector::model::{MAX_ANSWER, Reader, refusal, vectors};
use crate::domain::requests::ask::Other;
use crate::domain::requests::count;
use crate::domain::requests::event::Event;
use crate::domain::requests::failure::{Failure, Why};
use crate::domain::requests::piece::{Piece, Tokens};
use crate::domain::requests::sending::{Sending, Unanswered};
use crate::wire::model::Answering;

/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 * 1024;
/// Longest answer that is looked through for secrets, in bytes.
const MAX_LOOKED_THROUGH: usize = 1024 * 1024;
/// Longest that a refusal's body may take.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

impl Run {
    /// Asks one provider.
    pub(super) async fn attempt(&mut self, offer: &Offer) -> Heard {
        let entry = offer.entry.clone();
        let provider = &entry.provider;
        let mut ask = self.ask.clone();
        ask.model.clone_from(&offer.model);
        let other = self.other.as_ref().map(|other| other.of(&offer.model));
        let outgoing = match Work::of(&ask, other.as_ref()).outgoing(&entry) {
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
        self.sent = true;
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
        let figures = match &self.other {
            None => None,
            Some(Other::Embed(embed)) => {
                let read = vectors::vectors(format, &body, embed.texts.len());
                Some(read.map(|read| (Told::Vectors(read.vectors), read.tokens)))
            }
            Some(Other::Rank(rank)) => {
                let read = vectors::ranking(&body, rank.documents.len());
                Some(read.map(|read| (Told::Ranked(read.ranked), read.tokens)))
            }
        };
        match figures {
            None => {}
            Some(Ok((told, tokens))) => return self.figures(told, tokens).await,
            Some(Err(failure)) => return Heard::Failure(failure),
        }
        let mut pieces = Vec::new();
        if let Err(failure) = format.answer(&body, &mut pieces) {
            // What it reports is paid, whatever the answer is good for.
            for piece in pieces {
                if let Piece::Counted(tokens) = piece {
                    self.counted = Some(tokens);
                }
            }
            return Heard::Failure(failure);
        }
        self.take(pieces, began).await.unwrap_or(Heard::Answer)
    }

    /// An answer in figures.
    async fn figures(&mut self, told: Told, tokens: Option<Tokens>) -> Heard {
        self.counted = tokens;
        if let Some(tell) = self.tell.clone() {
            match tokio::time::timeout(CALLER_PATIENCE, tell.send(told)).await {
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
    pub(super) fn written(&self) -> u64 {
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

    /// Keeps words that are looked through for secrets, as far as there is room.
    fn hear(&mut self, words: &str) {
        if self.heard.len() + words.len() <= MAX_LOOKED_THROUGH {
            self.heard.push_str(words);
        }
    }

    fn note(&mut self, piece: &Piece) {
        match piece {
            Piece::Text(text) | Piece::Refusal(text) => {
                self.request.told |= !text.is_empty();
                self.said += text.len();
                self.hear(text);
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
                self.hear(part);
                let call = self.calls.entry(*index).or_default();
                call.arguments.push_str(part);
            }
            Piece::Thought(text) => {
                self.said += text.len();
                // Whoever waits at a door has read it.
                self.request.told |= self.tell.is_some();
            }
            Piece::Counted(tokens) => self.counted = Some(*tokens),
            Piece::Stopped(stop) => self.finish = Some(*stop),
            Piece::Block { .. } | Piece::More(_) | Piece::Beside { .. } => {
                self.request.told |= self.tell.is_some();
            }
            Piece::Started { .. } | Piece::Signature(_) | Piece::Sequence(_) | Piece::Part => {}
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
