//! Tools made of an API's own description, tried before they are enabled, and what their versions
//! changed.

use serde_json::{Value, json};

use super::api::Api;
use super::{Shop, discount, look};

const PRIVATE: (&str, &str) = ("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8");

async fn opened() -> (Shop, Api) {
    let (shop, api) = (Shop::open_with(&[PRIVATE]).await, Api::start().await);
    let config = json!({"base_url": api.url, "allow_private": true});
    let source = json!({"name": "crm", "kind": "rest", "config": config});
    let (status, made) = shop.post("/v1/sources", source).await;
    assert_eq!(status, 201, "{made}");
    (shop, api)
}

fn names(made: &Value) -> Vec<&str> {
    let tools = made["tools"].as_array().unwrap().iter();
    let mut names: Vec<&str> = tools.map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_description_becomes_disabled_tools_and_says_what_it_left_out() {
    let (shop, api) = opened().await;
    let description = super::api::description();
    let asked = json!({"openapi": description, "source": "crm", "prefix": "crm_"});
    let (status, made) = shop.post("/v1/tools/import", asked.clone()).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(names(&made), ["crm_order", "crm_people"], "{made}");
    let tools = made["tools"].as_array().unwrap();
    assert!(tools.iter().all(|tool| tool["enabled"] == false), "{made}");
    let named = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap();
    assert_eq!(named("crm_people")["risk"], "low", "{made}");
    assert_eq!(named("crm_order")["risk"], "high", "{made}");
    assert_eq!(named("crm_order")["recovery_contract"], "none", "{made}");
    let left: Vec<&str> = made["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| left["operation"].as_str().unwrap())
        .collect();
    assert!(left.contains(&"HEAD /people"), "{made}");

    let call = json!({"arguments": {}});
    let path = "/v1/tools/crm_people/invoke";
    let (status, refused) = shop.as_agent(path, call.clone()).await;
    assert_eq!(
        (status, &refused["code"]),
        (403, &json!("tool_disabled")),
        "{refused}"
    );
    // Tried by those who make tools, before anybody else can call it.
    let (status, tried) = shop.post("/v1/tools/crm_people/test", call.clone()).await;
    assert_eq!((status, &tried["executed"]), (200, &json!(true)), "{tried}");
    assert_eq!(tried["data"]["rows"][0]["n"], 1, "{tried}");
    let (status, refused) = shop
        .as_agent("/v1/tools/crm_people/test", call.clone())
        .await;
    assert_eq!(status, 403, "{refused}");
    let order = json!({"arguments": {"body": {"item": "x"}}});
    let (status, tried) = shop.post("/v1/tools/crm_order/test", order).await;
    assert_eq!(
        (status, &tried["executed"]),
        (200, &json!(false)),
        "{tried}"
    );
    assert!(api.orders().is_empty(), "nothing is done by trying");
    let (status, _) = shop.post("/v1/tools/crm_people/enable", json!({})).await;
    assert_eq!(status, 200);
    let (status, read) = shop.as_agent(path, call).await;
    assert_eq!(status, 200, "{read}");

    let (status, again) = shop.post("/v1/tools/import", asked).await;
    assert_eq!((status, names(&again).len()), (201, 0), "{again}");
    assert!(again.to_string().contains("already"), "{again}");
}

#[tokio::test]
async fn a_description_is_fetched_within_the_reach_of_its_source_alone() {
    let (shop, api) = opened().await;
    let at = |url: &str| json!({"url": url, "source": "crm"});
    let url = format!("{}/openapi.yaml", api.url);
    let (status, made) = shop.post("/v1/tools/import", at(&url)).await;
    assert_eq!(
        (status, names(&made)),
        (201, vec!["order", "people"]),
        "{made}"
    );
    for (url, status) in [
        ("http://169.254.169.254/latest", 400),
        ("http://10.0.0.1/openapi.json", 400),
        ("file:///etc/passwd", 400),
        ("http://user:canary@127.0.0.1/", 400),
        (&format!("{}/nothing", api.url), 502),
    ] {
        let (got, refused) = shop.post("/v1/tools/import", at(url)).await;
        assert_eq!(got, status, "{url} {refused}");
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }
    for asked in [
        json!({"source": "crm"}),
        json!({"source": "nobody", "openapi": {}}),
        json!({"source": "crm", "openapi": {}}),
        json!({"source": "crm", "openapi": "- no: [description"}),
        json!({"source": "crm", "openapi": {"openapi": "2.0"}}),
        json!({"source": "crm", "openapi": {"openapi": "3.1.0"}, "prefix": "a b"}),
    ] {
        let (status, refused) = shop.post("/v1/tools/import", asked).await;
        assert_eq!(status, 400, "{refused}");
    }
}

#[tokio::test]
async fn each_version_says_what_it_changed() {
    let shop = Shop::furnished().await;
    let mut tool = look();
    tool["description"] = json!("Reads one invoice, and no more.");
    tool["exec"]["max_rows"] = json!(1);
    let (status, told) = shop.put("/v1/tools/get_invoice", tool).await;
    assert_eq!(status, 200, "{told}");
    let key = &shop.server.admin_key;
    let all = shop.server.get(key, "/v1/tools/get_invoice/versions").await;
    let changes = &all["versions"][0]["changes"];
    let places: Vec<&str> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["/description", "/exec/max_rows"], "{all}");
    assert_eq!(changes[1]["before"], 1000, "{all}");
    assert_eq!(all["versions"][1]["changes"], json!([]), "{all}");
}

#[tokio::test]
async fn what_looks_like_money_says_what_it_moves_and_is_held_to_the_mandate() {
    let shop = Shop::furnished().await;
    let mut tool = discount();
    tool["name"] = json!("lower_by");
    tool["input_schema"]["properties"]["amount"] = json!({"type": "integer"});
    tool["input_schema"]["required"] = json!(["id", "amount"]);
    tool["exec"]["statement"] = json!("update invoices set total = total - :amount where id = :id");
    let (status, refused) = shop.post("/v1/tools", tool.clone()).await;
    assert_eq!(
        (status, &refused["pointer"]),
        (400, &json!("/money")),
        "{refused}"
    );
    for (money, pointer) in [
        (
            json!({"amount": "/nobody", "currency": "INR"}),
            "/money/amount",
        ),
        (
            json!({"amount": "/amount", "currency": "rupees"}),
            "/money/currency",
        ),
    ] {
        tool["money"] = money;
        let (status, refused) = shop.post("/v1/tools", tool.clone()).await;
        assert_eq!(
            (status, &refused["pointer"]),
            (400, &json!(pointer)),
            "{refused}"
        );
    }
    tool["money"] = json!({"amount": "/amount", "currency": "INR"});
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    let asked = |amount: i64| json!({"tool": "lower_by", "arguments": {"id": 1, "amount": amount}});
    let (_, allowed) = shop.as_agent("/v1/proposals", asked(7)).await;
    let path = format!("/v1/proposals/{}", allowed["proposal_id"].as_str().unwrap());
    let seen = shop.server.get(&shop.server.admin_key, &path).await;
    assert_eq!(seen["effective_amount"]["minor"], 7, "{seen}");
    let (_, refused) = shop
        .as_agent("/v1/proposals", asked(9_000_000_000_000))
        .await;
    assert_eq!(refused["status"], "blocked", "{refused}");
}

/// Stripe's description has 7 MB and GitHub's 13. Whoever shows no key sends none of that, and what is
/// read is read as strictly as ever.
#[tokio::test]
async fn a_description_may_be_as_long_as_the_longest_ones_are() {
    let (shop, _api) = opened().await;
    let words = "w".repeat(20_000);
    let paths: serde_json::Map<String, Value> = (0..120)
        .map(|n| {
            let get = json!({"operationId": format!("look_{n}"), "description": words});
            (format!("/things/{n}"), json!({"get": get}))
        })
        .collect();
    let document = json!({"openapi": "3.1.0", "info": {}, "paths": paths});
    let asked = json!({"openapi": document, "source": "crm"});
    assert!(asked.to_string().len() > 2 * 1024 * 1024);
    let (status, made) = shop.post("/v1/tools/import", asked.clone()).await;
    assert_eq!(
        (status, names(&made).len()),
        (201, 120),
        "{}",
        made["detail"]
    );

    let url = format!("{}/v1/tools/import", shop.server.url);
    let send = async |key: &str, body: String| {
        let request = shop.server.http.post(&url).bearer_auth(key);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let told: Value = answer.json().await.unwrap_or_default();
        (status, told["code"].as_str().unwrap_or_default().to_owned())
    };
    let admin = &shop.server.admin_key;
    let twice = asked.to_string().replacen("{", "{\"source\":\"crm\",", 1);
    assert_eq!(send(admin, twice).await, (400, "invalid_json".to_owned()));
    let beyond = format!("{{\"openapi\":\"{}\"}}", "x".repeat(16 * 1024 * 1024));
    assert_eq!(send(admin, beyond).await, (413, "too_large".to_owned()));
    assert_eq!(send("hk_nobody_x", "{}".to_owned()).await.0, 401);
    // Elsewhere a body is as long as it was.
    let (status, told) = shop.post("/v1/tools", asked).await;
    assert_eq!(
        (status, &told["code"]),
        (413, &json!("too_large")),
        "{told}"
    );
}
