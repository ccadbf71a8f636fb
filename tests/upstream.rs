//! What the broker survives from an upstream: a child that hangs, dies, babbles, floods, stops
//! reading or answers for others. After each, the call has its answer and the next one works.

use std::path::Path;
use std::time::{Duration, Instant};

use hundi::domain::call::{Call, Reply};
use hundi::wire::Wire;
use hundi::wire::mcp::{UpstreamSpec, Upstreams};
use serde_json::{Value, json};

use crate::support::nasty::{KEY, Nasty, PATIENT, SCRIPT, SHORT, lines};

fn said(content: Value) -> Reply {
    Reply::Result {
        content,
        is_error: false,
    }
}

fn is_lost(reply: &Reply) -> bool {
    matches!(reply, Reply::Lost(_))
}

fn is_not_sent(reply: &Reply) -> bool {
    matches!(reply, Reply::NotSent(_))
}

#[tokio::test]
async fn results_are_read_the_way_upstreams_spell_them() {
    let nasty = Nasty::new();
    nasty.works().await;
    let structured = nasty.call("structured", json!({}), PATIENT).await;
    assert_eq!(structured, said(json!({"id": "x_1"})));
    let error = Reply::Result {
        content: json!("refused"),
        is_error: true,
    };
    assert_eq!(nasty.call("is_error", json!({}), PATIENT).await, error);
    let refused = Reply::RpcError {
        code: -32602,
        message: "unknown tool".into(),
    };
    assert_eq!(nasty.call("rpc_error", json!({}), PATIENT).await, refused);
    let nothing = nasty.call("no_result", json!({}), PATIENT).await;
    assert!(is_lost(&nothing), "{nothing:?}");
    nasty.works().await;
}

#[tokio::test]
async fn rubbish_on_its_output_is_not_taken_for_an_answer() {
    let nasty = Nasty::starting("banner");
    for tool in [
        "garbage", "wrong_id", "twice", "shout", "ask_back", "garbage",
    ] {
        let reply = nasty.call(tool, json!({"n": tool}), PATIENT).await;
        assert_eq!(reply, said(json!({"n": tool})), "{tool}");
        nasty.works().await;
    }
}

#[tokio::test]
async fn a_hundred_mebibyte_line_is_skipped_and_the_answer_after_it_read() {
    let nasty = Nasty::new();
    let reply = nasty
        .call("flood", json!({"mebibytes": 100}), PATIENT * 3)
        .await;
    assert_eq!(reply, said(json!({"mebibytes": 100})));
    nasty.works().await;
}

#[tokio::test]
async fn an_answer_of_two_mebibytes_is_taken() {
    let nasty = Nasty::new();
    nasty.works().await;
    let long = nasty.call("long_answer", json!({}), PATIENT).await;
    assert_eq!(long, said(json!("x".repeat(2 * 1024 * 1024))));
    nasty.works().await;
}

#[tokio::test]
async fn a_call_without_an_answer_is_lost_at_its_deadline_and_sent_once() {
    let nasty = Nasty::new();
    nasty.works().await;
    for tool in ["no_answer", "only_wrong_id"] {
        assert!(is_lost(&nasty.call(tool, json!({}), SHORT).await), "{tool}");
        nasty.works().await;
    }
    assert_eq!(
        nasty.log(),
        ["echo", "no_answer", "echo", "only_wrong_id", "echo"]
    );
}

#[tokio::test]
async fn a_late_answer_is_not_the_answer_to_the_next_call() {
    let nasty = Nasty::new();
    nasty.works().await;
    let late = nasty.call("late", json!({"seconds": 1}), SHORT).await;
    assert!(is_lost(&late), "{late:?}");
    nasty.works().await;
}

#[tokio::test]
async fn a_child_that_hangs_is_replaced() {
    let nasty = Nasty::new();
    nasty.works().await;
    assert!(is_lost(&nasty.call("hang", json!({}), SHORT).await));
    nasty.works().await;
    let health = nasty.wire.health();
    assert!(
        health[0].ok && health[0].detail.starts_with("running, pid"),
        "{health:?}"
    );
}

#[tokio::test]
async fn a_child_may_die_in_the_middle_twenty_times_in_a_row() {
    let nasty = Nasty::new();
    for round in 0..20 {
        let tool = ["die", "half_and_die"][round % 2];
        let reply = nasty.call(tool, json!({}), PATIENT).await;
        assert!(is_lost(&reply), "{round}: {reply:?}");
    }
    nasty.works().await;
    assert_eq!(nasty.log().len(), 21, "each call arrived once");
}

#[tokio::test]
async fn a_child_may_die_at_its_start_twenty_times_in_a_row() {
    let nasty = Nasty::starting("die_times:20:$dir/starts");
    nasty.works().await;
    assert_eq!(nasty.log(), ["echo"]);
    assert_eq!(lines(&nasty.dir.path().join("starts")).len(), 21);
}

#[tokio::test]
async fn an_answer_given_before_dying_counts() {
    for round in 0..5 {
        let nasty = Nasty::new();
        let reply = nasty
            .call("answer_and_die", json!({"n": round}), PATIENT)
            .await;
        assert_eq!(reply, said(json!({"n": round})));
    }
}

#[tokio::test]
async fn what_never_starts_is_proven_not_sent() {
    for start in ["die", "no_handshake"] {
        let nasty = Nasty::starting(start);
        let reply = nasty.call("echo", json!({}), SHORT * 3).await;
        assert!(is_not_sent(&reply), "{start}: {reply:?}");
        let health = nasty.wire.health();
        assert!(!health[0].ok, "{health:?}");
        assert!(nasty.log().is_empty());
    }
    let nowhere = UpstreamSpec::stdio("nowhere", "/no/such/program", ["x"], Vec::new());
    let wire = Upstreams::new(vec![nowhere]);
    let reply = wire
        .send(&Call::new("nowhere", "x", &json!({})), SHORT)
        .await;
    assert!(is_not_sent(&reply), "{reply:?}");
}

#[tokio::test]
async fn starts_are_at_least_a_second_apart() {
    let nasty = Nasty::starting("die_times:100:$dir/starts");
    let env = vec![
        (
            "PATH".to_owned(),
            std::env::var_os("PATH").unwrap().into_string().unwrap(),
        ),
        (
            "NASTY_START".to_owned(),
            format!("die_times:100:{}/starts", nasty.dir.path().display()),
        ),
    ];
    let wire = Upstreams::new(vec![UpstreamSpec::stdio("n", "python3", [SCRIPT], env)]);
    let until = Instant::now() + Duration::from_millis(2_500);
    let calls = (0..8).map(|_| async {
        while Instant::now() < until {
            let reply = wire.send(&Call::new("n", "echo", &json!({})), SHORT).await;
            assert!(is_not_sent(&reply), "{reply:?}");
        }
    });
    futures_util::future::join_all(calls).await;
    let starts: Vec<f64> = lines(&nasty.dir.path().join("starts"))
        .iter()
        .map(|at| at.parse().unwrap())
        .collect();
    assert!((2..=3).contains(&starts.len()), "{starts:?}");
    // The notes are taken by the children, a little after each start.
    assert!(
        starts.windows(2).all(|pair| pair[1] - pair[0] > 0.8),
        "{starts:?}"
    );
}

#[tokio::test]
async fn a_child_that_stops_reading_blocks_nobody() {
    let nasty = Nasty::new();
    let reply = nasty.call("stop_reading", json!({}), PATIENT).await;
    assert_eq!(reply, said(json!({})));
    // More than a pipe holds, so that the writer is stuck behind the first few.
    let big = json!({"text": "x".repeat(100_000)});
    let calls = (0..50).map(|_| nasty.call("echo", big.clone(), SHORT));
    let replies = futures_util::future::join_all(calls).await;
    assert!(
        replies.iter().any(is_lost),
        "what may have left is in doubt"
    );
    assert!(replies.iter().any(is_not_sent), "what waited here is not");
    assert!(
        replies
            .iter()
            .all(|reply| is_lost(reply) || is_not_sent(reply))
    );
    nasty.works().await;
    assert_eq!(nasty.log(), ["stop_reading", "echo"]);
}

#[tokio::test]
async fn many_calls_share_one_child_and_each_gets_its_own_answer() {
    let nasty = Nasty::new();
    let calls = (0..300).map(|n| {
        let nasty = &nasty;
        async move {
            let reply = nasty.call("echo", json!({"n": n}), PATIENT).await;
            assert_eq!(reply, said(json!({"n": n})));
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(nasty.log().len(), 300);
}

#[tokio::test]
async fn a_child_gets_the_environment_it_was_given_and_nothing_else() {
    let nasty = Nasty::new();
    let Reply::Result { content, .. } = nasty.call("environment", json!({}), PATIENT).await else {
        panic!("no answer");
    };
    assert_eq!(content["NASTY_START"], json!(""));
    // Cargo sets these for tests, and nobody gave them to the child.
    for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "HOME"] {
        assert!(
            std::env::var_os(name).is_some() && content.get(name).is_none(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_child_that_repeats_its_credentials_tells_nobody() {
    let nasty = Nasty::new();
    let Reply::Result { content, .. } = nasty.call("environment", json!({}), PATIENT).await else {
        panic!("no answer");
    };
    assert_eq!(content["NASTY_API_KEY"], json!("[secret]"));
    let said = json!({"text": format!("got {KEY}, which is wrong")});
    let Reply::Result { content, .. } = nasty.call("echo", said, PATIENT).await else {
        panic!("no answer");
    };
    assert_eq!(content["text"], json!("got [secret], which is wrong"));
}

#[tokio::test]
async fn a_list_that_never_ends_is_cut_and_a_name_that_comes_twice_is_told_twice() {
    let endless = Nasty::starting("endless_list");
    let cut = endless.wire.offered("nasty", PATIENT).await.unwrap();
    assert_eq!(cut, [], "its pages are empty");

    let nasty = Nasty::new();
    let named = |names: &[&str]| -> Value {
        let tools = names
            .iter()
            .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
        tools.collect()
    };
    nasty.offers(&named(&["a", "b", "c", "d", "e", "f", "g"]));
    let tools = nasty.wire.offered("nasty", PATIENT).await.unwrap();
    let names: Vec<String> = tools.into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g"], "three a page");
    nasty.offers(&named(&["a", "b", "c", "d", "a"]));
    let tools = nasty.wire.offered("nasty", PATIENT).await.unwrap();
    let names: Vec<String> = tools.into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "a"], "whoever reads it judges");
}

#[tokio::test]
async fn a_changed_list_and_a_restart_are_told() {
    let nasty = Nasty::new();
    let mut changes = nasty.wire.changes();
    nasty.works().await;
    assert_eq!(changes.recv().await.unwrap(), "nasty", "it started");
    nasty.call("changed", json!({}), PATIENT).await;
    assert_eq!(changes.recv().await.unwrap(), "nasty", "it said so");
    nasty.call("die", json!({}), PATIENT).await;
    nasty.works().await;
    assert_eq!(changes.recv().await.unwrap(), "nasty", "it started again");
}

#[tokio::test]
async fn shutting_down_leaves_no_child_behind() {
    let nasty = Nasty::new();
    nasty.works().await;
    let detail = nasty.wire.health()[0].detail.clone();
    let pid = detail.rsplit(' ').next().unwrap();
    assert!(Path::new("/proc").join(pid).exists());
    nasty.wire.shut_down().await;
    assert!(!Path::new("/proc").join(pid).exists());
    let reply = nasty.call("echo", json!({}), SHORT).await;
    assert!(is_not_sent(&reply), "{reply:?}");
}
