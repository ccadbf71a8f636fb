//! Access rules and masks, seen from outside: what they let through, hide and tell, at every door.

mod addressed;
mod doors;
pub mod mcp;
mod rules;
mod servers;
mod traces;
mod upstreams;

use serde_json::{Value, json};

use crate::registered::Shop;

/// A rule that names what it is about.
fn rule(name: &str, effect: &str, more: Value) -> Value {
    let mut rule = json!({"name": name, "effect": effect});
    let fields = more.as_object().unwrap().clone();
    rule.as_object_mut().unwrap().extend(fields);
    rule
}

/// Makes a rule, and gives back what is told of it.
async fn make(shop: &Shop, rule: Value) -> Value {
    let (status, made) = shop.post("/v1/access", rule).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// A call of the tool that reads.
async fn read(shop: &Shop) -> (u16, Value) {
    let call = json!({"arguments": {"id": 1}});
    shop.as_agent("/v1/tools/get_invoice/invoke", call).await
}

/// A proposal of the tool that writes.
async fn propose(shop: &Shop) -> (u16, Value) {
    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 1}});
    shop.as_agent("/v1/proposals", asked).await
}

/// Every record of this kind, the newest first.
async fn records(shop: &Shop, kind: &str) -> Vec<Value> {
    let all = shop
        .server
        .get(&shop.server.admin_key, "/v1/audit?limit=500");
    let all = all.await["records"].as_array().unwrap().clone();
    let of = all.into_iter().filter(|record| record["kind"] == kind);
    of.collect()
}
