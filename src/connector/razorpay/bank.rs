//! RazorpayX as the broker's [`Bank`]: who is asked, and which of its tools says what.

use serde_json::{Value, json};

use super::event::{read, reduced, waiting};
use super::{Razorpay, State, UPSTREAM, evidence, items};
use crate::connector::Malformed;
use crate::connector::bank::{Bank, Deciding, Event, Shown, Step, Unfit, Waiting};
use crate::domain::call::{Call, Evidence, Order, Reply, Sighting};
use crate::domain::tool::{Executor, Tool};

/// Longest remark that we leave: the bank keeps a little more.
const MAX_REMARKS: usize = 250;

/// The bank behind our sidecar.
#[derive(Clone, Copy, Debug)]
pub struct RazorpayX;

/// What a tool of the catalogue orders here.
fn kind_of(tool: &str) -> Option<Razorpay> {
    Razorpay::ALL.into_iter().find(|kind| kind.tool() == tool)
}

impl Bank for RazorpayX {
    fn name(&self) -> &'static str {
        UPSTREAM
    }

    fn variables(&self) -> &'static str {
        "HUNDI_RAZORPAY"
    }

    fn tools(&self) -> &'static [&'static str] {
        &["handle_razorpay_webhook", "poll_razorpay_payouts"]
    }

    fn event(&self, document: &Value) -> Event {
        read(document)
    }

    fn is_only_told(&self, event: &str) -> bool {
        matches!(
            event,
            "payout.downtime.started" | "payout.downtime.resolved"
        )
    }

    fn payout(&self, shown: &Value) -> Option<Value> {
        reduced(shown)
    }

    fn evidence(&self, payout: &Value) -> Result<Evidence, Malformed> {
        evidence(payout)
    }

    fn seen(&self, tool: &str, order: &Order, payout: &Value) -> Option<Sighting> {
        kind_of(tool).map(|kind| kind.seen(order, payout))
    }

    fn makes(&self, tool: &str) -> bool {
        kind_of(tool) == Some(Razorpay::Create)
    }

    fn decides(&self, tool: &Tool) -> Option<Deciding> {
        let kind = kind_of(tool.name.as_str()).filter(|_| tool.executor == Executor::Bank)?;
        match kind {
            Razorpay::Approve => Some(Deciding::LetGo),
            Razorpay::Reject | Razorpay::Cancel => Some(Deciding::TurnDown),
            Razorpay::Create | Razorpay::Transfer => None,
        }
    }

    fn withdraws(&self, tool: &str) -> bool {
        matches!(kind_of(tool), Some(Razorpay::Cancel | Razorpay::Reject))
    }

    fn look(&self, args: &Value) -> Call {
        Razorpay::look(args)
    }

    fn shown(&self, tool: &str, args: &Value, reply: &Reply) -> Result<Shown, Unfit> {
        let kind = kind_of(tool).ok_or_else(|| {
            let why = "the tool decides on no payout";
            Unfit::Untold(why.to_owned())
        })?;
        kind.shown(args, reply)
    }

    fn waits(&self) -> &'static [&'static str] {
        const WAITS: [&str; 2] = [State::Pending.name(), State::Queued.name()];
        &WAITS
    }

    fn waiting(&self, payout: &Value) -> Result<Option<Waiting>, &'static str> {
        waiting(payout)
    }

    fn list(&self, state: &str, count: usize, skip: usize) -> Call {
        let asked = json!({"status": state, "count": count, "skip": skip});
        Call::new(UPSTREAM, "list_payouts", &asked)
    }

    fn listed(&self, reply: &Reply) -> Result<Vec<Value>, String> {
        items(reply)
    }

    fn let_go(&self, waits: &Waiting) -> Step {
        Step {
            tool: Razorpay::Approve.tool(),
            arguments: waits.order.clone(),
        }
    }

    /// Rejected from `pending`, cancelled from `queued`.
    fn turn_down(&self, waits: &Waiting, why: &str) -> Step {
        // Its id, and its amount and account as the bank told them.
        let mut arguments = json!({
            "payout_id": waits.id,
            "amount": waits.order["amount"],
            "fund_account_id": waits.order["fund_account_id"],
        });
        if waits.state == State::Queued.name() {
            let tool = Razorpay::Cancel.tool();
            return Step { tool, arguments };
        }
        let remarks: String = format!("hundi: {why}").chars().take(MAX_REMARKS).collect();
        arguments["remarks"] = json!(remarks);
        let tool = Razorpay::Reject.tool();
        Step { tool, arguments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_turned_down_where_it_stands() {
        for (state, tool, remarks) in [
            ("pending", "reject_payout", json!("hundi: LIMIT_EXCEEDED")),
            ("queued", "cancel_payout", Value::Null),
        ] {
            let payout = json!({
                "id": "pout_00000000000001", "entity": "payout", "status": state, "amount": 5_000,
                "fund_account_id": "fa_00000000000001", "currency": "INR", "notes": [],
            });
            let waits = RazorpayX.waiting(&payout).unwrap().unwrap();
            assert!(RazorpayX.waits().contains(&waits.state));
            let step = RazorpayX.turn_down(&waits, "LIMIT_EXCEEDED");
            assert_eq!(step.tool, tool);
            assert_eq!(step.arguments["payout_id"], payout["id"]);
            assert_eq!(step.arguments["amount"], payout["amount"]);
            assert_eq!(step.arguments["remarks"], remarks);
            assert_eq!(RazorpayX.let_go(&waits).tool, "approve_payout");
        }
    }
}
