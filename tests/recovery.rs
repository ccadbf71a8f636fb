//! Recovery as the provider sees it: what it is asked, in which order, and what may end a doubt.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hundi::broker::{CommitRequest, Committed, ProposeRequest, Proposed};
use hundi::domain::call::{Call, Reply};
use hundi::domain::policy::Policy;
use hundi::domain::proposal::{Proposal, State};
use hundi::wire::{Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::support::house::{House, Plan, agent_of};

/// What a look-up finds once the second sending was refused.
#[derive(Clone, Copy, Debug)]
enum Look {
    Nothing,
    ThePayout,
    NoAnswer,
    /// Nothing answers to the first look; the next one finds the payout.
    TheNextOne,
}

/// A provider that loses the first sending, refuses the second, and is then looked at again.
struct Provider {
    look: Look,
    heard: Mutex<Vec<String>>,
    payout: Mutex<Value>,
}

impl Provider {
    fn sendings(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|tool| *tool == "create_payout").count()
    }

    fn looks(&self) -> usize {
        let all = self.heard.lock().unwrap().len();
        all - self.sendings()
    }

    fn sent(&self, args: &Value) -> Reply {
        let mut payout = args.clone();
        payout["id"] = json!("pout_00000000000001");
        payout["entity"] = json!("payout");
        payout["status"] = json!("processing");
        *self.payout.lock().unwrap() = payout;
        if self.sendings() == 1 {
            return Reply::Lost("no answer".to_owned());
        }
        let error = json!({"code": "BAD_REQUEST_ERROR", "description": "The key was revoked."});
        Reply::Result {
            content: json!({"error": {"kind": "http", "status": 400, "body": {"error": error}}}),
            is_error: true,
        }
    }

    fn looked_up(&self) -> Reply {
        let found = |items: Value| Reply::Result {
            content: json!({"status": 200, "body": {
                "entity": "collection", "count": items.as_array().map(Vec::len), "items": items,
            }}),
            is_error: false,
        };
        match self.look {
            Look::TheNextOne if self.looks() < 2 => Reply::Lost("no answer".to_owned()),
            Look::TheNextOne => found(json!([*self.payout.lock().unwrap()])),
            _ if self.sendings() < 2 => found(json!([])),
            Look::Nothing => found(json!([])),
            Look::ThePayout => found(json!([*self.payout.lock().unwrap()])),
            Look::NoAnswer => Reply::Lost("no answer".to_owned()),
        }
    }
}

#[async_trait]
impl Wire for Provider {
    async fn send(&self, call: &Call, _: Duration) -> Reply {
        self.heard.lock().unwrap().push(call.tool.clone());
        let args: Value = serde_json::from_str(&call.arguments).unwrap();
        match call.tool.as_str() {
            "create_payout" => self.sent(&args),
            _ => self.looked_up(),
        }
    }

    async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
        Ok(Vec::new())
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        broadcast::channel(1).1
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }
}

fn arguments() -> Value {
    json!({"fund_account_id": "fa_00000000000001", "amount": 10_000, "currency": "INR",
           "mode": "IMPS", "purpose": "vendor bill"})
}

/// Commits a payout whose first sending is lost.
async fn in_doubt(house: &House) -> Proposal {
    house.policy("payer", &Policy::default()).await;
    let who = agent_of("payer");
    let request = ProposeRequest {
        tool: "create_payout".to_owned(),
        arguments: arguments(),
        ..ProposeRequest::default()
    };
    let proposed: Proposed = house.broker.pay.propose(&who, request).await.unwrap();
    let request = CommitRequest {
        proposal_id: proposed.proposal.fixed.id.to_string(),
        commit_token: proposed.token.expect("allowed").text,
        tool: None,
        arguments: arguments(),
    };
    let committed = house.broker.pay.commit(&who, request).await.unwrap();
    let Committed::InDoubt(proposal) = committed else {
        panic!("not in doubt: {committed:?}");
    };
    *proposal
}

/// A crash leaves a doubt with a pause or a lease that nobody waits out any more.
#[tokio::test]
async fn what_is_open_at_a_start_is_asked_about_at_once_and_nothing_is_sent() {
    for (look, expected, settled) in [
        (Look::TheNextOne, State::Executed, 1),
        (Look::Nothing, State::InDoubt, 0),
    ] {
        let provider = Arc::new(Provider {
            look,
            heard: Mutex::default(),
            payout: Mutex::default(),
        });
        let house = House::with(Plan {
            wire: Some(provider.clone()),
            ..Plan::default()
        })
        .await;
        let id = in_doubt(&house).await.fixed.id;
        // No time passes.
        let seen = house.broker.pay.ask_at_start().await.unwrap();
        assert_eq!(seen, settled, "{look:?}");
        let now = house.store.proposal(id).await.unwrap().unwrap();
        assert_eq!(now.state, expected, "{look:?}");
        assert_eq!(provider.sendings(), 1, "it only asks");
    }
}

#[tokio::test]
async fn a_refused_replay_ends_doubt_only_after_another_look_at_the_provider() {
    for (look, expected) in [
        // The refusal and the look together: there was never an effect.
        (Look::Nothing, State::Failed),
        // The first sending had arrived after all; the refusal was about the second alone.
        (Look::ThePayout, State::Executed),
        // A refusal alone proves nothing.
        (Look::NoAnswer, State::InDoubt),
    ] {
        let provider = Arc::new(Provider {
            look,
            heard: Mutex::default(),
            payout: Mutex::default(),
        });
        let house = House::with(Plan {
            wire: Some(provider.clone()),
            ..Plan::default()
        })
        .await;
        let doubtful = in_doubt(&house).await;
        assert_eq!(doubtful.state, State::InDoubt, "{look:?}");
        let asked = provider.heard.lock().unwrap().len();

        house.clock.forward(120);
        house.broker.pay.reconcile(10).await.unwrap();

        let heard = provider.heard.lock().unwrap().split_off(asked);
        assert_eq!(heard.len(), 3, "{look:?}: {heard:?}");
        assert_eq!(heard[1], "create_payout", "{look:?}: {heard:?}");
        assert_eq!(
            heard[0], heard[2],
            "a look before and a look after: {heard:?}"
        );
        let id = doubtful.fixed.id;
        let settled = house.store.proposal(id).await.unwrap().unwrap();
        assert_eq!(settled.state, expected, "{look:?}");
    }
}
