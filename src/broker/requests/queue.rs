//! The queue: who is answered next, and what becomes of what a lost worker had in hand.
//!
//! The store is the queue. A claim is a new version of the request's document with a lease in it;
//! whoever comes second is refused by the version. First is the lowest rank, but no organisation has
//! more than its share in hand while others wait. What cannot be asked now (a provider rests, its
//! agent is frozen) is passed over and stays where it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::Requests;
use super::accept::{Begun, Said};
use super::ledger::{self, Outcome};
use super::offers::Work;
use super::run::Run;
use crate::broker::access::keys::StoredKey;
use crate::broker::core::Trouble;
use crate::domain::change::{BudgetMove, Change, Conflict, Doc, Guard};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{AttemptId, OrgId, RequestId};
use crate::domain::requests::event::{Event, Told};
use crate::domain::requests::failure::Why;
use crate::domain::requests::piece::Tokens;
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Ended, OnCut, Request, State};
use crate::domain::requests::rows::{Beside, Entry, Line};
use crate::domain::requests::sealing::ContentKey;
use crate::store::ApplyError;
use crate::telemetry::models;

/// Requests of an organisation that are looked at when one is to be claimed: those in front may be
/// such as cannot be asked now.
const LOOKED_AT: u32 = 16;
/// Workers that may be lost with one request before it is what loses them.
const MOST_LOST: u32 = 5;
/// Requests of lost workers that are looked at in one turn.
const OVERDUE: u32 = 64;
/// Parts of one request that are read at once.
pub(super) const PARTS: u32 = 1_000;

impl Requests {
    /// Answers requests of the queue, so many at once, until `stop`. Returns when those in hand are
    /// answered.
    pub async fn work(&self, workers: usize, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(workers));
        let mut rung = self.ports().models.as_ref().and_then(|it| it.store.rung());
        let poll = self.model_settings().poll;
        while !stop.is_cancelled() {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place,
                () = stop.cancelled() => break,
            };
            let Ok(place) = place else { break };
            match self.claim_next().await {
                Ok(Some(claimed)) => {
                    let requests = self.clone();
                    self.tasks.spawn(async move {
                        claimed.answer(place).await;
                        // What was over its share, or had to wait for this one, may go now.
                        requests.wake();
                    });
                    continue;
                }
                Ok(None) => drop(place),
                Err(trouble) => {
                    drop(place);
                    tracing::warn!(%trouble, "the queue of requests cannot be read; trying again");
                }
            }
            tokio::select! {
                () = self.woken.notified() => {}
                () = rings(&mut rung) => {}
                () = tokio::time::sleep(poll) => {}
                () = stop.cancelled() => break,
            }
        }
        // Those in hand end, or their leases do.
        let all = u32::try_from(workers).unwrap_or(u32::MAX);
        let lease = self.model_settings().lease;
        let _ = tokio::time::timeout(lease, places.acquire_many(all)).await;
    }

    /// The next request, if one can be answered now.
    async fn claim_next(&self) -> Result<Option<Claimed>, Trouble> {
        let store = self.model_ports()?.store.clone();
        let waiting = store.waiting_orgs().await?;
        if waiting.is_empty() || self.is_paused().await? {
            return Ok(None);
        }
        let in_hand = store.in_hand().await?;
        let share = u64::from(self.model_settings().share_percent);
        let alone = waiting.len() == 1;
        let mut heads: Vec<(i64, Doc)> = Vec::new();
        for (org, has) in &waiting {
            // One may always be in hand, and an organisation that waits alone takes what there is.
            let over = !alone && *has > 0 && (has + 1) * 100 > (in_hand + 1) * share;
            if !over {
                heads.extend(store.first_waiting(org, LOOKED_AT).await?);
            }
        }
        heads.sort_by_key(|(rank, doc)| (*rank, doc.key.id.clone()));
        for (_, doc) in heads {
            let Ok(stored) = Request::read(&doc) else {
                tracing::error!(id = %doc.key.id, "a stored request does not read back");
                continue;
            };
            let org = doc.key.org.clone();
            if let Some(claimed) = self.claim(org, stored).await? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    /// Whether whoever asked did so with a key that was revoked since: a lost key spends no more. With
    /// what holds a claim to its being live.
    async fn is_revoked(&self, org: &OrgId, by: &str) -> Result<(bool, Option<Guard>), Trouble> {
        let Some(key) = by.strip_prefix("key:") else {
            return Ok((false, None));
        };
        let (found, guard) = self.remembered::<StoredKey>(org, key).await?;
        Ok(match found.transpose()? {
            Some(key) => (!key.value.is_live(), Some(guard)),
            None => (false, None),
        })
    }

    /// Claims one; `None` if it cannot be asked now, or somebody was first.
    async fn claim(&self, org: OrgId, stored: Stored<Request>) -> Result<Option<Claimed>, Trouble> {
        let mut request = stored.value;
        let key = self.content_key(&org).await?;
        let Some(said) = self.said(&org, &key, request.id).await? else {
            let ended = ended("unreadable", "what was asked does not read back");
            self.fail_waiting(&org, request, stored.version, ended)
                .await?;
            return Ok(None);
        };
        let (revoked, live) = self.is_revoked(&org, &request.by).await?;
        if revoked {
            let ended = ended("key_revoked", "the key that asked for it was revoked");
            self.fail_waiting(&org, request, stored.version, ended)
                .await?;
            return Ok(None);
        }
        let mut mandate = match self.mandate(&org, &request.owner).await {
            Ok(mandate) => mandate,
            Err(Trouble::StoreUnavailable) => return Err(Trouble::StoreUnavailable),
            Err(_) => return Ok(None),
        };
        mandate.guards.extend(live);
        let planned = self
            .plan(
                &org,
                &Work::of(&said.ask, None),
                &request.task,
                &request.wishes,
            )
            .await;
        let planned = match planned {
            Ok(planned) => planned,
            Err(Trouble::StoreUnavailable) => return Err(Trouble::StoreUnavailable),
            Err(Trouble::Overloaded { .. }) => return Ok(None),
            Err(Trouble::Provider(no)) if matches!(no.why, Why::Cooling | Why::Open) => {
                return Ok(None);
            }
            Err(trouble) => {
                let why = ended(trouble.code(), &trouble.to_string());
                self.fail_waiting(&org, request, stored.version, why)
                    .await?;
                return Ok(None);
            }
        };
        let now = self.ports().ambient.now();
        request.state = State::Running;
        request.started_at = request.started_at.or(Some(now));
        request.lease_until = Some(self.lease_end(now));
        request.routed = planned.routed;
        let docs = vec![request.write(&org, &request.id, Some(stored.version))];
        let line = Beside::Line(Box::new(Line::of(&org, &request, self.ageing_ms())));
        let change = Change::request(mandate.guards, docs, vec![line], None, Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {}
            Err(ApplyError::Conflict(Conflict::DocChanged(key))) => {
                self.memory().forget_doc(&key);
                return Ok(None);
            }
            Err(ApplyError::Conflict(_)) => return Ok(None),
            Err(ApplyError::Store(error)) => return Err(error.into()),
        }
        let begun = Begun {
            request,
            version: stored.version + 1,
            key,
            offers: planned.offers,
            limits: mandate.limits,
            events: Vec::new(),
        };
        let mut ask = said.ask;
        // Its events are told as they come, whoever listens.
        ask.stream = true;
        Ok(Some(Claimed(self.run(org, begun, ask, None, None))))
    }

    /// What was asked; `None` if it does not read back.
    pub(super) async fn said(
        &self,
        org: &OrgId,
        key: &ContentKey,
        request: RequestId,
    ) -> Result<Option<Said>, Trouble> {
        let store = &self.model_ports()?.store;
        let parts = store.parts(request, 0, 1).await?;
        let opened = parts
            .first()
            .filter(|part| part.place == 0)
            .and_then(|part| key.open(org, request, 0, &part.sealed));
        Ok(opened.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Events of a request from the one after `after`, with their numbers.
    pub(super) async fn events_after(
        &self,
        org: &OrgId,
        request: RequestId,
        after: u64,
    ) -> Result<Vec<(u64, Event)>, Trouble> {
        let store = &self.model_ports()?.store;
        let key = self.content_key(org).await?;
        let parts = store.parts_after(request, after, PARTS).await?;
        let mut events = Vec::new();
        for part in parts.into_iter().filter(|part| part.place > 0) {
            let text = key.open(org, request, part.place, &part.sealed);
            let text = text.ok_or(Trouble::StoreUnavailable)?;
            let these: Vec<Event> =
                serde_json::from_slice(&text).map_err(|_| Trouble::StoreUnavailable)?;
            let numbered = (part.place..).zip(these);
            events.extend(numbered.filter(|(number, _)| *number > after));
        }
        Ok(events)
    }

    /// Every event of a request.
    pub(super) async fn all_events(
        &self,
        org: &OrgId,
        request: &Request,
    ) -> Result<Vec<Event>, Trouble> {
        let (mut all, mut after) = (Vec::new(), 0);
        while after < request.last_event {
            let more = self.events_after(org, request.id, after).await?;
            let Some((last, _)) = more.last() else { break };
            after = *last;
            all.extend(more.into_iter().map(|(_, event)| event));
        }
        Ok(all)
    }

    /// Takes over what lost workers had in hand, and settles what nobody settled.
    pub async fn tend_requests(&self) -> Result<(), Trouble> {
        let Some(ports) = &self.ports().models else {
            return Ok(());
        };
        let now = self.ports().ambient.now();
        for doc in ports.store.overdue(now, OVERDUE).await? {
            let org = doc.key.org.clone();
            match Request::read(&doc) {
                Ok(stored) => self.take_over(&org, stored).await?,
                Err(error) => tracing::error!(%error, "a stored request does not read back"),
            }
        }
        let depths = ports.store.depths(None).await?;
        for depth in &depths {
            models::queue_depth(depth.priority, depth.pending);
        }
        self.note_depths(&depths);
        let oldest = depths.iter().map(|depth| depth.oldest).min();
        let age = oldest.map_or(0, |oldest| now.millis() - oldest.millis());
        models::queue_oldest(Duration::from_millis(u64::try_from(age).unwrap_or(0)));
        Ok(())
    }

    /// A request whose lease ran out.
    async fn take_over(&self, org: &OrgId, stored: Stored<Request>) -> Result<(), Trouble> {
        let mut request = stored.value;
        let mut events = Vec::new();
        let mut besides = Vec::new();
        let money = self
            .settle_lost(org, &mut request, &mut events, &mut besides)
            .await?;
        let now = self.ports().ambient.now();
        let mut records = Vec::new();
        request.lease_until = None;
        if request.state == State::Running {
            request.lost_workers += 1;
            let cut = request.told && request.wishes.on_cut == OnCut::Fail;
            let why = match () {
                () if request.door.is_waited_at() => Some((
                    "worker_lost",
                    "whoever answered it was lost, and with it the caller's connection",
                )),
                () if cut => Some((
                    "cut",
                    "whoever answered it was lost in the middle of the answer",
                )),
                () if request.lost_workers >= MOST_LOST => {
                    Some(("worker_lost", "too many workers were lost with it"))
                }
                () => None,
            };
            match why {
                Some((code, words)) => {
                    request.state = State::Failed;
                    request.ended_at = Some(now);
                    request.error = Some(ended(code, words));
                    events.push(Event::Failed {
                        code: code.to_owned(),
                        message: words.to_owned(),
                    });
                }
                None => {
                    request.state = State::Pending;
                    if std::mem::take(&mut request.told) {
                        events.push(Event::Restarted);
                    }
                }
            }
        } else {
            events.push(Event::Cancelled);
        }
        if request.state.is_final() {
            records.push(self.end_record(org, &request));
        }
        self.add_events(org, &mut request, &events, &mut besides)
            .await?;
        let line = Line::of(org, &request, self.ageing_ms());
        besides.push(Beside::Line(Box::new(line)));
        let docs = vec![request.write(org, &request.id, Some(stored.version))];
        let change = Change::request(Vec::new(), docs, besides, money, records);
        match self.ports().store.apply(change).await {
            Ok(_) => {
                tracing::warn!(request = %request.id, state = request.state.name(), "a request of a lost worker was taken over");
                if request.state == State::Pending {
                    self.wake();
                }
                self.told(request.id);
                Ok(())
            }
            // Its worker is there after all, or another node was first.
            Err(ApplyError::Conflict(_)) => Ok(()),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// The open attempt of a lost worker: what was read, and the pieces that were stored, are paid.
    async fn settle_lost(
        &self,
        org: &OrgId,
        request: &mut Request,
        events: &mut Vec<Event>,
        besides: &mut Vec<Beside>,
    ) -> Result<Option<(AttemptId, BudgetMove)>, Trouble> {
        if request.open.as_ref().is_none_or(|open| !open.sent) {
            return Ok(None);
        }
        let written = match request.erased {
            true => 0,
            false => {
                let all = self.all_events(org, request).await?;
                let begun = |event: &Event| matches!(event, Event::Started { .. });
                let from = all.iter().rposition(begun).unwrap_or(0);
                Told::of(all.get(from..).unwrap_or_default()).written()
            }
        };
        let Some(open) = request.open.take() else {
            return Ok(None);
        };
        let outcome = Outcome {
            tokens: Tokens {
                input: open.input,
                output: written,
                ..Tokens::default()
            },
            estimated: true,
            first_ms: None,
            why: Some("worker_lost".to_owned()),
        };
        let now = self.ports().ambient.now();
        let attempt = ledger::ended(&open, outcome, now);
        let payer = self.payer(org, request, open.held_at);
        besides.push(Beside::Entry(Box::new(Entry::settled(&payer, &attempt))));
        events.push(Event::Usage {
            tokens: attempt.tokens,
            estimated: true,
        });
        events.push(Event::Cost {
            cost_usd: Nanos(attempt.nanos).to_string(),
            cost_nanos: attempt.nanos,
            estimated: true,
        });
        let money = (attempt.id, ledger::post(&attempt));
        request.attempts.push(attempt);
        Ok(Some(money))
    }

    /// Seals events as the next part of a request.
    pub(super) async fn add_events(
        &self,
        org: &OrgId,
        request: &mut Request,
        events: &[Event],
        besides: &mut Vec<Beside>,
    ) -> Result<(), Trouble> {
        if events.is_empty() || request.erased {
            return Ok(());
        }
        let key = self.content_key(org).await?;
        let text = serde_json::to_vec(events).map_err(|_| Trouble::StoreUnavailable)?;
        let first = request.last_event + 1;
        besides.push(Beside::Part(
            self.part(org, &key, request.id, first, &text)?,
        ));
        request.last_event += u64::try_from(events.len()).unwrap_or(0);
        Ok(())
    }

    /// A request of the queue that nobody can answer.
    async fn fail_waiting(
        &self,
        org: &OrgId,
        request: Request,
        version: u64,
        why: Ended,
    ) -> Result<(), Trouble> {
        let event = Event::Failed {
            code: why.code.clone(),
            message: why.words.clone(),
        };
        let ended = self
            .end_waiting(org, request, version, State::Failed, Some(why), event)
            .await;
        match ended {
            Err(Trouble::Changed) => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// Ends a request that nobody has in hand: what was held for it comes back.
    pub(super) async fn end_waiting(
        &self,
        org: &OrgId,
        mut request: Request,
        version: u64,
        state: State,
        why: Option<Ended>,
        event: Event,
    ) -> Result<Request, Trouble> {
        let now = self.ports().ambient.now();
        request.state = state;
        request.ended_at = Some(now);
        request.lease_until = None;
        request.error = why;
        let mut besides = Vec::new();
        let mut money = None;
        if let Some(open) = request.open.take() {
            money = Some((open.id, BudgetMove::Void));
            besides.push(self.unsent(org, &request, &open, now));
        }
        self.add_events(org, &mut request, &[event], &mut besides)
            .await?;
        let line = Line::of(org, &request, self.ageing_ms());
        besides.push(Beside::Line(Box::new(line)));
        let docs = vec![request.write(org, &request.id, Some(version))];
        let records = vec![self.end_record(org, &request)];
        let change = Change::request(Vec::new(), docs, besides, money, records);
        let applied = self.ports().store.apply(change).await;
        applied.map_err(crate::broker::core::failed)?;
        self.told(request.id);
        Ok(request)
    }
}

/// Waits until another process has queued something; for ever where nobody tells.
async fn rings(rung: &mut Option<watch::Receiver<u64>>) {
    if let Some(bell) = rung
        && bell.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// A request that this worker has in hand.
struct Claimed(Run);

impl Claimed {
    async fn answer(self, place: OwnedSemaphorePermit) {
        self.0.go().await;
        drop(place);
    }
}

fn ended(code: &str, words: &str) -> Ended {
    Ended {
        code: code.to_owned(),
        words: words.to_owned(),
    }
}
