//! Rules as documents: made, read, replaced, tried out and taken away.

use serde_json::{Value, json};

use super::{make, propose, read, records, rule};
use crate::registered::Shop;

async fn delete(shop: &Shop, path: &str) -> (u16, Value) {
    let server = &shop.server;
    let request = server.http.delete(format!("{}{path}", server.url));
    let answer = request.bearer_auth(&server.admin_key).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_rule_is_kept_with_its_versions_and_what_is_told_of_it_can_be_sent_back() {
    let shop = Shop::furnished().await;
    let key = shop.server.admin_key.clone();
    let night = rule("night_off", "deny", json!({"what": {"tools": ["get_*"]}}));
    let made = make(&shop, night.clone()).await;
    assert_eq!(
        (&made["id"], &made["version"]),
        (&json!("night_off"), &json!(1)),
        "{made}"
    );
    assert_eq!(made["enabled"], true);
    let (status, taken) = shop.post("/v1/access", night).await;
    assert_eq!(
        (status, &taken["code"]),
        (409, &json!("name_taken")),
        "{taken}"
    );

    let mut told = shop.server.get(&key, "/v1/access/night_off").await;
    told["enabled"] = json!(false);
    let (status, put) = shop.put("/v1/access/night_off", told.clone()).await;
    assert_eq!((status, &put["version"]), (200, &json!(2)), "{put}");
    let (status, stale) = shop.put("/v1/access/night_off", told.clone()).await;
    assert_eq!(
        (status, &stale["code"]),
        (409, &json!("changed_meanwhile")),
        "{stale}"
    );
    told["name"] = json!("night off, but for her");
    let copied = make(&shop, told).await;
    assert!(
        copied["id"]
            .as_str()
            .unwrap()
            .starts_with("night-off-but-for-her-")
    );
    let all = shop.server.get(&key, "/v1/access").await;
    assert_eq!(all["rules"].as_array().map(Vec::len), Some(2), "{all}");

    let (status, gone) = delete(&shop, "/v1/access/night_off").await;
    assert_eq!((status, &gone["deleted"]), (200, &json!(true)), "{gone}");
    let (status, never) = delete(&shop, "/v1/access/night_off").await;
    assert_eq!(
        (status, &never["code"]),
        (404, &json!("not_found")),
        "{never}"
    );
    for (kind, count) in [
        ("rule_created", 2),
        ("rule_changed", 1),
        ("rule_deleted", 1),
    ] {
        assert_eq!(records(&shop, kind).await.len(), count, "{kind}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_named_by_its_place() {
    let shop = Shop::furnished().await;
    for (wrong, pointer) in [
        (json!({"effect": "deny"}), "/name"),
        (rule("x", "maybe", json!({})), "/effect"),
        (
            rule("x", "deny", json!({"who": {"roles": ["boss"]}})),
            "/who/roles/0",
        ),
        (
            rule("x", "deny", json!({"what": {"tools": ["*x"]}})),
            "/what/tools/0",
        ),
        (
            rule(
                "x",
                "allow",
                json!({"masks": [{"path": "rows", "do": "hash"}]}),
            ),
            "/masks/0/path",
        ),
    ] {
        let (status, refused) = shop.post("/v1/access", wrong.clone()).await;
        let told = (status, &refused["code"], &refused["pointer"]);
        assert_eq!(
            told,
            (400, &json!("invalid_rule"), &json!(pointer)),
            "{wrong} {refused}"
        );
    }
    let unknown = rule("x", "deny", json!({"whom": {}}));
    let (status, refused) = shop.post("/v1/access", unknown).await;
    assert_eq!(status, 400, "{refused}");
    assert!(
        refused["detail"].as_str().unwrap().contains("`whom`"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_check_says_what_a_call_would_meet_and_records_nothing() {
    let shop = Shop::furnished().await;
    make(
        &shop,
        rule(
            "agents_read",
            "allow",
            json!({
                "who": {"agents": ["agent-1"]}, "what": {"tools": ["get_invoice"]},
                "masks": [{"path": "$.rows[*].email", "do": "redact"}],
            }),
        ),
    )
    .await;
    let sample = json!({"rows": [{"id": 1, "email": "a@acme.example"}]});
    let ask = async |who: Value| {
        let asked = json!({"who": who, "tool": "get_invoice", "sample": sample});
        let (status, told) = shop.post("/v1/access/check", asked).await;
        assert_eq!(status, 200, "{told}");
        told
    };
    let told = ask(json!({"agent": "agent-1"})).await;
    assert_eq!(
        (&told["decision"], &told["rule"]),
        (&json!("allow"), &json!("agents_read"))
    );
    assert_eq!(
        told["masked_sample"],
        json!({"rows": [{"id": 1, "email": "(hidden)"}]})
    );
    let told = ask(json!({"agent": "agent-2"})).await;
    assert_eq!(
        (&told["decision"], &told["why"]),
        (&json!("deny"), &json!("not_among_allowed"))
    );
    assert_eq!(told["masked_sample"], Value::Null, "{told}");

    let asked = json!({"who": {"agent": "agent-1"}, "tool": "get_invoices"});
    let (status, told) = shop.post("/v1/access/check", asked).await;
    assert_eq!(
        (status, &told["code"]),
        (404, &json!("unknown_tool")),
        "{told}"
    );
    let asked = json!({"who": {}, "tool": "get_invoice"});
    let (status, told) = shop.post("/v1/access/check", asked).await;
    assert_eq!(status, 400, "{told}");
    assert!(records(&shop, "access_denied").await.is_empty());
}

#[tokio::test]
async fn rules_are_for_those_who_keep_or_read_them() {
    let shop = Shop::furnished().await;
    make(
        &shop,
        rule(
            "nobody",
            "deny",
            json!({"what": {"tools": ["get_invoice"]}}),
        ),
    )
    .await;
    let key = &shop.server.agent_key;
    for path in ["/v1/access", "/v1/access/nobody"] {
        assert_eq!(
            shop.server.get(key, path).await["code"],
            "forbidden",
            "{path}"
        );
    }
    let (status, told) = read(&shop).await;
    assert_eq!(
        (status, &told["code"]),
        (403, &json!("access_denied")),
        "{told}"
    );
    assert!(!told.to_string().contains("nobody"), "{told}");
    let path = "/v1/tools/get_invoice/invoke";
    let (status, told) = shop.post(path, json!({"arguments": {"id": 1}})).await;
    let told = (status, &told["rule"]);
    assert_eq!(
        told,
        (403, &json!("nobody")),
        "whoever reads rules is told which"
    );
}

#[tokio::test]
async fn where_nothing_is_allowed_by_default_a_rule_has_to_say_so() {
    let shop = Shop::furnished_with(&[("HUNDI_ACCESS_DEFAULT", "deny")]).await;
    assert_eq!(read(&shop).await.0, 403);
    assert_eq!(propose(&shop).await.0, 403);
    make(
        &shop,
        rule("all", "allow", json!({"who": {"roles": ["agent"]}})),
    )
    .await;
    assert_eq!(read(&shop).await.0, 200);
    let (_, proposed) = propose(&shop).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
    let record = &records(&shop, "proposed").await[0];
    let rules = &record["detail"]["access"]["rules"];
    assert_eq!(*rules, json!([{"id": "all", "version": 1}]), "{record}");
}

#[tokio::test]
async fn masks_of_rules_and_of_the_tool_unite_and_reach_drafts_and_records() {
    let shop = Shop::furnished().await;
    make(
        &shop,
        rule(
            "one",
            "allow",
            json!({
                "what": {"tools": ["get_invoice"]},
                "masks": [{"path": "$.rows[*].email", "do": "last4"}],
            }),
        ),
    )
    .await;
    make(&shop, rule("two", "allow", json!({
        "masks": [{"path": "$.rows[*].email", "do": "redact"}, {"path": "$.id", "do": "redact"}],
    })))
    .await;
    let (status, told) = read(&shop).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["data"]["rows"][0]["email"], "(hidden)", "{told}");
    assert_eq!(told["masked"], json!(["$.rows[*].email"]), "{told}");
    let record = &records(&shop, "tool_invoked").await[0];
    let rules = &record["detail"]["access"]["rules"];
    let both = json!([{"id": "one", "version": 1}, {"id": "two", "version": 1}]);
    assert_eq!(*rules, both, "{record}");
    assert_eq!(
        record["detail"]["masked"],
        json!({"values": 1, "unmatched": 1})
    );
    assert_eq!(record["detail"]["trace_id"], told["trace_id"], "{record}");

    // No policy allows it, so what comes back is a draft.
    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 77_001}});
    let key = shop.server.other_agent("nobody").await;
    let (_, refused) = shop
        .server
        .post(&key, "/v1/proposals", &asked)
        .await
        .unwrap();
    assert_eq!(refused["status"], "blocked", "{refused}");
    assert_eq!(
        refused["draft"]["arguments"],
        json!({"id": "(hidden)"}),
        "{refused}"
    );
    let path = format!("/v1/proposals/{}", refused["proposal_id"].as_str().unwrap());
    let shown = shop.server.get(&shop.server.admin_key, &path).await;
    assert!(!shown.to_string().contains("77001"), "{shown}");
    let record = &records(&shop, "proposed").await[0];
    assert_eq!(
        record["detail"]["arguments"],
        json!({"id": "(hidden)"}),
        "{record}"
    );
}

/// What a check quotes of the arguments is hidden with them.
#[tokio::test]
async fn no_finding_says_what_the_masks_hide() {
    let shop = Shop::open().await;
    let mask = json!({"masks": [{"path": "$.to", "do": "redact"}]});
    make(&shop, rule("blind", "allow", mask)).await;
    let key = shop.server.other_agent("careful").await;
    let policy = json!({"allowed_tools": ["*"], "daily_limit": 1_000_000, "per_txn_limit": null,
        "require_approval_above": null, "payees": "registered"});
    let (status, told) = shop.put("/v1/agents/careful/policy", policy).await;
    assert_eq!(status, 200, "{told}");
    let arguments = json!({"amount": 500, "to": "acct_canary4711"});
    let asked = json!({"tool": "transfer_funds", "arguments": arguments});
    let (_, refused) = shop
        .server
        .post(&key, "/v1/proposals", &asked)
        .await
        .unwrap();
    assert_eq!(
        refused["findings"][0]["reason"], "PAYEE_UNKNOWN",
        "{refused}"
    );
    let path = format!("/v1/proposals/{}", refused["proposal_id"].as_str().unwrap());
    let admin = &shop.server.admin_key;
    for told in [
        refused,
        shop.server.get(admin, &path).await,
        shop.server.get(admin, "/v1/audit?limit=500").await,
        shop.server.get(admin, "/v1/proposals").await,
    ] {
        assert!(!told.to_string().contains("canary4711"), "{told}");
    }
}
