//! Facts for a decision: from the store, from memory, and from outside, in parallel and under one
//! deadline. What does not arrive in time is missing, and a missing fact never widens a limit.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Pay;
use super::payees::Paid;
use crate::broker::core::Trouble;
use crate::broker::core::memory::History;
use crate::broker::tools::pace::Pace;
use crate::domain::change::{DocWrite, Guard, Pot};
use crate::domain::facts::{Entity, Fact, Facts, Integrity, OnMissing, Registration, Reputation};
use crate::domain::ids::{OrgId, hex};
use crate::domain::policy::Policy;
use crate::domain::principal::Principal;
use crate::domain::proposal::Score;
use crate::domain::time::Timestamp;
use crate::governance::{self, domains, integrity};
use crate::store::StoreError;
use crate::wire::ReputationSource;

/// Longest that a decision waits for all outside facts together.
const OUTSIDE_DEADLINE: Duration = Duration::from_millis(2_500);
/// How long what one node learned of a URL serves the others, in seconds.
const REPUTATION_SECS: u32 = 300;

/// Everything a decision needs, and what has to be written with it.
pub(super) struct Gathered {
    pub(super) facts: Facts,
    pub(super) guards: Vec<Guard>,
    pub(super) docs: Vec<DocWrite>,
    pub(super) policy_version: Option<u64>,
    pub(super) retry_after_secs: u32,
}

/// A request may be decided several times when what it was based on moves; it is counted once.
pub(super) type Counted = Option<Pace>;

/// What the caller said about itself.
pub(super) struct Answers<'a> {
    pub(super) prompt: Option<&'a str>,
    /// Of the prompt, if it says anything.
    pub(super) prompt_hash: Option<String>,
    pub(super) samples: &'a [String],
    /// There is no agent, so there is nothing to score and nothing missing.
    pub(super) nobody: bool,
    /// What the client calls the conversation.
    pub(super) conversation: Option<&'a str>,
}

impl Pay {
    /// The one fact that can stop what follows from a decision.
    pub(super) async fn gather_freezes(
        &self,
        org: &OrgId,
        request: &governance::Request<'_>,
        paid: &Paid,
        now: Timestamp,
    ) -> Result<Gathered, Trouble> {
        let mut local = self.local_facts(org, request.agent).await?;
        local.guards.extend(paid.guards.iter().cloned());
        let facts = Facts {
            freezes: local.freezes,
            registration: Fact::Known(paid.registration.clone()),
            ..Facts::missing(now)
        };
        Ok(Gathered {
            facts,
            guards: local.guards,
            docs: Vec::new(),
            policy_version: None,
            retry_after_secs: 0,
        })
    }

    /// All facts about one request. Counts it, unless it was counted before. Nobody outside is asked
    /// about a request that our own books refuse: an answer could not save it, and whoever is refused
    /// could wear the services out for everybody.
    pub(super) async fn gather(
        &self,
        who: &Principal,
        request: &governance::Request<'_>,
        paid: &Paid,
        answers: &Answers<'_>,
        counted: &mut Counted,
        now: Timestamp,
    ) -> Result<Gathered, Trouble> {
        let org = &who.org;
        let mut local = self.local_facts(org, request.agent).await?;
        local.guards.extend(paid.guards.iter().cloned());
        let policy = local.policy.known().and_then(Option::as_ref);
        let integrity = self.integrity(org, request, answers).await?;
        let spent = self.spent_today(org, request, policy, now);
        let history = self.past_payouts(org, request);
        let (spent_today, history) = futures_util::join!(spent, history);
        // A store that does not answer decides nothing: without its books there is no verdict to
        // write down, only a refusal to take up the request.
        let (spent_today, history) = (spent_today?, history?);
        let pace = match counted.take() {
            Some(pace) => pace,
            None => {
                let limit = policy.map(|policy| policy.rate_limit);
                let (limit, tool) = (limit.unwrap_or_default(), &request.tool.name);
                self.tools.pace(org, request.agent, tool, limit, now).await
            }
        };
        *counted = Some(pace.clone());
        let taint = policy.and_then(|policy| policy.taint.as_ref());
        let tainted = match taint {
            None => Fact::Known(None),
            Some(taint) => {
                let within = answers.conversation;
                self.tools.tainted(org, request.agent, taint, within).await
            }
        };
        let zone = &self.settings().zone;
        let asks = self.outside_questions(request, policy);
        let mut facts = Facts {
            now,
            freezes: local.freezes,
            policy: local.policy.clone(),
            spent_today,
            recent_requests: pace.recent_requests,
            tool_pace: pace.tool,
            registration: Fact::Known(paid.registration.clone()),
            reputation: Fact::Known(Reputation::NotAsked),
            entity: Fact::Known(Entity::NotAsked),
            hour_of_week: now.hour_of_week(zone),
            history_hours: history.hours,
            history: Fact::Known(history.past),
            // Looked at last, and in turn: see `lately`.
            earlier: Fact::Missing,
            tainted,
            sums: Fact::Missing,
            anomaly: None,
            integrity,
        };
        if asks && !governance::refused_at_home(request, &facts) {
            let policy = local.policy.known().and_then(Option::as_ref);
            let registration = &paid.registration;
            (facts.reputation, facts.entity) =
                self.outside_facts(who, request, registration, policy).await;
        }
        Ok(Gathered {
            facts,
            guards: local.guards,
            docs: Vec::new(),
            policy_version: local.policy_version,
            retry_after_secs: pace.retry_after_secs,
        })
    }

    /// Pending plus posted of the day's pot. Only a hint: the reservation itself is conditional, so
    /// what this node remembers is enough to let a request try. To refuse it, the store is asked.
    async fn spent_today(
        &self,
        org: &OrgId,
        request: &governance::Request<'_>,
        policy: Option<&Policy>,
        now: Timestamp,
    ) -> Result<Fact<i64>, StoreError> {
        let Some(pot) = self.pot(org, request, now) else {
            return Ok(Fact::Known(0));
        };
        let Some(limit) = policy.and_then(|policy| policy.daily_limit) else {
            // Nothing is held against it, so nobody asks.
            return Ok(Fact::Missing);
        };
        let remembered = self.memory().taken(&pot);
        let asked = request.effective.minor();
        if let Some(taken) = remembered.filter(|taken| taken.saturating_add(asked) <= limit) {
            return Ok(Fact::Known(taken));
        }
        let budget = self.ports().store.budget(&pot).await?;
        let taken = budget.pending.saturating_add(budget.posted);
        self.memory().saw_taken(&pot, taken);
        Ok(Fact::Known(taken))
    }

    /// The pot that a request would draw from; `None` if it moves no money.
    pub(super) fn pot(
        &self,
        org: &OrgId,
        request: &governance::Request<'_>,
        now: Timestamp,
    ) -> Option<Pot> {
        let currency = request.effective.currency()?;
        let day = now.day_in(&self.settings().zone);
        Some(Pot {
            org: org.clone(),
            agent: request.agent.clone(),
            day,
            currency,
        })
    }

    async fn past_payouts(
        &self,
        org: &OrgId,
        request: &governance::Request<'_>,
    ) -> Result<History, StoreError> {
        if !request.effective.moves_money() {
            return Ok(History::default());
        }
        let store = self.ports().store.as_ref();
        let zone = &self.settings().zone;
        let history = self.memory().history(store, org, request.agent, zone);
        history.await
    }

    /// Whether there is anything to ask others about this request.
    fn outside_questions(
        &self,
        request: &governance::Request<'_>,
        policy: Option<&Policy>,
    ) -> bool {
        let asks_entity = policy.is_some_and(|policy| policy.require_verified_entity);
        let asks_reputation = self.ports().reputation.is_some() && request.payee.url.is_some();
        asks_entity || asks_reputation
    }

    async fn outside_facts(
        &self,
        who: &Principal,
        request: &governance::Request<'_>,
        registration: &Registration,
        policy: Option<&Policy>,
    ) -> (Fact<Reputation>, Fact<Entity>) {
        let asks_entity = policy.is_some_and(|policy| policy.require_verified_entity);
        let reputation = async {
            match (&self.ports().reputation, &request.payee.url) {
                // Refused for itself, so nobody needs to be asked.
                (Some(_), Some(url)) if domains::implausible(url).is_some() => Fact::Missing,
                (Some(source), Some(url)) => self.shared_reputation(source.as_ref(), url).await,
                _ => Fact::Known(Reputation::NotAsked),
            }
        };
        // An operator who wrote the identifier down has said which entity is meant.
        let registered = registration.payee.as_ref();
        let lei = registered.and_then(|payee| payee.lei.as_ref());
        let entity = async {
            match (&self.ports().entities, lei.or(request.payee.name.as_ref())) {
                _ if !asks_entity => Fact::Known(Entity::NotAsked),
                (Some(source), Some(name)) => source.entity(name).await,
                (None, _) => Fact::Missing,
                (_, None) => Fact::Known(Entity::Unverified),
            }
        };
        let both = async {
            // Whoever asks more than its share at once may not learn it: missing, and so held.
            let _turn = self.places().question(who).await;
            futures_util::join!(reputation, entity)
        };
        let asked = tokio::time::timeout(OUTSIDE_DEADLINE, both).await;
        asked.unwrap_or((Fact::Missing, Fact::Missing))
    }

    /// What any node has learned of a URL lately, else what the source says.
    async fn shared_reputation(
        &self,
        source: &dyn ReputationSource,
        url: &str,
    ) -> Fact<Reputation> {
        let ephemeral = &self.ports().ephemeral;
        if ephemeral.health().is_none() {
            // There is nobody to share with, and the source remembers by itself.
            return source.reputation(url).await;
        }
        let now = self.ports().ambient.now();
        let key = format!("reputation:{}", hex(&Sha256::digest(url.as_bytes())));
        let kept = ephemeral.get(&key, now).await;
        if let Some(Ok(kept)) = kept.map(|kept| serde_json::from_str(&kept)) {
            return Fact::Known(kept);
        }
        let told = source.reputation(url).await;
        if let Fact::Known(reputation) = &told
            && let Ok(text) = serde_json::to_string(reputation)
        {
            ephemeral.put(&key, text, REPUTATION_SECS, now).await;
        }
        told
    }

    /// The score. The caller's samples are used where it gave any, and shown; the broker's own
    /// decide whether anything attests the answers, and replace a caller's score that is better.
    async fn integrity(
        &self,
        org: &OrgId,
        request: &governance::Request<'_>,
        answers: &Answers<'_>,
    ) -> Result<Integrity, Trouble> {
        let settings = self.settings();
        let hash = answers.prompt_hash.as_deref();
        let usual = match hash {
            Some(_) => {
                self.usual_prompt(org, request.agent, &request.tool.name)
                    .await?
            }
            None => None,
        };
        let score = |samples: &[String]| -> Score {
            integrity::score_with(samples, hash, usual.as_deref(), &settings.weights)
        };
        let own = match &self.ports().sampler {
            Some(sampler) if !answers.nobody => {
                let tool = &request.tool.name;
                sampler
                    .samples(tool, request.args, answers.prompt)
                    .await
                    .ok()
            }
            Some(_) | None => None,
        };
        let own = own.map(|samples| score(&samples));
        let shown = if answers.samples.is_empty() {
            own.clone().unwrap_or_else(|| score(&[]))
        } else {
            score(answers.samples)
        };
        let threshold = settings.block_at;
        let own_blocks = own
            .as_ref()
            .and_then(|s| s.composite)
            .is_some_and(|c| c >= threshold);
        Ok(Integrity {
            attested: own.as_ref().is_some_and(|score| score.composite.is_some()),
            score: if own_blocks {
                own.unwrap_or(shown)
            } else {
                shown
            },
            on_missing: match answers.nobody {
                true => OnMissing::Allow,
                false => settings.on_missing,
            },
            block_at: threshold,
            prompt: answers.prompt.map(str::to_owned),
            require_prompt: settings.require_prompt && !answers.nobody,
        })
    }
}
