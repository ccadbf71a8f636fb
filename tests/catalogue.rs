//! The catalogue as an operator and an attacker meet it: whose tool a name is, rules that match
//! nothing, definitions nobody should have to survive, and servers that come late, go away, change
//! in silence or never stop talking. Real processes throughout.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::server::{BankProcess, FirstKeys, HUNDI, Server};

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/support/listing_upstream.py"
);
/// Longest that something may take which other processes do in their own time.
const PATIENCE: Duration = Duration::from_secs(45);

/// A folder to serve from, with servers that list what a test says.
struct Desk {
    dir: Arc<tempfile::TempDir>,
    bank: Arc<BankProcess>,
    program: PathBuf,
}

impl Desk {
    fn new() -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            bank: Arc::new(BankProcess::start()),
            program: HUNDI.into(),
        }
    }

    /// A server that lists these tools once it is in the configuration.
    fn upstream(&self, name: &str, tools: Value) -> Up {
        let folder = self.dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let up = Up {
            name: name.to_owned(),
            folder,
        };
        up.lists(tools);
        up
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.dir.path().join("hundi.toml"), text).unwrap();
    }

    fn try_serve(&self, keys: Option<FirstKeys>) -> Result<Server, String> {
        let sandbox = self.bank.url.trim_start_matches("http://");
        let env = [
            ("HUNDI_LISTEN", "127.0.0.1:0"),
            ("HUNDI_SANDBOX_LISTEN", sandbox),
            ("HUNDI_CALL_DEADLINE_SECS", "5"),
            ("HUNDI_INTEGRITY_ON_MISSING", "allow"),
        ];
        let keys = || keys.expect("a first start");
        Server::node(
            &self.program,
            self.dir.clone(),
            self.bank.clone(),
            keys,
            &env,
        )
    }

    fn serve(&self) -> Server {
        self.try_serve(None).unwrap_or_else(|said| panic!("{said}"))
    }

    /// The next start on the same folder.
    fn serve_again(&self, before: Server) -> Server {
        let keys = FirstKeys {
            agent: before.agent_key.clone(),
            admin: before.admin_key.clone(),
        };
        drop(before);
        self.try_serve(Some(keys))
            .unwrap_or_else(|said| panic!("{said}"))
    }

    /// Runs a command in the folder; what it printed on both streams, and whether it went well.
    fn run(&self, args: &[&str]) -> (bool, String) {
        let ran = Command::new(HUNDI)
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HUNDI_LISTEN", "127.0.0.1:0")
            .env("HUNDI_SANDBOX_LISTEN", "127.0.0.1:0")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8(said).unwrap());
        (ran.status.success(), said.concat())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr.log")).unwrap_or_default()
    }
}

/// One server of `listing_upstream.py`.
struct Up {
    name: String,
    folder: PathBuf,
}

impl Up {
    fn lists(&self, tools: Value) {
        self.pages(json!({"": {"tools": tools}}));
    }

    fn pages(&self, pages: Value) {
        let (new, now) = (self.folder.join("new"), self.folder.join("pages.json"));
        std::fs::write(&new, pages.to_string()).unwrap();
        std::fs::rename(new, now).unwrap();
    }

    fn set(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).unwrap();
    }

    fn unset(&self, file: &str) {
        std::fs::remove_file(self.folder.join(file)).unwrap();
    }

    fn table(&self) -> String {
        format!(
            "[upstream.{}]\ncommand = \"python3\"\nargs = [{SCRIPT:?}]\nhandshake = \"initialize\"\n\
             env = {{ FOLDER = {:?} }}\n",
            self.name, self.folder
        )
    }

    fn noted(&self, file: &str) -> usize {
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().count()
    }
}

fn tool(name: &str, properties: Value) -> Value {
    json!({
        "name": name, "description": "does it",
        "inputSchema": {"type": "object", "properties": properties},
    })
}

fn send() -> Value {
    tool(
        "send",
        json!({"amount": {"type": "integer"}, "to": {"type": "string"}}),
    )
}

const SENDS: &str = "tools.send.money = { amounts = [\"amount\"] }\n";

/// The same table with one more line.
fn with(up: &Up, line: &str) -> String {
    format!("{}{line}\n", up.table())
}

async fn listed(server: &Server) -> Vec<Value> {
    let all = server.get(&server.admin_key, "/v1/tools").await;
    all["tools"].as_array().unwrap().clone()
}

async fn shown(server: &Server, name: &str) -> Option<Value> {
    let all = listed(server).await;
    all.into_iter().find(|tool| tool["name"] == name)
}

/// The tool once it stands like this.
async fn stands(server: &Server, name: &str, standing: &str) -> Value {
    until(&format!("{name} as {standing}"), async || {
        shown(server, name)
            .await
            .filter(|tool| tool["standing"] == standing)
    })
    .await
}

async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = async {
        let mut turns = tokio::time::interval(Duration::from_millis(40));
        loop {
            turns.tick().await;
            if let Some(found) = ask().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, asked).await;
    found.unwrap_or_else(|_| panic!("{what} never came"))
}

async fn accept(server: &Server, name: &str) -> (u16, Value) {
    let path = format!("/v1/tools/{name}/accept");
    server
        .post(&server.admin_key, &path, &json!({}))
        .await
        .unwrap()
}

async fn propose(server: &Server, name: &str, arguments: &Value) -> (u16, Value) {
    let body = json!({"tool": name, "arguments": arguments});
    server
        .post(&server.agent_key, "/v1/proposals", &body)
        .await
        .unwrap()
}

async fn commit(server: &Server, proposed: &Value, arguments: &Value) -> (u16, Value) {
    let id = proposed["proposal_id"].as_str().unwrap();
    let current = server
        .get(&server.agent_key, &format!("/v1/proposals/{id}"))
        .await;
    let token = current["commit_token"].as_str();
    let token = token.or_else(|| proposed["commit_token"].as_str());
    let body = json!({"commit_token": token.unwrap(), "arguments": arguments});
    let path = format!("/v1/proposals/{id}/commit");
    server.post(&server.agent_key, &path, &body).await.unwrap()
}

// A tool is its server's.

#[tokio::test]
async fn what_was_proposed_at_one_server_is_never_carried_out_by_another() {
    let desk = Desk::new();
    // Alphabetical order would favour the one that comes later.
    let (first, later) = (
        desk.upstream("zeta", json!([send()])),
        desk.upstream("alpha", json!([send()])),
    );
    let (one, two) = (with(&first, SENDS), with(&later, SENDS));
    desk.configure(&one);
    let server = desk.serve();
    stands(&server, "send", "new").await;
    assert_eq!(accept(&server, "send").await.0, 200);
    let arguments = json!({"amount": 500, "to": "acct_1"});
    let (status, proposed) = propose(&server, "send", &arguments).await;
    assert_eq!(
        (status, &proposed["status"]),
        (200, &json!("allowed")),
        "{proposed}"
    );

    // The other one comes, and is the only one that answers.
    first.set("down", "");
    desk.configure(&format!("{one}\n{two}"));
    let server = desk.serve_again(server);
    stands(&server, "alpha_send", "new").await;
    assert_eq!(accept(&server, "alpha_send").await.0, 200);
    let held = stands(&server, "send", "upstream_unavailable").await;
    assert_eq!(held["upstream"], "zeta");
    let (status, refused) = commit(&server, &proposed, &arguments).await;
    assert_eq!(
        (status, &refused["code"]),
        (503, &json!("upstream_unavailable")),
        "{refused}"
    );
    assert_eq!((first.noted("effects"), later.noted("effects")), (0, 0));

    first.unset("down");
    stands(&server, "send", "accepted").await;
    let (status, done) = commit(&server, &proposed, &arguments).await;
    assert_eq!(
        (status, &done["status"]),
        (200, &json!("committed")),
        "{done}"
    );
    assert_eq!((first.noted("effects"), later.noted("effects")), (1, 0));
}

#[tokio::test]
async fn a_server_that_takes_over_a_name_in_the_configuration_gets_no_old_proposal() {
    let desk = Desk::new();
    let up = desk.upstream("bank", json!([send()]));
    let other = desk.upstream("other", json!([send()]));
    desk.configure(&with(&up, SENDS));
    let server = desk.serve();
    stands(&server, "send", "new").await;
    accept(&server, "send").await;
    let arguments = json!({"amount": 501, "to": "acct_1"});
    let (_, proposed) = propose(&server, "send", &arguments).await;
    // Its name leads to another one now.
    let mut moved = with(&up, SENDS);
    moved = moved.replace(up.folder.to_str().unwrap(), other.folder.to_str().unwrap());
    desk.configure(&moved);
    let server = desk.serve_again(server);
    stands(&server, "send", "accepted").await;
    let (status, refused) = commit(&server, &proposed, &arguments).await;
    assert_eq!(
        (status, &refused["reason"]),
        (409, &json!("tool_changed")),
        "{refused}"
    );
    // The first one is gone for good.
    desk.configure(&with(&other, SENDS));
    let server = desk.serve_again(server);
    stands(&server, "other_send", "new").await;
    accept(&server, "other_send").await;
    let (status, refused) = commit(&server, &proposed, &arguments).await;
    assert_eq!(
        (status, &refused["reason"]),
        (409, &json!("tool_changed")),
        "{refused}"
    );
    assert_eq!((up.noted("effects"), other.noted("effects")), (0, 0));
    let (status, unknown) = propose(&server, "send", &arguments).await;
    assert_eq!(
        (status, &unknown["code"]),
        (404, &json!("unknown_tool")),
        "{unknown}"
    );
}

#[tokio::test]
async fn every_name_that_is_offered_fits_every_client_and_is_there_once() {
    let desk = Desk::new();
    let long = "a".repeat(90);
    let names = [
        "plain",
        "dotted.name",
        "a/path",
        "with space",
        "ümlaut",
        "pay",
        "pay_commit",
        "pay_propose",
        "noop",
        "get_proposal",
        &long,
        &format!("{long}b"),
        "PLAIN",
    ];
    let tools: Vec<Value> = names.iter().map(|name| tool(name, json!({}))).collect();
    let (a, b) = (
        desk.upstream("a", json!(tools)),
        desk.upstream("b", json!(tools)),
    );
    let trusting = "trust_on_first_use = true";
    desk.configure(&format!("{}\n{}", with(&a, trusting), with(&b, trusting)));
    let server = desk.serve();
    let all = until("both lists", async || {
        let all = listed(&server).await;
        let ours = all.iter().filter(|tool| tool["upstream"].is_string());
        (ours.count() == 2 * names.len()).then_some(all)
    })
    .await;
    let mut seen = BTreeSet::new();
    for tool in &all {
        for name in tool["mcp_tools"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            assert!(name.len() <= 64 && name.bytes().all(plain), "{name}");
            assert!(
                seen.insert(name.to_ascii_lowercase()),
                "{name} is there twice"
            );
        }
    }
    let (well, told) = desk.run(&["tool", "list"]);
    assert!(
        well && told.contains("dotted.name"),
        "its own name is told: {told}"
    );
}

// Rules that match nothing.

#[tokio::test]
async fn a_rule_for_no_tool_of_its_server_takes_all_its_tools_out_of_use() {
    let desk = Desk::new();
    let refund = tool("refund_wallet", json!({"amount": {"type": "integer"}}));
    let up = desk.upstream("shop", json!([refund, tool("look", json!({}))]));
    let good = with(
        &up,
        "tools.refund_wallet.money = { amounts = [\"amount\"] }",
    );
    desk.configure(&good);
    let mut server = desk.serve();
    for name in ["refund_wallet", "look"] {
        stands(&server, name, "new").await;
        assert_eq!(accept(&server, name).await.0, 200, "{name}");
    }
    for slip in [
        "tools.refund_walet.money = { amounts = [\"amount\"] }",
        "tools.refund_wallet.money = { amounts = [\"amount\"] }\n\
         tools.refund_wallet.readback = { tool = \"lok\", found_if = { path = \"id\", equals = \"$reference\" } }",
    ] {
        desk.configure(&with(&up, slip));
        server = desk.serve_again(server);
        let tool = stands(&server, "look", "unusable").await;
        let problem = tool["problem"].as_str().unwrap();
        assert!(problem.contains("did you mean"), "{problem}");
        let (status, refused) = propose(&server, "look", &json!({})).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!("tool_unusable")),
            "{refused}"
        );
        let ready = server.get(&server.admin_key, "/readyz").await;
        assert_eq!(ready["status"], "degraded");
        assert!(ready.to_string().contains("no tool of its list"), "{ready}");
        let (_, doctor) = desk.run(&["doctor"]);
        assert!(doctor.contains("no tool of its list"), "{doctor}");
        assert!(desk.log().contains("no tool of its list"));
        assert_eq!(up.noted("effects"), 0);
    }
    desk.configure(&good);
    let server = desk.serve_again(server);
    stands(&server, "look", "accepted").await;
}

#[tokio::test]
async fn a_rule_for_no_argument_of_its_tool_is_told_at_every_door() {
    let desk = Desk::new();
    let pay = tool(
        "pay",
        json!({"amount": {"type": "integer"}, "to": {"type": "string"}, "key": {"type": "string"}}),
    );
    let up = desk.upstream("shop", json!([pay, tool("look", json!({}))]));
    let money = "tools.pay.money = { amounts = [\"amount\"] }";
    let good = format!(
        "{money}\npatterns = {{ to = \"[a-z]+\" }}\ntools.pay.patterns = {{ key = \"[a-z]+\" }}\n\
         tools.pay.reference = \"key\"\ntools.pay.echoes = {{ to = \"$args.to\" }}\n\
         tools.pay.readback = {{ tool = \"look\", arguments = {{ to = \"$args.to\" }}, \
         found_if = {{ path = \"id\", equals = \"$reference\" }} }}"
    );
    desk.configure(&with(&up, &good));
    let mut server = desk.serve();
    for name in ["pay", "look"] {
        stands(&server, name, "new").await;
        assert_eq!(accept(&server, name).await.0, 200, "{name}");
    }
    #[rustfmt::skip]
    let slips = [
        ("amounts = [\"amount\"]",     "amounts = [\"amuont\"]",     "`amuont`"),
        ("{ key = \"[a-z]+\" }",       "{ kee = \"[a-z]+\" }",       "`kee`"),
        ("patterns = { to = ",         "patterns = { too = ",        "`too`, which is an argument of no tool"),
        ("reference = \"key\"",        "reference = \"kye\"",        "`kye`"),
        ("{ to = \"$args.to\" }\n",    "{ to = \"$args.ot\" }\n",    "`ot`"),
        ("arguments = { to = \"$args.to\" }", "arguments = { to = \"$args.tto\" }", "`tto`"),
    ];
    for (was, slip, told) in slips {
        assert!(good.contains(was), "{was}");
        desk.configure(&with(&up, &good.replacen(was, slip, 1)));
        server = desk.serve_again(server);
        let tool = stands(&server, "pay", "unusable").await;
        assert!(
            tool["problem"].as_str().unwrap().contains(told),
            "{slip}: {tool}"
        );
        let arguments = json!({"amount": 5, "to": "NOBODY"});
        let (status, refused) = propose(&server, "pay", &arguments).await;
        assert_eq!((status, &refused["code"]), (409, &json!("tool_unusable")));
        let ready = server.get(&server.admin_key, "/readyz").await;
        assert_eq!(ready["status"], "degraded", "{slip}");
        assert!(ready.to_string().contains(told), "{slip}: {ready}");
        let (_, doctor) = desk.run(&["doctor"]);
        assert!(doctor.contains(told), "{slip}: {doctor}");
        assert!(desk.log().contains(told), "{slip}");
    }
    desk.configure(&with(&up, &good));
    let server = desk.serve_again(server);
    stands(&server, "pay", "accepted").await;
    assert_eq!(
        server.get(&server.admin_key, "/readyz").await["status"],
        "ready"
    );
}

#[tokio::test]
async fn a_setting_for_no_known_tool_stops_the_start() {
    let desk = Desk::new();
    let up = desk.upstream("shop", json!([tool("look", json!({}))]));
    let slips = [
        (
            "[tools.tranfer_funds]\nrate_per_minute = 5",
            "`transfer_funds`",
        ),
        ("[tools.creat_payout]\nhold = true", "`create_payout`"),
        ("[tools.lok]\nhold = true", "`look`"),
    ];
    for (slip, near) in slips {
        desk.configure(&format!("{slip}\n{}", up.table()));
        let said = desk.try_serve(None).err().expect(slip);
        assert!(
            said.contains("no known tool") && said.contains(near),
            "{slip}: {said}"
        );
        let (well, said) = desk.run(&["mcp"]);
        assert!(!well && said.contains(near), "{slip}: {said}");
        let (_, doctor) = desk.run(&["doctor"]);
        assert!(doctor.contains(near), "{slip}: {doctor}");
    }
    desk.configure(&format!("[tools.look]\nhold = true\n{}", up.table()));
    let server = desk.serve();
    stands(&server, "look", "new").await;
    accept(&server, "look").await;
    let (_, held) = propose(&server, "look", &json!({})).await;
    assert_eq!(
        held["status"], "held",
        "a rule for a tool of an upstream holds as well: {held}"
    );
    // Its name stays known while it is away.
    up.set("down", "");
    desk.serve_again(server);
}

#[test]
fn a_key_that_does_not_exist_is_refused_wherever_it_stands() {
    let desk = Desk::new();
    let slips = [
        "daily_limt = 5",
        "[integrity]\nblock_treshold = 0.5",
        "[tools.noop]\nrate = 5",
        "[upstream.a]\ncommand = \"x\"\nargz = []",
        "[upstream.a]\ncommand = \"x\"\ntool.pay.hold = true",
        "[upstream.a]\ncommand = \"x\"\ntools.pay.mony = \"none\"",
        "[upstream.a]\ncommand = \"x\"\ntools.pay.money = \"nothing\"",
        "[upstream.a]\ncommand = \"x\"\ntools.pay.money = {}",
        "[upstream.a]\ncommand = \"x\"\ntools.pay.money = { amount = [\"amount\"] }",
        "[upstream.a]\ncommand = \"x\"\ntools.pay.payee = { acount = \"to\" }",
        "[upstream.a]\ncommand = \"x\"\ntools.pay.readback = { tool = \"x\", found_iff = {} }",
    ];
    for slip in slips {
        desk.configure(slip);
        let (well, said) = desk.run(&["config"]);
        assert!(!well, "{slip}: {said}");
    }
    desk.configure("[upstream.a]\ncommand = \"x\"\ntools.pay.money = \"none\"");
    let (well, said) = desk.run(&["config"]);
    assert!(well, "{said}");
}

#[tokio::test]
async fn an_argument_that_looks_like_money_needs_the_operators_word() {
    let desk = Desk::new();
    let nested =
        json!({"part": {"type": "object", "properties": {"priceInr": {"type": "string"}}}});
    let hidden = json!({"value": {"type": "integer", "description": "How much, in paise."}});
    let mut by_pattern = tool("hide", json!({}));
    by_pattern["inputSchema"]["patternProperties"] = json!({"^amount": {"type": "integer"}});
    let open = json!({"payment": {"type": "object"}});
    let text = json!({"value": {"type": "string", "description": "Amount to pay, as a decimal."}});
    let tools = [
        by_pattern,
        tool("pass", open),
        tool("spell", text),
        tool("send", json!({"amount": {"type": "integer"}})),
        tool("buy", nested),
        tool("give", hidden),
        tool("look", json!({"id": {"type": "string"}})),
    ];
    let up = desk.upstream("shop", json!(tools));
    desk.configure(&with(&up, "trust_on_first_use = true"));
    let server = desk.serve();
    stands(&server, "look", "accepted").await;
    for name in ["send", "buy", "give", "hide", "pass", "spell"] {
        let tool = stands(&server, name, "new").await;
        assert!(
            tool["problem"]
                .as_str()
                .unwrap()
                .contains("looks like money"),
            "{tool}"
        );
        let (status, refused) = accept(&server, name).await;
        assert_eq!(
            (status, &refused["code"]),
            (400, &json!("invalid_request")),
            "{refused}"
        );
        let (_, refused) = propose(&server, name, &json!({})).await;
        assert_eq!(refused["code"], "tool_quarantined", "{name}: {refused}");
    }
    // A word that leads nowhere is none.
    desk.configure(&with(&up, "tools.send.money = { amounts = [\"amuont\"] }"));
    let server = desk.serve_again(server);
    let tool = stands(&server, "send", "new").await;
    let problem = tool["problem"].as_str().unwrap();
    assert!(problem.contains("did you mean `amount`"), "{problem}");

    let words = "tools.send.money = { amounts = [\"amount\"] }\ntools.buy.money = \"none\"\n\
                 tools.give.money = { always = true }";
    desk.configure(&with(&up, words));
    let server = desk.serve_again(server);
    for name in ["send", "buy", "give"] {
        stands(&server, name, "new").await;
        assert_eq!(accept(&server, name).await.0, 200, "{name}");
    }
    let policy = json!({
        "daily_limit": 1_000, "per_txn_limit": null, "require_approval_above": null,
        "allowed_tools": ["*"],
    });
    let path = "/v1/agents/agent-1/policy";
    let put = server.http.put(format!("{}{path}", server.url));
    let put = put.bearer_auth(&server.admin_key).json(&policy);
    assert!(put.send().await.unwrap().status().is_success());
    let (_, refused) = propose(&server, "send", &json!({"amount": 1_001})).await;
    assert_eq!(refused["reason"], "LIMIT_EXCEEDED", "{refused}");

    // Said once with its rule, it is not usable when the rule is taken away.
    desk.configure(&up.table());
    let server = desk.serve_again(server);
    stands(&server, "send", "unusable").await;
    let (status, refused) = propose(&server, "send", &json!({"amount": 5})).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("tool_unusable")),
        "{refused}"
    );
    drop(server);

    let rules =
        "tools.send.payee = { account = \"id\" }\ntools.send.money = { amounts = [\"amount\"] }";
    let (_, told) = desk.run(&["tool", "show", "look"]);
    for part in ["risk", "high (nobody said)", "moves", "pays", "nobody said"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    desk.configure(&with(&up, rules));
    let (_, told) = desk.run(&["tool", "show", "send"]);
    assert!(
        told.contains("no argument of it"),
        "a payee that leads nowhere: {told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_words_of_a_server_steer_the_terminal_of_whoever_lists_its_tools() {
    let desk = Desk::new();
    let hostile = "\u{1b}[31mforged\u{202e}";
    let up = desk.upstream(
        "shop",
        json!([tool("look", json!({hostile: {"type": "integer"}}))]),
    );
    // It answers, and refuses to say what it offers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(move || async move {
        (
            axum::http::StatusCode::FORBIDDEN,
            format!("{hostile}\r\nforged line"),
        )
    });
    let web = tokio::spawn(async move { axum::serve(listener, app).await });
    desk.configure(&format!(
        "{}[upstream.web]\nurl = \"http://{address}/mcp\"\n",
        with(&up, "tools.look.patterns = { \"\u{202e}x\" = \"a\" }")
    ));
    for command in [
        &["tool", "list"][..],
        &["tool", "show", "look"],
        &["doctor"],
    ] {
        let (desk, command) = (&desk, command);
        let (_, told) = tokio::task::block_in_place(|| desk.run(command));
        assert!(told.contains("forged") || told.contains("look"), "{told}");
        let steering = ['\u{1b}', '\u{202e}', '\r'];
        assert!(!told.contains(steering), "{command:?}: {told:?}");
        assert!(
            !told.lines().any(|line| line.starts_with("forged")),
            "{told}"
        );
    }
    web.abort();
}

#[tokio::test]
async fn first_contact_accepts_all_tools_of_a_long_list_or_none() {
    let desk = Desk::new();
    let many: Vec<Value> = (0..400)
        .map(|n| tool(&format!("tool_{n}"), json!({"a": {"type": "string"}})))
        .collect();
    let up = desk.upstream("shop", json!(many));
    desk.configure(&with(&up, "trust_on_first_use = true"));
    let server = desk.serve();
    stands(&server, "tool_399", "accepted").await;
    let all = listed(&server).await;
    let ours: Vec<_> = all
        .iter()
        .filter(|tool| tool["upstream"] == "shop")
        .collect();
    assert_eq!(ours.len(), 400);
    let ours = ours.into_iter();
    let left: Vec<_> = ours.filter(|tool| tool["standing"] != "accepted").collect();
    assert!(
        left.is_empty(),
        "{} of 400 wait: {:?}",
        left.len(),
        left.first()
    );
}

// Definitions of tools that nobody accepted.

/// Memory that the server may have at most, in KiB.
const MOST_MEMORY_KIB: u64 = 400 * 1024;

#[tokio::test]
async fn hostile_schemas_cost_neither_memory_nor_time_and_hide_only_themselves() {
    let mut nested = json!({});
    for _ in 0..40 {
        nested = json!({"if": nested.clone(), "then": nested});
        if nested.to_string().len() > 100_000 {
            break;
        }
    }
    let mut ifs = json!({});
    for _ in 0..40 {
        ifs = json!({"if": ifs});
    }
    let defs = |count: usize, of: fn(usize) -> Value| -> Value {
        let mut all: serde_json::Map<String, Value> =
            (0..count).map(|n| (format!("d{n}"), of(n))).collect();
        all.insert(format!("d{count}"), json!({}));
        json!({"$ref": "#/$defs/d0", "$defs": all})
    };
    let next = |n: usize| json!({"$ref": format!("#/$defs/d{}", n + 1)});
    let chain = defs(9_000, next);
    let doubling = defs(40, |n| {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        json!({"anyOf": [next, next]})
    });
    let way = defs(
        400,
        |n| json!({"properties": {"x": {"$ref": format!("#/$defs/d{}", n + 1)}}}),
    );
    let patterns = |count: usize| -> Value {
        let all = (0..count).map(|n| (format!("p{n}"), json!({"pattern": "a{9000}"})));
        json!({"properties": all.collect::<serde_json::Map<_, _>>()})
    };
    let keys: serde_json::Map<String, Value> = (0..500)
        .map(|n| (format!("^a{n}(b{{5000}})"), json!({})))
        .collect();
    let ring = json!({
        "$ref": "#/$defs/a",
        "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}},
    });
    let wide: Vec<Value> = (0..9_000).map(|n| json!({"const": n})).collect();
    let hostile = [
        ("ifs", ifs),
        ("nested", nested),
        ("chain", chain),
        ("doubling", doubling),
        ("way", way),
        ("patterns", patterns(1_000)),
        ("more_patterns", patterns(5_000)),
        ("keys", json!({"patternProperties": keys})),
        ("ring", ring),
        ("wide", json!({"anyOf": wide})),
        ("words", json!({"description": "w".repeat(600_000)})),
        (
            "elsewhere",
            json!({"$ref": "https://example.com/schema.json"}),
        ),
        ("none", json!("no schema at all")),
    ];
    let desk = Desk::new();
    let mut config = String::new();
    for (name, schema) in &hostile {
        let mut object = schema.clone();
        if let Some(map) = object.as_object_mut() {
            map.insert("type".into(), json!("object"));
        }
        // As what goes in, and as what comes out.
        let goes_in = json!({"name": format!("{name}_in"), "inputSchema": object});
        let mut comes_out = tool(&format!("{name}_out"), json!({}));
        comes_out["outputSchema"] = object;
        for (half, bad) in [("i", goes_in), ("o", comes_out)] {
            let good = tool(&format!("{half}{name}_good"), json!({}));
            let up = desk.upstream(&format!("{half}{name}"), json!([bad, good]));
            config += &up.table();
        }
    }
    desk.configure(&config);
    let begun = Instant::now();
    let server = desk.serve();
    assert!(
        begun.elapsed() < PATIENCE,
        "ready after {:?}",
        begun.elapsed()
    );
    for (name, _) in &hostile {
        stands(&server, &format!("i{name}_good"), "new").await;
        stands(&server, &format!("o{name}_good"), "new").await;
        for side in ["in", "out"] {
            let name = format!("{name}_{side}");
            let all = listed(&server).await;
            // Too odd to have a name of its own, or there and told why it cannot be used.
            let Some(tool) = all.iter().find(|tool| tool["name"] == name) else {
                panic!("{name} is not told of");
            };
            assert!(tool["problem"].is_string(), "{name} {}", tool["problem"]);
            assert_eq!(accept(&server, &name).await.0, 400, "{name}");
        }
    }
    assert_eq!(accept(&server, "iifs_good").await.0, 200);
    assert!(
        begun.elapsed() < 2 * PATIENCE,
        "done after {:?}",
        begun.elapsed()
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < MOST_MEMORY_KIB, "it took {peak} KiB");
}

// Servers that come late, go away, change in silence, or never stop talking.

#[tokio::test]
async fn a_server_that_is_late_slow_or_down_is_found_by_itself() {
    let desk = Desk::new();
    let tools = |name: &str| json!([tool(name, json!({}))]);
    let late = desk.upstream("late", tools("late_tool"));
    let slow = desk.upstream("slow", tools("slow_tool"));
    let down = desk.upstream("down", tools("down_tool"));
    late.set("late", "1");
    slow.set("late", "5");
    down.set("down", "");
    desk.configure(&format!("{}{}{}", late.table(), slow.table(), down.table()));
    let server = desk.serve();
    for name in ["late_tool", "slow_tool"] {
        stands(&server, name, "new").await;
    }
    let ready = server.get(&server.admin_key, "/readyz").await;
    assert_eq!(ready["status"], "degraded", "{ready}");
    let check = |ready: &Value, name: &str| {
        let checks = ready["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|check| check["name"] == name)
            .unwrap()
    };
    assert_eq!(check(&ready, "tools down")["ok"], false, "{ready}");
    assert_eq!(check(&ready, "tools slow")["ok"], true, "{ready}");
    until("a line in the log", async || {
        desk.log()
            .contains("its tools cannot be listed")
            .then_some(())
    })
    .await;
    down.unset("down");
    stands(&server, "down_tool", "new").await;
    until("a ready server", async || {
        let ready = server.get(&server.admin_key, "/readyz").await;
        (ready["status"] == "ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_accepted_tool_of_a_server_that_is_away_is_unavailable_and_not_in_quarantine() {
    let desk = Desk::new();
    let up = desk.upstream("shop", json!([tool("act", json!({}))]));
    desk.configure(&up.table());
    let server = desk.serve();
    stands(&server, "act", "new").await;
    accept(&server, "act").await;
    up.set("down", "");
    let server = desk.serve_again(server);
    stands(&server, "act", "upstream_unavailable").await;
    let (status, refused) = propose(&server, "act", &json!({})).await;
    let told = (status, &refused["code"], &refused["recovery"]);
    assert_eq!(
        told,
        (503, &json!("upstream_unavailable"), &json!("wait")),
        "{refused}"
    );
    up.unset("down");
    stands(&server, "act", "accepted").await;
    let (_, proposed) = propose(&server, "act", &json!({})).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
}

#[tokio::test]
async fn a_definition_that_changes_in_silence_is_seen() {
    let desk = Desk::new();
    let up = desk.upstream("shop", json!([tool("act", json!({}))]));
    desk.configure(&format!("upstream.relist_secs = 1\n{}", up.table()));
    let server = desk.serve();
    stands(&server, "act", "new").await;
    accept(&server, "act").await;
    let mut other = tool("act", json!({}));
    other["description"] = json!("does something else");
    up.lists(json!([other]));
    let changed = stands(&server, "act", "changed").await;
    assert_eq!(changed["differs"], json!(["description"]));
    up.lists(json!([]));
    stands(&server, "act", "gone").await;
    up.lists(json!([tool("act", json!({}))]));
    stands(&server, "act", "accepted").await;
}

#[tokio::test]
async fn a_server_that_says_without_end_that_it_changed_is_asked_now_and_then() {
    let desk = Desk::new();
    let up = desk.upstream("shop", json!([tool("act", json!({}))]));
    up.set("storm", "");
    desk.configure(&up.table());
    let begun = Instant::now();
    let server = desk.serve();
    stands(&server, "act", "new").await;
    accept(&server, "act").await;
    until("a fourth listing", async || {
        (up.noted("lists") >= 4).then_some(())
    })
    .await;
    // Once for the first contact, once for the acceptance, and else every five seconds.
    let most = 3 + begun.elapsed().as_secs() / 5;
    let lists = u64::try_from(up.noted("lists")).unwrap();
    assert!(lists <= most, "{lists} listings in {:?}", begun.elapsed());
    let (_, proposed) = propose(&server, "act", &json!({})).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
    up.unset("storm");
}

#[tokio::test]
async fn an_odd_list_hides_what_is_odd_and_nothing_else() {
    let good = || tool("good", json!({}));
    let other = json!({"name": "twice", "inputSchema": {"type": "object"}, "description": "other"});
    let big = tool("big", json!({"a": {"description": "d".repeat(100_000)}}));
    let bigs = (0..20).map(|n| {
        let mut big = big.clone();
        big["name"] = json!(format!("big_{n}"));
        big
    });
    let bigs: Vec<Value> = bigs.chain([good()]).collect();
    // What it lists, and how many of its tools are told of.
    let cases = [
        (
            "no_name",
            json!({"": {"tools": [{"inputSchema": {"type": "object"}}, good()]}}),
            1,
        ),
        (
            "null_name",
            json!({"": {"tools": [{"name": null, "inputSchema": {}}, good()]}}),
            1,
        ),
        (
            "no_schema",
            json!({"": {"tools": [{"name": "bad"}, good()]}}),
            2,
        ),
        (
            "text_schema",
            json!({"": {"tools": [{"name": "bad", "inputSchema": "x"}, good()]}}),
            2,
        ),
        (
            "odd_words",
            json!({"": {"tools": [{"name": "bad", "description": 5, "inputSchema": {}}, good()]}}),
            2,
        ),
        (
            "no_tool",
            json!({"": {"tools": [null, 7, "x", [], good()]}}),
            1,
        ),
        (
            "twice",
            json!({"": {"tools": [tool("twice", json!({})), other, good()]}}),
            2,
        ),
        ("alike", json!({"": {"tools": [good(), good()]}}), 1),
        (
            "empty_cursor",
            json!({"": {"tools": [good()], "nextCursor": ""}}),
            1,
        ),
        (
            "null_cursor",
            json!({"": {"tools": [good()], "nextCursor": null}}),
            1,
        ),
        (
            "same_cursor",
            json!({"": {"tools": [good()], "nextCursor": "c"}, "c": {"tools": [tool("more", json!({}))], "nextCursor": "c"}}),
            2,
        ),
        (
            "round",
            json!({"": {"tools": [good()], "nextCursor": "c"}, "c": {"tools": [tool("more", json!({}))], "nextCursor": "d"}, "d": {"tools": [], "nextCursor": "c"}}),
            2,
        ),
        ("two_mib", json!({"": {"tools": bigs}}), 21),
    ];
    let desk = Desk::new();
    let mut config = String::new();
    for (name, pages, _) in &cases {
        let up = desk.upstream(name, json!([]));
        up.pages(pages.clone());
        config += &with(&up, &format!("prefix = \"{name}_\""));
    }
    desk.configure(&config);
    let server = desk.serve();
    for (name, _, count) in &cases {
        let tool = stands(&server, &format!("{name}_good"), "new").await;
        assert!(tool["problem"].is_null(), "{name}: {tool}");
        let all = listed(&server).await;
        let theirs = all.iter().filter(|tool| tool["upstream"] == *name);
        let theirs: Vec<&Value> = theirs.collect();
        assert_eq!(theirs.len(), *count, "{name}");
        let odd = theirs.iter().filter(|tool| {
            let name = tool["upstream_name"].as_str().unwrap_or_default();
            name == "bad" || name == "twice"
        });
        for odd in odd {
            assert!(odd["problem"].is_string(), "{name} tells why: {odd}");
        }
        assert_eq!(
            accept(&server, &format!("{name}_good")).await.0,
            200,
            "{name}"
        );
    }
}
