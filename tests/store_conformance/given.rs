//! Proposals and changes to test with: plain values, no store.

use hundi::domain::audit::names::{Decision, RecordKind, Recorded};
use hundi::domain::call::{Call, ProviderError, Receipt};
use hundi::domain::canonical::Canonical;
use hundi::domain::change::{
    BudgetMove, Change, DocKey, DocWrite, Guard, Intent, PendingClaim, Pot, Record,
};
use hundi::domain::ids::{AgentId, CommitId, Nonce, OrgId, ProposalId, TokenId};
use hundi::domain::money::{Currency, Effective, Money};
use hundi::domain::notice::{Notice, NoticeKind};
use hundi::domain::proposal::{Fixed, LiveToken, Moving, Proposal, Score, Signals, State};
use hundi::domain::reason::{Finding, Reason};
use hundi::domain::time::{Day, Timestamp};
use hundi::domain::token::{Claims, Verified};
use hundi::domain::tool::Payee;
use serde_json::json;

/// In the past of every machine: Postgres ends nothing that has not lapsed by its own clock too.
pub const T0: Timestamp = Timestamp::from_secs(1_700_000_000);
pub const DAY: Day = Day::from_number(20_270_115);

pub fn org() -> OrgId {
    OrgId::default()
}

pub fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

/// The `n`-th id: rises with `n`.
pub fn id(n: u32) -> ProposalId {
    let mut random = [0; 10];
    random[..4].copy_from_slice(&n.to_be_bytes());
    ProposalId::at(T0.plus_millis(i64::from(n)), random)
}

pub fn nonce(n: u32) -> Nonce {
    let mut bits = [0x5a; 16];
    bits[..4].copy_from_slice(&n.to_be_bytes());
    Nonce::from_bits(bits)
}

/// The `n`-th proposal, of `a` unless changed, allowed, moving 100.00 INR.
pub fn proposal(n: u32) -> Proposal {
    let args = Canonical::of(&json!({"amount": 10_000, "to": "acct_123", "note": "\"é\" \u{1}"}));
    let token = LiveToken {
        token_id: TokenId::at(T0, [n as u8; 10]),
        nonce: nonce(n),
        kid: "k1".into(),
        issued_at: T0.secs(),
        expires_at: T0.secs() + 60,
    };
    Proposal {
        fixed: std::sync::Arc::new(Fixed {
            id: id(n),
            org: org(),
            agent: agent("a"),
            proposer: "key-1".into(),
            proposer_person: None,
            tool: "transfer_funds".parse().unwrap(),
            tool_digest: "d1".into(),
            args_hash: args.hash(),
            args,
            effective: Effective::Amount(Money {
                minor: 10_000,
                currency: Currency::INR,
            }),
            payee: Payee {
                id: None,
                account: Some("acct_123".into()),
                name: Some("Acme".into()),
                url: None,
            },
            idempotency_key: None,
            policy_version: Some(3),
            score: Score {
                composite: Some(0.1679),
                signals: Signals {
                    output_instability: Some(4.0 / 15.0),
                    numeric_variance: Some(0.1 + 0.2),
                    prompt_drift: None,
                },
            },
            findings: vec![Finding::note(Reason::NewPayee, "acct_123")],
            reason: Reason::PolicyOk,
            created_at: T0.plus_millis(i64::from(n)),
            lapses_at: T0.plus_secs(60 + i64::from(n)),
            day: DAY,
            approvals_needed: 0,
            approval: None,
            execute_on_approval: false,
            origin: Default::default(),
            access: hundi::domain::access::Basis::default(),
            prompt_hash: None,
            effect: None,
            facts: None,
        }),
        state: State::Allowed,
        version: 1,
        moving: Moving {
            token: Some(token),
            approvals: vec![],
            needed: None,
            ending: None,
        },
        execution: None,
    }
}

pub fn pot(name: &str) -> Pot {
    Pot {
        org: org(),
        agent: agent(name),
        day: DAY,
        currency: Currency::INR,
    }
}

pub fn reserve(amount: i64, limit: i64) -> Option<BudgetMove> {
    Some(BudgetMove::Reserve {
        pot: pot("a"),
        amount,
        limit: Some(limit),
    })
}

pub fn notice(proposal: &Proposal) -> Notice {
    Notice {
        kind: NoticeKind::Held,
        at: T0,
        org: org(),
        proposal: Some(proposal.id()),
        agent: Some(proposal.fixed.agent.clone()),
        tool: Some(proposal.fixed.tool.clone()),
        effective: proposal.fixed.effective,
        payee: proposal.fixed.payee.clone(),
        args_hash: proposal.fixed.args_hash.to_string(),
        reason: "APPROVAL_REQUIRED".into(),
        findings: vec![],
        detail: "please".into(),
        copy: None,
    }
}

/// A record of any kind: a store keeps what older and newer versions write.
pub fn record(kind: &str) -> Record {
    Record {
        kind: Recorded::read(kind),
        ..Record::new(T0, &org(), RecordKind::Proposed, "test")
    }
}

/// Nothing but the proposal and its record.
pub fn admit(proposal: &Proposal) -> Change {
    admit_with(proposal, None)
}

pub fn admit_with(proposal: &Proposal, budget: Option<BudgetMove>) -> Change {
    let record = Record::about(proposal, T0, RecordKind::Proposed, "key-1")
        .deciding(Decision::Approved, "POLICY_OK");
    Change::admit(proposal.clone(), budget, vec![], vec![], record, None)
}

pub fn verified(proposal: &Proposal, nonce: Nonce, expires_at: i64) -> Verified {
    let live = LiveToken {
        token_id: TokenId::at(T0, [9; 10]),
        nonce,
        kid: "k1".into(),
        issued_at: T0.secs(),
        expires_at,
    };
    let fixed = &proposal.fixed;
    Claims::of(proposal, &live, "here")
        .bind(proposal, &fixed.tool, &fixed.args_hash)
        .unwrap()
}

/// A claim with this nonce, leased until ten seconds after [`T0`].
pub fn claim_with(proposal: &Proposal, nonce: Nonce, guards: Vec<Guard>) -> (Change, PendingClaim) {
    let order = proposal.order();
    let intent = Intent {
        commit_id: CommitId::at(T0, [3; 10]),
        idempotency_key: order.idempotency_key(),
        call: Call::new("razorpay", "create_payout", &order.args.value()),
        at: T0.plus_secs(1),
        lease_until: T0.plus_secs(10),
    };
    let verified = verified(proposal, nonce, T0.secs() + 60);
    Change::claim(proposal, &verified, intent, guards, "key-1").unwrap()
}

/// A claim by a token that expires then (epoch seconds).
pub fn claim_until(proposal: &Proposal, nonce: Nonce, expires_at: i64) -> Change {
    let (like, _) = claim_with(proposal, nonce, vec![]);
    let execution = like
        .rows()
        .update
        .as_deref()
        .and_then(|p| p.execution.clone());
    let execution = execution.unwrap();
    let intent = Intent {
        commit_id: execution.commit_id,
        idempotency_key: execution.idempotency_key,
        call: execution.call,
        at: execution.claimed_at,
        lease_until: execution.lease_until,
    };
    let verified = verified(proposal, nonce, expires_at);
    Change::claim(proposal, &verified, intent, vec![], "key-1")
        .unwrap()
        .0
}

/// A claim with the proposal's own nonce, and the proposal as it leaves it.
pub fn claim(proposal: &Proposal) -> (Change, Proposal) {
    let nonce = proposal.moving.token.as_ref().unwrap().nonce;
    let (change, _) = claim_with(proposal, nonce, vec![]);
    let next = change.rows().update.as_deref().unwrap().clone();
    (change, next)
}

pub fn receipt(settled: Option<i64>) -> Receipt {
    Receipt {
        provider_id: Some("pout_1".into()),
        provider_state: Some("processed".into()),
        reversed: false,
        settled_unreadable: false,
        settled_minor: settled,
        result: json!({"id": "pout_1", "amount": 1e15}),
        blocks: json!(null),
    }
}

pub fn confirm(proposal: &Proposal, settled: i64) -> (Change, Proposal) {
    Change::confirm(proposal, receipt(Some(settled)), T0.plus_secs(2), "hundi").unwrap()
}

pub fn refuse(proposal: &Proposal) -> (Change, Proposal) {
    let error = ProviderError {
        code: "BAD_REQUEST_ERROR".into(),
        description: "no".into(),
    };
    Change::refuse(proposal, error, T0.plus_secs(2), "hundi").unwrap()
}

pub fn key(id: &str) -> DocKey {
    DocKey::new("policy", &org(), id)
}

pub fn write(id: &str, expect: Option<u64>, body: Option<i64>) -> DocWrite {
    DocWrite {
        key: key(id),
        expect,
        body: body.map(|n| json!({"n": n})),
    }
}

pub fn docs(writes: Vec<DocWrite>) -> Change {
    Change::documents(writes, vec![], vec![], vec![])
}
