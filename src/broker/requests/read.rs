//! Requests as their owners see them: made, listed, read, followed, taken back, forgotten. Whoever is
//! neither the owner nor reads everything is told that there is no such request.

use std::time::Duration;

use serde_json::{Value, json};

use super::accept::{Asked, key_name};
use super::{Requests, owner};
use crate::broker::core::{Trouble, failed};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{AgentId, OrgId, ProposalId, RequestId};
use crate::domain::principal::{Principal, Right, Role};
use crate::domain::requests::event::{Event, Told};
use crate::domain::requests::request::{KeyOf, Request, State};
use crate::domain::requests::rows::{Beside, Line};
use crate::domain::search::ground::{self, Grounding};
use crate::governance::secrets::redact::Vault;
use crate::store::requests::RequestFilter;

/// Requests in one page at most.
const MOST: u32 = 500;
/// Requests in one page where nobody says how many.
const USUAL: u32 = 50;
/// How often it is tried to write what somebody else writes as well.
const ATTEMPTS: usize = 10;
/// Requests that are forgotten in one turn.
const FORGOTTEN: u32 = 100;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A request, and where it stands in the queue.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestView {
    /// The request.
    pub request: Request,
    /// How many wait in front of it, if it waits.
    pub position: Option<u64>,
    /// It was there already.
    pub replayed: bool,
}

/// A page of requests.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestPage {
    /// The requests, newest first.
    pub requests: Vec<Request>,
    /// Where the next page begins.
    pub next_cursor: Option<RequestId>,
}

/// Which requests a caller wants to see.
#[derive(Clone, Debug, Default)]
pub struct ListRequests {
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this owner.
    pub owner: Option<AgentId>,
    /// Only older than this one.
    pub cursor: Option<RequestId>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// The answer to a request.
#[derive(Clone, PartialEq)]
pub struct Answered {
    /// The request.
    pub request: Request,
    /// What was answered.
    pub told: Told,
    /// What its caller wanted to find again with it.
    pub metadata: Option<Value>,
    /// What it stands on of the passages that it was asked with, if it was.
    pub grounding: Option<Grounding>,
}

impl Requests {
    /// Takes a request on that waits its turn.
    pub async fn enqueue(&self, who: &Principal, asked: Asked) -> Result<RequestView, Trouble> {
        Self::may_ask(who)?;
        let enqueued = self.enqueued(who, &asked).await;
        match enqueued {
            Err(trouble) => {
                let detail = json!({"door": asked.door.name(), "request_id": asked.id});
                self.refused(who, &trouble, detail).await?;
                Err(trouble)
            }
            enqueued => enqueued,
        }
    }

    async fn enqueued(&self, who: &Principal, asked: &Asked) -> Result<RequestView, Trouble> {
        let owner = owner(who)?;
        if let Some(earlier) = self.earlier(who, &owner, asked).await? {
            return Ok(earlier);
        }
        let store = &self.model_ports()?.store;
        let waiting = store.depths(None).await?;
        let waiting: u64 = waiting.iter().map(|depth| depth.pending).sum();
        if waiting >= self.model_settings().max_queue {
            return Err(Trouble::QueueFull(waiting));
        }
        let begun = match self.begin(who, asked, State::Pending).await {
            Ok(begun) => begun,
            // Somebody used the key at this very moment.
            Err(Trouble::Changed) => {
                let earlier = self.earlier(who, &owner, asked).await?;
                return earlier.ok_or(Trouble::Changed);
            }
            Err(trouble) => return Err(trouble),
        };
        self.wake();
        self.view(&who.org, begun.request, false).await
    }

    /// The request that the caller's own name stands for already.
    async fn earlier(
        &self,
        who: &Principal,
        owner: &AgentId,
        asked: &Asked,
    ) -> Result<Option<RequestView>, Trouble> {
        let Some(key) = &asked.idempotency_key else {
            return Ok(None);
        };
        let id = key_name(owner, key);
        let Some(named) = self.document::<KeyOf>(&who.org, &id).await? else {
            return Ok(None);
        };
        if named.value.asked != asked.digest()? {
            let id = ProposalId::from_uuid(named.value.request.uuid());
            return Err(Trouble::IdempotencyKeyReused(id));
        }
        let stored = self.stored(who, named.value.request).await?;
        let view = self.view(&who.org, stored.value, true).await?;
        Ok(Some(view))
    }

    async fn view(
        &self,
        org: &OrgId,
        request: Request,
        replayed: bool,
    ) -> Result<RequestView, Trouble> {
        let position = match request.state {
            State::Pending => {
                let rank = Line::of(org, &request, self.ageing_ms()).rank;
                Some(self.model_ports()?.store.ahead(org, rank).await?)
            }
            State::Running | State::Completed | State::Failed | State::Cancelled => None,
        };
        Ok(RequestView {
            request,
            position,
            replayed,
        })
    }

    /// Whether this caller sees what is another's in his organisation.
    fn sees_all(who: &Principal) -> bool {
        who.may(Right::Administer) || who.roles.has(Role::Auditor)
    }

    fn owns(who: &Principal, request: &Request) -> bool {
        owner(who).is_ok_and(|owner| owner == request.owner)
    }

    /// A request that this caller may see.
    async fn stored(&self, who: &Principal, id: RequestId) -> Result<Stored<Request>, Trouble> {
        let unknown = || Trouble::NotFound("request");
        let stored = self.document::<Request>(&who.org, &id).await?;
        let stored = stored.ok_or_else(unknown)?;
        // What is asked beside another is shown to nobody who could read its answer for the first one's.
        let own = stored.value.shadow_of.is_none() && Self::owns(who, &stored.value);
        match own || Self::sees_all(who) {
            true => Ok(stored),
            false => Err(unknown()),
        }
    }

    /// One request.
    pub async fn request(&self, who: &Principal, id: RequestId) -> Result<RequestView, Trouble> {
        let stored = self.stored(who, id).await?;
        self.view(&who.org, stored.value, false).await
    }

    /// Requests of the caller; of everybody in his organisation, if he sees everything.
    pub async fn requests(
        &self,
        who: &Principal,
        asked: &ListRequests,
    ) -> Result<RequestPage, Trouble> {
        let limit = asked.limit.unwrap_or(USUAL).clamp(1, MOST);
        let own = match Self::sees_all(who) {
            true => None,
            false => Some(owner(who)?),
        };
        // Whoever asks for another's sees what there is for him: nothing.
        if let (Some(own), Some(other)) = (&own, &asked.owner)
            && own != other
        {
            return Ok(RequestPage {
                requests: Vec::new(),
                next_cursor: None,
            });
        }
        let filter = RequestFilter {
            org: who.org.clone(),
            owner: own.or_else(|| asked.owner.clone()),
            state: asked.state.map(State::name),
            before: asked.cursor,
            limit: limit + 1,
        };
        let docs = self.model_ports()?.store.requests(&filter).await?;
        let read = docs.iter().map(|doc| Ok(Request::read(doc)?.value));
        let mut requests = read.collect::<Result<Vec<_>, Trouble>>()?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = requests.len() > most;
        requests.truncate(most);
        let next_cursor = requests.last().filter(|_| more).map(|last| last.id);
        Ok(RequestPage {
            requests,
            next_cursor,
        })
    }

    /// The answer, once there is one or will be none.
    pub async fn result(&self, who: &Principal, id: RequestId) -> Result<Answered, Trouble> {
        let mut request = self.stored(who, id).await?.value;
        if !request.state.is_final() {
            return Err(Trouble::NotReady(request.state.name()));
        }
        if request.erased {
            return Err(Trouble::Erased);
        }
        let events = self.all_events(&who.org, &request).await?;
        // The sealed events have the provider's own words as well.
        if let (Some(error), Some(Event::Failed { message, .. })) =
            (&mut request.error, events.last())
        {
            error.words.clone_from(message);
        }
        let key = self.content_key(&who.org).await?;
        let said = self.said(&who.org, &key, id).await?;
        let mut told = Told::of(&events);
        let (mut metadata, given, replaced) = said
            .map(|said| (said.metadata, said.given, said.replaced))
            .unwrap_or_default();
        // Only to whom they belong: an auditor reads what was stored.
        if !replaced.is_empty() && Self::owns(who, &request) {
            restore(&Vault::of(replaced), &mut told, metadata.as_mut());
        }
        let grounded = !given.is_empty();
        Ok(Answered {
            grounding: grounded.then(|| ground::grounding(&told.text, &given)),
            told,
            metadata,
            request,
        })
    }

    /// Takes a request back. What was used of it is paid; its provider is told to stop.
    pub async fn cancel(&self, who: &Principal, id: RequestId) -> Result<RequestView, Trouble> {
        for _ in 0..ATTEMPTS {
            let stored = self.stored(who, id).await?;
            let mut request = stored.value;
            if request.state.is_final() {
                return Err(Trouble::RequestEnded(request.state.name()));
            }
            let (org, version) = (&who.org, stored.version);
            let waits = request.state == State::Pending;
            let cancelled = if waits {
                self.end_waiting(
                    org,
                    request,
                    version,
                    State::Cancelled,
                    None,
                    Event::Cancelled,
                )
                .await
            } else {
                let now = self.ports().ambient.now();
                request.state = State::Cancelled;
                request.ended_at = Some(now);
                let line = Line::of(org, &request, self.ageing_ms());
                let docs = vec![request.write(org, &id, Some(version))];
                let besides = vec![Beside::Line(Box::new(line))];
                let record = self.cancel_record(who, &request);
                let change = Change::request(Vec::new(), docs, besides, None, vec![record]);
                let applied = self.ports().store.apply(change).await;
                applied.map(|_| request).map_err(failed)
            };
            match cancelled {
                // Whoever works on it wrote at this very moment.
                Err(Trouble::Changed) => {}
                Err(trouble) => return Err(trouble),
                Ok(request) => {
                    if let Some(stop) = self.running().get(&id) {
                        stop.cancel();
                    }
                    return self.view(org, request, false).await;
                }
            }
        }
        Err(Trouble::Changed)
    }

    fn cancel_record(&self, who: &Principal, request: &Request) -> Record {
        let now = self.ports().ambient.now();
        let mut record = Record::new(now, &who.org, RecordKind::RequestCancelled, &who.id)
            .with(json!({"request_id": request.id}));
        record.agent = Some(request.owner.clone());
        record
    }

    /// Forgets what was said in a request that has ended. What it cost stays.
    pub async fn erase(&self, who: &Principal, id: RequestId) -> Result<RequestView, Trouble> {
        for _ in 0..ATTEMPTS {
            let stored = self.stored(who, id).await?;
            if !stored.value.state.is_final() || stored.value.open.is_some() {
                return Err(Trouble::RequestLive(stored.value.state.name()));
            }
            match self.forget(&who.org, stored, &who.id).await {
                Err(Trouble::Changed) => {}
                Err(trouble) => return Err(trouble),
                Ok(request) => {
                    self.forget_beside(&who.org, &request, &who.id).await?;
                    return self.view(&who.org, request, false).await;
                }
            }
        }
        Err(Trouble::Changed)
    }

    pub(super) async fn forget(
        &self,
        org: &OrgId,
        stored: Stored<Request>,
        by: &str,
    ) -> Result<Request, Trouble> {
        let mut request = stored.value;
        request.erased = true;
        request.idempotency_key = None;
        let now = self.ports().ambient.now();
        let mut record = Record::new(now, org, RecordKind::RequestErased, by)
            .with(json!({"request_id": request.id}));
        record.agent = Some(request.owner.clone());
        let docs = vec![request.write(org, &request.id, Some(stored.version))];
        let besides = vec![Beside::Erase(request.id)];
        let change = Change::request(Vec::new(), docs, besides, None, vec![record]);
        self.ports().store.apply(change).await.map_err(failed)?;
        Ok(request)
    }

    /// Forgets what was said so long ago that nobody may want it any more.
    pub async fn forget_old(&self) -> Result<(), Trouble> {
        let Some(ports) = &self.ports().models else {
            return Ok(());
        };
        let days = i64::from(self.model_settings().keep_days);
        let before = self.ports().ambient.now().plus_millis(-days * DAY_MS);
        for doc in ports.store.ended_before(before, FORGOTTEN).await? {
            let org = doc.key.org.clone();
            let stored = Request::read(&doc)?;
            match self.forget(&org, stored, "hundi").await {
                Ok(_) | Err(Trouble::Changed) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    /// Events after the one of this number, and whether the last of all is among them or before.
    pub async fn events(
        &self,
        who: &Principal,
        id: RequestId,
        after: u64,
    ) -> Result<(Vec<(u64, Event)>, bool), Trouble> {
        let request = self.stored(who, id).await?.value;
        if request.erased {
            return Err(Trouble::Erased);
        }
        let events = self.events_after(&who.org, id, after).await?;
        let last = events.last().map_or(after, |(number, _)| *number);
        let settled = request.state.is_final() && request.open.is_none();
        Ok((events, settled && last >= request.last_event))
    }

    /// Waits until something is told of a request in this process, or for so long: another one may
    /// answer it.
    pub async fn heard(&self, id: RequestId, longest: Duration) {
        let mut news = self.news.subscribe();
        let heard = async {
            loop {
                match news.recv().await {
                    Ok(told) if told != id => {}
                    Ok(_) | Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(longest, heard).await;
    }

    /// Waits until something is told of any request in this process, or for so long.
    pub async fn stirred(&self, longest: Duration) {
        let mut news = self.news.subscribe();
        let _ = tokio::time::timeout(longest, news.recv()).await;
    }
}

/// Puts back what was replaced. Arguments of tools are JSON in a text, and stay JSON.
fn restore(vault: &Vault, told: &mut Told, metadata: Option<&mut Value>) {
    told.text = vault.restore_text(&told.text);
    for (_, _, arguments) in &mut told.tool_calls {
        if let Ok(mut value) = serde_json::from_str::<Value>(arguments) {
            vault.restore(&mut value);
            *arguments = value.to_string();
        }
    }
    if let Some(metadata) = metadata {
        vault.restore(metadata);
    }
}
