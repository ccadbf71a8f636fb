//! Programs of the configuration file as sources and tools, through the real process.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{PATIENCE, Shop};

/// A broker whose configuration file names these programs, each a script for `/bin/sh`.
async fn opened(programs: &[(&str, &str, &str)]) -> Shop {
    let shop = Shop::open().await;
    let mut config = String::new();
    for (name, script, more) in programs {
        let path = shop.folder.path().join(format!("{name}.sh"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        config.push_str(&format!(
            "[programs.{name}]\ncommand = [{path:?}]\n{more}\n\
             env = {{ FOLDER = {:?}, KEY = \"canary-of-a-program\" }}\n",
            shop.folder.path(),
        ));
    }
    std::fs::write(shop.server.dir.path().join("hundi.toml"), config).unwrap();
    shop.server.terminate();
    let shop = shop.again();
    for (name, _, _) in programs {
        let source = json!({"name": name, "kind": "program", "config": {"program": name}});
        let (status, made) = shop.post("/v1/sources", source).await;
        assert_eq!(status, 201, "{made}");
    }
    shop
}

fn tool(name: &str, risk: &str) -> Value {
    json!({
        "name": format!("run_{name}"), "kind": "program", "source": name, "risk": risk,
        "description": "Runs.",
        "input_schema": {"type": "object", "properties": {"id": {"type": "integer"}}},
        "exec": {},
    })
}

#[tokio::test]
async fn a_program_reads_one_document_and_gives_one_back() {
    let slow = "sleep 60 & echo $! > $FOLDER/pid; wait";
    let shop = opened(&[
        ("echo", "cat", ""),
        (
            "env",
            "echo \"{\\\"home\\\": \\\"$HOME$HUNDI_TOKEN_KEY\\\"}\"",
            "",
        ),
        ("fails", "echo 'no such order' >&2; exit 3", ""),
        ("chatty", "echo '{} {}'", ""),
        ("much", "yes", "max_output = 1000"),
        ("slow", slow, "timeout_ms = 300"),
    ])
    .await;
    let (_, said) = shop.post("/v1/sources/echo/ping", json!({})).await;
    assert_eq!(said["ok"], true, "{said}");
    for (name, status, told) in [
        ("echo", 200, json!({"id": 7})),
        ("env", 200, json!({"home": ""})),
        ("fails", 502, json!("upstream_failed")),
        ("chatty", 502, json!("upstream_failed")),
        ("much", 502, json!("result_too_large")),
        ("slow", 504, json!("timeout")),
    ] {
        let (made, answer) = shop.post("/v1/tools", tool(name, "low")).await;
        assert_eq!(made, 201, "{answer}");
        let path = format!("/v1/tools/run_{name}/invoke");
        let (got, said) = shop.as_agent(&path, json!({"arguments": {"id": 7}})).await;
        let field = if status == 200 { "data" } else { "code" };
        assert_eq!((got, &said[field]), (status, &told), "{name} {said}");
        assert!(!said.to_string().contains("canary"), "{said}");
    }
    let pid = std::fs::read_to_string(shop.folder.path().join("pid")).unwrap();
    let process = format!("/proc/{}/stat", pid.trim());
    let gone = async {
        let mut turns = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            turns.tick().await;
            let stat = std::fs::read_to_string(&process).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    assert!(gone.is_ok(), "what a program started outlived it");
}

#[tokio::test]
async fn a_program_that_changes_something_runs_once_and_a_bad_end_is_a_doubt() {
    let shop = opened(&[
        (
            "writes",
            "cat >> $FOLDER/written; echo '{\"done\": true}'",
            "",
        ),
        ("breaks", "cat >> $FOLDER/broken; exit 1", ""),
    ])
    .await;
    for (name, status) in [("writes", "committed"), ("breaks", "in_doubt")] {
        let mut tool = tool(name, "high");
        tool["exec"] = json!({"input": {"id": {"$arg": "/id"}, "ref": {"$proposal": "id"}}});
        let (made, answer) = shop.post("/v1/tools", tool).await;
        assert_eq!(made, 201, "{answer}");
        let arguments = json!({"id": 7});
        let asked = json!({"tool": format!("run_{name}"), "arguments": arguments});
        let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
        assert_eq!(proposed["status"], "allowed", "{proposed}");
        let id = proposed["proposal_id"].as_str().unwrap();
        let path = format!("/v1/proposals/{id}/commit");
        let commit = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
        let (_, done) = shop.as_agent(&path, commit.clone()).await;
        assert_eq!(done["status"], status, "{done}");
        shop.as_agent(&path, commit).await;
        let file = if name == "writes" {
            "written"
        } else {
            "broken"
        };
        let written = std::fs::read_to_string(shop.folder.path().join(file)).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, json!({"id": 7, "ref": id}), "once");
    }
}

#[tokio::test]
async fn nobody_starts_what_the_configuration_file_does_not_name() {
    let shop = opened(&[("echo", "cat", "")]).await;
    for config in [
        json!({"program": "sh"}),
        json!({"program": "/bin/sh"}),
        json!({"program": "../echo"}),
        json!({"program": "echo", "command": ["/bin/sh"]}),
        json!({"program": "echo", "env": {"LD_PRELOAD": "x"}}),
    ] {
        let source = json!({"name": "other", "kind": "program", "config": config});
        let (status, refused) = shop.post("/v1/sources", source).await;
        let told = (status, &refused["code"]);
        assert_eq!(told, (400, &json!("invalid_source")), "{refused}");
        let other = json!({"kind": "program", "config": config});
        let (status, refused) = shop.put("/v1/sources/echo", other).await;
        assert_eq!(status, 400, "{refused}");
    }
}
