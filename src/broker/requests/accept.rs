//! Taking a request on: who asks, whether they may, what it may cost, and then one change that holds
//! the money, keeps what was said and writes it down. Nothing has been sent before that is durable.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::offers::{Offer, Planned, Work};
use super::run::{Run, Told};
use super::screen::Screened;
use super::weight::Weight;
use super::{Requests, owner};
use crate::broker::core::places::{Kind, Place};
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::{Change, Conflict, DocWrite, Guard, Record};
use crate::domain::document::Document;
use crate::domain::ids::{AgentId, AttemptId, OrgId, RequestId, hex};
use crate::domain::principal::{Principal, Right};
use crate::domain::requests::ask::{Ask, Other};
use crate::domain::requests::event::Event;
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Door, KeyOf, Open, Request, State, Wishes};
use crate::domain::requests::rows::{Beside, Entry, Line, Part};
use crate::domain::requests::sealing::ContentKey;
use crate::domain::requests::spent::LlmLimits;
use crate::domain::search::ground::Given;
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// Pieces that wait for a caller who reads slowly, before the provider waits for him as well.
const PIECES_AHEAD: usize = 256;
/// How often it is decided anew because a policy or a freeze changed meanwhile.
const DECISIONS: usize = 3;

/// What a door hands in.
#[derive(Debug, Default)]
pub struct Asked {
    /// The question.
    pub ask: Ask,
    /// What is asked instead of a conversation, which is the question then.
    pub other: Option<Other>,
    /// Where it came in.
    pub door: Door,
    /// What kind of work it is.
    pub task: String,
    /// How urgent, 0 to 100.
    pub priority: u8,
    /// What the caller would like.
    pub wishes: Wishes,
    /// Whom the caller asks for, in his own words; kept as a hash alone.
    pub user: Option<String>,
    /// What the caller wants to find again with it.
    pub metadata: Option<Value>,
    /// The caller's own name for it.
    pub idempotency_key: Option<String>,
    /// Passages of documents that it is asked with, which are the first thing said then.
    pub given: Vec<Given>,
    /// What was looked over before.
    pub screened: Screened,
    /// The name that it gets, if the door has told it already.
    pub id: Option<RequestId>,
    /// What it weighs while somebody waits for its answer.
    pub weight: Option<Weight>,
    /// The request that it is asked beside.
    pub shadow_of: Option<RequestId>,
}

impl Asked {
    /// SHA-256 of what is asked, in hex: the same question under the same key is the same request.
    pub(super) fn digest(&self) -> Result<String, Trouble> {
        // As it was written: what is found for it may be another thing each time.
        let mut ask = self.ask.clone();
        if !self.given.is_empty() {
            ask.messages.remove(0);
        }
        let asked = (
            &ask,
            &self.task,
            self.priority,
            &self.wishes,
            &self.metadata,
        );
        let asked = serde_json::to_vec(&asked).map_err(|_| Trouble::StoreUnavailable)?;
        Ok(hex(&Sha256::digest(&asked)))
    }
}

/// The document of a caller's own name for a request.
pub(super) fn key_name(owner: &AgentId, key: &str) -> String {
    format!("{owner}/{}", hex(&Sha256::digest(key.as_bytes())))
}

/// A request under way, for the caller who waits for it. Dropping it hangs up.
#[derive(Debug)]
pub struct Conversation {
    /// The request.
    pub id: RequestId,
    /// What comes back.
    pub told: mpsc::Receiver<Told>,
    /// What was looked over, to put secrets back.
    pub screened: Screened,
}

/// What is given back when a request whose caller waited is answered.
pub(super) struct Held {
    _place: Place,
    _weight: Option<Weight>,
}

/// What is stored of the question, before it is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Said {
    pub ask: Ask,
    #[serde(default)]
    pub metadata: Option<Value>,
    #[serde(default)]
    pub given: Vec<Given>,
    /// What was replaced by what, where it is to be put back in the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<(String, String)>,
}

impl Requests {
    /// A name for a request that is about to be made.
    pub fn new_id(&self) -> RequestId {
        let ambient = &self.ports().ambient;
        RequestId::at(ambient.now(), ambient.bytes())
    }

    /// Takes a request on whose caller waits, and begins to answer it.
    pub async fn converse(&self, who: &Principal, asked: Asked) -> Result<Conversation, Trouble> {
        let place = self.places().enter(who, Kind::Call)?;
        let begun = self.begin(who, &asked, State::Running).await;
        let begun = match begun {
            Ok(begun) => begun,
            Err(trouble) => {
                let detail = json!({"door": asked.door.name(), "request_id": asked.id});
                self.refused(who, &trouble, detail).await?;
                return Err(trouble);
            }
        };
        let (tell, told) = mpsc::channel(PIECES_AHEAD);
        let id = begun.request.id;
        let held = Held {
            _place: place,
            _weight: asked.weight,
        };
        let mut run = self.run(who.org.clone(), begun, asked.ask, Some(tell), Some(held));
        run.does(asked.other);
        self.tasks.spawn(run.go());
        Ok(Conversation {
            id,
            told,
            screened: asked.screened,
        })
    }

    pub(super) fn run(
        &self,
        org: OrgId,
        begun: Begun,
        ask: Ask,
        tell: Option<mpsc::Sender<Told>>,
        held: Option<Held>,
    ) -> Run {
        let stop = CancellationToken::new();
        self.running().insert(begun.request.id, stop.clone());
        Run::new(self.clone(), org, begun, ask, tell, stop, held)
    }

    /// Whether this caller may ask models at all.
    pub(super) fn may_ask(who: &Principal) -> Result<(), Trouble> {
        match who.may(Right::Propose) || who.may(Right::Operate) {
            true => Ok(()),
            false => Err(forbidden(who)),
        }
    }

    /// Decides, and writes it all down. What was decided on may change meanwhile; then it is decided
    /// anew.
    pub(super) async fn begin(
        &self,
        who: &Principal,
        asked: &Asked,
        state: State,
    ) -> Result<Begun, Trouble> {
        Self::may_ask(who)?;
        let owner = owner(who)?;
        let key = self.content_key(&who.org).await?;
        let user_hash = match asked.user.as_deref() {
            Some(user) => Some(self.user_hash(&who.org, user).await?),
            None => None,
        };
        for _ in 0..DECISIONS {
            let mandate = self.mandate(&who.org, &owner).await?;
            let mut wishes = asked.wishes.clone();
            wishes.budget_nanos = least(
                wishes.budget_nanos,
                mandate.limits.per_request_usd.map(|usd| usd.0.0),
            );
            let planned = self
                .plan(
                    &who.org,
                    &Work::of(&asked.ask, asked.other.as_ref()),
                    &asked.task,
                    &wishes,
                )
                .await?;
            let first = planned.offers.first().cloned();
            let first = first.ok_or(Trouble::StoreUnavailable)?;
            let begun = self.new_request(
                who,
                &owner,
                asked,
                wishes,
                state,
                &planned,
                &first,
                user_hash.clone(),
            );
            let mut begun = Begun {
                request: begun,
                version: 1,
                key: key.clone(),
                offers: planned.offers,
                limits: mandate.limits,
                events: Vec::new(),
            };
            let change = self.first_change(who, asked, &mut begun, mandate.guards)?;
            match self.ports().store.apply(change).await {
                Ok(_) => return Ok(begun),
                Err(ApplyError::Conflict(Conflict::OverBudget { taken, limit })) => {
                    return Err(over_budget(taken, limit, first.ceiling));
                }
                Err(ApplyError::Conflict(Conflict::DocChanged(key))) => {
                    if key.kind == KeyOf::KIND {
                        return Err(Trouble::Changed);
                    }
                    self.memory().forget_doc(&key);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Trouble::Changed)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    fn new_request(
        &self,
        who: &Principal,
        owner: &AgentId,
        asked: &Asked,
        wishes: Wishes,
        state: State,
        planned: &Planned,
        first: &Offer,
        user_hash: Option<String>,
    ) -> Request {
        let ambient = &self.ports().ambient;
        let now = ambient.now();
        let waited_at = state == State::Running;
        Request {
            id: asked
                .id
                .unwrap_or_else(|| RequestId::at(now, ambient.bytes())),
            owner: owner.clone(),
            by: who.id.clone(),
            door: asked.door,
            state,
            task: asked.task.clone(),
            priority: asked.priority,
            wishes,
            routed: planned.routed.clone(),
            idempotency_key: asked.idempotency_key.clone(),
            user_hash,
            created_at: now,
            started_at: waited_at.then_some(now),
            ended_at: None,
            lease_until: waited_at.then(|| self.lease_end(now)),
            estimate_nanos: first.ceiling,
            attempts: Vec::new(),
            open: Some(self.opening(first, planned.input, now, waited_at)),
            last_event: 0,
            told: false,
            lost_workers: 0,
            error: None,
            erased: false,
            answer_secrets: Vec::new(),
            shadow_of: asked.shadow_of,
            shadow: None,
        }
    }

    pub(super) fn opening(&self, offer: &Offer, input: u64, now: Timestamp, sent: bool) -> Open {
        Open {
            id: AttemptId::at(now, self.ports().ambient.bytes()),
            provider: offer.entry.provider.name.clone(),
            model: offer.model.clone(),
            prices: offer.prices,
            at: now,
            held_at: now,
            input,
            reserved: offer.ceiling,
            sent,
        }
    }

    pub(super) fn lease_end(&self, now: Timestamp) -> Timestamp {
        let lease = self.model_settings().lease.as_millis();
        now.plus_millis(i64::try_from(lease).unwrap_or(i64::MAX))
    }

    pub(super) fn ageing_ms(&self) -> i64 {
        let ageing = self.model_settings().ageing.as_millis();
        i64::try_from(ageing).unwrap_or(i64::MAX)
    }

    fn first_change(
        &self,
        who: &Principal,
        asked: &Asked,
        begun: &mut Begun,
        guards: Vec<Guard>,
    ) -> Result<Change, Trouble> {
        let org = &who.org;
        let said = Said {
            ask: asked.ask.clone(),
            metadata: asked.metadata.clone(),
            given: asked.given.clone(),
            // Whoever waits has it put back by the door.
            replaced: match asked.wishes.restore && !asked.door.is_waited_at() {
                true => asked.screened.kept(),
                false => Vec::new(),
            },
        };
        let said = serde_json::to_vec(&said).map_err(|_| Trouble::StoreUnavailable)?;
        let mut parts = vec![self.part(org, &begun.key, begun.request.id, 0, &said)?];
        let mut events = Vec::new();
        if begun.request.state == State::Pending {
            events.push(Event::Queued);
        }
        if !events.is_empty() {
            let text = serde_json::to_vec(&events).map_err(|_| Trouble::StoreUnavailable)?;
            parts.push(self.part(org, &begun.key, begun.request.id, 1, &text)?);
            begun.request.last_event = 1;
        }
        let request = &begun.request;
        let mut besides = vec![Beside::Line(Box::new(Line::of(
            org,
            request,
            self.ageing_ms(),
        )))];
        besides.extend(parts.into_iter().map(Beside::Part));
        let mut money = None;
        if let Some(open) = &request.open {
            let payer = self.payer(org, request, open.held_at);
            besides.push(Beside::Entry(Box::new(Entry::open(&payer, open))));
            let held = self.reserve(org, &request.owner, open, &begun.limits);
            money = Some((open.id, held));
        }
        let mut detail = json!({
            "request_id": request.id,
            "door": request.door.name(),
            "task": request.task,
            "provider": request.open.as_ref().map(|open| &open.provider),
            "model": request.open.as_ref().map(|open| &open.model),
            "estimate_usd": Nanos(request.estimate_nanos).to_string(),
        });
        if !asked.screened.is_silent() {
            detail["secrets"] = asked.screened.told();
        }
        let mut record = Record::new(
            request.created_at,
            org,
            RecordKind::RequestAccepted,
            &who.id,
        )
        .deciding(Decision::Approved, "")
        .with(detail);
        record.agent = Some(request.owner.clone());
        let mut docs = vec![request.write(org, &request.id, Some(0))];
        if let Some(key) = Self::key_of(org, asked, request)? {
            docs.push(key);
        }
        Ok(Change::request(guards, docs, besides, money, vec![record]))
    }

    /// A text of a request, sealed for its place.
    pub(super) fn part(
        &self,
        org: &OrgId,
        key: &ContentKey,
        request: RequestId,
        place: u64,
        text: &[u8],
    ) -> Result<Part, Trouble> {
        let nonce = self.ports().ambient.bytes();
        let sealed = key.seal(org, request, place, text, nonce);
        Ok(Part {
            request,
            place,
            sealed: sealed.ok_or(Trouble::StoreUnavailable)?,
        })
    }

    /// What keeps the caller's own name for a request, if there is one.
    fn key_of(org: &OrgId, asked: &Asked, request: &Request) -> Result<Option<DocWrite>, Trouble> {
        let Some(key) = &asked.idempotency_key else {
            return Ok(None);
        };
        let named = KeyOf {
            request: request.id,
            asked: asked.digest()?,
        };
        let id = key_name(&request.owner, key);
        Ok(Some(named.write(org, &id, Some(0))))
    }

    /// Names a caller's user without saying who that is.
    async fn user_hash(&self, org: &OrgId, user: &str) -> Result<String, Trouble> {
        let key = self.mask_secret(org).await?;
        let mac = Hmac::<Sha256>::new_from_slice(&key);
        let mut mac = mac.map_err(|_| Trouble::StoreUnavailable)?;
        mac.update(b"hundi/requests/user/v1\0");
        mac.update(user.as_bytes());
        Ok(hex(&mac.finalize().into_bytes()))
    }
}

/// A request that was taken on.
pub(super) struct Begun {
    pub request: Request,
    /// The version of its document.
    pub version: u64,
    pub key: Arc<ContentKey>,
    pub offers: Vec<Offer>,
    pub limits: LlmLimits,
    /// Events that are not written yet.
    pub events: Vec<Event>,
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// That the pot has no room for this.
pub(super) fn over_budget(taken: i64, limit: i64, ceiling: u64) -> Trouble {
    let nanos = |number: i64| Nanos(u64::try_from(number).unwrap_or(0));
    Trouble::BudgetExceeded(format!(
        "this request may cost {} USD, and of the {} USD that this agent may spend on models in a day {} USD are taken",
        Nanos(ceiling),
        nanos(limit),
        nanos(taken)
    ))
}
