//! A proposal and its whole life cycle.
//!
//! The first half of the record is fixed at admission and never written again; the second half
//! moves, one version at a time. Whether an event is legal is decided by [`State::after`] alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Basis;
use super::audit::names::Decision;
use super::call::{Call, ProviderError, Receipt};
use super::canonical::Canonical;
use super::facts::PastPayout;
use super::ids::{AgentId, ArgsHash, CommitId, Nonce, OrgId, ProposalId, TokenId, ToolName};
use super::money::Effective;
use super::past::PastFacts;
use super::person::PersonId;
use super::policy::{ApprovalRule, PasskeyUse};
use super::reason::{Finding, Reason};
use super::roles::Roles;
use super::time::{Day, Timestamp};
use super::tool::Payee;
use super::tools::effect::Effect;

/// Where a proposal stands. Terminal states have no arm in [`State::after`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Governance refused it. Terminal.
    Blocked,
    /// Waits for people.
    Held,
    /// May be committed: its reservation is pending.
    Allowed,
    /// Claimed. The nonce is spent and the call may be on the wire.
    Committing,
    /// Claimed, and no clear answer. Only evidence moves it on, never a clock alone.
    InDoubt,
    /// The provider has the effect under our reference.
    Executed,
    /// There is no effect and will be none. Terminal.
    Failed,
    /// A person said no. Terminal.
    Rejected,
    /// Withdrawn before it was committed. Terminal.
    Cancelled,
    /// Its time ran out before it was committed. Terminal.
    Expired,
    /// Executed, and the provider took it back. Terminal.
    Reversed,
}

/// What can happen to a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Enough people agreed.
    Approved,
    /// A person said no.
    Rejected,
    /// The proposer, or an operator, took it back.
    Withdrawn,
    /// Its time ran out.
    Lapsed,
    /// The right to send was taken.
    Claimed,
    /// No clear answer.
    Lost,
    /// A clear yes.
    Confirmed,
    /// A clear no.
    Refused,
    /// The provider took back what it had confirmed.
    TakenBack,
    /// Its time ran out, and it is proven that nothing of it ever left.
    Unreached,
    /// The proposer, or an operator, took it back, and it is proven that nothing of it ever left.
    Recalled,
}

impl State {
    /// Every state.
    pub const ALL: [State; 11] = [
        State::Blocked,
        State::Held,
        State::Allowed,
        State::Committing,
        State::InDoubt,
        State::Executed,
        State::Failed,
        State::Rejected,
        State::Cancelled,
        State::Expired,
        State::Reversed,
    ];

    /// The whole life cycle on one screen. `None` means the event is illegal here.
    pub fn after(self, event: Event) -> Option<State> {
        Some(match (self, event) {
            (State::Held, Event::Approved) => State::Allowed,
            (State::Held, Event::Rejected) => State::Rejected,
            (State::Held | State::Allowed, Event::Withdrawn) => State::Cancelled,
            (State::Held | State::Allowed, Event::Lapsed) => State::Expired,
            (State::Allowed, Event::Claimed) => State::Committing,
            (State::Committing, Event::Lost) => State::InDoubt,
            (State::Committing | State::InDoubt, Event::Confirmed) => State::Executed,
            (State::Committing | State::InDoubt, Event::Refused) => State::Failed,
            (State::Executed, Event::TakenBack) => State::Reversed,
            (State::InDoubt, Event::Unreached) => State::Failed,
            (State::InDoubt, Event::Recalled) => State::Cancelled,
            _ => return None,
        })
    }

    /// The state's one spelling.
    pub fn name(self) -> &'static str {
        match self {
            State::Blocked => "blocked",
            State::Held => "held",
            State::Allowed => "allowed",
            State::Committing => "committing",
            State::InDoubt => "in_doubt",
            State::Executed => "executed",
            State::Failed => "failed",
            State::Rejected => "rejected",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
            State::Reversed => "reversed",
        }
    }

    /// What governance had decided about what stands here now, people's words aside.
    pub fn decision(self) -> Decision {
        match self {
            State::Blocked => Decision::Rejected,
            State::Held => Decision::Held,
            State::Allowed
            | State::Committing
            | State::InDoubt
            | State::Executed
            | State::Failed
            | State::Rejected
            | State::Cancelled
            | State::Expired
            | State::Reversed => Decision::Approved,
        }
    }

    /// Reads a state's one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// True once a commit was claimed, whatever became of it, but for one that never left and was
    /// taken back.
    pub fn was_claimed(self) -> bool {
        matches!(
            self,
            State::Committing | State::InDoubt | State::Executed | State::Failed | State::Reversed
        )
    }

    /// True if nothing but the provider can change it any more, or nothing at all.
    pub fn is_settled(self) -> bool {
        !matches!(
            self,
            State::Held | State::Allowed | State::Committing | State::InDoubt
        )
    }
}

/// The three signals and their composite; see `governance/integrity` for the formulas.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Score {
    /// Weighted mean over the signals that exist, 0 to 1; `None` if there is no signal.
    pub composite: Option<f64>,
    /// The signals.
    pub signals: Signals,
}

/// Each from 0 (agrees) to 1 (disagrees); `None` where there was nothing to compare.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Signals {
    /// 1 minus the Jaccard similarity of the samples' words.
    pub output_instability: Option<f64>,
    /// Mean relative difference of the samples' numbers.
    pub numeric_variance: Option<f64>,
    /// 1 if the prompt is not the tool's baseline prompt.
    pub prompt_drift: Option<f64>,
}

/// The one live token of a proposal: enough to seal the same text again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LiveToken {
    /// Its id.
    pub token_id: TokenId,
    /// Its single-use number.
    pub nonce: Nonce,
    /// The key it was sealed with.
    pub kid: String,
    /// Epoch seconds.
    pub issued_at: i64,
    /// Epoch seconds; expired means `expires_at <= now`.
    pub expires_at: i64,
}

/// One person's yes, bound to what they saw.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// The principal.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The arguments they agreed to.
    pub args_hash: ArgsHash,
    /// What the person behind the principal is known by; two that share a mark are one person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<String>,
    /// Who they were and how they proved it.
    #[serde(flatten)]
    pub given: Given,
}

/// What an approval was given with, as far as it cannot be read again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Given {
    /// What the principal might do then; `None` in what an older version wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Roles>,
    /// The person they were, if they were one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// The passkey it was signed with, by its credential id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<String>,
}

/// How a proposal left `held` or `allowed` other than by a claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// The principal, or `hundi` for a lapse.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Their words.
    pub reason: String,
}

/// The one attempt to carry a proposal out, and what became of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Execution {
    /// Names the attempt.
    pub commit_id: CommitId,
    /// The nonce that the claim burned.
    pub nonce: Nonce,
    /// Until when that nonce must stay burned, epoch seconds.
    pub nonce_kept_until: i64,
    /// The provider's idempotency key.
    pub idempotency_key: String,
    /// Exactly what is sent, now and on every replay.
    pub call: Call,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// Nobody else acts on it before this.
    pub lease_until: Timestamp,
    /// How often reconciliation has asked.
    pub attempts: u32,
    /// When a request may last have left for the provider. Nothing is sent again until an
    /// earlier one can no longer be under way.
    pub last_sent: Timestamp,
    /// What is known.
    pub outcome: Option<Settled>,
    /// Why it is in doubt, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// Proven: nothing of the call has ever left. Withdrawn before each sending, so that a crash
    /// in the middle of one leaves no such claim behind.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsent: bool,
    /// Nobody can be asked about it and nothing may be repeated: a person has to look.
    #[serde(default, skip_serializing_if = "is_false")]
    pub needs_person: bool,
    /// Evidence that contradicts the outcome, kept for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<Value>,
}

/// How doubt ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// A clear yes.
    Executed(Receipt),
    /// The provider's clear no.
    Refused(ProviderError),
    /// No effect, and the provider had no part in that.
    Undone {
        /// Whose word it is.
        cause: Undone,
        /// In words.
        words: String,
    },
}

/// Why there is no effect where the provider refused nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undone {
    /// The provider could not be reached before the proposal's time ran out; nothing ever left.
    Unreachable,
    /// A person looked at the provider and saw none.
    Settled,
}

impl Undone {
    /// The code for programs. Never changes once released.
    pub fn code(self) -> &'static str {
        match self {
            Undone::Unreachable => "provider_unreachable",
            Undone::Settled => "settled_by_operator",
        }
    }
}

/// What is known of an attempt that is in doubt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// Why, in words.
    pub why: String,
    /// See [`Execution::unsent`].
    pub unsent: bool,
    /// See [`Execution::needs_person`].
    pub needs_person: bool,
}

impl From<&str> for Doubt {
    /// A request that may have arrived, about which somebody can be asked.
    fn from(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            unsent: false,
            needs_person: false,
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// One request with its arguments fixed.
#[derive(Clone, PartialEq, Debug)]
pub struct Proposal {
    /// Fixed at admission.
    pub fixed: Arc<Fixed>,
    /// Where it stands.
    pub state: State,
    /// Counts writes; every write names the version it read.
    pub version: u64,
    /// What moves besides the state.
    pub moving: Moving,
    /// The attempt, once claimed.
    pub execution: Option<Execution>,
}

/// What admission fixed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fixed {
    /// Its name.
    pub id: ProposalId,
    /// The organisation.
    pub org: OrgId,
    /// The agent it is accounted to.
    pub agent: AgentId,
    /// The principal that proposed it, who can never approve it.
    pub proposer: String,
    /// The person behind that principal, whatever it came by: nor can they.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposer_person: Option<PersonId>,
    /// The tool.
    pub tool: ToolName,
    /// The tool's definition at that time.
    pub tool_digest: String,
    /// Canonical arguments.
    #[serde(with = "canonical_text")]
    pub args: Canonical,
    /// Their hash.
    pub args_hash: ArgsHash,
    /// What it can move at most.
    pub effective: Effective,
    /// Who is paid.
    pub payee: Payee,
    /// The caller's name for the request, if it gave one.
    pub idempotency_key: Option<String>,
    /// Version of the policy that decided; `None` where none was needed.
    pub policy_version: Option<u64>,
    /// The integrity score.
    pub score: Score,
    /// Every finding, in order of precedence.
    pub findings: Vec<Finding>,
    /// The headline.
    pub reason: Reason,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it lapses unless committed.
    pub lapses_at: Timestamp,
    /// The day its budget belongs to.
    pub day: Day,
    /// How many people have to agree; 0 if none.
    pub approvals_needed: u32,
    /// What their decisions have to fulfil besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRule>,
    /// Commit by the broker itself once approved.
    #[serde(default)]
    pub execute_on_approval: bool,
    /// Who asked, and what that changes.
    #[serde(default)]
    pub origin: Origin,
    /// What the access rules said of it: which of them decided, and what is hidden of it.
    #[serde(default, skip_serializing_if = "Basis::is_empty")]
    pub access: Basis,
    /// Hash of the prompt behind it, if one was given; carried out, it may become the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_hash: Option<String>,
    /// What it was shown for, where its tool can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What the decision knew, for trying other policies on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<PastFacts>,
}

/// Who asked for a proposal, and what that changes. Only the broker itself can be anything but an
/// agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An agent.
    #[default]
    Agent,
    /// A payout that somebody made at the bank: there is no agent whose answers could be scored,
    /// and nobody but the broker to commit it once people agreed.
    Bank,
    /// What follows from a decision already taken (turning a payout down at the bank): only a
    /// freeze can still stop it.
    Consequence,
}

/// What moves.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Moving {
    /// The live token, if one is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<LiveToken>,
    /// Who agreed so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// How many have to agree by the policy as it was at the last approval, where that is more than
    /// admission fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<u32>,
    /// How it ended, if it did without a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

impl Fixed {
    /// Whether a decision counts only where it is signed with a passkey.
    pub fn needs_passkey(&self) -> bool {
        let rule = self.approval.as_ref();
        rule.is_some_and(|rule| rule.passkey == PasskeyUse::Required)
    }

    /// This proposal, carried out, as a later decision looks back on it.
    pub fn as_past(&self) -> PastPayout {
        PastPayout {
            at: self.created_at,
            minor: self.effective.minor(),
            payee: self.payee.identity(),
            vendor: self.payee.vendor(),
        }
    }
}

impl Proposal {
    /// Its id.
    pub fn id(&self) -> ProposalId {
        self.fixed.id
    }

    /// A copy for people to look at, with these arguments, this payee and these words of findings in
    /// the place of its own. Its hash stays that of the true arguments.
    pub fn showing(self, args: Canonical, payee: Payee, findings: Vec<Finding>) -> Self {
        let fixed = Arc::unwrap_or_clone(self.fixed);
        Self {
            fixed: Arc::new(Fixed {
                args,
                payee,
                findings,
                ..fixed
            }),
            ..self
        }
    }

    /// How many people have to agree; 0 if none.
    pub fn approvals_needed(&self) -> u32 {
        let fixed = self.fixed.approvals_needed;
        self.moving.needed.map_or(fixed, |needed| needed.max(fixed))
    }

    /// The same, where only these approvals count, and so many are needed.
    pub fn counting(mut self, approvals: Vec<Approval>, needed: u32) -> Self {
        self.moving.approvals = approvals;
        let more = needed > self.fixed.approvals_needed;
        self.moving.needed = more.then_some(needed);
        self
    }

    /// What is known of its one attempt; nothing before the claim, and nothing in doubt.
    pub fn outcome(&self) -> Option<&Settled> {
        self.execution.as_ref()?.outcome.as_ref()
    }

    /// True while it is claimed and proven that nothing of it ever left.
    pub fn is_unsent(&self) -> bool {
        let unsent = self
            .execution
            .as_ref()
            .is_some_and(|attempt| attempt.unsent);
        self.state == State::InDoubt && unsent
    }

    /// The same, shown for this.
    pub fn shown_for(self, effect: Option<Effect>) -> Self {
        let fixed = Arc::unwrap_or_clone(self.fixed);
        Self {
            fixed: Arc::new(Fixed { effect, ..fixed }),
            ..self
        }
    }

    /// The order a connector translates.
    pub fn order(&self) -> super::call::Order {
        super::call::Order {
            proposal: self.fixed.id,
            tool: self.fixed.tool.clone(),
            args: self.fixed.args.clone(),
            effective: self.fixed.effective,
        }
    }
}

mod canonical_text {
    use super::Canonical;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(args: &Canonical, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(args.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Canonical, D::Error> {
        String::deserialize(from).map(Canonical::from_stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [Event; 11] = [
        Event::Approved,
        Event::Rejected,
        Event::Withdrawn,
        Event::Lapsed,
        Event::Claimed,
        Event::Lost,
        Event::Confirmed,
        Event::Refused,
        Event::TakenBack,
        Event::Unreached,
        Event::Recalled,
    ];

    #[test]
    fn no_clock_ends_doubt_and_terminal_is_terminal() {
        for state in [State::Committing, State::InDoubt] {
            assert_eq!(state.after(Event::Lapsed), None);
            assert_eq!(state.after(Event::Withdrawn), None);
        }
        let terminal = [
            State::Blocked,
            State::Failed,
            State::Rejected,
            State::Cancelled,
            State::Expired,
            State::Reversed,
        ];
        for state in terminal {
            assert!(
                EVENTS.iter().all(|event| state.after(*event).is_none()),
                "{state:?}"
            );
        }
    }

    #[test]
    fn states_have_one_spelling() {
        for state in State::ALL {
            assert_eq!(State::parse(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }

    proptest! {
        /// Whatever happens, in whatever order: claimed at most once, and a refusal stays one.
        #[test]
        fn claimed_at_most_once_and_final_is_final(
            events in prop::collection::vec(prop::sample::select(EVENTS.to_vec()), 0..40)
        ) {
            let mut state = State::Held;
            let mut claims = 0;
            for event in events {
                let Some(next) = state.after(event) else { continue };
                prop_assert!(state != State::Failed && state != State::Expired);
                claims += u32::from(event == Event::Claimed);
                // Only what is proven never to have left is taken back after its claim.
                let taken_back = event == Event::Recalled && next == State::Cancelled;
                prop_assert!(!state.was_claimed() || next.was_claimed() || taken_back);
                state = next;
            }
            prop_assert!(claims <= 1);
        }
    }
}
