//! More than fits: who comes too late is told to come back before anything is claimed, one full
//! upstream takes nobody else's room, descriptors are kept for the work itself, and a server that
//! stops finishes what it claimed, for callers that have gone too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hundi::broker::core::load::Bounds;
use hundi::broker::{CommitRequest, Committed, ProposeRequest, Proposed, Settings, Trouble};
use hundi::domain::call::{Call, Reply};
use hundi::domain::policy::{Policy, RateLimit};
use hundi::domain::proposal::State;
use hundi::wire::{Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::house::{House, Plan, agent_of};
use crate::support::server::Server;

/// A bank that answers when it is let, and a no-op that always does.
struct Slow {
    reached: AtomicUsize,
    turns: Semaphore,
}

#[async_trait]
impl Wire for Slow {
    async fn send(&self, call: &Call, _: Duration) -> Reply {
        let content = if call.upstream == "noop" {
            json!({})
        } else {
            self.reached.fetch_add(1, Ordering::SeqCst);
            self.turns.acquire().await.unwrap().forget();
            let sent: Value = serde_json::from_str(&call.arguments).unwrap();
            let body = json!({"id": "trf_00000000000001", "entity": "transfer",
                "amount": sent["amount"], "currency": "INR", "to": sent["to"],
                "reference_id": sent["reference_id"], "status": "processed", "created_at": 1});
            json!({"status": 200, "body": body})
        };
        Reply::Result {
            content,
            is_error: false,
        }
    }

    async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
        Ok(Vec::new())
    }

    fn changes(&self) -> tokio::sync::broadcast::Receiver<String> {
        tokio::sync::broadcast::channel(1).1
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }
}

impl Slow {
    async fn reached(&self, count: usize) {
        while self.reached.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

async fn house(bounds: Bounds) -> (House, Arc<Slow>) {
    let slow = Arc::new(Slow {
        reached: AtomicUsize::new(0),
        turns: Semaphore::new(0),
    });
    let plan = Plan {
        wire: Some(slow.clone()),
        settings: Settings {
            bounds,
            ..Settings::default()
        },
        ..Plan::default()
    };
    let house = House::with(plan).await;
    let policy = Policy {
        allowed_tools: Some(vec!["*".to_owned()]),
        rate_limit: RateLimit {
            max: 0,
            window_secs: 60,
        },
        ..serde_json::from_value(json!({"duplicates": {"then": "off"}})).unwrap()
    };
    house.policy("anna", &policy).await;
    (house, slow)
}

async fn commit(house: &House, proposed: &Proposed) -> Result<Committed, Trouble> {
    let fixed = &proposed.proposal.fixed;
    let request = CommitRequest {
        proposal_id: fixed.id.to_string(),
        commit_token: proposed.token.as_ref().unwrap().text.clone(),
        tool: None,
        arguments: fixed.args.value(),
    };
    house.broker.pay.commit(&agent_of("anna"), request).await
}

fn is_executed(answer: &Result<Committed, Trouble>) -> bool {
    matches!(answer, Ok(Committed::Settled(proposal)) if proposal.state == State::Executed)
}

async fn state(house: &House, proposed: &Proposed) -> State {
    let id = proposed.proposal.fixed.id;
    house.store.proposal(id).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_full_upstream_turns_commits_away_before_they_are_claimed() {
    let bounds = Bounds {
        per_upstream: 2,
        patience: Duration::from_millis(20),
        ..Bounds::default()
    };
    let (house, slow) = house(bounds).await;
    let mut proposed = Vec::new();
    for amount in 1..=3 {
        proposed.push(house.transfer("anna", amount).await);
    }
    let noop = ProposeRequest {
        tool: "noop".to_owned(),
        arguments: json!({}),
        ..ProposeRequest::default()
    };
    let noop = house
        .broker
        .pay
        .propose(&agent_of("anna"), noop)
        .await
        .unwrap();
    let first = commit(&house, &proposed[0]);
    let second = commit(&house, &proposed[1]);
    let others = async {
        slow.reached(2).await;
        let turned_away = commit(&house, &proposed[2]).await;
        let expected = Trouble::Overloaded {
            retry_after_secs: 1,
        };
        assert_eq!(turned_away.unwrap_err(), expected);
        assert_eq!(
            state(&house, &proposed[2]).await,
            State::Allowed,
            "not claimed"
        );
        assert!(is_executed(&commit(&house, &noop).await), "another's room");
        slow.turns.add_permits(2);
    };
    let (first, second, ()) = tokio::join!(first, second, others);
    assert!(is_executed(&first) && is_executed(&second));
    slow.turns.add_permits(1);
    // The same token, a moment later.
    assert!(is_executed(&commit(&house, &proposed[2]).await));
    assert_eq!(slow.reached.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn callers_that_leave_still_count_and_are_finished_for() {
    let bounds = Bounds {
        commits: 1,
        ..Bounds::default()
    };
    let (house, slow) = house(bounds).await;
    let (left, late) = (
        house.transfer("anna", 1).await,
        house.transfer("anna", 2).await,
    );
    {
        let leaving = commit(&house, &left);
        tokio::select! {
            _ = leaving => panic!("the bank has not answered yet"),
            () = slow.reached(1) => {}
        }
    }
    assert!(matches!(
        commit(&house, &late).await,
        Err(Trouble::Overloaded { .. })
    ));
    let drained = house.broker.drained();
    let (answers, ()) = tokio::join!(async { slow.turns.add_permits(1) }, drained);
    let () = answers;
    assert_eq!(state(&house, &left).await, State::Executed);
    assert_eq!(state(&house, &late).await, State::Allowed);
}

fn stop(pid: u32) {
    let told = Command::new("kill")
        .arg("-TERM")
        .arg(pid.to_string())
        .status();
    assert!(told.unwrap().success());
}

/// The caller hangs up, the operator stops the server, and the bank is slow: the payout is settled
/// by the process that claimed it, not left to recovery.
#[tokio::test]
async fn a_server_that_stops_finishes_what_it_claimed() {
    let mut server = Server::start().await;
    let slow = json!({"kind": "slow", "operation": "transfer", "when": "after", "delay_ms": 700});
    server.bank.arm(slow).await;
    let (left, stayed) = (server.transfer(100).await, server.transfer(200).await);
    let body = json!({"commit_token": left.token, "arguments": left.arguments}).to_string();
    let address = server.url.trim_start_matches("http://").to_owned();
    let request = format!(
        "POST /v1/proposals/{}/commit HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        left.id,
        server.agent_key,
        body.len()
    );
    let mut leaving = TcpStream::connect(&address).unwrap();
    leaving.write_all(request.as_bytes()).unwrap();
    while server.bank.paid().await.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(leaving);
    let staying = server.commit(&stayed);
    let stopping = async {
        while server.bank.paid().await.len() < 2 {
            tokio::task::yield_now().await;
        }
        stop(server.pid());
    };
    let (answer, ()) = tokio::join!(staying, stopping);
    let (status, answer) = answer.unwrap();
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("committed")),
        "{answer}"
    );
    assert!(server.process().ended(Duration::from_secs(20)), "it stops");
    let told = server.command(&["audit", "--json", "--limit", "100"]);
    for transfer in [&left, &stayed] {
        let shown = server.command(&["proposal", "show", &transfer.id, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["state"], "executed", "{shown}");
    }
    assert!(
        !told.contains("in_doubt"),
        "nothing was left to recovery: {told}"
    );
    assert_eq!(server.bank.paid().await.len(), 2);
}

/// Callers may open what they like: the store and the sidecar keep descriptors of their own.
#[test]
fn a_house_full_of_connections_still_pays() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 300 && exec \"$0\" serve --bootstrap keys.json",
        ])
        .arg(env!("CARGO_BIN_EXE_hundi"))
        .current_dir(dir.path())
        .env_clear()
        .env("HUNDI_LISTEN", "127.0.0.1:0")
        .env("HUNDI_SANDBOX_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.find_map(|line| {
        let line = line.unwrap();
        line.split_once("listening on http://")
            .map(|(_, url)| url.to_owned())
    });
    let url = url.unwrap();
    let keys: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("keys.json")).unwrap()).unwrap();
    let key = keys["agent_key"].as_str().unwrap();
    let mut working = TcpStream::connect(&url).unwrap();
    let first = ask(&mut working, key, "GET", "/v1/tools", "");
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    let crowd: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect(&url).unwrap())
        .collect();
    let mut first = crowd.first().unwrap();
    first
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut nothing = Vec::new();
    let ended = first.read_to_end(&mut nothing);
    let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!ended.is_err_and(|error| timed_out(&error)), "it made room");
    let mut newcomer = TcpStream::connect(&url).unwrap();
    let answer = ask(&mut newcomer, key, "GET", "/v1/tools", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let arguments = json!({"amount": 100, "to": "acct_123"});
    let body = json!({"tool": "transfer_funds", "arguments": arguments}).to_string();
    let answer = json_of(&ask(&mut working, key, "POST", "/v1/proposals", &body));
    let body = json!({"commit_token": answer["commit_token"], "arguments": arguments});
    let path = format!(
        "/v1/proposals/{}/commit",
        answer["proposal_id"].as_str().unwrap()
    );
    let answer = json_of(&ask(&mut working, key, "POST", &path, &body.to_string()));
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(answer["status"], "committed", "{answer}");
}

/// One request on a connection that stays open.
fn ask(stream: &mut TcpStream, key: &str, method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
        if line == "\r\n" || line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn json_of(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}
