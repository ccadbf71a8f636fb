//! Commands that ask a running server: with an address and a key from anywhere, and without either
//! beside it, as the owner of its data folder.

use serde_json::{Value, json};

use super::{Place, mode};

/// A place with nothing in it but the server's address and this key.
fn elsewhere(url: &str, key: &str) -> Place {
    Place::new().set("HUNDI_URL", url).set("HUNDI_API_KEY", key)
}

#[test]
fn with_an_address_and_a_key_a_command_needs_neither_store_nor_secrets() {
    let place = Place::new();
    let serving = place.serve();
    let admin = serving.first["admin_key"].as_str().unwrap();
    let away = elsewhere(serving.url(), admin);
    let made = away.run(&[
        "key", "create", "--role", "agent", "--name", "bob", "--json",
    ]);
    let made = made.done().json();
    let agent = made["agent_id"].as_str().unwrap().to_owned();
    let limits = r#"{"daily_limit":1000,"per_txn_limit":null,"require_approval_above":500}"#;
    let set = away
        .run(&["policy", "set", &agent, limits, "--json"])
        .done()
        .json();
    assert_eq!(
        (&set["daily_limit"], &set["per_txn_limit"]),
        (&json!(1000), &json!(null))
    );
    let raised = r#"{"daily_limit":null}"#;
    let set = away
        .run(&["policy", "set", &agent, raised, "--json"])
        .done()
        .json();
    assert_eq!(
        set["daily_limit"],
        json!(null),
        "null is said, not left out"
    );
    let payee = ["payee", "add", "--name", "Acme", "--account", "fa_1"];
    away.run(&payee).done();
    for command in [
        &["key", "list"][..],
        &["policy", "list"],
        &["policy", "history", &agent],
        &["payee", "list"],
        &["tool", "list"],
        &["tool", "show", "create_payout"],
        &["proposal", "list"],
        &["audit", "--limit", "5"],
        &["audit", "export"],
        &["audit", "verify"],
        &["freeze"],
        &["source", "list"],
    ] {
        let told = away.run(command).done();
        assert!(!told.out.is_empty(), "{command:?}");
    }
    let kept = away.run(&["audit", "export"]).done().out;
    away.write("log.jsonl", kept);
    away.run(&["audit", "verify", "log.jsonl"]).done();
    let frozen = away
        .run(&["freeze", "all", "--reason", "drill", "--json"])
        .done()
        .json();
    assert_eq!(frozen["frozen"][0]["reason"], "drill");
    away.run(&["unfreeze", "all"]).done();
    assert!(!away.path("hundi-data").exists(), "nothing is made here");

    let as_bob = elsewhere(serving.url(), made["key"].as_str().unwrap());
    let refused = as_bob.run(&["policy", "set", &agent, raised]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("(forbidden)"), "{}", refused.err);
    let nobody = elsewhere(serving.url(), "hk_0000000000000000_nobody");
    let refused = nobody.run(&["key", "list"]);
    assert!(refused.err.contains("(unauthenticated)"), "{}", refused.err);
    let nameless = Place::new()
        .set("HUNDI_URL", serving.url())
        .run(&["key", "list"]);
    assert_eq!(nameless.code, 2, "{}", nameless.err);
    assert!(nameless.err.contains("HUNDI_API_KEY"), "{}", nameless.err);
    let empty = elsewhere("http://127.0.0.1:1", admin).run(&["key", "list"]);
    assert!(empty.err.contains("nothing answers there"), "{}", empty.err);
}

#[test]
fn beside_a_server_the_owner_of_the_folder_needs_no_key() {
    let place = Place::new();
    let serving = place.serve();
    let note = place.path("hundi-data/server.json");
    assert_eq!(mode(&note), 0o600);
    place.run(&["freeze", "all", "--reason", "drill"]).done();
    let log = place.run(&["audit", "--json"]).done().json();
    let records = log["records"].as_array().unwrap();
    let by = |record: &&Value| record["kind"] == "frozen" && record["actor"] == "cli:local";
    assert!(records.iter().any(|record| by(&record)), "{log}");
    let direct = place.run(&["key", "list", "--offline"]);
    assert_eq!(direct.code, 1);
    assert!(direct.err.contains("leave --offline out"), "{}", direct.err);

    // In an agent's place, but not in that of the agent whom nobody acts as.
    let refused = place.run(&["invoke", "list", "--as", "external"]);
    assert!(refused.err.contains("(unauthenticated)"), "{}", refused.err);

    // The owner's text is no key: it opens this process alone, and no list shows it.
    let owners: Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    let owners = owners["owner_key"].as_str().unwrap().to_owned();
    let listed = place.run(&["key", "list", "--json"]).done().out;
    assert!(!listed.contains("owner"), "{listed}");
    let other = Place::new();
    let next = other.serve();
    let refused = elsewhere(next.url(), &owners).run(&["key", "list"]);
    assert!(refused.err.contains("(unauthenticated)"), "{}", refused.err);

    // Killed, it leaves its note; the commands find nobody there and go to the store.
    drop(serving);
    assert!(note.exists());
    let alone = place.run(&["key", "list", "--json"]).done().json();
    assert_eq!(alone["keys"].as_array().unwrap().len(), 2);
    place.run(&["key", "list", "--offline"]).done();

    // Whoever answers at that address now is somebody else.
    let url = next.url();
    place.write(
        "hundi-data/server.json",
        json!({"url": url, "owner_key": owners}).to_string(),
    );
    let alone = place.run(&["freeze", "--json"]).done().json();
    assert_eq!(
        alone["frozen"][0]["reason"], "drill",
        "this store, not that one"
    );
}

#[test]
fn documents_are_made_from_files_and_secrets_are_looked_up() {
    let place = Place::new();
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    let place = place.set("HUNDI_SOURCES_SQLITE_DIRS", folder.to_str().unwrap());
    let _serving = place.serve();
    let database = folder.join("shop.db");
    std::fs::write(&database, b"").unwrap();
    place.write(
        "shop.toml",
        format!(
            "name = \"shop\"\nkind = \"sqlite\"\n[config]\npath = \"{}\"\n",
            database.display()
        ),
    );
    place
        .run(&["source", "create", "--file", "shop.toml"])
        .done();
    let ping = place
        .run(&["source", "ping", "shop", "--json"])
        .done()
        .json();
    assert_eq!(ping["ok"], true);
    place.write(
        "one.yaml",
        "name: one\nkind: sql\nsource: shop\nrisk: low\ndescription: the number one\n\
         input_schema: {type: object, properties: {}, additionalProperties: false}\n\
         exec: {query: select 1 as one}\n",
    );
    place.run(&["tool", "create", "--file", "one.yaml"]).done();
    let told = place
        .run(&["invoke", "one", "--as", "agent-1", "--json"])
        .done()
        .json();
    assert_eq!(told["data"]["rows"], json!([{"one": 1}]));
    place.run(&["tool", "disable", "one"]).done();
    let refused = place.run(&["invoke", "one", "--as", "agent-1"]);
    assert!(refused.err.contains("(tool_disabled)"), "{}", refused.err);
    let in_use = place.run(&["source", "delete", "shop"]);
    assert!(in_use.err.contains("(in_use)"), "{}", in_use.err);
    place.write(
        "api.json",
        json!({
            "name": "shop", "kind": "rest", "config": {"base_url": "https://example.com"},
        })
        .to_string(),
    );
    let in_use = place.run(&["source", "update", "shop", "--file", "api.json"]);
    assert!(in_use.err.contains("(in_use)"), "{}", in_use.err);
    place.run(&["tool", "delete", "one"]).done();
    place.run(&["source", "delete", "shop"]).done();

    let secret = json!({
        "name": "erp", "kind": "postgres",
        "config": {"host": "127.0.0.1", "database": "erp", "user": "hundi"},
        "secrets": {"password": {"env": "ERP_PASSWORD"}},
    });
    place.write("erp.json", secret.to_string());
    let unset = place.run(&["source", "create", "--file", "erp.json"]);
    assert!(
        unset.err.contains("ERP_PASSWORD is not set"),
        "{}",
        unset.err
    );
    let place = place.set("ERP_PASSWORD", super::CANARY);
    let made = place
        .run(&["source", "create", "--file", "erp.json", "--json"])
        .done();
    assert_eq!(made.json()["secrets"]["password"]["set"], true);
    assert!(!made.out.contains(super::CANARY));
    for (name, text) in [
        ("a.toml", "= 1"),
        ("a.yaml", "a: 1\na: 2\n"),
        ("a.json", "{\"a\":1,\"a\":2}"),
    ] {
        place.write(name, text);
        let refused = place.run(&["source", "create", "--file", name]);
        assert!(
            refused.code == 1 && refused.err.contains(name),
            "{}",
            refused.err
        );
    }
}

/// A folder of files that make a source, a tool, a policy and a payee.
fn configuration(place: &Place, database: &std::path::Path) {
    for folder in ["sources", "tools", "policies", "payees"] {
        std::fs::create_dir_all(place.path("conf").join(folder)).unwrap();
    }
    let path = database.display();
    place.write(
        "conf/sources/shop.toml",
        format!("kind = \"sqlite\"\nconfig = {{ path = \"{path}\" }}\n"),
    );
    place.write(
        "conf/tools/one.yaml",
        "kind: sql\nsource: shop\nrisk: low\ndescription: the number one\n\
         input_schema: {type: object, properties: {}, additionalProperties: false}\n\
         exec: {query: select 1 as one}\nenabled: true\n",
    );
    place.write(
        "conf/policies/agent-1.json",
        r#"{"daily_limit":700,"per_txn_limit":70,"require_approval_above":null}"#,
    );
    place.write(
        "conf/payees/acme.json",
        r#"{"name":"Acme Ltd","fund_accounts":["fa_1"]}"#,
    );
}

#[test]
fn a_folder_is_applied_whole_and_twice_is_once() {
    let place = Place::new();
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    let place = place.set("HUNDI_SOURCES_SQLITE_DIRS", folder.to_str().unwrap());
    let database = folder.join("shop.db");
    std::fs::write(&database, b"").unwrap();
    let _serving = place.serve();
    configuration(&place, &database);
    let apply = |more: &[&str]| place.run(&[&["apply", "-f", "conf", "--json"], more].concat());

    let dry = apply(&["--dry-run"]).done().json();
    assert_eq!(
        (&dry["applied"], dry["changes"].as_array().unwrap().len()),
        (&json!(false), 4)
    );
    let none = place.run(&["source", "list", "--json"]).done().json();
    assert_eq!(none["sources"], json!([]), "a dry run does nothing");
    apply(&[]).done();
    let again = apply(&[]).done().json();
    assert_eq!(again["changes"], json!([]), "applied twice is applied once");
    let told = place
        .run(&["invoke", "one", "--as", "agent-1", "--json"])
        .done()
        .json();
    assert_eq!(told["data"]["rows"], json!([{"one": 1}]));

    // What a file leaves out is the default of the document, said or not, and nothing else.
    let file = place.path("conf/tools/one.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    for same in [
        said.replace("enabled: true\n", ""),
        said.replace("as one}", "as one, max_rows: 1000}"),
    ] {
        std::fs::write(&file, same).unwrap();
        let told = apply(&["--dry-run"]).done().json();
        assert_eq!(told["changes"], json!([]), "said or left out");
    }
    std::fs::write(&file, said).unwrap();
    place.run(&["tool", "disable", "one"]).done();
    let differs = apply(&["--dry-run"]).done().json();
    assert_eq!(differs["changes"][0]["name"], "one", "{differs}");
    apply(&[]).done();

    // All that is wrong is told at once, and before anything is written.
    std::fs::create_dir(place.path("conf/servers")).unwrap();
    place.write(
        "conf/servers/desk.json",
        r#"{"name":"desk","tools":["one","tow"]}"#,
    );
    let whole = std::fs::read(place.path("conf/policies/agent-1.json")).unwrap();
    place.write("conf/policies/agent-1.json", r#"{"daily_limit":900}"#);
    let log = || place.run(&["audit", "--json", "--limit", "500"]).done().out;
    let before = log();
    for more in [&["--dry-run"][..], &[]] {
        let refused = apply(more);
        assert_eq!(refused.code, 1);
        for word in [
            "servers/desk: ",
            "`tow`",
            "policies/agent-1: ",
            "nothing was changed",
        ] {
            assert!(refused.err.contains(word), "no {word} in {}", refused.err);
        }
    }
    assert_eq!(before, log(), "not even put back");
    std::fs::remove_dir_all(place.path("conf/servers")).unwrap();
    std::fs::write(place.path("conf/policies/agent-1.json"), whole).unwrap();

    // One bad document, and nothing of the others stays.
    place.write(
        "conf/policies/agent-1.json",
        r#"{"daily_limit":900,"per_txn_limit":70,"require_approval_above":null}"#,
    );
    std::fs::create_dir(place.path("conf/access")).unwrap();
    let rule = r#"{"name":"Nobody reads one","effect":"deny","what":{"tools":["one"]}}"#;
    place.write("conf/access/nobody.json", rule);
    place.write(
        "conf/payees/bad.json",
        r#"{"name":"Other","fund_accounts":["fa_1"]}"#,
    );
    let refused = apply(&[]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("payees/Other"), "{}", refused.err);
    assert!(
        refused.err.contains("nothing was changed"),
        "{}",
        refused.err
    );
    let policy = place
        .run(&["policy", "get", "agent-1", "--json"])
        .done()
        .json();
    assert_eq!(policy["daily_limit"], 700, "put back as it was");
    let rules = place.run(&["access", "list", "--json"]).done().json();
    assert_eq!(rules["rules"], json!([]), "taken away, whatever its id");
    std::fs::remove_dir_all(place.path("conf/access")).unwrap();

    // What is misspelt is told, not passed over.
    std::fs::remove_file(place.path("conf/payees/bad.json")).unwrap();
    std::fs::create_dir(place.path("conf/polices")).unwrap();
    assert!(
        apply(&[]).err.contains("the folders are"),
        "{}",
        apply(&[]).err
    );
    std::fs::remove_dir(place.path("conf/polices")).unwrap();
    apply(&[]).done();

    place.run(&["export", "--out", "kept"]).done();
    let kept = place.run(&["apply", "-f", "kept", "--json"]).done().json();
    assert_eq!(
        kept["changes"],
        json!([]),
        "what was written is what there is"
    );
}
