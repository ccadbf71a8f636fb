//! Tools that people register: from a source to a row that is written once, through the real
//! process, over REST and MCP.

mod api;
mod apis;
mod effects;
mod examples;
mod importing;
mod masters;
mod programs;
mod servers;
mod word;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hundi::domain::call::{Call, Reply};
use hundi::domain::ids::{OrgId, ProposalId};
use hundi::domain::tools::Source;
use hundi::domain::tools::statement::{Dialect, Part, Statement, Write};
use hundi::domain::tools::work::{Task, upstream};
use hundi::wire::sources::{Allowed, Registry};
use hundi::wire::{OpenSource, Sources};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::server::Server;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose sources may lie in a folder, and a database in it.
pub struct Shop {
    pub server: Server,
    pub folder: tempfile::TempDir,
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    pub async fn open_with(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        stocked(&folder.path().join("shop.db")).await;
        let dirs = folder.path().to_str().unwrap().to_owned();
        let all = [&[("HUNDI_SOURCES_SQLITE_DIRS", dirs.as_str())], env].concat();
        let server = Server::start_with(&all).await;
        Self { server, folder }
    }

    /// The next process on the same folders.
    fn again(self) -> Self {
        self.again_with(&[])
    }

    fn again_with(self, env: &[(&str, &str)]) -> Self {
        let dirs = self.folder.path().to_str().unwrap().to_owned();
        let all = [&[("HUNDI_SOURCES_SQLITE_DIRS", dirs.as_str())], env].concat();
        let server = self.server.again(&all);
        Self {
            server,
            folder: self.folder,
        }
    }

    fn path(&self) -> String {
        self.folder
            .path()
            .join("shop.db")
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub async fn total(&self, id: i64) -> i64 {
        number(
            &self.folder.path().join("shop.db"),
            &format!("select total from invoices where id = {id}"),
        )
        .await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let key = &self.server.admin_key;
        self.server.post(key, path, &body).await.unwrap()
    }

    pub async fn as_agent(&self, path: &str, body: Value) -> (u16, Value) {
        let key = &self.server.agent_key;
        self.server.post(key, path, &body).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        let server = &self.server;
        let put = server.http.put(format!("{}{path}", server.url));
        let answer = put.bearer_auth(&server.admin_key).json(&body).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// How often a low-risk call is on record.
    async fn recorded(&self) -> usize {
        let path = "/v1/audit?limit=500";
        let all = self.server.get(&self.server.admin_key, path).await;
        let records = all["records"].as_array().unwrap();
        let calls = records
            .iter()
            .filter(|record| record["kind"] == "tool_invoked");
        calls.count()
    }

    /// The source, prepared, with a tool that reads and one that writes.
    pub async fn furnished() -> Self {
        Self::furnished_with(&[]).await
    }

    pub async fn furnished_with(env: &[(&str, &str)]) -> Self {
        let shop = Self::open_with(env).await;
        let source = json!({"name": "shop", "kind": "sqlite", "config": {"path": shop.path()}});
        let (status, made) = shop.post("/v1/sources", source).await;
        assert_eq!(status, 201, "{made}");
        let (status, said) = shop.post("/v1/sources/shop/prepare", json!({})).await;
        assert_eq!((status, &said["ok"]), (200, &json!(true)), "{said}");
        for tool in [look(), discount()] {
            let (status, made) = shop.post("/v1/tools", tool).await;
            assert_eq!(status, 201, "{made}");
        }
        shop
    }
}

/// A database with two invoices.
async fn stocked(path: &Path) {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    for text in [
        "create table invoices (id integer primary key, email text, total integer)",
        "insert into invoices values (1, 'a@acme.example', 500), (2, 'b@b.example', 700)",
    ] {
        connection.execute(text).await.unwrap();
    }
}

async fn number(path: &Path, query: &str) -> i64 {
    let url = format!("sqlite://{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()));
    query.fetch_one(&mut connection).await.unwrap()
}

pub fn look() -> Value {
    json!({
        "name": "get_invoice", "kind": "sql", "source": "shop", "risk": "low",
        "description": "Reads one invoice.",
        "input_schema": {
            "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
        },
        "exec": {"query": "select id, email, total from invoices where id = :id"},
    })
}

pub fn discount() -> Value {
    json!({
        "name": "lower_invoice", "kind": "sql", "source": "shop", "risk": "high",
        "description": "Lowers one invoice by 10.",
        "input_schema": {
            "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
        },
        "exec": {
            "statement": "update invoices set total = total - 10 where id = :id",
            "expect_rows": {"min": 1, "max": 1},
        },
    })
}

#[tokio::test]
async fn a_row_is_read_straight_and_written_once_as_proposed() {
    let shop = Shop::furnished().await;
    let (status, read) = shop
        .as_agent(
            "/v1/tools/get_invoice/invoke",
            json!({"arguments": {"id": 1}}),
        )
        .await;
    assert_eq!(status, 200, "{read}");
    assert_eq!(
        (&read["ok"], &read["tool_version"]),
        (&json!(true), &json!(1))
    );
    let rows = json!([{"id": 1, "email": "a@acme.example", "total": 500}]);
    assert_eq!(
        read["data"],
        json!({"rows": rows, "row_count": 1, "truncated": false})
    );

    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 1}});
    let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
    assert_eq!(shop.total(1).await, 500, "proposing has no effect");
    let path = format!(
        "/v1/proposals/{}/commit",
        proposed["proposal_id"].as_str().unwrap()
    );
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": {"id": 1}});
    let (_, done) = shop.as_agent(&path, commit.clone()).await;
    assert_eq!(done["status"], "committed", "{done}");
    let (_, again) = shop.as_agent(&path, commit).await;
    assert_eq!(again["status"], "blocked", "{again}");
    assert_eq!(shop.total(1).await, 490, "once");

    // Invoking what does more than read is proposing it, in the very same words.
    let path = "/v1/tools/lower_invoice/invoke";
    let (status, told) = shop.as_agent(path, json!({"arguments": {"id": 1}})).await;
    assert_eq!(
        (status, &told["status"]),
        (200, &json!("allowed")),
        "{told}"
    );
    assert!(told.get("data").is_none() && told["commit_token"].is_string());
    assert_eq!(shop.total(1).await, 490, "nothing has happened");
    let odd = shop.as_agent(path, json!({"arguments": {"id": "x"}})).await;
    assert_eq!((odd.0, &odd.1["code"]), (400, &json!("invalid_arguments")));
    let (status, told) = shop.post(path, json!({"arguments": {"id": 1}})).await;
    assert_eq!(
        (status, &told["code"]),
        (403, &json!("forbidden")),
        "{told}"
    );

    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 99}});
    let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
    let path = format!(
        "/v1/proposals/{}/commit",
        proposed["proposal_id"].as_str().unwrap()
    );
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": {"id": 99}});
    let (_, failed) = shop.as_agent(&path, commit).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed.to_string().contains("unexpected_rows"), "{failed}");
}

#[tokio::test]
async fn a_changed_tool_is_another_and_an_old_version_replaces_nothing() {
    let shop = Shop::furnished().await;
    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 2}});
    let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
    let key = shop.server.admin_key.clone();
    let before = shop.server.get(&key, "/v1/tools/lower_invoice").await;
    assert_eq!(before["version"], 1, "{before}");
    let (status, disabled) = shop
        .post("/v1/tools/lower_invoice/disable", json!({}))
        .await;
    assert_eq!(
        (status, &disabled["enabled"]),
        (200, &json!(false)),
        "{disabled}"
    );
    let (status, _) = shop.post("/v1/tools/lower_invoice/enable", json!({})).await;
    assert_eq!(status, 200);
    let path = format!(
        "/v1/proposals/{}/commit",
        proposed["proposal_id"].as_str().unwrap()
    );
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": {"id": 2}});
    let (_, refused) = shop.as_agent(&path, commit).await;
    assert!(refused.to_string().contains("tool_changed"), "{refused}");
    assert_eq!(shop.total(2).await, 700);
    let versions = shop
        .server
        .get(&key, "/v1/tools/lower_invoice/versions")
        .await;
    assert_eq!(
        versions["versions"].as_array().map(Vec::len),
        Some(3),
        "{versions}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_place_and_nothing_is_kept() {
    let shop = Shop::furnished().await;
    let with = |field: &str, value: Value| {
        let mut tool = look();
        tool["name"] = json!("other");
        tool[field] = value;
        tool
    };
    let query = |text: &str| with("exec", json!({"query": text}));
    for (tool, pointer) in [
        (with("name", json!("get_proposal")), "/name"),
        (with("name", json!("x_commit")), "/name"),
        (with("source", json!("nobody")), "/source"),
        (with("risk", json!("some")), "/risk"),
        (query("delete from invoices where id = :id"), "/exec/query"),
        (
            query("select load_extension('x') where 1 = :id"),
            "/exec/query",
        ),
        (query("select 1; select :id"), "/exec/query"),
        (query("select :nobody"), "/exec/query"),
        (
            with("masks", json!([{"path": "rows", "do": "hash"}])),
            "/masks/0/path",
        ),
        (with("kind", json!("program")), "/exec/query"),
    ] {
        let (status, refused) = shop.post("/v1/tools", tool.clone()).await;
        assert_eq!(
            (status, &refused["code"]),
            (400, &json!("invalid_tool")),
            "{tool} {refused}"
        );
        assert_eq!(refused["pointer"], pointer, "{tool} {refused}");
    }
    let key = &shop.server.admin_key;
    let (status, _) = shop.server.post(key, "/v1/tools", &look()).await.unwrap();
    assert_eq!(status, 409, "a name is taken once");
    let listed = shop.server.get(key, "/v1/tools").await;
    let names: Vec<&str> = listed["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert!(
        names.contains(&"get_invoice") && !names.contains(&"other"),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_tools_own_masks_and_pace_hold() {
    let shop = Shop::furnished().await;
    let mut tool = look();
    tool["masks"] = json!([{"path": "$.rows[*].email", "do": "redact"}]);
    tool["rate_limit"] = json!({"per_min": 2, "by": "caller"});
    let (status, told) = shop.put("/v1/tools/get_invoice", tool).await;
    assert_eq!(status, 200, "{told}");
    for (status, masked) in [(200, true), (200, true), (429, false)] {
        let (got, read) = shop
            .as_agent(
                "/v1/tools/get_invoice/invoke",
                json!({"arguments": {"id": 1}}),
            )
            .await;
        assert_eq!(got, status, "{read}");
        assert_eq!(
            read["masked"] == json!(["$.rows[*].email"]),
            masked,
            "{read}"
        );
        assert!(!read.to_string().contains("acme"), "{read}");
    }
}

#[tokio::test]
async fn a_preview_that_is_no_read_is_refused() {
    let shop = Shop::furnished().await;
    let mut shown = discount();
    shown["name"] = json!("shown");
    shown["exec"]["preview"] = json!("update invoices set total = 0 where id = :id");
    let (status, refused) = shop.post("/v1/tools", shown).await;
    assert_eq!(
        (status, &refused["pointer"]),
        (400, &json!("/exec/preview")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_source_that_reaches_elsewhere_makes_other_tools_of_its_own() {
    let shop = Shop::furnished().await;
    let other = shop.folder.path().join("other.db");
    stocked(&other).await;
    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 1}});
    let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
    let elsewhere = json!({"kind": "sqlite", "config": {"path": other}});
    let (status, moved) = shop.put("/v1/sources/shop", elsewhere).await;
    assert_eq!(status, 200, "{moved}");
    let (status, _) = shop.post("/v1/sources/shop/prepare", json!({})).await;
    assert_eq!(status, 200);
    let path = format!(
        "/v1/proposals/{}/commit",
        proposed["proposal_id"].as_str().unwrap()
    );
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": {"id": 1}});
    let (_, refused) = shop.as_agent(&path, commit).await;
    assert!(refused.to_string().contains("tool_changed"), "{refused}");
    let total = "select total from invoices where id = 1";
    assert_eq!(
        (shop.total(1).await, number(&other, total).await),
        (500, 500)
    );
}

fn source_at(path: &Path, version: u64) -> OpenSource {
    let document = json!({"name": "shop", "kind": "sqlite", "config": {"path": path}});
    OpenSource {
        org: OrgId::default(),
        version,
        source: Source::read(&document).unwrap(),
        secrets: BTreeMap::new(),
        set: BTreeMap::new(),
    }
}

#[tokio::test]
async fn what_the_configuration_names_is_for_the_organisations_that_it_names() {
    let shop = Shop::furnished_with(&[("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8")]).await;
    let (_, made) = shop.post("/v1/orgs", json!({"name": "zanzibar"})).await;
    let theirs = made["admin_key"].as_str().unwrap();
    let nearby = "http://127.0.0.1:9";
    for (kind, config, at) in [
        ("sqlite", json!({"path": shop.path()}), "/config/path"),
        (
            "postgres",
            json!({"host": "127.0.0.1", "database": "x", "user": "x"}),
            "/config/host",
        ),
        (
            "rest",
            json!({"base_url": nearby, "allow_private": true}),
            "/config/base_url",
        ),
        (
            "mcp",
            json!({"url": nearby, "allow_private": true}),
            "/config/url",
        ),
    ] {
        let source = json!({"name": kind, "kind": kind, "config": config});
        let (status, told) = shop.post("/v1/sources", source.clone()).await;
        assert_eq!(status, 201, "{told}");
        let (status, told) = shop
            .server
            .post(theirs, "/v1/sources", &source)
            .await
            .unwrap();
        assert_eq!((status, &told["pointer"]), (400, &json!(at)), "{told}");
    }
    // A name is asked for its address when it is used, and metadata of clouds is nobody's.
    for (key, host) in [
        (theirs, "localhost"),
        (&*shop.server.admin_key, "169.254.169.254"),
    ] {
        let config = json!({"host": host, "port": 1, "database": "x", "user": "x"});
        let source = json!({"name": "named", "kind": "postgres", "config": config});
        let made = shop.server.post(key, "/v1/sources", &source).await.unwrap();
        if host == "localhost" {
            assert_eq!(made.0, 201, "{}", made.1);
            let nothing = json!({});
            let ping = shop.server.post(key, "/v1/sources/named/ping", &nothing);
            let (_, told) = ping.await.unwrap();
            let said = told["detail"].as_str().unwrap();
            assert!(said.contains("private address"), "{told}");
        } else {
            assert_eq!(made.0, 400, "{}", made.1);
        }
    }
}

#[tokio::test]
async fn what_was_begun_at_one_database_is_not_settled_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        folder.path().join("first.db"),
        folder.path().join("second.db"),
    );
    stocked(&first).await;
    stocked(&second).await;
    let sources = Registry::new(Allowed {
        databases: true,
        sqlite_dirs: vec![folder.path().to_owned()],
        orgs: vec!["default".to_owned()],
        ..Allowed::default()
    });
    let org = OrgId::default();
    for (version, path) in [(1, &second), (2, &first)] {
        sources.replace(vec![source_at(path, version)]).await;
        assert!(sources.prepare(&org, "shop", PATIENCE).await.ok);
    }
    let proposal: ProposalId = "0190a0a0-0000-7000-8000-000000000001".parse().unwrap();
    let statement = "update invoices set total = total - 10 where id = 1";
    let write = Write {
        statement: Statement {
            dialect: Dialect::Sqlite,
            parts: vec![Part::Text(statement.to_owned())],
            names: Vec::new(),
        },
        returns: false,
        preview: None,
        expect_rows: (1, Some(1)),
        marker: true,
    };
    let place = source_at(&first, 2)
        .source
        .place(&BTreeMap::new(), &BTreeMap::new());
    let call = |task: &Task| Call::new(&upstream(&org, "shop", &place), "lower", &json!(task));
    let (args, state, timeout_ms) = (json!({}), None, None);
    let task = Task::Write {
        proposal,
        write,
        args,
        state,
        timeout_ms,
    };
    let done = sources.carry_out(&call(&task), PATIENCE).await;
    assert!(
        matches!(
            done,
            Reply::Result {
                is_error: false,
                ..
            }
        ),
        "{done:?}"
    );

    sources.replace(vec![source_at(&second, 3)]).await;
    let looked = sources
        .carry_out(&call(&Task::Look { proposal }), PATIENCE)
        .await;
    assert!(matches!(looked, Reply::NotSent(_)), "{looked:?}");
    let again = sources.carry_out(&call(&task), PATIENCE).await;
    assert!(matches!(again, Reply::NotSent(_)), "{again:?}");
    assert_eq!(
        number(&second, "select count(*) from hundi_effects").await,
        0
    );

    sources.replace(vec![source_at(&first, 4)]).await;
    let looked = sources
        .carry_out(&call(&Task::Look { proposal }), PATIENCE)
        .await;
    let found = matches!(&looked, Reply::Result { is_error: false, content } if !content.is_null());
    assert!(found, "{looked:?}");
}

/// Killed at each step of a commit: the row is changed once or not at all, and what is told of it
/// agrees with the database.
#[tokio::test]
async fn a_write_is_done_once_wherever_the_broker_dies() {
    for step in [
        "s2.before",
        "s2.after",
        "s4.before",
        "s4.after",
        "s6",
        "s7.before",
        "s7.after",
    ] {
        let mut shop = Shop::furnished_with(&[("HUNDI_KILL_AT", step)]).await;
        let asked = json!({"tool": "lower_invoice", "arguments": {"id": 1}});
        let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
        let id = proposed["proposal_id"].as_str().unwrap().to_owned();
        let path = format!("/v1/proposals/{id}/commit");
        let commit = json!({"commit_token": proposed["commit_token"], "arguments": {"id": 1}});
        let key = shop.server.agent_key.clone();
        let heard = shop.server.post(&key, &path, &commit).await;
        assert!(
            heard.is_err(),
            "killed at {step}, and yet it answered {heard:?}"
        );
        shop.server.process().kill();
        let shop = shop.again();
        let state = shop.server.settled(&id, PATIENCE).await;
        let total = shop.total(1).await;
        let agrees = match state.as_str() {
            "executed" => total == 490,
            "failed" | "allowed" => total == 500,
            _ => false,
        };
        assert!(agrees, "{step}: {state}, {total}");
        // Presented again, it is honoured at most once in all.
        let (_, again) = shop.server.post(&key, &path, &commit).await.unwrap();
        let done = state == "executed" || again["status"] == "committed";
        assert_eq!(
            shop.total(1).await,
            if done { 490 } else { 500 },
            "{step}: {again}"
        );
    }
}

#[tokio::test]
async fn a_result_that_breaks_its_promise_is_not_passed_on() {
    let shop = Shop::furnished().await;
    let mut tool = look();
    tool["output_schema"] = json!({
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {
            "type": "object", "properties": {"total": {"type": "integer", "maximum": 600}},
        }}},
    });
    let (status, told) = shop.put("/v1/tools/get_invoice", tool).await;
    assert_eq!(status, 200, "{told}");
    for (id, status) in [(1, 200), (2, 502)] {
        let call = json!({"arguments": {"id": id}});
        let (got, read) = shop.as_agent("/v1/tools/get_invoice/invoke", call).await;
        assert_eq!(got, status, "{read}");
        if got != 200 {
            assert_eq!(read["code"], "output_invalid", "{read}");
            assert!(!read.to_string().contains("700"), "{read}");
        }
    }
}

#[tokio::test]
async fn a_call_is_on_record_though_its_caller_left_and_a_refused_one_is_not() {
    let shop = Shop::furnished().await;
    let mut slow = look();
    slow["name"] = json!("count_up");
    slow["input_schema"] = json!({
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
    });
    slow["exec"]["query"] = json!(
        "with recursive c(x) as (select 1 union all select x + 1 from c where x < :n) \
         select count(*) as n from c"
    );
    let (status, made) = shop.post("/v1/tools", slow).await;
    assert_eq!(status, 201, "{made}");
    for _ in 0..30 {
        let call = json!({"arguments": {"n": "x"}});
        let (status, _) = shop.as_agent("/v1/tools/count_up/invoke", call).await;
        assert_eq!(status, 400);
    }
    assert_eq!(
        shop.recorded().await,
        0,
        "whoever asks in vain fills nobody's log"
    );

    let url = format!("{}/v1/tools/count_up/invoke", shop.server.url);
    let call = shop
        .server
        .http
        .post(url)
        .bearer_auth(&shop.server.agent_key);
    let call = call.json(&json!({"arguments": {"n": 3_000_000}}));
    let left = call.timeout(Duration::from_millis(150)).send().await;
    assert!(
        left.is_err_and(|error| error.is_timeout()),
        "it was not left"
    );
    let noted = async {
        let mut turns = tokio::time::interval(Duration::from_millis(50));
        while shop.recorded().await == 0 {
            turns.tick().await;
        }
    };
    let noted = tokio::time::timeout(PATIENCE, noted).await;
    assert!(noted.is_ok(), "the call was never recorded");
}

#[tokio::test]
async fn no_upstream_takes_the_name_of_a_registered_tool() {
    let shop = Shop::furnished().await;
    let folder = shop.folder.path().join("upstream");
    std::fs::create_dir(&folder).unwrap();
    let tool =
        json!({"name": "get_invoice", "description": "x", "inputSchema": {"type": "object"}});
    let pages = json!({"": {"tools": [tool]}});
    std::fs::write(folder.join("pages.json"), pages.to_string()).unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/listing_upstream.py"
    );
    let config = format!(
        "[upstream.up]\ncommand = \"python3\"\nargs = [{script:?}]\nhandshake = \"initialize\"\n\
         env = {{ FOLDER = {folder:?} }}\n"
    );
    std::fs::write(shop.server.dir.path().join("hundi.toml"), config).unwrap();
    shop.server.terminate();
    let shop = shop.again();
    let listed = async {
        let mut turns = tokio::time::interval(Duration::from_millis(50));
        loop {
            turns.tick().await;
            let all = shop.server.get(&shop.server.admin_key, "/v1/tools").await;
            let all = all["tools"].as_array().unwrap().clone();
            if let Some(new) = all.iter().find(|tool| tool["upstream"] == "up") {
                return new["name"].clone();
            }
        }
    };
    let name = tokio::time::timeout(PATIENCE, listed).await.unwrap();
    assert_eq!(name, "up_get_invoice");
    let call = json!({"arguments": {"id": 1}});
    let (status, read) = shop.as_agent("/v1/tools/get_invoice/invoke", call).await;
    assert_eq!(status, 200, "{read}");
}

#[tokio::test]
async fn our_own_store_is_in_no_sources_reach() {
    let shop = Shop::open().await;
    let data = shop.server.dir.path().join("hundi-data");
    for reach in [data.as_path(), shop.server.dir.path()] {
        let toml = format!("[sources]\nsqlite_dirs = [{reach:?}]\n");
        std::fs::write(shop.server.dir.path().join("hundi.toml"), toml).unwrap();
        let told = shop.server.failing_command(&["migrate"]);
        assert!(told.contains("sources.sqlite_dirs"), "{told}");
    }
}

#[tokio::test]
async fn a_secret_goes_in_and_never_comes_out() {
    let shop = Shop::open().await;
    let canary = "canary-of-a-password-7f3a";
    let source = json!({
        "name": "erp", "kind": "postgres",
        "config": {"host": "127.0.0.1", "port": 1, "database": "erp", "user": "ro"},
        "secrets": {"password": canary},
    });
    let (status, made) = shop.post("/v1/sources", source).await;
    assert_eq!(
        (status, &made["secrets"]["password"]["set"]),
        (201, &json!(true)),
        "{made}"
    );
    let (_, said) = shop.post("/v1/sources/erp/ping", json!({})).await;
    assert_eq!(said["ok"], false, "{said}");
    let key = &shop.server.admin_key;
    let mut told = vec![made, said];
    for path in ["/v1/sources", "/v1/sources/erp", "/v1/audit?limit=50"] {
        told.push(shop.server.get(key, path).await);
    }
    assert!(
        !told
            .iter()
            .any(|answer| answer.to_string().contains(canary))
    );
    let kept = shop.server.dir.path();
    let mut folders = vec![kept.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    let found = bytes
                        .windows(canary.len())
                        .any(|part| part == canary.as_bytes());
                    assert!(!found, "{}", path.display());
                }
            }
        }
    }
}
