//! Writing down where a request stands: what was told, what an attempt came to, its end.
//!
//! Every write names the version of the last one and prolongs the lease, so whoever lost the request
//! notices here. What an attempt used is settled with the write that ends it.

use std::time::Duration;

use tokio::time::Instant;

use super::{FLUSH, LOOK, Run, STORE_PAUSE, Unwritten};
use crate::broker::requests::accept::over_budget;
use crate::broker::requests::ledger::{self, Outcome};
use crate::domain::change::{BudgetMove, Change, Conflict, Record};
use crate::domain::document::Document;
use crate::domain::ids::{AttemptId, OrgId};
use crate::domain::requests::count;
use crate::domain::requests::event::Event;
use crate::domain::requests::failure::Failure;
use crate::domain::requests::piece::Tokens;
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Attempt, Request, State};
use crate::domain::requests::rows::{Beside, Entry, Line};
use crate::domain::requests::shipped;
use crate::governance::secrets;
use crate::store::{ApplyError, StoreError};
use crate::telemetry::models::{self, Attempted, OTHER, TASKS};

impl Run {
    /// Writes what there is to write, or looks whether the request is still ours.
    pub(super) async fn keep(&mut self) -> Result<(), Unwritten> {
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
    pub(super) async fn write(
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
    pub(super) async fn write_surely(
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
        // A provider that got the question and did not turn it away has read it, and charges for that.
        let read = self.sent && failure.is_some_and(|failure| failure.why.may_have_read());
        let guessed = began || read || failure.is_none();
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
    pub(super) fn close(&mut self, failure: Option<&Failure>) -> Option<(Attempt, Beside)> {
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
        self.look_through();
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

    /// Counts the secrets of what the attempt said, and notes their types. It is told all the same: what
    /// a model says has left its provider already.
    fn look_through(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        for found in secrets::find(heard.as_bytes()) {
            models::secret_found(found.rule, "observe");
            let known = self
                .request
                .answer_secrets
                .iter()
                .any(|rule| rule == found.rule);
            if !known {
                self.request.answer_secrets.push(found.rule.to_owned());
            }
        }
    }

    /// A provider as metrics name it, whose readers are of the default organisation: what another
    /// one registered is not theirs to know.
    pub(super) fn provider_label<'n>(&self, name: &'n str) -> &'n str {
        let configured = &self.requests.settings().models.providers;
        let known = configured.iter().any(|it| it.provider.name == name);
        match known || self.org == OrgId::default() {
            true => name,
            false => OTHER,
        }
    }

    /// An attempt failed, and the request goes on.
    pub(super) async fn settle(&mut self, failure: Option<&Failure>) -> Result<(), Unwritten> {
        let Some((attempt, entry)) = self.close(failure) else {
            return Ok(());
        };
        let money = Some((attempt.id, ledger::post(&attempt)));
        self.write_surely(&[entry], money, None).await
    }

    /// The end of the request, with its last attempt if one is open.
    pub(super) async fn end(
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
