//! What an agent may do, and what gets around it: white lists, policies that are changed and not
//! replaced by accident, the same payment again, many small ones, history by talk, and one person
//! who is counted twice. Through the doors of a running server, readable as a list.

use serde_json::{Value, json};

use crate::support::server::Server;

/// A server with agent-1 under a policy of the test's own.
struct Desk {
    server: Server,
}

const POLICY: &str = "/v1/agents/agent-1/policy";

/// No limits, on purpose, and no rate.
fn open() -> Value {
    json!({
        "daily_limit": null, "per_txn_limit": null, "require_approval_above": null,
        "rate_limit": {"max": 0, "window_secs": 60},
    })
}

impl Desk {
    async fn with(more: Value) -> Self {
        let desk = Self {
            server: Server::start().await,
        };
        let mut policy = open();
        let map = policy.as_object_mut().unwrap();
        map.extend(more.as_object().unwrap().clone());
        let (status, told) = desk.put(&policy).await;
        assert_eq!(status, 200, "{told}");
        desk
    }

    async fn send(&self, method: &str, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.server.url);
        let request = self.server.http.request(method.parse().unwrap(), url);
        let answer = request.bearer_auth(key).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    async fn put(&self, body: &Value) -> (u16, Value) {
        self.send("PUT", POLICY, &self.server.admin_key, body).await
    }

    async fn patch(&self, body: &Value) -> (u16, Value) {
        self.send("PATCH", POLICY, &self.server.admin_key, body)
            .await
    }

    async fn policy(&self) -> Value {
        self.server.get(&self.server.admin_key, POLICY).await
    }

    async fn propose_as(&self, key: &str, tool: &str, arguments: Value) -> Value {
        let body = json!({"tool": tool, "arguments": arguments});
        let (_, told) = self.server.post(key, "/v1/proposals", &body).await.unwrap();
        told
    }

    async fn propose(&self, tool: &str, arguments: Value) -> Value {
        self.propose_as(&self.server.agent_key, tool, arguments)
            .await
    }

    async fn transfer(&self, amount: i64, to: &str) -> Value {
        self.propose("transfer_funds", json!({"amount": amount, "to": to}))
            .await
    }

    async fn commit(&self, proposed: &Value, amount: i64, to: &str) -> Value {
        let body = json!({
            "commit_token": proposed["commit_token"],
            "arguments": {"amount": amount, "to": to},
        });
        let path = format!("/v1/proposals/{}/commit", text(proposed, "proposal_id"));
        let key = &self.server.agent_key;
        self.server.post(key, &path, &body).await.unwrap().1
    }

    /// Makes a key: its text and its id.
    async fn key(&self, maker: &str, body: Value) -> String {
        let (status, made) = self.server.post(maker, "/v1/keys", &body).await.unwrap();
        assert_eq!(status, 201, "{made}");
        text(&made, "key").to_owned()
    }

    /// The id of a new person who may approve and keep everything.
    async fn person(&self, name: &str, more: Value) -> String {
        let mut body = json!({"name": name, "roles": ["approver", "admin"]});
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        let made = self
            .server
            .post(&self.server.admin_key, "/v1/people", &body);
        let (status, made) = made.await.unwrap();
        assert_eq!(status, 201, "{made}");
        text(&made, "id").to_owned()
    }

    /// A key of a person's program.
    async fn program(&self, person: &str, role: &str, name: &str) -> String {
        let body = json!({"role": role, "name": name, "person": person});
        self.key(&self.server.admin_key, body).await
    }

    async fn rename(&self, person: &str, name: &str) {
        let path = format!("/v1/people/{person}");
        let body = json!({"name": name});
        let (status, told) = self
            .send("PATCH", &path, &self.server.admin_key, &body)
            .await;
        assert_eq!(status, 200, "{told}");
    }

    async fn approver(&self, name: &str) -> String {
        let body = json!({"role": "approver", "name": name});
        self.key(&self.server.admin_key, body).await
    }

    /// `approved` with how many have agreed then, or the code of the refusal.
    async fn approve(&self, key: &str, held: &Value) -> String {
        let path = format!("/v1/proposals/{}/approve", text(held, "proposal_id"));
        let (status, told) = self.server.post(key, &path, &json!({})).await.unwrap();
        match status {
            200 => format!("approved {}", told["approval"]["given"]),
            _ => text(&told, "code").to_owned(),
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} of {value}"))
}

/// `allowed`, or the reason why not.
fn verdict(told: &Value) -> &str {
    match text(told, "status") {
        "allowed" => "allowed",
        _ => text(told, "reason"),
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn a_white_list_lets_through_what_is_on_it_and_nothing_else() {
    let desk = Desk::with(json!({})).await;
    let cases = [
        // allowed_tools              transfer_funds      noop                cancel_payout
        (Value::Null,                 "allowed",          "allowed", false),
        (json!([]),                   "TOOL_NOT_ALLOWED", "TOOL_NOT_ALLOWED", false),
        (json!(["noop"]),             "TOOL_NOT_ALLOWED", "allowed", false),
        (json!(["transfer_*"]),       "allowed",          "TOOL_NOT_ALLOWED", false),
        (json!(["cancel_payout"]),    "TOOL_NOT_ALLOWED", "TOOL_NOT_ALLOWED", true),
        (json!(["*"]),                "allowed",          "allowed", true),
    ];
    for (index, (allowed_tools, transfer, noop, cancel)) in cases.into_iter().enumerate() {
        let (status, told) = desk.patch(&json!({"allowed_tools": allowed_tools})).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(told["allowed_tools"], allowed_tools);
        let to = format!("acct_{index}");
        let told = desk.transfer(100, &to).await;
        assert_eq!(verdict(&told), transfer, "{allowed_tools}: {told}");
        let told = desk.propose("noop", json!({"note": to})).await;
        assert_eq!(verdict(&told), noop, "{allowed_tools}: {told}");
        // Whether the bank is asked at all: it knows no such payout.
        let args = json!({"payout_id": "pout_00000000000001", "amount": 100, "fund_account_id": "fa_00000000000001"});
        let told = desk.propose("cancel_payout", args).await;
        assert_eq!(told["reason"] != "TOOL_NOT_ALLOWED", cancel, "{allowed_tools}: {told}");
    }
}

#[tokio::test]
async fn a_whole_policy_names_its_limits_and_a_change_leaves_the_rest() {
    let desk = Desk::with(json!({"daily_limit": 500_000, "blocked_domains": ["evil.com"]})).await;
    let before = desk.policy().await;
    for body in [json!({}), json!({"daily_limit": 1})] {
        let (status, told) = desk.put(&body).await;
        let detail = text(&told, "detail");
        assert_eq!((status, text(&told, "code")), (400, "invalid_request"));
        assert!(detail.contains("`per_txn_limit`"), "{detail}");
        assert!(detail.contains("`require_approval_above`"), "{detail}");
        assert_eq!(
            detail.contains("`daily_limit`"),
            body == json!({}),
            "{detail}"
        );
    }
    for body in [
        json!({}),
        json!({"version": before["version"]}),
        json!({"dayly_limit": null}),
    ] {
        let (status, told) = desk.patch(&body).await;
        assert_eq!(
            (status, text(&told, "code")),
            (400, "invalid_request"),
            "{body}"
        );
    }
    assert_eq!(desk.policy().await, before, "nothing of that was written");

    let (status, after) = desk.patch(&json!({"per_txn_limit": 700})).await;
    assert_eq!(status, 200, "{after}");
    for (name, value) in before.as_object().unwrap() {
        match name.as_str() {
            "per_txn_limit" => assert_eq!(after[name], 700),
            "version" => assert_eq!(after[name], value.as_i64().unwrap() + 1),
            _ => assert_eq!(after[name], *value, "{name}"),
        }
    }
    // What was answered can be sent back, and to a version that has moved on it cannot.
    let (status, _) = desk.put(&after).await;
    assert_eq!(status, 200);
    for method in ["PUT", "PATCH"] {
        let key = &desk.server.admin_key;
        let (status, told) = desk.send(method, POLICY, key, &before).await;
        assert_eq!((status, text(&told, "code")), (409, "changed_meanwhile"));
    }
}

#[tokio::test]
async fn the_command_line_changes_what_it_names_too() {
    let desk = Desk::with(json!({"daily_limit": 500_000})).await;
    let set = |changes: &str| {
        let told = desk
            .server
            .command(&["policy", "set", "agent-1", changes, "--json"]);
        serde_json::from_str::<Value>(&told).unwrap()
    };
    let told = set(r#"{"per_txn_limit": 700}"#);
    assert_eq!(
        (&told["daily_limit"], &told["per_txn_limit"]),
        (&json!(500_000), &json!(700))
    );
    let told = set(&told.to_string());
    assert_eq!(
        told["per_txn_limit"], 700,
        "what was told can be given back"
    );
}

#[tokio::test]
async fn a_policy_for_nobody_is_taken_with_a_warning_and_the_nearest_name() {
    let desk = Desk::with(json!({})).await;
    let admin = &desk.server.admin_key;
    let (_, known) = desk.put(&open()).await;
    assert_eq!(known["warnings"], json!([]));
    let (status, told) = desk
        .send("PUT", "/v1/agents/agnet-1/policy", admin, &open())
        .await;
    let warning = told["warnings"][0].as_str().unwrap();
    assert_eq!(status, 200, "{told}");
    assert!(warning.contains("agnet-1"), "{warning}");
    assert!(warning.contains("did you mean agent-1?"), "{warning}");
    let (_, told) = desk
        .send("PUT", "/v1/agents/external/policy", admin, &open())
        .await;
    assert_eq!(told["warnings"], json!([]), "the bank's own has no key");
    let printed = desk
        .server
        .command(&["policy", "set", "agnet-1", r#"{"daily_limit": 5}"#]);
    assert!(printed.contains("did you mean agent-1?"), "{printed}");
    // So is a name in the white list that is no tool's.
    let cases = [
        ("tranfer_funds", "did you mean transfer_funds?"),
        ("transfer_funds_commit", "did you mean transfer_funds?"),
        ("nothing_like_it", "no tool is called so"),
        ("nothing_*", "no tool is called so"),
    ];
    for (entry, said) in cases {
        let (status, told) = desk
            .patch(&json!({"allowed_tools": ["noop", "transfer_*", entry]}))
            .await;
        let warnings = told["warnings"].as_array().unwrap();
        assert_eq!((status, warnings.len()), (200, 1), "{told}");
        assert!(warnings[0].as_str().unwrap().contains(said), "{told}");
    }
}

#[tokio::test]
async fn the_same_payment_again_waits_and_names_the_earlier_one() {
    let desk = Desk::with(json!({})).await;
    let first = desk.transfer(700, "acct_1").await;
    assert_eq!(verdict(&first), "allowed", "{first}");
    for _ in 0..2 {
        let again = desk.transfer(700, "acct_1").await;
        assert_eq!(text(&again, "status"), "held", "{again}");
        assert_eq!(verdict(&again), "POSSIBLE_DUPLICATE", "{again}");
        assert_eq!(again["recovery"], "get_approval");
        let finding = &again["findings"][0];
        assert_eq!(
            finding["earlier_proposal_id"], first["proposal_id"],
            "{again}"
        );
        assert!(text(finding, "detail").contains(text(&first, "proposal_id")));
    }
    // Paid or not: it is the same as long as it is not undone.
    let paid = desk.commit(&first, 700, "acct_1").await;
    assert_eq!(paid["status"], "committed", "{paid}");
    assert_eq!(
        verdict(&desk.transfer(700, "acct_1").await),
        "POSSIBLE_DUPLICATE"
    );
    assert_eq!(verdict(&desk.transfer(701, "acct_1").await), "allowed");
    assert_eq!(verdict(&desk.transfer(700, "acct_2").await), "allowed");
}

#[tokio::test]
async fn another_agent_of_the_organisation_pays_the_same_no_more_than_the_first() {
    let desk = Desk::with(json!({})).await;
    let other = desk.server.other_agent("agent-2").await;
    let admin = &desk.server.admin_key;
    desk.send("PUT", "/v1/agents/agent-2/policy", admin, &open())
        .await;
    let first = desk.transfer(700, "acct_1").await;
    let arguments = json!({"amount": 700, "to": "acct_1"});
    let again = desk.propose_as(&other, "transfer_funds", arguments).await;
    assert_eq!(verdict(&again), "POSSIBLE_DUPLICATE", "{again}");
    assert_eq!(
        again["findings"][0]["earlier_proposal_id"],
        first["proposal_id"]
    );
}

#[tokio::test]
async fn what_was_taken_back_is_not_paid_again_by_the_next() {
    let desk = Desk::with(json!({})).await;
    let first = desk.transfer(700, "acct_1").await;
    let path = format!("/v1/proposals/{}/cancel", text(&first, "proposal_id"));
    let key = &desk.server.agent_key;
    let (status, _) = desk.server.post(key, &path, &json!({})).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(verdict(&desk.transfer(700, "acct_1").await), "allowed");
}

#[tokio::test]
async fn a_policy_may_only_remark_on_the_same_payment_or_not_look() {
    let desk = Desk::with(json!({"duplicates": {"then": "report"}})).await;
    let first = desk.transfer(700, "acct_1").await;
    let again = desk.transfer(700, "acct_1").await;
    assert_eq!(verdict(&again), "allowed", "{again}");
    let finding = &again["findings"][0];
    assert_eq!(
        (text(finding, "reason"), text(finding, "severity")),
        ("POSSIBLE_DUPLICATE", "note")
    );
    assert_eq!(finding["earlier_proposal_id"], first["proposal_id"]);
    desk.patch(&json!({"duplicates": {"then": "off"}})).await;
    assert_eq!(desk.transfer(700, "acct_1").await["findings"], json!([]));
}

#[tokio::test]
async fn where_no_payee_is_named_the_same_call_is_the_same_payment() {
    let desk = Desk::with(json!({})).await;
    let call = async |note: &str| {
        let told = desk
            .propose("noop", json!({"amount": 5, "note": note}))
            .await;
        verdict(&told).to_owned()
    };
    assert_eq!(call("a").await, "allowed");
    assert_eq!(call("b").await, "allowed");
    assert_eq!(call("a").await, "POSSIBLE_DUPLICATE");
}

/// However many ask for the same at the same moment, one gets it without a person.
#[tokio::test]
async fn of_many_at_once_one_is_not_the_same_again() {
    let desk = Desk::with(json!({})).await;
    let asked = (0..24).map(|_| desk.transfer(700, "acct_1"));
    let told = futures_util::future::join_all(asked).await;
    let allowed = told.iter().filter(|told| verdict(told) == "allowed");
    assert_eq!(allowed.count(), 1, "{told:?}");
    let held = told
        .iter()
        .filter(|told| verdict(told) == "POSSIBLE_DUPLICATE");
    assert_eq!(held.count(), 23, "{told:?}");
}

#[tokio::test]
async fn splitting_does_not_get_under_a_sum() {
    let sums = json!([
        {"amount": 1_000, "window_secs": 3_600, "per": "agent"},
        {"amount": 500, "window_secs": 3_600, "per": "payee"},
    ]);
    let desk = Desk::with(json!({"approval_above": sums})).await;
    assert_eq!(verdict(&desk.transfer(300, "acct_1").await), "allowed");
    assert_eq!(
        verdict(&desk.transfer(200, "acct_1").await),
        "allowed",
        "500 in all"
    );
    let over = desk.transfer(1, "acct_1").await;
    assert_eq!(verdict(&over), "APPROVAL_REQUIRED", "{over}");
    assert_eq!(
        verdict(&desk.transfer(499, "acct_2").await),
        "allowed",
        "1,000 in all"
    );
    let over = desk.transfer(2, "acct_3").await;
    assert_eq!(verdict(&over), "APPROVAL_REQUIRED", "{over}");
}

/// Parallel proposals do not slip under a sum: what is allowed without a person stays within it.
#[tokio::test]
async fn parallel_payments_do_not_get_under_a_sum() {
    for per in ["agent", "payee"] {
        let sums = json!([{"amount": 1_000, "window_secs": 3_600, "per": per}]);
        let desk = Desk::with(json!({"approval_above": sums})).await;
        let asked = (0..24).map(|index| desk.transfer(300 + index, "acct_1"));
        let told = futures_util::future::join_all(asked).await;
        let allowed = told
            .iter()
            .filter(|told| verdict(told) == "allowed")
            .count();
        assert_eq!(allowed, 3, "{per}: {told:?}");
        assert!(
            told.iter()
                .all(|told| ["allowed", "APPROVAL_REQUIRED"].contains(&verdict(told))),
            "{per}: {told:?}"
        );
    }
}

/// Sixty proposals of 25,000, none committed, used to teach that 60,000 is normal.
#[tokio::test]
async fn talk_is_no_history() {
    let desk = Desk::with(json!({"duplicates": {"then": "off"}})).await;
    for _ in 0..25 {
        let usual = desk.transfer(100, "acct_1").await;
        let paid = desk.commit(&usual, 100, "acct_1").await;
        assert_eq!(paid["status"], "committed", "{paid}");
    }
    let far_out = desk.transfer(60_000, "acct_1").await;
    assert_eq!(verdict(&far_out), "ANOMALY_DETECTED", "{far_out}");
    for _ in 0..60 {
        desk.transfer(300, "acct_1").await;
    }
    let profile = "/v1/agents/agent-1/risk-profile";
    let profile = desk.server.get(&desk.server.admin_key, profile).await;
    assert_eq!(profile["total_transactions"], 25, "{profile}");
    let still = desk.transfer(60_000, "acct_1").await;
    assert_eq!(verdict(&still), "ANOMALY_DETECTED", "{still}");
}

#[tokio::test]
async fn one_person_with_two_keys_is_one_approver() {
    let two = json!({"require_approval_above": 10, "approvals_needed": 2});
    let desk = Desk::with(two).await;
    let held = desk.transfer(100, "acct_1").await;
    let asha = desk
        .person("Asha Rao", json!({"slack_user": "U0ASHA"}))
        .await;
    let laptop = desk.program(&asha, "approver", "laptop").await;
    let desktop = desk.program(" asha  RAO", "approver", "desktop").await;
    assert_eq!(desk.approve(&laptop, &held).await, "approved 1");
    assert_eq!(desk.approve(&laptop, &held).await, "approved_already");
    assert_eq!(
        desk.approve(&desktop, &held).await,
        "approved_already",
        "another key of theirs"
    );
    desk.rename(&asha, "Asha R.").await;
    assert_eq!(
        desk.approve(&desktop, &held).await,
        "approved_already",
        "under another name"
    );
    let bob = desk.person("Bob", json!({})).await;
    let bob = desk.program(&bob, "approver", "laptop").await;
    assert_eq!(desk.approve(&bob, &held).await, "approved 2");
}

#[tokio::test]
async fn where_several_have_to_agree_a_key_of_nobody_does_not_count() {
    let two = json!({"require_approval_above": 10, "approvals_needed": 2});
    let desk = Desk::with(two).await;
    let admin = desk.server.admin_key.clone();
    let held = desk.transfer(100, "acct_1").await;
    for name in ["Asha", "Bob"] {
        let nobodys = desk.approver(name).await;
        assert_eq!(desk.approve(&nobodys, &held).await, "person_needed");
    }
    let spare = desk
        .key(&admin, json!({"role": "admin", "name": "spare"}))
        .await;
    assert_eq!(desk.approve(&spare, &held).await, "person_needed");
    let mapped = json!({"role": "approver", "name": "eve", "slack_user": "U0EVE"});
    let mapped = desk.key(&admin, mapped).await;
    assert_eq!(desk.approve(&mapped, &held).await, "person_needed");
    let id = text(&held, "proposal_id");
    let told = desk.server.failing_command(&["proposal", "approve", id]);
    assert!(told.contains("person_needed"), "{told}");
    let path = format!("/v1/proposals/{id}");
    let still = desk.server.get(&admin, &path).await;
    assert_eq!(
        (&still["state"], &still["approval"]["given"]),
        (&json!("held"), &json!(0))
    );

    // The first admin is a person, and their key one of theirs.
    assert_eq!(desk.approve(&admin, &held).await, "approved 1");
    let again = desk.program("ADMIN", "admin", "again").await;
    assert_eq!(desk.approve(&again, &held).await, "approved_already");
    let carol = desk.person("Carol", json!({})).await;
    let carol = desk.program(&carol, "approver", "spare").await;
    assert_eq!(desk.approve(&carol, &held).await, "approved 2");
    // Where one is enough, a key of nobody is one.
    let desk = Desk::with(json!({"require_approval_above": 10})).await;
    let held = desk.transfer(100, "acct_1").await;
    let nobodys = desk.approver("Asha").await;
    assert_eq!(desk.approve(&nobodys, &held).await, "approved 1");
}

#[tokio::test]
async fn who_runs_an_agent_does_not_approve_for_it() {
    let desk = Desk::with(json!({})).await;
    let admin = desk.server.admin_key.clone();
    let person = desk.person("Asha", json!({})).await;
    let agent = desk.program(&person, "agent", "agent-3").await;
    let mut policy = open();
    policy["require_approval_above"] = json!(10);
    desk.send("PUT", "/v1/agents/agent-3/policy", &admin, &policy)
        .await;
    let arguments = json!({"amount": 100, "to": "acct_1"});
    let held = desk.propose_as(&agent, "transfer_funds", arguments).await;
    let (asha, bob) = (desk.approver("asha").await, desk.approver("Bob").await);
    assert_eq!(
        desk.approve(&asha, &held).await,
        "self_approval",
        "a key that is called as she is"
    );
    let hers = desk.program(&person, "approver", "laptop").await;
    assert_eq!(desk.approve(&hers, &held).await, "self_approval");
    desk.rename(&person, "Asha Rao").await;
    assert_eq!(desk.approve(&hers, &held).await, "self_approval");
    assert_eq!(desk.approve(&bob, &held).await, "approved 1");
}

#[tokio::test]
async fn an_approver_named_like_the_agent_is_its_own_and_no_name_hides_a_letter() {
    let desk = Desk::with(json!({"require_approval_above": 10})).await;
    let admin = desk.server.admin_key.clone();
    let held = desk.transfer(100, "acct_1").await;
    let alike = desk.approver("Agent-1").await;
    assert_eq!(desk.approve(&alike, &held).await, "self_approval");
    for name in ["be\u{200b}rt", "bert\u{202e}", "\u{feff}bert"] {
        for body in [
            json!({"role": "approver", "name": name}),
            json!({"roles": ["approver"], "name": name, "email": "b@x.example"}),
        ] {
            let path = match body.get("email") {
                Some(_) => "/v1/people",
                None => "/v1/keys",
            };
            let (status, refused) = desk.send("POST", path, &admin, &body).await;
            assert_eq!(
                (status, text(&refused, "code")),
                (400, "invalid_request"),
                "{refused}"
            );
        }
    }
}

#[tokio::test]
async fn keys_are_listed_with_their_persons() {
    let desk = Desk::with(json!({})).await;
    let admin = &desk.server.admin_key;
    let asha = desk.person("Asha Rao", json!({})).await;
    desk.person("Bob", json!({})).await;
    desk.program(&asha, "approver", "laptop").await;
    let listed = desk.server.get(admin, "/v1/keys").await;
    let keys = listed["keys"].as_array().unwrap();
    let laptop = keys.iter().find(|key| key["name"] == "laptop").unwrap();
    assert_eq!(laptop["person"], "Asha Rao");
    assert_eq!(laptop["person_id"], json!(asha));
    let made = [
        "key", "create", "--role", "approver", "--name", "desk", "--person", "Bob", "--json",
    ];
    let made: Value = serde_json::from_str(&desk.server.command(&made)).unwrap();
    assert_eq!(made["person"], "Bob");
    assert!(desk.server.command(&["key", "list"]).contains("Asha Rao"));
}
