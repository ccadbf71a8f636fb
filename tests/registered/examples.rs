//! The files of `examples/tools` are what a server takes.

use std::path::Path;

use serde_json::{Value, json};

use super::Shop;

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
            assert_eq!(
                document["name"],
                json!(file.file_stem().unwrap().to_str().unwrap())
            );
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
}
