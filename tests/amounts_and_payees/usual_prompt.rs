//! The usual prompt: who may set it, what it costs to differ from it, and how it is reset.

use serde_json::{Value, json};

use crate::support::server::{Server, Transfer};

const CATERER: &str = "Pay the caterer as agreed";
const RENT: &str = "Settle the rent of the month";

/// A running server, its agent's id, and how many transfers were proposed.
struct Town {
    server: Server,
    agent: String,
    transfers: i64,
}

impl Town {
    async fn with(env: &[(&str, &str)]) -> Self {
        let server = Server::start_with(env).await;
        let listed = server.get(&server.agent_key, "/v1/agents").await;
        let agent = listed["agents"][0]["agent_id"].as_str().unwrap().to_owned();
        Self {
            server,
            agent,
            transfers: 0,
        }
    }

    /// Never the same payment twice.
    async fn propose(&mut self, prompt: &str) -> (Value, Transfer) {
        self.transfers += 1;
        self.propose_amount(1_000 + self.transfers, prompt).await
    }

    async fn propose_amount(&self, amount: i64, prompt: &str) -> (Value, Transfer) {
        let to = format!("acct_{}", self.transfers);
        let arguments = json!({"amount": amount, "to": to});
        let body = json!({"tool": "transfer_funds", "arguments": arguments, "prompt": prompt});
        let key = &self.server.agent_key;
        let (status, answer) = self.server.post(key, "/v1/proposals", &body).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let (id, token) = (text("proposal_id"), text("commit_token"));
        let transfer = Transfer {
            id,
            token,
            arguments,
        };
        (answer, transfer)
    }

    /// Whether a prompt is the usual one: 0 if it is, 1 if it is another, null where there is none.
    async fn drift(&mut self, prompt: &str) -> Value {
        let (answer, _) = self.propose(prompt).await;
        answer["signals"]["prompt_drift"].clone()
    }

    async fn carry_out(&self, transfer: &Transfer) {
        let (_, answer) = self.server.commit(transfer).await.unwrap();
        assert_eq!(answer["status"], "committed", "{answer}");
    }

    async fn reset(&self, key: &str, agent: &str, tool: &str) -> (u16, Value) {
        let url = format!("{}/v1/baselines/{agent}/{tool}", self.server.url);
        let request = self.server.http.delete(url).bearer_auth(key);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn resets(&self) -> usize {
        let log = self
            .server
            .get(&self.server.admin_key, "/v1/audit?limit=100");
        let log = log.await;
        let records = log["records"].as_array().unwrap();
        let reset = |record: &&Value| record["kind"] == "baseline_reset";
        records.iter().filter(reset).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_carried_out_sets_the_usual_prompt() {
    let mut town = Town::with(&[]).await;
    let (refused, _) = town.propose_amount(9_000_000_000_000, RENT).await;
    assert_eq!(refused["status"], "blocked", "{refused}");
    let (withdrawn, transfer) = town.propose(RENT).await;
    assert_eq!(withdrawn["status"], "allowed");
    let path = format!("/v1/proposals/{}/cancel", transfer.id);
    let nothing = json!({});
    let cancelled = town.server.post(&town.server.agent_key, &path, &nothing);
    assert_eq!(cancelled.await.unwrap().0, 200);
    assert_eq!(town.drift(CATERER).await, Value::Null);

    let (_, transfer) = town.propose(CATERER).await;
    assert_eq!(town.drift(RENT).await, Value::Null, "not carried out yet");
    town.carry_out(&transfer).await;
    assert_eq!(town.drift(CATERER).await, json!(0.0));
    let (other, transfer) = town.propose(RENT).await;
    assert_eq!(other["signals"]["prompt_drift"], json!(1.0));
    // The first one stays.
    town.carry_out(&transfer).await;
    assert_eq!(town.drift(RENT).await, json!(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_resets_the_usual_prompt_and_nobody_else() {
    let mut town = Town::with(&[]).await;
    let (agent, admin) = (town.agent.clone(), town.server.admin_key.clone());
    let role = async |role: &str| {
        let body = json!({"role": role, "name": format!("a {role}")});
        let (_, made) = town.server.post(&admin, "/v1/keys", &body).await.unwrap();
        made["key"].as_str().unwrap().to_owned()
    };
    let (operator, auditor, approver) = (
        role("operator").await,
        role("auditor").await,
        role("approver").await,
    );
    let tool = "transfer_funds";
    for (agent, tool) in [(agent.as_str(), tool), ("nobody", tool), (&agent, "a%20b")] {
        let (status, told) = town.reset(&operator, agent, tool).await;
        assert_eq!(
            (status, &told["code"]),
            (404, &json!("not_found")),
            "{agent} {tool}"
        );
    }

    let (_, first) = town.propose(CATERER).await;
    town.carry_out(&first).await;
    let (_, before) = town.propose(CATERER).await;
    for key in [&town.server.agent_key, &auditor, &approver] {
        assert_eq!(town.reset(key, &agent, tool).await.0, 403);
    }
    assert_eq!(town.reset("hk_no_key", &agent, tool).await.0, 401);
    assert_eq!(town.drift(RENT).await, json!(1.0));

    let (status, told) = town.reset(&operator, &agent, tool).await;
    assert_eq!((status, &told["reset"]), (200, &json!(true)), "{told}");
    assert_eq!(town.resets().await, 1);
    assert_eq!(town.reset(&operator, &agent, tool).await.0, 404);
    assert_eq!(town.drift(RENT).await, Value::Null);
    // What was proposed before the reset is not what is usual after it.
    town.carry_out(&before).await;
    let (_, after) = town.propose(RENT).await;
    town.carry_out(&after).await;
    assert_eq!(town.drift(RENT).await, json!(0.0));

    let told = town
        .server
        .command(&["policy", "reset-baseline", &agent, tool, "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["agent_id"], &told["tool"]),
        (&json!(agent), &json!(tool))
    );
    let again = town.server.run(&["policy", "reset-baseline", &agent, tool]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(town.resets().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_threshold_are_the_operators() {
    let only_drift = [
        ("HUNDI_INTEGRITY_WEIGHTS_OUTPUT_INSTABILITY", "0"),
        ("HUNDI_INTEGRITY_WEIGHTS_NUMERIC_VARIANCE", "0"),
        ("HUNDI_INTEGRITY_BLOCK_AT", "1"),
    ];
    let mut town = Town::with(&only_drift).await;
    let (held, first) = town.propose(CATERER).await;
    // Nothing that weighs anything is there to compare, and that is no good score.
    assert_eq!(
        (&held["status"], &held["reason"]),
        (&json!("held"), &json!("INTEGRITY_UNKNOWN"))
    );
    assert_eq!(held["composite_score"], Value::Null);
    let nothing = json!({});
    let approve = format!("/v1/proposals/{}/approve", first.id);
    let approved = town.server.post(&town.server.admin_key, &approve, &nothing);
    assert_eq!(approved.await.unwrap().0, 200);
    let path = format!("/v1/proposals/{}", first.id);
    let token = town.server.get(&town.server.agent_key, &path).await["commit_token"].clone();
    let first = Transfer {
        token: token.as_str().unwrap().to_owned(),
        ..first
    };
    town.carry_out(&first).await;
    let (same, _) = town.propose(CATERER).await;
    assert_eq!(
        (&same["status"], &same["composite_score"]),
        (&json!("allowed"), &json!(0.0))
    );
    let (other, _) = town.propose(RENT).await;
    assert_eq!(
        (&other["status"], &other["reason"]),
        (&json!("blocked"), &json!("low_integrity"))
    );
}
