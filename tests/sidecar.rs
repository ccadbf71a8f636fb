//! The sidecar between an MCP client and the sandbox bank: it sends what it is told, once, and
//! what it reports is true.

use hundi::connector::registry::{connector_for, tools};
use hundi::domain::call::{Call, Order, Outcome, Reply, Sighting};
use hundi::domain::canonical::Canonical;
use hundi::domain::ids::ProposalId;
use hundi::domain::time::Timestamp;
use hundi::domain::tool::Tool;
use hundi::sidecar::{self, Settings};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, Tool as Offered};
use rmcp::service::{RoleClient, RunningService};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::bank::{TestBank, payout, read};

/// A sidecar in this process, spoken to by an MCP client that we did not write.
struct TestSidecar {
    client: RunningService<RoleClient, ()>,
}

impl TestSidecar {
    async fn start(base: &str) -> Self {
        let base = base.to_owned();
        let settings = Settings::read(&|name| {
            let value = match name {
                "HUNDI_RAZORPAY_KEY_ID" => "rzp_test_key",
                "HUNDI_RAZORPAY_KEY_SECRET" => "secret",
                "HUNDI_RAZORPAY_ACCOUNT_NUMBER" => "2323230041626905",
                "HUNDI_RAZORPAY_API_BASE" => &base,
                _ => return None,
            };
            Some(value.to_owned())
        });
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(theirs);
        tokio::spawn(sidecar::serve(settings.unwrap(), input, output));
        let (input, output) = tokio::io::split(ours);
        let client = ().serve((input, output)).await.unwrap();
        Self { client }
    }

    async fn offered(&self) -> Vec<Offered> {
        self.client.list_all_tools().await.unwrap()
    }

    async fn call(&self, tool: &str, args: &Value) -> (Value, bool) {
        let args = args.as_object().unwrap().clone();
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
        let result = self.client.call_tool(request).await.unwrap();
        let content = result.structured_content.unwrap();
        let text = &result.content[0].as_text().unwrap().text;
        let told: Value = serde_json::from_str(text).unwrap();
        assert_eq!(told, content, "the text says the same");
        (content, result.is_error == Some(true))
    }

    /// Sends a connector's call as the wire would.
    async fn send(&self, call: &Call) -> Reply {
        assert_eq!(call.upstream, "razorpay");
        let args = serde_json::from_str(&call.arguments).unwrap();
        let (content, is_error) = self.call(&call.tool, &args).await;
        Reply::Result { content, is_error }
    }
}

fn tool(name: &str) -> Tool {
    let mut tools = tools(true).into_iter();
    tools.find(|tool| tool.name.as_str() == name).unwrap()
}

fn order(name: &str, args: &Value, number: u8) -> Order {
    let tool = tool(name);
    Order {
        proposal: ProposalId::at(Timestamp::from_secs(1_795_000_000), [number; 10]),
        args: Canonical::of(args),
        effective: tool.effective(args),
        tool: tool.name,
    }
}

fn payment() -> Value {
    json!({
        "fund_account_id": "fa_00000000000001", "amount": 10_000, "currency": "INR",
        "mode": "IMPS", "purpose": "vendor bill", "notes": {"vendor_name": "Acme"},
    })
}

#[tokio::test]
async fn what_was_ordered_is_what_the_bank_got_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    let order = order("create_payout", &payment(), 1);
    let connector = connector_for(&tool("create_payout"));
    let call = connector.call(&order).unwrap();
    let Outcome::Executed(first) = connector.outcome(&order, &sidecar.send(&call).await) else {
        panic!("not executed");
    };
    let Outcome::Executed(again) = connector.outcome(&order, &sidecar.send(&call).await) else {
        panic!("not executed again");
    };
    assert_eq!(first.provider_id, again.provider_id);

    let rows = bank.ledger().await;
    let mut expected = payment();
    expected["account_number"] = json!("2323230041626905");
    expected["reference_id"] = json!(order.reference());
    for row in &rows {
        assert_eq!(row["body"], expected);
        assert_eq!(row["idempotency_key"], json!(order.idempotency_key()));
    }
    assert_eq!((rows.len(), &rows[1]["replayed"]), (2, &json!(true)));

    let enquiry = connector.enquiry(&order).unwrap();
    let Sighting::Found(seen) = connector.sighting(&order, &sidecar.send(&enquiry).await) else {
        panic!("not found");
    };
    assert_eq!(seen.provider_id, first.provider_id);
}

/// The heart of it: under every fault, before and after the bank acted, what the connector
/// concludes agrees with the bank's own ledger, and where it concludes nothing the enquiry does.
#[tokio::test]
async fn no_fault_makes_the_connector_believe_what_is_not_so() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    let kinds = [
        "5xx",
        "reset",
        "garbage",
        "empty",
        "duplicate",
        "wrong_id",
        "forget_keys",
        "redirect",
    ];
    let mut number = 0;
    for (name, operation, args) in [
        ("create_payout", "create", payment()),
        (
            "transfer_funds",
            "transfer",
            json!({"amount": 100, "to": "acct_123"}),
        ),
    ] {
        let connector = connector_for(&tool(name));
        for kind in kinds {
            for when in ["before", "after"] {
                number += 1;
                let order = order(name, &args, number);
                let case = format!("{name} {kind} {when}");
                bank.arm(json!({"kind": kind, "operation": operation, "when": when}))
                    .await;
                let call = connector.call(&order).unwrap();
                let outcome = connector.outcome(&order, &sidecar.send(&call).await);
                let made = bank
                    .ledger()
                    .await
                    .into_iter()
                    .find(|row| row["reference_id"] == json!(order.reference()));
                match (&outcome, &made) {
                    (Outcome::Executed(receipt), Some(row)) => {
                        assert_eq!(json!(receipt.provider_id), row["id"], "{case}");
                    }
                    (Outcome::Unknown(_), _) => {}
                    _ => panic!("{case}: {outcome:?}, but the bank has {made:?}"),
                }
                let enquiry = connector.enquiry(&order).unwrap();
                let sighting = connector.sighting(&order, &sidecar.send(&enquiry).await);
                match (&sighting, &made) {
                    (Sighting::Found(receipt), Some(row)) => {
                        assert_eq!(json!(receipt.provider_id), row["id"], "{case}");
                    }
                    (Sighting::Absent, None) => {}
                    _ => panic!("{case}: {sighting:?}, but the bank has {made:?}"),
                }
            }
        }
    }
}

/// The enquiry itself is spoilt: it must not bring a false answer.
#[tokio::test]
async fn a_spoilt_enquiry_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    let connector = connector_for(&tool("create_payout"));
    let order = order("create_payout", &payment(), 1);
    let call = connector.call(&order).unwrap();
    sidecar.send(&call).await;
    for kind in ["5xx", "reset", "garbage", "empty", "wrong_id", "redirect"] {
        bank.arm(json!({"kind": kind, "operation": "list"})).await;
        let enquiry = connector.enquiry(&order).unwrap();
        let sighting = connector.sighting(&order, &sidecar.send(&enquiry).await);
        assert!(
            matches!(sighting, Sighting::Unclear(_)),
            "{kind}: {sighting:?}"
        );
    }
    bank.arm(json!({"kind": "duplicate", "operation": "list"}))
        .await;
    let enquiry = connector.enquiry(&order).unwrap();
    let sighting = connector.sighting(&order, &sidecar.send(&enquiry).await);
    assert!(
        matches!(sighting, Sighting::Found(_)),
        "the same payout twice is one payout"
    );
}

#[tokio::test]
async fn a_decision_whose_answer_was_lost_is_settled_by_the_payouts_state() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    for (number, (name, operation, made, ends)) in [
        ("approve_payout", "approve", "pending", "processing"),
        ("reject_payout", "reject", "pending", "rejected"),
        ("cancel_payout", "cancel", "queued", "cancelled"),
    ]
    .into_iter()
    .enumerate()
    {
        let (_, made) = read(bank.post("/sandbox/payouts", &json!({"status": made}))).await;
        let mut args = json!({
            "payout_id": made["id"], "remarks": "looked at it", "amount": made["amount"],
            "fund_account_id": made["fund_account_id"],
        });
        if name == "cancel_payout" {
            args.as_object_mut().unwrap().remove("remarks");
        }
        let order = order(name, &args, number as u8);
        let connector = connector_for(&tool(name));
        let enquiry = connector.enquiry(&order).unwrap();
        let before = connector.sighting(&order, &sidecar.send(&enquiry).await);
        assert_eq!(before, Sighting::Absent, "{name}");

        bank.arm(json!({"kind": "reset", "operation": operation, "when": "after"}))
            .await;
        let call = connector.call(&order).unwrap();
        let lost = connector.outcome(&order, &sidecar.send(&call).await);
        assert!(matches!(lost, Outcome::Unknown(_)), "{name}: {lost:?}");
        let again = connector.outcome(&order, &sidecar.send(&call).await);
        assert!(
            matches!(again, Outcome::Unknown(_) | Outcome::Executed(_)),
            "{name}: no false failure: {again:?}"
        );
        let after = connector.sighting(&order, &sidecar.send(&enquiry).await);
        let Sighting::Found(receipt) = after else {
            panic!("{name}: {after:?}");
        };
        let state = receipt.provider_state.unwrap();
        assert!(state == ends || state == "processed", "{name}: {state}");
    }
}

#[tokio::test]
async fn an_approval_of_another_amount_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    let (_, made) = read(bank.post("/sandbox/payouts", &json!({"amount": 700_000}))).await;
    let connector = connector_for(&tool("approve_payout"));
    let approval = |amount: i64| {
        let args = json!({
            "payout_id": made["id"], "remarks": "fine", "amount": amount,
            "fund_account_id": made["fund_account_id"],
        });
        order("approve_payout", &args, 1)
    };
    let less = approval(700);
    let call = connector.call(&less).unwrap();
    let Outcome::Refused(error) = connector.outcome(&less, &sidecar.send(&call).await) else {
        panic!("not refused");
    };
    assert_eq!(error.code, "amount_mismatch");
    let id = made["id"].as_str().unwrap();
    bank.until(id, "pending").await;

    let nobody = json!({
        "payout_id": "pout_00000000000099", "remarks": "fine", "amount": 700_000,
        "fund_account_id": "fa_00000000000001",
    });
    let unknown = order("approve_payout", &nobody, 1);
    let call = connector.call(&unknown).unwrap();
    let Outcome::Refused(error) = connector.outcome(&unknown, &sidecar.send(&call).await) else {
        panic!("not refused");
    };
    assert_eq!(
        error.code, "BAD_REQUEST_ERROR",
        "the bank's own words: {error:?}"
    );

    let right = approval(700_000);
    let call = connector.call(&right).unwrap();
    let outcome = connector.outcome(&right, &sidecar.send(&call).await);
    assert!(matches!(outcome, Outcome::Executed(_)), "{outcome:?}");
}

#[tokio::test]
async fn nobody_at_the_address_is_proof_that_nothing_was_sent() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let sidecar = TestSidecar::start(&base).await;
    let order = order("create_payout", &payment(), 1);
    let connector = connector_for(&tool("create_payout"));
    let call = connector.call(&order).unwrap();
    let reply = sidecar.send(&call).await;
    let outcome = connector.outcome(&order, &reply);
    assert!(matches!(outcome, Outcome::NotSent(_)), "{outcome:?}");

    // Somebody who accepts and hangs up has perhaps read it.
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", rude.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = rude.accept().await {
            drop(stream)
        }
    });
    let sidecar = TestSidecar::start(&base).await;
    let outcome = connector.outcome(&order, &sidecar.send(&call).await);
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test]
async fn the_other_tools_show_what_the_bank_has() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    let (_, made) = bank.create("key-1", &payout("ref-1")).await;
    read(bank.post("/sandbox/payouts", &json!({}))).await;

    let (one, _) = sidecar
        .call("fetch_payout", &json!({"payout_id": made["id"]}))
        .await;
    assert_eq!(
        (&one["status"], &one["body"]["id"]),
        (&json!(200), &made["id"])
    );
    let (waiting, _) = sidecar
        .call("list_payouts", &json!({"status": "pending", "count": 5}))
        .await;
    assert_eq!(waiting["body"]["count"], 1);
    let (balance, _) = sidecar.call("fetch_balance", &json!({})).await;
    assert_eq!(
        balance["body"]["items"][0]["account_number"],
        "2323230041626905"
    );
    let (refused, is_error) = sidecar
        .call("fetch_payout", &json!({"payout_id": "pout_1"}))
        .await;
    assert_eq!(
        (&refused["error"]["kind"], is_error),
        (&json!("arguments"), true)
    );
    let nowhere = json!({"payout_id": "pout_00000000000009"});
    let (unknown, is_error) = sidecar.call("fetch_payout", &nowhere).await;
    assert_eq!((&unknown["error"]["status"], is_error), (&json!(400), true));
    let none = CallToolRequestParams::new("delete_everything");
    assert!(sidecar.client.call_tool(none).await.is_err());
}

#[tokio::test]
async fn every_tool_says_what_it_takes_and_whether_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    let offered = sidecar.offered().await;
    let names: Vec<&str> = offered.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(
        names,
        [
            "create_payout",
            "fetch_payout",
            "find_payouts",
            "list_payouts",
            "approve_payout",
            "reject_payout",
            "cancel_payout",
            "fetch_balance",
            "create_transfer",
            "find_transfers",
        ]
    );
    for tool in &offered {
        let writes = ["create", "approve", "reject", "cancel"];
        let writes = writes.iter().any(|verb| tool.name.starts_with(verb));
        let hints = tool.annotations.as_ref().unwrap();
        assert_eq!(hints.read_only_hint, Some(!writes), "{}", tool.name);
        assert_eq!(hints.destructive_hint, Some(writes), "{}", tool.name);
        assert_eq!(
            tool.input_schema["additionalProperties"],
            json!(false),
            "{}",
            tool.name
        );
        assert!(tool.output_schema.is_some(), "{}", tool.name);
        assert!(
            !tool.input_schema["properties"]
                .to_string()
                .contains("account_number")
        );
    }
}

#[tokio::test]
async fn many_calls_fly_at_once_and_each_gets_its_own_answer() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let sidecar = TestSidecar::start(&bank.url).await;
    let calls = (0..96).map(|number| {
        let sidecar = &sidecar;
        async move {
            let order = order("create_payout", &payment(), number);
            let connector = connector_for(&tool("create_payout"));
            let reply = sidecar.send(&connector.call(&order).unwrap()).await;
            let outcome = connector.outcome(&order, &reply);
            assert!(
                matches!(outcome, Outcome::Executed(_)),
                "{number}: {outcome:?}"
            );
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(bank.ledger().await.len(), 96);
}

/// Not a word of what the sidecar holds, wherever it could be printed.
const SECRETS: [&str; 3] = [
    "rzp_test_canary_id",
    "canary-secret-4711",
    "2323230041626905",
];

/// The real process, with nothing in its environment but this.
fn process(base: Option<&str>) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hundi"));
    command
        .args(["sidecar", "razorpay"])
        .env_clear()
        .env("HUNDI_RAZORPAY_KEY_ID", SECRETS[0])
        .env("HUNDI_RAZORPAY_KEY_SECRET", SECRETS[1])
        .env("HUNDI_RAZORPAY_ACCOUNT_NUMBER", SECRETS[2])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    if let Some(base) = base {
        command.env("HUNDI_RAZORPAY_API_BASE", base);
    }
    command
}

#[tokio::test]
async fn as_a_process_it_speaks_mcp_on_stdout_and_tells_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let mut child = process(Some(&bank.url)).spawn().unwrap();
    let (output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let sidecar = TestSidecar {
        client: ().serve((output, input)).await.unwrap(),
    };
    let order = order("create_payout", &payment(), 1);
    let connector = connector_for(&tool("create_payout"));
    let call = connector.call(&order).unwrap();
    let outcome = connector.outcome(&order, &sidecar.send(&call).await);
    assert!(matches!(outcome, Outcome::Executed(_)), "{outcome:?}");
    bank.arm(json!({"kind": "reset"})).await;
    let (lost, _) = sidecar.call("fetch_balance", &json!({})).await;
    assert_eq!(
        (&lost["error"]["kind"], &lost["error"]["sent"]),
        (&json!("transport"), &json!(true))
    );
    sidecar.client.cancel().await.unwrap();

    let ended = child.wait_with_output().await.unwrap();
    assert!(ended.status.success(), "the end of input is a good end");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned() + &lost.to_string();
    for secret in SECRETS {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(
        !said.contains("fa_00000000000001"),
        "no arguments in the log: {said}"
    );
}

#[tokio::test]
async fn without_credentials_or_in_the_clear_it_does_not_start() {
    for (command, named) in [
        (
            process(None).env("HUNDI_RAZORPAY_KEY_SECRET", ""),
            "HUNDI_RAZORPAY_KEY_SECRET",
        ),
        (
            process(None).env_remove("HUNDI_RAZORPAY_KEY_ID"),
            "HUNDI_RAZORPAY_KEY_ID",
        ),
        (
            process(None).env_remove("HUNDI_RAZORPAY_ACCOUNT_NUMBER"),
            "HUNDI_RAZORPAY_ACCOUNT_NUMBER",
        ),
        (
            process(Some("http://bank.example")).env("HUNDI_RAZORPAY_KEY_ID", "rzp_live_1"),
            "HUNDI_RAZORPAY_API_BASE",
        ),
    ] {
        let ended = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{named}");
        assert!(
            said.contains(named) && !said.contains(SECRETS[1]),
            "{named}: {said}"
        );
        assert!(ended.stdout.is_empty(), "standard output is for MCP alone");
    }
}
