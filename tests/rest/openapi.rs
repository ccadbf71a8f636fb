//! The document is true: its paths are the door's, and answers fit its schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hundi::domain::principal::Role;
use hundi::entry::http::document;
use hundi::entry::operations::table;
use serde_json::{Value, json};

use super::door::Door;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn operations() -> Vec<(String, String, Value)> {
    let document = document();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((path.clone(), method.clone(), operation.clone()));
        }
    }
    all
}

#[tokio::test]
async fn the_door_takes_the_documents_methods_and_no_others() {
    let door = Door::new().await;
    let mut by_path: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations() {
        by_path.entry(path).or_default().insert(method);
    }
    for (path, methods) in by_path {
        let concrete = path
            .replace("{id}", "x")
            .replace("{name}", "x")
            .replace("{agent}", "x");
        for method in METHODS {
            let answer = door.ask(&method.to_uppercase(), &concrete, "", None).await;
            assert_ne!(answer.status, 404, "{method} {path}: {}", answer.text());
            let refused = answer.status == 405;
            assert_eq!(refused, !methods.contains(method), "{method} {path}");
        }
    }
}

/// A route that is not in the document would be found by nobody; the source names them all.
#[test]
fn the_document_has_every_route_of_the_source() {
    let known: BTreeSet<String> = operations().into_iter().map(|(path, ..)| path).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/entry/http");
    let rest = table()
        .iter()
        .filter_map(|operation| operation.rest.as_ref());
    let mut found: BTreeSet<String> = rest.map(|rest| rest.path.to_owned()).collect();
    assert!(found.is_subset(&known), "{found:?}");
    for file in files_under(folder.into()) {
        let text = std::fs::read_to_string(file).unwrap();
        let text: String = text.split_whitespace().collect();
        for part in text.split(".route(\"").skip(1) {
            let path = part.split('"').next().unwrap();
            assert!(known.contains(path), "{path} is not in /openapi.json");
            assert!(found.insert(path.to_owned()), "{path} is there twice");
        }
    }
    assert_eq!(found, known);
}

fn files_under(folder: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files_under(path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn operations_are_named_once_and_references_lead_somewhere() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations() {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(names.insert(name), "{method} {path}");
        assert!(!operation["responses"].as_object().unwrap().is_empty());
    }
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

/// Checks answers against what the document says of the operation and status.
struct Judge(Value);

impl Judge {
    fn check(&self, method: &str, path: &str, status: u16, body: &Value) {
        let responses = &self.0["paths"][path][method]["responses"];
        let content = &responses[status.to_string()]["content"];
        let content = content.as_object().unwrap_or_else(|| {
            panic!("{method} {path} does not say that it may answer {status}: {body}")
        });
        let fits = content.values().any(|media| {
            let mut schema = media["schema"].clone();
            schema["components"] = self.0["components"].clone();
            let validator = jsonschema::draft202012::new(&schema).unwrap();
            validator.is_valid(body)
        });
        assert!(fits, "{method} {path} {status}: {body:#}");
    }
}

#[tokio::test]
async fn answers_fit_their_schemas() {
    let judge = Judge(document());
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let noop = |amount: i64| json!({"tool": "noop", "arguments": {"amount": amount}});
    let check = async |method: &str, path: &str, id: &str, key: &str, body: Option<Value>| {
        let concrete = path.replace("{id}", id);
        let (method_word, body) = (method.to_uppercase(), body.map(|body| body.to_string()));
        let answer = door.ask(&method_word, &concrete, key, body).await;
        judge.check(method, path, answer.status, &answer.json());
        answer.json()
    };
    let proposals = "/v1/proposals";
    let one = "/v1/proposals/{id}";
    let commit = "/v1/proposals/{id}/commit";

    check("post", proposals, "", &agent, Some(noop(1))).await; // blocked: no policy
    door.fixture.allow_noop("payer", 1_000).await;
    let allowed = check("post", proposals, "", &agent, Some(noop(1))).await;
    let id = allowed["proposal_id"].as_str().unwrap();
    check("get", one, id, &agent, None).await;
    let presented = json!({"commit_token": allowed["commit_token"], "arguments": {"amount": 1}});
    check("post", commit, id, &agent, Some(presented.clone())).await;
    check("post", commit, id, &agent, Some(presented)).await; // replay
    check("get", one, id, &agent, None).await; // executed
    check("post", commit, id, &agent, Some(json!({"commit_token": 5}))).await;

    let held = check("post", proposals, "", &agent, Some(noop(5_000))).await;
    let id = held["proposal_id"].as_str().unwrap();
    check("post", "/v1/proposals/{id}/approve", id, &boss, None).await;
    check("get", one, id, &agent, None).await;
    check("post", "/v1/proposals/{id}/cancel", id, &agent, None).await;
    check("post", "/v1/proposals/{id}/reject", id, &boss, None).await; // wrong state
    check(
        "post",
        "/v1/proposals/{id}/settle",
        id,
        &boss,
        Some(json!({})),
    )
    .await;
    check(
        "post",
        "/v1/proposals/{id}/settle",
        id,
        &agent,
        Some(json!({})),
    )
    .await;
    check("get", one, "x", &agent, None).await; // unknown
    check("get", one, id, "", None).await; // no key
    check("get", proposals, "", &boss, None).await;
    check("get", "/v1/audit", "", &boss, None).await;
    check("get", "/v1/tools", "", &agent, None).await;
    check("get", "/v1/keys", "", &boss, None).await;
    check("get", "/v1/keys", "", &agent, None).await;
    let made = json!({"role": "agent", "name": "x"});
    let made = check("post", "/v1/keys", "", &boss, Some(made)).await;
    check("post", "/v1/keys", "", &boss, Some(json!({"role": "x"}))).await;
    check(
        "delete",
        "/v1/keys/{id}",
        made["id"].as_str().unwrap(),
        &boss,
        None,
    )
    .await;
    check("delete", "/v1/keys/{id}", "x", &boss, None).await;
    check("get", "/healthz", "", "", None).await;
    check("get", "/readyz", "", &boss, None).await;
}

/// A client generated from the document learns of a wrong parameter before the door says so.
#[tokio::test]
async fn a_query_that_the_document_rules_out_is_refused() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let mut ruled_out = 0;
    for (path, method, operation) in operations() {
        let parameters = operation["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            if parameter["in"] != "query" {
                continue;
            }
            let schema = jsonschema::draft202012::new(&parameter["schema"]).unwrap();
            for (text, read) in [("x", json!("x")), ("0", json!(0)), ("501", json!(501))] {
                let as_text = parameter["schema"]["type"] == "string";
                if schema.is_valid(&if as_text { json!(text) } else { read }) {
                    continue;
                }
                ruled_out += 1;
                let url = format!("{path}?{}={text}", parameter["name"].as_str().unwrap());
                let answer = door.ask(&method.to_uppercase(), &url, &boss, None).await;
                // Nothing is sealed and nobody is known here, so that may be said first.
                let unknown = answer.status == 404 && (path.contains("head") || path.contains('{'));
                assert!(
                    answer.status == 400 || unknown,
                    "{method} {url}: {}",
                    answer.text()
                );
            }
        }
    }
    assert!(ruled_out > 10, "{ruled_out}");
}
