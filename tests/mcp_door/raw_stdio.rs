//! stdio as a hostile or clumsy client meets it: lines, and nothing between.

use std::time::Duration;

use hundi::entry::mcp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::house::House;

const PATIENT: Duration = Duration::from_secs(20);

struct Pipe {
    lines: BufReader<ReadHalf<DuplexStream>>,
    write: Option<WriteHalf<DuplexStream>>,
    serving: JoinHandle<()>,
}

impl Pipe {
    fn to(house: &House) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (read, write) = tokio::io::split(far);
        let serving = mcp::serve(house.broker.clone(), house.agent.who.clone(), read, write);
        let (lines, write) = tokio::io::split(near);
        Self {
            lines: BufReader::new(lines),
            write: Some(write),
            serving: tokio::spawn(async move { serving.await.unwrap() }),
        }
    }

    async fn begun(house: &House) -> Self {
        let mut pipe = Self::to(house);
        pipe.write(
            json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": {
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "t", "version": "0"},
            }}),
        )
        .await;
        assert_eq!(pipe.read().await["id"], "hello");
        pipe
    }

    async fn write(&mut self, message: Value) {
        self.write_raw(format!("{message}\n").as_bytes()).await;
    }

    async fn write_raw(&mut self, bytes: &[u8]) {
        self.write.as_mut().unwrap().write_all(bytes).await.unwrap();
    }

    async fn read(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENT, self.lines.read_line(&mut line));
        read.await.expect("an answer in time").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON-RPC: {line:?}"))
    }

    async fn is_alive(&mut self) -> bool {
        self.write(json!({"jsonrpc": "2.0", "id": "alive", "method": "ping"}))
            .await;
        self.read().await["id"] == "alive"
    }
}

fn call_with(arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"noop_propose","arguments":{{"arguments":{arguments}}}}}}}"#
    )
}

#[tokio::test]
#[rustfmt::skip]
async fn an_unreadable_line_gets_an_answer_and_the_door_lives() {
    let house = House::new().await;
    let mut pipe = Pipe::begun(&house).await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let huge = " ".repeat(3 * 1024 * 1024);
    //   line                                                          code     id
    let cases = [
        (call_with(r#"{"amount":1,"amount":1000000}"#),                -32600, json!(7)),
        (call_with(r#"{"x":{"$serde_json::private::RawValue":"7"}}"#), -32600, json!(7)),
        (call_with(r#"{"amount":9007199254740993}"#),                  -32600, json!(7)),
        (call_with(r#"{"amount":18446744073709551617}"#),              -32600, json!(7)),
        (call_with(r#"{"amount":1e400}"#),                             -32600, json!(7)),
        (call_with(r#"{"note":"\ud800"}"#),                            -32700, json!(7)),
        (call_with(&deep),                                             -32600, json!(7)),
        (deep.clone(),                                                 -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#.into(),  -32600, json!(null)),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#.into(),       -32600, json!(null)),
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#.into(),         -32600, json!(7)),
        ("not json".into(),                                            -32700, json!(null)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"#.into(),                -32700, json!(null)),
        (huge,                                                         -32600, json!(null)),
    ];
    for (line, code, id) in cases {
        pipe.write_raw(line.as_bytes()).await;
        pipe.write_raw(b"\n").await;
        let answer = pipe.read().await;
        assert_eq!(answer["error"]["code"], code, "{line:.80}");
        assert_eq!(answer["id"], id, "{line:.80}");
    }
    pipe.write_raw(b"\xff\xfe\n").await;
    assert_eq!(pipe.read().await["error"]["code"], -32700);
    pipe.write_raw(b"\r\n\n   \n").await;
    assert!(pipe.is_alive().await, "empty lines are nothing");
    let stored = house.broker.pay.proposals(&house.admin.who, &Default::default()).await;
    assert!(stored.unwrap().rows.is_empty());
}

#[tokio::test]
async fn a_line_at_the_limit_is_read_and_one_byte_more_is_not() {
    let house = House::new().await;
    let mut pipe = Pipe::begun(&house).await;
    let padded = |len: usize| {
        let start = r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"pad":""#;
        format!("{start}{}\"}}}}\n", "x".repeat(len - start.len() - 3))
    };
    pipe.write_raw(padded(1024 * 1024).as_bytes()).await;
    assert!(pipe.read().await["result"].is_object());
    pipe.write_raw(padded(1024 * 1024 + 1).as_bytes()).await;
    assert_eq!(pipe.read().await["error"]["data"]["code"], "too_large");
    assert!(pipe.is_alive().await);
}

#[tokio::test]
async fn what_comes_before_the_first_request_ends_nothing() {
    let house = House::new().await;
    let mut pipe = Pipe::to(&house);
    pipe.write_raw(b"garbage\n").await;
    assert_eq!(pipe.read().await["error"]["code"], -32700);
    pipe.write(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    pipe.write(json!({"jsonrpc": "2.0", "id": 1, "result": {}}))
        .await;
    assert!(pipe.is_alive().await);
}

#[tokio::test]
async fn answers_never_run_into_each_other() {
    let house = House::new().await;
    let mut pipe = Pipe::begun(&house).await;
    const EACH: usize = 100;
    let mut lines = Vec::new();
    for n in 0..EACH {
        let good = json!({"jsonrpc": "2.0", "id": n, "method": "tools/list"});
        lines.extend(format!("{good}\nbad\n").into_bytes());
    }
    let mut write = pipe.write.take().unwrap();
    let writing = tokio::spawn(async move {
        write.write_all(&lines).await.unwrap();
        write
    });
    let (mut good, mut bad) = (0, 0);
    while good < EACH || bad < EACH {
        let answer = pipe.read().await;
        match answer.get("error") {
            Some(_) => bad += 1,
            None => good += 1,
        }
    }
    assert_eq!((good, bad), (EACH, EACH));
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn an_id_that_is_still_under_way_is_refused_and_a_finished_one_is_free() {
    let house = House::new().await;
    let mut pipe = Pipe::begun(&house).await;
    let propose = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "noop_propose", "arguments": {"arguments": {}},
    }});
    pipe.write(propose.clone()).await;
    let proposed = pipe.read().await["result"]["structuredContent"].clone();
    house.far.hold();
    let commit = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "noop_commit", "arguments": {
            "proposal_id": proposed["proposal_id"], "commit_token": proposed["commit_token"],
            "arguments": {},
        },
    }});
    pipe.write(commit).await;
    while house.far.reached() == 0 {
        tokio::task::yield_now().await;
    }
    pipe.write(propose.clone()).await;
    let refused = pipe.read().await;
    assert_eq!(
        (&refused["error"]["code"], &refused["id"]),
        (&json!(-32600), &json!(1))
    );
    house.far.answer();
    let committed = pipe.read().await;
    assert_eq!(
        committed["result"]["structuredContent"]["status"],
        "committed"
    );
    pipe.write(propose).await;
    assert!(pipe.read().await["result"].is_object());
}

#[tokio::test]
async fn a_commit_runs_to_its_end_after_stdin_has_closed_or_the_caller_cancelled() {
    let house = House::new().await;
    for cancelled in [true, false] {
        let mut pipe = Pipe::begun(&house).await;
        pipe.write(
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                "name": "noop_propose", "arguments": {"arguments": {}},
            }}),
        )
        .await;
        let proposed = pipe.read().await["result"]["structuredContent"].clone();
        let before = house.far.reached();
        house.far.hold();
        pipe.write(
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
                "name": "noop_commit", "arguments": {
                    "proposal_id": proposed["proposal_id"],
                    "commit_token": proposed["commit_token"], "arguments": {},
                },
            }}),
        )
        .await;
        while house.far.reached() == before {
            tokio::task::yield_now().await;
        }
        if cancelled {
            pipe.write(json!({
                "jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": {"requestId": 2, "reason": "changed my mind"},
            }))
            .await;
            assert!(pipe.is_alive().await);
        }
        pipe.write = None;
        // The read half still holds the pipe open; closing both ends is what a dead client does.
        let Pipe { lines, serving, .. } = pipe;
        drop(lines);
        house.far.answer();
        tokio::time::timeout(PATIENT, serving)
            .await
            .unwrap()
            .unwrap();
        let id = proposed["proposal_id"].as_str().unwrap().parse().unwrap();
        let found = house
            .broker
            .pay
            .proposal(&house.agent.who, id)
            .await
            .unwrap();
        assert_eq!(
            found.proposal.state.name(),
            "executed",
            "cancelled: {cancelled}"
        );
        assert_eq!(house.far.reached(), before + 1);
        house.far.release();
    }
}
