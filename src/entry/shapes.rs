//! The JSON that MCP and REST answer with: one spelling for both doors.

use serde_json::{Map, Value, json};

use crate::broker::StoredRecord;
use crate::broker::{Committed, Proposed, Trouble};
use crate::domain::above::Above;
use crate::domain::call::Receipt;
use crate::domain::money::Effective;
use crate::domain::proposal::{Execution, Proposal, Settled, Signals, State};
use crate::domain::reason::{Recovery, Verdict};
use crate::domain::time::Timestamp;

/// Answer to a propose (contract section 6).
pub fn proposed(answer: &Proposed) -> Value {
    let fixed = &answer.proposal.fixed;
    let mut body = match answer.proposal.state {
        State::Blocked => json!({
            "status": "blocked",
            "action": "create_draft",
            "reason": fixed.reason.code(),
            "draft": {"tool": fixed.tool.as_str(), "arguments": fixed.args.value()},
            "recovery": fixed.reason.recovery().code(),
        }),
        State::Held => json!({
            "status": "held",
            "reason": fixed.reason.code(),
            "approval": approval(&answer.proposal),
            "recovery": Recovery::GetApproval.code(),
        }),
        state @ (State::Allowed
        | State::Committing
        | State::InDoubt
        | State::Executed
        | State::Failed
        | State::Rejected
        | State::Cancelled
        | State::Expired
        | State::Reversed) => json!({"status": state.name()}),
    };
    if let Some(map) = body.as_object_mut() {
        if answer.stored {
            map.insert("proposal_id".into(), json!(fixed.id));
        }
        map.insert("tool_name".into(), json!(fixed.tool));
        map.insert("tool_args_hash".into(), json!(fixed.args_hash));
        map.insert("composite_score".into(), json!(fixed.score.composite));
        map.insert("signals".into(), signals(&fixed.score.signals));
        map.insert("findings".into(), json!(fixed.findings));
        token(map, answer);
        if answer.replayed {
            map.insert("replayed".into(), json!(true));
        }
        if let Some(secs) = answer.retry_after_secs {
            map.insert("retry_after_secs".into(), json!(secs));
        }
    }
    body
}

/// Answer to a commit (contract section 7).
pub fn committed(answer: &Committed) -> Value {
    match answer {
        Committed::Settled(proposal) | Committed::InDoubt(proposal) => outcome(proposal),
        Committed::Refused {
            refusal,
            recovery,
            original,
            detail,
        } => {
            let mut body = json!({
                "status": "blocked",
                "reason": refusal.code(),
                "detail": detail.as_deref().unwrap_or(refusal.text()),
                "recovery": recovery.code(),
            });
            if let Some(original) = original {
                body["original"] = outcome(original);
            }
            body
        }
    }
}

/// HTTP status of a commit's answer.
pub fn committed_status(answer: &Committed) -> u16 {
    match answer {
        Committed::Settled(_) => 200,
        Committed::InDoubt(_) => 202,
        Committed::Refused { .. } => 409,
    }
}

/// What became of an attempt, in the shape a commit answers with.
pub fn outcome(proposal: &Proposal) -> Value {
    let execution = proposal.execution.as_ref();
    let mut body = json!({
        "commit_id": execution.map(|execution| execution.commit_id),
        "proposal_id": proposal.fixed.id,
        "replayed": false,
    });
    let told = match proposal.outcome() {
        Some(Settled::Executed(receipt)) => json!({
            "status": "committed",
            "outcome": if proposal.state == State::Reversed { "reversed" } else { "executed" },
            "result": receipt.result,
        }),
        Some(Settled::Refused(error)) => json!({
            "status": "failed",
            "reason": "provider_refused",
            "provider": {"code": error.code, "description": error.description},
            "recovery": Recovery::FixArgs.code(),
        }),
        Some(Settled::Undone { cause, words }) => json!({
            "status": "failed",
            "reason": cause.code(),
            "detail": words,
            "recovery": Recovery::ProposeAgain.code(),
        }),
        None if proposal.state == State::Cancelled => json!({
            "status": "cancelled",
            "sent": false,
            "recovery": Recovery::ProposeAgain.code(),
        }),
        None => in_doubt(proposal),
    };
    merge(&mut body, told);
    if let Some(Settled::Executed(Receipt { blocks, .. })) = proposal.outcome()
        && !blocks.is_null()
    {
        body["content"] = blocks.clone();
    }
    if let Some(above) = Above::in_outcome(proposal) {
        body["settled_above_reserved"] = json!({
            "reserved": above.reserved, "settled": above.settled, "currency": above.currency,
        });
    }
    body
}

/// An attempt whose outcome is not known: whether anything left, and who will find out.
fn in_doubt(proposal: &Proposal) -> Value {
    let fixed = &proposal.fixed;
    let attempt = proposal.execution.as_ref();
    let unsent = attempt.is_some_and(|attempt| attempt.unsent);
    let person = attempt.is_some_and(|attempt| attempt.needs_person);
    let (recovery, detail) = if unsent {
        let detail = format!(
            "the provider could not be reached and nothing was sent; the broker goes on trying \
             under the same key until {}, and cancelling the proposal ends it at once",
            fixed.lapses_at
        );
        (Recovery::Wait, detail)
    } else if person {
        let detail = format!(
            "nobody can be asked whether it arrived, and nothing may be repeated; an operator \
             looks at the provider and settles it: `hundi proposal settle {}`",
            fixed.id
        );
        (Recovery::GetApproval, detail)
    } else {
        let detail = "it may have arrived; the broker asks the provider and settles it by itself";
        (Recovery::Wait, detail.to_owned())
    };
    json!({
        "status": "in_doubt",
        "sent": !unsent,
        "settled_by": if person { "person" } else { "broker" },
        "detail": detail,
        "recovery": recovery.code(),
    })
}

/// One proposal in full, as `get_proposal` and lists show it.
pub fn proposal(answer: &Proposed) -> Value {
    let proposal = &answer.proposal;
    let fixed = &proposal.fixed;
    let mut body = json!({
        "proposal_id": fixed.id,
        "status": proposal.state.name(),
        "state": proposal.state.name(),
        "version": proposal.version,
        "agent_id": fixed.agent,
        "tool_name": fixed.tool,
        "arguments": fixed.args.value(),
        "tool_args_hash": fixed.args_hash,
        "effective_amount": effective(&fixed.effective),
        "payee": fixed.payee,
        "reason": fixed.reason.code(),
        "findings": fixed.findings,
        "composite_score": fixed.score.composite,
        "signals": signals(&fixed.score.signals),
        "policy_version": fixed.policy_version,
        "created_at": fixed.created_at.to_string(),
        "lapses_at": fixed.lapses_at.to_string(),
    });
    if let Some(map) = body.as_object_mut() {
        if fixed.approvals_needed > 0 {
            map.insert("approval".into(), approval(proposal));
        }
        if let Some(ending) = &proposal.moving.ending {
            let told = json!({
                "by": ending.by, "at": ending.at.to_string(), "reason": ending.reason,
            });
            map.insert("ending".into(), told);
        }
        if let Some(execution) = &proposal.execution {
            map.insert("commit".into(), attempt(proposal, execution));
        }
        token(map, answer);
    }
    body
}

fn attempt(proposal: &Proposal, execution: &Execution) -> Value {
    let mut body = outcome(proposal);
    body["idempotency_key"] = json!(execution.idempotency_key);
    body["claimed_at"] = json!(execution.claimed_at.to_string());
    if let Some(doubt) = &execution.doubt {
        body["doubt"] = json!(doubt);
    }
    if !execution.contradictions.is_empty() {
        body["contradictions"] = json!(execution.contradictions);
    }
    body
}

fn token(map: &mut Map<String, Value>, answer: &Proposed) {
    if let Some(token) = &answer.token {
        map.insert("commit_token".into(), json!(token.text));
        map.insert("token_id".into(), json!(token.token_id));
        let expires = Timestamp::from_secs(token.expires_at);
        map.insert("expires_at".into(), json!(expires.to_string()));
    }
}

fn approval(proposal: &Proposal) -> Value {
    json!({
        "needed": proposal.fixed.approvals_needed,
        "given": proposal.moving.approvals.len(),
        "by": proposal.moving.approvals.iter().map(|a| &a.by).collect::<Vec<_>>(),
        "expires_at": proposal.fixed.lapses_at.to_string(),
    })
}

fn signals(signals: &Signals) -> Value {
    json!({
        "output_instability": signals.output_instability,
        "numeric_variance": signals.numeric_variance,
        "prompt_drift": signals.prompt_drift,
    })
}

fn effective(effective: &Effective) -> Value {
    match effective {
        Effective::Nothing => Value::Null,
        Effective::Amount(money) => {
            json!({"minor": money.minor, "currency": money.currency, "text": money.to_string()})
        }
        Effective::Unbounded(currency) => json!({"minor": null, "currency": currency,
            "text": "everything there is"}),
    }
}

/// One audit record.
pub fn record(stored: &StoredRecord) -> Value {
    let record = &stored.record;
    json!({
        "seq": stored.seq,
        "at": record.at.to_string(),
        "org": record.org,
        "kind": record.kind,
        "decision": record.decision,
        "reason": record.reason,
        "actor": record.actor,
        "agent_id": record.agent,
        "proposal_id": record.proposal,
        "tool_name": record.tool,
        "payout_id": record.payout,
        "amount": record.amount,
        "currency": record.currency,
        "detail": record.detail,
    })
}

/// A problem document (RFC 9457); `type` is stable per code.
pub fn problem(trouble: &Trouble) -> Value {
    let detail = trouble.to_string();
    problem_document(
        trouble.code(),
        trouble.status(),
        &detail,
        trouble.recovery(),
    )
}

/// A problem document from its parts, for what a door itself refuses.
pub fn problem_document(code: &str, status: u16, detail: &str, recovery: Recovery) -> Value {
    json!({
        "type": format!("urn:hundi:problem:{code}"),
        "title": code.replace('_', " "),
        "status": status,
        "detail": detail,
        "code": code,
        "recovery": recovery.code(),
    })
}

/// `APPROVED`, `HELD` or `REJECTED`, as audit records and metrics spell a verdict.
pub fn decision(verdict: &Verdict) -> &'static str {
    verdict.decision().name()
}

fn merge(body: &mut Value, more: Value) {
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
}
