//! What a token costs at the door of a commit: verify it, hash the arguments that came with it,
//! and bind both to the proposal.
#![allow(missing_docs, reason = "a benchmark's name says what it measures")]

use std::sync::Arc;

use divan::counter::BytesCount;
use hundi::domain::canonical::Canonical;
use hundi::domain::ids::{Nonce, OrgId, ProposalId, TokenId};
use hundi::domain::money::Effective;
use hundi::domain::proposal::{Fixed, LiveToken, Moving, Proposal, Score, Signals, State};
use hundi::domain::reason::Reason;
use hundi::domain::time::{Day, Timestamp};
use hundi::domain::token::{Claims, KeyRing, KeyState, TokenKey};
use hundi::domain::tool::Payee;
use serde_json::{Value, json};

/// When everything here happens; any instant would do.
const NOW: Timestamp = Timestamp::from_secs(1_795_168_800);
const AUDIENCE: &str = "hundi/0123456789abcdef";

fn main() {
    divan::main();
}

/// A payout of 400 bytes in canonical form.
fn arguments() -> Value {
    let mut args = json!({
        "fund_account_id": "fa_00000000000001", "amount": 10_500, "currency": "INR",
        "mode": "IMPS", "purpose": "payout", "narration": "Tea and biscuits",
        "notes": {"vendor_name": "Acme Ltd", "vendor_url": "https://shop.acme.example/pay"},
    });
    let short = 400_usize.saturating_sub(Canonical::of(&args).as_str().len() + 9);
    args["memo"] = Value::from("m".repeat(short.saturating_sub(1)));
    args
}

fn proposal(args: &Canonical) -> Option<Proposal> {
    let fixed = Fixed {
        id: ProposalId::at(NOW, [1; 10]),
        org: OrgId::default(),
        agent: "agent-1".parse().ok()?,
        proposer: "key".to_owned(),
        proposer_person: None,
        tool: "create_payout".parse().ok()?,
        tool_digest: args.hash().to_string(),
        args_hash: args.hash(),
        args: args.clone(),
        effective: Effective::Nothing,
        payee: Payee::default(),
        idempotency_key: None,
        policy_version: None,
        score: Score {
            composite: Some(0.1679),
            signals: Signals::default(),
        },
        findings: Vec::new(),
        reason: Reason::PolicyOk,
        created_at: NOW,
        lapses_at: NOW.plus_secs(60),
        day: Day::from_number(20_261_120),
        approvals_needed: 0,
        approval: None,
        execute_on_approval: false,
        origin: Default::default(),
        access: hundi::domain::access::Basis::default(),
        prompt_hash: None,
        effect: None,
        facts: None,
    };
    let token = LiveToken {
        token_id: TokenId::at(NOW, [2; 10]),
        nonce: Nonce::from_bits([3; 16]),
        kid: "k1".to_owned(),
        issued_at: NOW.secs(),
        expires_at: NOW.secs() + 60,
    };
    Some(Proposal {
        fixed: Arc::new(fixed),
        state: State::Allowed,
        version: 1,
        moving: Moving {
            token: Some(token),
            ..Moving::default()
        },
        execution: None,
    })
}

#[divan::bench]
fn verify_and_bind_400_bytes(bencher: divan::Bencher<'_, '_>) {
    let args = arguments();
    let canonical = Canonical::of(&args);
    let secret = (0..32)
        .map(|byte: u8| byte.wrapping_mul(37))
        .collect::<Vec<u8>>();
    let key = TokenKey::new("k1", secret.into(), KeyState::Active, NOW);
    let (Ok(key), Some(stored)) = (key, proposal(&canonical)) else {
        return;
    };
    let ring = KeyRing::new(vec![key]);
    let Some(live) = stored.moving.token.as_ref() else {
        return;
    };
    let Some(token) = ring.seal(&Claims::of(&stored, live, AUDIENCE), None) else {
        return;
    };
    bencher
        .counter(BytesCount::of_str(canonical.as_str()))
        .bench_local(|| {
            let hash = Canonical::of(&args).hash();
            let claims = ring.open(&token, AUDIENCE, NOW);
            claims.map(|claims| claims.bind(&stored, &stored.fixed.tool, &hash).is_ok())
        });
}
