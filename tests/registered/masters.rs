//! The master key is replaced while serving: what was sealed under the old one opens under the new
//! one, hashes that people compare stay what they are, and no start goes on without a key that
//! something is still sealed under.

use serde_json::{Value, json};

use super::{Shop, look};
use crate::support::server::{TOKEN_KEY, try_start};

const OLD: &str = "1d0b6c2f9a3e47785c81d0f2b6a49e3157c08d2b4f6a1e93705d8c2b6f4a9e10";
const NEW: &str = "e83a5f0c7d12964b8e35a0c7f1d26b94835ae07c1f6d2b9438a5e07c1f6d2b94";

/// What a start with these master keys said instead of getting ready.
fn refused(shop: &Shop, masters: &str) -> String {
    let bank = shop
        .server
        .bank
        .url
        .trim_start_matches("http://")
        .to_owned();
    let env = [
        ("HUNDI_LISTEN", "127.0.0.1:0"),
        ("HUNDI_SANDBOX_LISTEN", bank.as_str()),
        ("HUNDI_TOKEN_KEY", TOKEN_KEY),
        ("HUNDI_MASTER_KEY", masters),
    ];
    let dir = shop.server.dir.path();
    let said = try_start(&["serve"], dir, &env).err();
    said.expect("a start without a key that is wanted")
}

async fn rotate(shop: &Shop) -> Value {
    let (status, told) = shop.post("/v1/keyring/master/rotate", json!({})).await;
    assert_eq!(status, 200, "{told}");
    told
}

async fn email(shop: &Shop) -> String {
    let read = json!({"arguments": {"id": 1}});
    let (status, told) = shop.as_agent("/v1/tools/get_invoice/invoke", read).await;
    assert_eq!(status, 200, "{told}");
    told["data"]["rows"][0]["email"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_master_key_is_replaced_while_serving_and_none_is_taken_away_too_soon() {
    let shop = Shop::furnished_with(&[("HUNDI_MASTER_KEY", OLD)]).await;
    let source = json!({
        "name": "api", "kind": "rest", "secrets": {"token": "canary-of-the-source"},
        "config": {"base_url": "https://api.example.com", "auth": "bearer"},
    });
    let (status, told) = shop.post("/v1/sources", source).await;
    assert_eq!(status, 201, "{told}");
    let mut hashed = look();
    hashed["masks"] = json!([{"path": "$.rows[*].email", "do": "hash"}]);
    assert_eq!(shop.put("/v1/tools/get_invoice", hashed).await.0, 200);
    let before = email(&shop).await;
    assert!(before.starts_with("h:"), "{before}");
    let old = rotate(&shop).await;
    assert_eq!(
        old["rewrapped"],
        json!({"sources": 0, "providers": 0, "keys": 0})
    );
    let old = old["master"].as_str().unwrap().to_owned();
    let (status, _) = shop.as_agent("/v1/keyring/master/rotate", json!({})).await;
    assert_eq!(status, 403);

    let both = format!("{NEW},{OLD}");
    let shop = shop.again_with(&[("HUNDI_MASTER_KEY", &both)]);
    assert_eq!(email(&shop).await, before, "under a newer key");
    let said = refused(&shop, NEW);
    assert!(said.contains(&format!("under master key {old}")), "{said}");
    assert!(said.contains("HUNDI_MASTER_KEY"), "{said}");
    let new = rotate(&shop).await;
    assert!(
        new["master"].as_str() != Some(&old) && new["rewrapped"]["sources"] == 1,
        "{new}"
    );
    assert!(new["rewrapped"]["keys"].as_u64().unwrap() >= 1, "{new}");
    let (_, made) = shop.post("/v1/orgs", json!({"name": "acme"})).await;
    let other = made["admin_key"].as_str().unwrap();
    let path = "/v1/keyring/master/rotate";
    let (status, _) = shop.server.post(other, path, &json!({})).await.unwrap();
    assert_eq!(status, 403, "the machine is not another organisation's");

    let shop = shop.again_with(&[("HUNDI_MASTER_KEY", NEW)]);
    assert_eq!(email(&shop).await, before, "without the old key");
    // A new data key needs the secret itself.
    let (status, told) = shop.post("/v1/sources/api/rotate", json!({})).await;
    assert_eq!(status, 200, "{told}");
    let said = refused(&shop, OLD);
    let new = new["master"].as_str().unwrap();
    assert!(said.contains(new) && !said.contains("canary"), "{said}");
    let log = shop
        .server
        .get(&shop.server.admin_key, "/v1/audit?limit=500")
        .await;
    assert!(log.to_string().contains("master_key_rotated"));
}
