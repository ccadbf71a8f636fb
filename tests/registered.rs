//! Tools that people register: from a source to a row that is written once, through the real
//! process, over REST and MCP.

use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::server::Server;

/// A server whose sources may lie in a folder, and a database in it.
struct Shop {
    server: Server,
    folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dirs = folder.path().to_str().unwrap().to_owned();
        let shop = Self {
            server: Server::start_with(&[("HUNDI_SOURCES_SQLITE_DIRS", &dirs)]).await,
            folder,
        };
        shop.sql("create table invoices (id integer primary key, email text, total integer)")
            .await;
        shop.sql("insert into invoices values (1, 'a@acme.example', 500), (2, 'b@b.example', 700)")
            .await;
        shop
    }

    fn path(&self) -> String {
        self.folder
            .path()
            .join("shop.db")
            .to_str()
            .unwrap()
            .to_owned()
    }

    async fn sql(&self, text: &str) {
        let url = format!("sqlite://{}?mode=rwc", self.path());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        connection
            .execute(sqlx::AssertSqlSafe(text.to_owned()))
            .await
            .unwrap();
    }

    async fn total(&self, id: i64) -> i64 {
        let url = format!("sqlite://{}", self.path());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let row: (i64,) = sqlx::query_as("select total from invoices where id = ?")
            .bind(id)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        row.0
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let key = &self.server.admin_key;
        self.server.post(key, path, &body).await.unwrap()
    }

    async fn as_agent(&self, path: &str, body: Value) -> (u16, Value) {
        let key = &self.server.agent_key;
        self.server.post(key, path, &body).await.unwrap()
    }

    /// The source, prepared, with a tool that reads and one that writes.
    async fn furnished() -> Self {
        let shop = Self::open().await;
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

fn look() -> Value {
    json!({
        "name": "get_invoice", "kind": "sql", "source": "shop", "risk": "low",
        "description": "Reads one invoice.",
        "input_schema": {
            "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
        },
        "exec": {"query": "select id, email, total from invoices where id = :id"},
    })
}

fn discount() -> Value {
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
    let key = &shop.server.admin_key;
    let url = format!("{}/v1/tools/get_invoice", shop.server.url);
    let put = shop
        .server
        .http
        .put(url)
        .bearer_auth(key)
        .body(tool.to_string());
    let put = put
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status().as_u16(), 200, "{}", put.text().await.unwrap());
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
async fn what_nobody_carries_out_is_refused_when_it_is_saved() {
    let shop = Shop::furnished().await;
    let api = json!({"name": "crm", "kind": "rest", "config": {"base_url": "https://crm.example"}});
    let (status, refused) = shop.post("/v1/sources", api).await;
    assert_eq!(
        (status, &refused["pointer"]),
        (400, &json!("/kind")),
        "{refused}"
    );
    let mut shown = discount();
    shown["name"] = json!("shown");
    shown["exec"]["preview"] = json!("select total from invoices where id = :id");
    let (status, refused) = shop.post("/v1/tools", shown).await;
    assert_eq!(
        (status, &refused["pointer"]),
        (400, &json!("/exec/preview")),
        "{refused}"
    );
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
