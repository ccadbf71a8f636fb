//! The files of `examples/tools` are what a server takes.

use std::path::Path;

use serde_json::{Value, json};

use super::Shop;
use crate::access::mcp::{Way, send};

fn read(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/tools")
        .join(folder);
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            let stem = file.file_stem().unwrap().to_str().unwrap();
            // A rule has an id besides, and may be called as people call it.
            assert!(folder.ends_with("access") || document["name"] == json!(stem));
            document
        })
        .collect()
}

#[tokio::test]
async fn the_example_tools_are_taken_as_they_are() {
    let shop = Shop::open().await;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tools.toml");
    let config = std::fs::read_to_string(example).unwrap();
    let folder = shop.folder.path().to_str().unwrap();
    let config = config.replace("/srv/shop", folder);
    std::fs::write(shop.server.dir.path().join("hundi.toml"), config).unwrap();
    shop.server.terminate();
    let shop = shop.again();
    for mut source in read("sources") {
        if source["kind"] == "sqlite" {
            source["config"]["path"] = json!(shop.path());
        }
        if !source["secrets"].is_null() {
            source["secrets"] = json!({"token": "a-token-of-the-orders"});
        }
        let (status, made) = shop.post("/v1/sources", source).await;
        assert_eq!(status, 201, "{made}");
    }
    for tool in read("tools") {
        let (status, made) = shop.post("/v1/tools", tool).await;
        assert_eq!(status, 201, "{made}");
        assert_ne!(made["recovery_contract"], "none", "{made}");
    }
    let call = json!({"arguments": {"id": 1}});
    let (status, read) = shop.as_agent("/v1/tools/get_invoice/invoke", call).await;
    assert_eq!(status, 200, "{read}");
    assert_eq!(read["data"]["rows"][0]["email"], "****mple", "{read}");
    through_the_desk(&shop).await;
}

/// An agent's client at the example's own server: it reads, proposes what it is shown, and commits.
async fn through_the_desk(shop: &Shop) {
    let (status, said) = shop.post("/v1/sources/shop/prepare", json!({})).await;
    assert_eq!((status, &said["ok"]), (200, &json!(true)), "{said}");
    for (folder, path) in [("servers", "/v1/servers"), ("access", "/v1/access")] {
        for document in read(folder) {
            let (status, made) = shop.post(path, document).await;
            assert_eq!(status, 201, "{made}");
        }
    }
    let new = json!({"agent": "agent-1"});
    let (_, made) = shop.post("/v1/servers/desk/keys", new).await;
    let key = made["key"].as_str().unwrap();
    let ask = async |way, method: &str, params| {
        let (status, told) = send(&shop.server, key, "/mcp/desk", way, method, params).await;
        assert_eq!(status, 200, "{told}");
        told["result"].clone()
    };
    let listed = ask(Way::Library, "tools/list", json!({})).await.to_string();
    for tool in [
        "get_invoice",
        "lower_invoice_propose",
        "lower_invoice_commit",
    ] {
        assert!(listed.contains(tool), "{tool} in {listed}");
    }
    assert!(!listed.contains("create_order") && !listed.contains("sales_report"));
    let call = async |tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments});
        ask(Way::Plain, "tools/call", params).await["structuredContent"].clone()
    };
    let row = call("get_invoice", json!({"id": 1})).await;
    assert_eq!(row["rows"][0]["email"], "****mple", "{row}");
    let arguments = json!({"id": 1, "amount": 100});
    let asked = json!({"arguments": arguments});
    let proposed = call("lower_invoice_propose", asked).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
    let shown = &proposed["effect"]["before"]["rows"][0];
    assert_eq!(
        (&shown["total"], &shown["email"]),
        (&json!(500), &json!("****mple"))
    );
    let commit = json!({
        "proposal_id": proposed["proposal_id"], "commit_token": proposed["commit_token"],
        "arguments": arguments,
    });
    let done = call("lower_invoice_commit", commit).await;
    assert_eq!(done["status"], "committed", "{done}");
    assert_eq!(shop.total(1).await, 400);
}
