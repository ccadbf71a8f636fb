//! Propose: no side effect at any provider. Gather facts, decide, write, answer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Pay;
use super::at_bank::{BankWord, with_bank};
use super::gather::{Answers, Counted, Gathered};
use super::lately::Found;
use super::reconcile::notice;
pub(in crate::broker) use crate::broker::audit::refusals::Kept;
use crate::broker::core::measure;
use crate::broker::core::{ProposeRequest, Proposed, Settings, Trouble};
use crate::domain::access::Basis;
use crate::domain::audit::names::RecordKind;
use crate::domain::canonical::Canonical;
use crate::domain::change::{BudgetMove, Change, Conflict, Record};
use crate::domain::facts::Fact;
use crate::domain::ids::{AgentId, ProposalId};
use crate::domain::money::Effective;
use crate::domain::notice::NoticeKind;
use crate::domain::policy::Policy;
use crate::domain::principal::{Principal, Right};
use crate::domain::proposal::{Fixed, Moving, Origin, Proposal, State};
use crate::domain::reason::{Reason, Verdict};
use crate::domain::schema;
use crate::domain::strict::MAX_SAFE_INTEGER;
use crate::domain::time::Timestamp;
use crate::domain::tool::{Payee, Risk, Tool};
use crate::governance::{self, integrity};
use crate::store::{ApplyError, StoreError};

/// How often a decision is made anew when what it was based on moves.
const TRIES: u32 = 8;
/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Longest prompt that is looked at, in bytes.
const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// Most samples, and the longest one in bytes.
const MAX_SAMPLES: usize = 16;
const MAX_SAMPLE_BYTES: usize = 64 * 1024;

/// A request that is well formed, with everything that follows from the arguments alone.
pub(super) struct Ready {
    pub(super) agent: AgentId,
    args: Canonical,
    pub(super) value: Value,
    pub(super) effective: Effective,
    /// Who is paid, in the caller's words, or in the bank's.
    pub(super) claimed: Payee,
    /// What the access rules said of it.
    access: Basis,
    /// The virtual server through which it came.
    server: Option<String>,
    /// What the bank said of the payout it is about.
    pub(super) bank: BankWord,
}

impl Ready {
    /// As governance sees it.
    pub(super) fn asked<'a>(&'a self, tool: &'a Tool, payee: &'a Payee) -> governance::Request<'a> {
        governance::Request {
            agent: &self.agent,
            tool,
            args: &self.value,
            effective: self.effective,
            payee,
            server: self.server.as_deref(),
        }
    }
}

impl Pay {
    /// Canonicalises, checks, decides, and writes what was decided.
    pub async fn propose(
        &self,
        who: &Principal,
        request: ProposeRequest,
    ) -> Result<Proposed, Trouble> {
        let answer = self.run_propose(who, request).await;
        if let Err(trouble) = &answer {
            self.audit
                .spool_unavailable(who, RecordKind::ProposeRefused, trouble);
        }
        answer
    }

    async fn run_propose(
        &self,
        who: &Principal,
        request: ProposeRequest,
    ) -> Result<Proposed, Trouble> {
        let timer = measure::Timer::start();
        if !who.may(Right::Propose) {
            return Err(Trouble::Forbidden { roles: who.roles });
        }
        let agent = who.agent.clone();
        let agent = agent.ok_or(Trouble::Forbidden { roles: who.roles })?;
        let (tool, access) = self.proposable(who, &request).await?;
        check_sizes(&request)?;
        let ready = ready(agent, &tool, &request.arguments)?;
        let server = who.server.as_ref().map(|it| it.server.name.clone());
        let mut ready = Ready {
            access,
            server,
            ..ready
        };
        if let Some(earlier) = self.replayed(who, &tool, &ready, &request).await? {
            return Ok(earlier);
        }
        self.tools.pace_registered(who, &tool).await?;
        let mut counted = None;
        for _ in 0..TRIES {
            self.hear_bank(who, &tool, &mut ready, &request, &mut counted)
                .await?;
            let decided = self.decide_once(who, &tool, &ready, &request, &mut counted);
            if let Some(answer) = decided.await? {
                measure::decision(&answer.proposal, &timer);
                return Ok(answer);
            }
        }
        Err(Trouble::Changed)
    }

    /// The tool, if it may be proposed by this caller now, and what that rests on. What others have
    /// done at the bank is nobody's call, so no rule keeps it from being decided.
    async fn proposable(
        &self,
        who: &Principal,
        request: &ProposeRequest,
    ) -> Result<(Arc<Tool>, Basis), Trouble> {
        match request.origin {
            Origin::Agent => {
                let admitted = self.tools.admit(who, &request.tool, Risk::High).await?;
                Ok((admitted.tool, admitted.basis))
            }
            Origin::Bank | Origin::Consequence => {
                let tool = self.tools.standing(who, &request.tool, Risk::High)?;
                Ok((tool, Basis::default()))
            }
        }
    }

    /// The earlier proposal of the same idempotency key, if there is one.
    async fn replayed(
        &self,
        who: &Principal,
        tool: &Tool,
        ready: &Ready,
        request: &ProposeRequest,
    ) -> Result<Option<Proposed>, Trouble> {
        let Some(key) = request.idempotency_key.as_deref() else {
            return Ok(None);
        };
        let Some(earlier) = self
            .ports()
            .store
            .by_key(&who.org, &ready.agent, key)
            .await?
        else {
            return Ok(None);
        };
        self.replay(who, earlier, tool, ready).await.map(Some)
    }

    async fn replay(
        &self,
        who: &Principal,
        mut earlier: Proposal,
        tool: &Tool,
        ready: &Ready,
    ) -> Result<Proposed, Trouble> {
        let same = earlier.fixed.tool == tool.name && earlier.fixed.args == ready.args;
        if !same {
            return Err(Trouble::IdempotencyKeyReused(earlier.fixed.id));
        }
        let now = self.ports().ambient.now().secs();
        let live = earlier
            .moving
            .token
            .as_ref()
            .is_some_and(|token| token.expires_at > now);
        if earlier.state == State::Allowed && !live {
            earlier = self.renewed(earlier, &who.id).await?;
        }
        let token = self.sealed(&earlier);
        Ok(Proposed {
            proposal: self.seen_by(who, earlier).await,
            token,
            replayed: true,
            stored: true,
            retry_after_secs: None,
        })
    }

    /// One round of gather, decide, write. `None` if something moved meanwhile.
    async fn decide_once(
        &self,
        who: &Principal,
        tool: &Tool,
        ready: &Ready,
        request: &ProposeRequest,
        counted: &mut Counted,
    ) -> Result<Option<Proposed>, Trouble> {
        let now = self.ports().ambient.now();
        let paid = self.paid(&who.org, &ready.claimed).await?;
        let asked = ready.asked(tool, &paid.payee);
        let answers = Answers {
            prompt: request.prompt.as_deref(),
            prompt_hash: prompt_hash(request),
            samples: &request.samples,
            nobody: request.origin != Origin::Agent,
            conversation: request.conversation.as_deref(),
        };
        let mut gathered = match request.origin {
            Origin::Agent | Origin::Bank => {
                self.gather(who, &asked, &paid, &answers, counted, now)
                    .await?
            }
            Origin::Consequence => self.gather_freezes(&who.org, &asked, &paid, now).await?,
        };
        let lately = match request.origin {
            Origin::Agent | Origin::Bank => {
                let policy = gathered.facts.policy.known().and_then(Option::as_ref);
                let registered = paid.registration.payee.as_ref();
                self.paid_lately(&who.org, &asked, registered, policy, now)
                    .await?
            }
            Origin::Consequence => Found::default(),
        };
        gathered.facts.earlier = Fact::Known(lately.earlier.clone());
        gathered.facts.sums = Fact::Known(lately.sums.clone());
        let id = ProposalId::at(now, self.ports().ambient.bytes());
        let verdict = match request.origin {
            Origin::Agent | Origin::Bank => governance::decide(&asked, &gathered.facts),
            Origin::Consequence => governance::follow(&asked, &gathered.facts),
        };
        let Some(verdict) = with_bank(verdict, &ready.bank) else {
            return Ok(None);
        };
        let effect = match verdict {
            Verdict::Allow(_) | Verdict::Hold(_) => {
                let hidden = ready.access.hidden();
                self.tools.effect_of(tool, &ready.value, &hidden).await?
            }
            // Whoever is refused is shown nothing.
            Verdict::Block(_) => None,
        };
        // Let go of: a payout that is added while somebody still looks costs a copy of it all.
        (gathered.facts.history, gathered.facts.history_hours) = (Fact::Missing, Arc::default());
        if matches!(verdict, Verdict::Allow(_) | Verdict::Hold(_)) {
            gathered.docs.extend(lately.marks.iter().cloned());
        }
        let drafted = self.drafted(id, who, &asked, ready, request, &gathered, &verdict)?;
        let proposal = drafted.shown_for(effect);
        self.dry_run(tool, &proposal)?;
        let mut told = true;
        if matches!(verdict, Verdict::Block(_)) && request.origin == Origin::Agent {
            match self
                .audit
                .refusals()
                .count(who, verdict.headline().code(), now)
            {
                Kept::Whole { told: one } => told = one,
                Kept::Summed => return Ok(Some(self.counted(proposal, &gathered).await)),
            }
        }
        let reserve = self.reservation(&who.org, &asked, &gathered, proposal.state, now);
        let settings = self.settings();
        let seen = self.masked(proposal.clone()).await;
        let change = admission(
            (&proposal, &seen),
            reserve.clone(),
            &gathered,
            who,
            &verdict,
            settings,
            told,
        );
        match self.ports().store.apply(change).await {
            Ok(_) => {
                if let Some(BudgetMove::Reserve { pot, amount, .. }) = &reserve {
                    self.memory().reserved(pot, *amount);
                }
                Ok(Some(self.admitted(proposal, &gathered).await))
            }
            Err(ApplyError::Conflict(Conflict::OverBudget { taken, .. })) => {
                // Taken between the look and the reservation, here or on another node.
                if let Some(BudgetMove::Reserve { pot, .. }) = &reserve {
                    self.memory().saw_taken(pot, taken);
                }
                Ok(None)
            }
            Err(ApplyError::Conflict(Conflict::KeyTaken(earlier))) => {
                let earlier = self.read(earlier).await?;
                self.replay(who, earlier, tool, ready).await.map(Some)
            }
            Err(ApplyError::Conflict(conflict)) => {
                self.forget_after(&conflict, id);
                Ok(None)
            }
            Err(ApplyError::Store(StoreError::Unknown(_))) => {
                // Only reading tells whether it was written.
                match self.ports().store.proposal(id).await? {
                    Some(proposal) => Ok(Some(self.admitted(proposal, &gathered).await)),
                    None => Err(Trouble::StoreUnavailable),
                }
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// What governance decided, as the record that is stored.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call site, and every part is needed"
    )]
    fn drafted(
        &self,
        id: ProposalId,
        who: &Principal,
        asked: &governance::Request<'_>,
        ready: &Ready,
        request: &ProposeRequest,
        gathered: &Gathered,
        verdict: &Verdict,
    ) -> Result<Proposal, Trouble> {
        let (tool, payee) = (asked.tool, asked.payee);
        let now = gathered.facts.now;
        let policy = gathered.facts.policy.known().and_then(Option::as_ref);
        let settings = self.settings();
        let (state, life, needed) = match verdict {
            Verdict::Allow(_) => (State::Allowed, settings.allowed_ttl_secs, 0),
            Verdict::Hold(_) => {
                let needed = policy.map_or(1, Policy::people_needed);
                let ruled = policy.and_then(|policy| policy.approval.as_ref()?.expires_secs);
                // Never longer: what looks back over payments counts on it.
                let life = ruled.map_or(settings.held_ttl_secs, |secs| {
                    i64::from(secs).min(settings.held_ttl_secs)
                });
                (State::Held, life, needed)
            }
            Verdict::Block(_) => (State::Blocked, 0, 0),
        };
        let lapses_at = now.plus_secs(life);
        let token = (state == State::Allowed)
            .then(|| self.fresh_token(now, lapses_at))
            .transpose()?;
        let fixed = Fixed {
            id,
            org: who.org.clone(),
            agent: ready.agent.clone(),
            proposer: who.id.clone(),
            proposer_person: who.person.clone(),
            tool: tool.name.clone(),
            tool_digest: tool.digest.clone(),
            args_hash: ready.args.hash(),
            args: ready.args.clone(),
            effective: ready.effective,
            payee: payee.clone(),
            // To wait and ask again is what the refusal asks for, so it must not be the answer for
            // ever; every other decision is.
            idempotency_key: request
                .idempotency_key
                .clone()
                .filter(|_| verdict.headline() != Reason::RateLimited),
            policy_version: gathered.policy_version,
            score: gathered.facts.integrity.score.clone(),
            findings: verdict.findings().to_vec(),
            reason: verdict.headline(),
            created_at: now,
            lapses_at,
            day: now.day_in(&settings.zone),
            approvals_needed: needed,
            approval: policy
                .and_then(|policy| policy.approval.clone())
                .filter(|_| state == State::Held),
            execute_on_approval: request.origin == Origin::Bank
                || policy.is_some_and(|policy| policy.execute_on_approval),
            origin: request.origin,
            access: ready.access.clone(),
            prompt_hash: prompt_hash(request),
            effect: None,
            facts: (request.origin == Origin::Agent)
                .then(|| self.past_facts(asked, &gathered.facts)),
        };
        let moving = Moving {
            token,
            ..Moving::default()
        };
        Ok(Proposal {
            fixed: Arc::new(fixed),
            state,
            version: 1,
            moving,
            execution: None,
        })
    }

    /// What the connector cannot spell is refused now, not at commit.
    fn dry_run(&self, tool: &Tool, proposal: &Proposal) -> Result<(), Trouble> {
        let call = self.tools.connector(tool).call(&proposal.order());
        call.map(drop)
            .map_err(|error| Trouble::InvalidArguments(error.to_string()))
    }

    /// Held and allowed proposals reserve; refused ones do not.
    fn reservation(
        &self,
        org: &crate::domain::ids::OrgId,
        asked: &governance::Request<'_>,
        gathered: &Gathered,
        state: State,
        now: Timestamp,
    ) -> Option<BudgetMove> {
        if !matches!(state, State::Held | State::Allowed) {
            return None;
        }
        let pot = self.pot(org, asked, now)?;
        governance::budget::reserve(asked, &gathered.facts, pot)
    }

    /// As its proposer is answered: a draft is shown to others as well, so it is masked.
    async fn answered(&self, proposal: Proposal) -> Proposal {
        match proposal.state == State::Blocked {
            true => self.masked(proposal).await,
            false => proposal,
        }
    }

    /// A refusal that leaves no trace but a count.
    async fn counted(&self, proposal: Proposal, gathered: &Gathered) -> Proposed {
        let limited = proposal.fixed.reason == Reason::RateLimited;
        Proposed {
            proposal: self.answered(proposal).await,
            token: None,
            replayed: false,
            stored: false,
            retry_after_secs: limited.then_some(gathered.retry_after_secs.max(1)),
        }
    }

    async fn admitted(&self, proposal: Proposal, gathered: &Gathered) -> Proposed {
        let fixed = &proposal.fixed;
        for doc in &gathered.docs {
            self.memory().forget_doc(&doc.key);
        }
        self.memory().wrote(&proposal);
        let token = self.sealed(&proposal);
        let limited = fixed.reason == Reason::RateLimited;
        let retry_after_secs = limited.then_some(gathered.retry_after_secs.max(1));
        Proposed {
            proposal: self.answered(proposal).await,
            token,
            replayed: false,
            stored: true,
            retry_after_secs,
        }
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "one call site, and every part is needed"
)]
fn admission(
    // As it is, and as people and records may see it.
    (proposal, seen): (&Proposal, &Proposal),
    reserve: Option<BudgetMove>,
    gathered: &Gathered,
    who: &Principal,
    verdict: &Verdict,
    settings: &Settings,
    one_by_one: bool,
) -> Change {
    let now = gathered.facts.now;
    let fixed = &proposal.fixed;
    let told = match verdict {
        Verdict::Allow(_) => None,
        Verdict::Hold(_) => Some(NoticeKind::Held),
        Verdict::Block(_) => Some(NoticeKind::Blocked),
    };
    let mut detail = json!({
        "args_hash": fixed.args_hash,
        "composite_score": fixed.score.composite,
        "policy_version": fixed.policy_version,
        "findings": seen.fixed.findings,
    });
    if !settings.unrecorded.contains(fixed.tool.as_str()) {
        detail["arguments"] = seen.fixed.args.value();
        detail["payee"] = json!(seen.fixed.payee);
    }
    if !fixed.access.rules.is_empty() {
        detail["access"] = json!({"rules": fixed.access.rules});
    }
    if let Some(effect) = &fixed.effect {
        detail["effect"] = json!({
            "summary": effect.summary, "rows": effect.rows, "state": effect.state,
        });
    }
    let record = Record::about(proposal, now, RecordKind::Proposed, &who.id)
        .deciding(verdict.decision(), fixed.reason.code())
        .with(detail);
    // What nobody wants to hear is not even written: refusals can come by the thousand.
    let told = told.filter(|_| one_by_one);
    let told = told.filter(|kind| settings.people.wants(*kind, fixed.reason.code()));
    let told = told.map(|kind| notice(seen, kind, now, fixed.reason.text()));
    Change::admit(
        proposal.clone(),
        reserve,
        gathered.guards.clone(),
        gathered.docs.clone(),
        record,
        told,
    )
}

/// Everything that follows from the arguments alone, or why they are refused.
fn ready(agent: AgentId, tool: &Tool, arguments: &Value) -> Result<Ready, Trouble> {
    let bad = |detail: String| Trouble::InvalidArguments(detail);
    if !arguments.is_object() {
        return Err(bad("they must be an object".to_owned()));
    }
    if let Some(number) = unsafe_number(arguments) {
        return Err(bad(format!("{number} is beyond ±(2^53-1)")));
    }
    let args = Canonical::of(arguments);
    // Read back from the canonical form, so that 1.0 and 1 are the same integer everywhere.
    let value = args.value();
    schema::validate(tool, &value).map_err(bad)?;
    if let Some(detail) = tool.bad_pattern(&value) {
        return Err(bad(detail));
    }
    let effective = tool.effective(&value);
    if let Effective::Amount(money) = effective
        && money.minor <= 0
    {
        return Err(bad("the amount must be positive, in minor units".to_owned()));
    }
    let claimed = tool.payee(&value);
    Ok(Ready {
        agent,
        args,
        value,
        effective,
        claimed,
        access: Basis::default(),
        server: None,
        bank: BankWord::NotNeeded,
    })
}

/// Of what the agent was asked, if it was asked anything.
fn prompt_hash(request: &ProposeRequest) -> Option<String> {
    let prompt = request.prompt.as_deref();
    let prompt = prompt.filter(|prompt| integrity::says(prompt));
    prompt.map(integrity::prompt_hash)
}

/// A number that a schema may allow but that readers would round differently.
fn unsafe_number(value: &Value) -> Option<&Value> {
    match value {
        Value::Number(number) => {
            let largest = MAX_SAFE_INTEGER as f64;
            let safe = number
                .as_f64()
                .is_some_and(|double| double.abs() <= largest);
            (!safe).then_some(value)
        }
        Value::Array(items) => items.iter().find_map(unsafe_number),
        Value::Object(map) => map.values().find_map(unsafe_number),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

fn check_sizes(request: &ProposeRequest) -> Result<(), Trouble> {
    let bad = |detail: &str| Err(Trouble::InvalidRequest(detail.to_owned()));
    if let Some(key) = &request.idempotency_key {
        let printable = key.bytes().all(|b| (0x21..=0x7e).contains(&b));
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !printable {
            return bad("`idempotency_key` is 1 to 255 printable ASCII characters, no spaces");
        }
    }
    if request
        .prompt
        .as_ref()
        .is_some_and(|prompt| prompt.len() > MAX_PROMPT_BYTES)
    {
        return bad("`prompt` is at most 64 KiB");
    }
    if request.samples.len() > MAX_SAMPLES {
        return bad("`samples` has at most 16 entries");
    }
    if request
        .samples
        .iter()
        .any(|sample| sample.len() > MAX_SAMPLE_BYTES)
    {
        return bad("each of `samples` is at most 64 KiB");
    }
    Ok(())
}
