//! Several nodes on one Postgres, as real processes: what one proposed another commits, what one
//! left behind another settles, one token is honoured once whoever is asked, and nodes come and go
//! without losing anything.

#[path = "nodes/away.rs"]
mod away;
#[path = "nodes/clocks.rs"]
mod clocks;
#[path = "nodes/waits.rs"]
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use tokio::task::JoinSet;

use crate::support::nodes::Cluster;
use crate::support::postgres::{OwnPostgres, connect};
use crate::support::proxy::{Commit, Line, Proxy};
use crate::support::server::{FirstKeys, Server, Transfer};

/// Longest that anything may stay unsettled (invariant I6).
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// How often the bank paid each of these transfers, in their order.
async fn payments(cluster: &Cluster, transfers: &[Transfer]) -> Vec<usize> {
    let paid = cluster.bank.paid().await;
    let times = |id: &str| paid.iter().filter(|reference| *reference == id).count();
    transfers
        .iter()
        .map(|transfer| times(&transfer.id))
        .collect()
}

#[tokio::test]
async fn nodes_that_start_together_make_the_first_keys_once() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    // The other node's folder has no keys of its own, so it must not ask for them.
    let other = cluster.clone();
    let starting = std::thread::spawn(move || {
        let known = || FirstKeys {
            agent: String::new(),
            admin: String::new(),
        };
        other.raw_node("b", known, &[]).unwrap()
    });
    let known = || FirstKeys {
        agent: String::new(),
        admin: String::new(),
    };
    let a = cluster.raw_node("a", known, &[]).unwrap();
    let b = starting.join().unwrap();
    let made: Vec<&Server> = [&a, &b]
        .into_iter()
        .filter(|n| !n.admin_key.is_empty())
        .collect();
    assert_eq!(made.len(), 1, "exactly one start makes the first keys");
    let (admin, agent) = (made[0].admin_key.clone(), made[0].agent_key.clone());
    for node in [&a, &b] {
        let tools = node.get(&admin, "/v1/keys").await;
        assert!(tools.to_string().contains("admin"), "{tools}");
        let body = json!({"tool": "noop", "arguments": {}});
        let (status, answer) = node.post(&agent, "/v1/proposals", &body).await.unwrap();
        assert_eq!(
            (status, &answer["status"]),
            (200, &json!("allowed")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn what_one_node_proposed_another_commits() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let (a, b) = (cluster.node("a", &[]), cluster.node("b", &[]));
    for (here, there) in [(&a, &b), (&b, &a)] {
        let transfer = here.transfer(100).await;
        let (status, answer) = there.commit(&transfer).await.unwrap();
        assert_eq!(
            (status, &answer["status"]),
            (200, &json!("committed")),
            "{answer}"
        );
        for node in [here, there] {
            let (status, again) = node.commit(&transfer).await.unwrap();
            assert_eq!(
                (status, &again["reason"]),
                (409, &json!("nonce_replay")),
                "{again}"
            );
            assert_eq!(again["original"]["commit_id"], answer["commit_id"]);
        }
        assert_eq!(payments(&cluster, &[transfer]).await, [1]);
    }
}

#[tokio::test]
async fn one_token_at_two_nodes_at_once_is_honoured_once() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let nodes = [cluster.node("a", &[]), cluster.node("b", &[])];
    for round in 0..20 {
        let transfer = nodes[round % 2].transfer(100).await;
        let (one, two) = tokio::join!(nodes[0].commit(&transfer), nodes[1].commit(&transfer));
        let answers = [one.unwrap().1, two.unwrap().1];
        let committed = answers
            .iter()
            .filter(|a| a["status"] == "committed")
            .count();
        assert_eq!(committed, 1, "round {round}: {answers:?}");
        let replayed = answers
            .iter()
            .filter(|a| a["reason"] == "nonce_replay")
            .count();
        assert_eq!(replayed, 1, "round {round}: {answers:?}");
        assert_eq!(payments(&cluster, &[transfer]).await, [1]);
    }
}

#[tokio::test]
async fn what_a_dead_node_claimed_another_settles() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let survivor = cluster.node("b", &[]);
    for step in ["s2.after", "s4.before", "s4.after", "s7.before"] {
        let mut dying = cluster.node("a", &[("HUNDI_KILL_AT", step)]);
        let transfer = dying.transfer(100).await;
        let heard = dying.commit(&transfer).await;
        assert!(
            heard.is_err(),
            "killed at {step}, and yet it answered {heard:?}"
        );
        dying.process().kill();
        let state = survivor.settled(&transfer.id, SETTLED_WITHIN).await;
        assert_eq!(state, "executed", "after {step}");
        let (_, again) = survivor.commit(&transfer).await.unwrap();
        assert_eq!(
            again["original"]["status"], "committed",
            "after {step}: {again}"
        );
        assert_eq!(payments(&cluster, &[transfer]).await, [1], "after {step}");
    }
}

/// Proposes and commits against one node after the other until told to stop. Gives back what was
/// acknowledged and what was proposed in all.
async fn keep_paying(
    http: reqwest::Client,
    key: String,
    urls: Arc<std::sync::Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    first: usize,
) -> (Vec<String>, Vec<String>) {
    let (mut acknowledged, mut proposed) = (Vec::new(), Vec::new());
    let mut turn = first;
    while !stop.load(Ordering::Relaxed) {
        let next = |turn: usize| {
            let urls = urls.lock().unwrap();
            urls[turn % urls.len()].clone()
        };
        let post = async |turn: usize, path: String, body: Value| -> Option<Value> {
            let sent = http
                .post(format!("{}{path}", next(turn)))
                .bearer_auth(&key)
                .json(&body);
            sent.send().await.ok()?.json().await.ok()
        };
        turn += 1;
        let arguments = json!({"amount": 100, "to": "acct_123"});
        let body = json!({"tool": "transfer_funds", "arguments": arguments});
        let Some(answer) = post(turn, "/v1/proposals".to_owned(), body).await else {
            continue;
        };
        let (Some(id), Some(token)) = (
            answer["proposal_id"].as_str(),
            answer["commit_token"].as_str(),
        ) else {
            continue;
        };
        proposed.push(id.to_owned());
        let body = json!({"commit_token": token, "arguments": arguments});
        // At the other node, if it is there.
        let told = post(turn + 1, format!("/v1/proposals/{id}/commit"), body).await;
        if told.is_some_and(|told| told["status"] == "committed") {
            acknowledged.push(id.to_owned());
        }
    }
    (acknowledged, proposed)
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let env: [(&str, &str); 0] = [];
    let mut nodes = vec![cluster.node("a", &env), cluster.node("b", &env)];
    let urls = Arc::new(std::sync::Mutex::new(
        nodes
            .iter()
            .map(|node| node.url.clone())
            .collect::<Vec<_>>(),
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for first in 0..6 {
        let (http, key) = (nodes[0].http.clone(), nodes[0].agent_key.clone());
        callers.spawn(keep_paying(http, key, urls.clone(), stop.clone(), first));
    }
    let rolled = tokio::task::spawn_blocking({
        let (cluster, urls) = (cluster.clone(), urls.clone());
        move || {
            for (index, name) in [(0, "a"), (1, "b")] {
                // As an operator does it: out of the balancer, stopped, started, back in.
                let survivor = nodes[1 - index].url.clone();
                *urls.lock().unwrap() = vec![survivor.clone()];
                nodes[index].terminate();
                assert!(
                    nodes[index].process().ended(Duration::from_secs(30)),
                    "{name} stops"
                );
                nodes[index] = cluster.node(name, &[]);
                *urls.lock().unwrap() = vec![survivor, nodes[index].url.clone()];
            }
            nodes
        }
    });
    let nodes = rolled.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut proposed) = (Vec::new(), Vec::new());
    while let Some(told) = callers.join_next().await {
        let (acks, all) = told.unwrap();
        acknowledged.extend(acks);
        proposed.extend(all);
    }
    assert!(
        acknowledged.len() > 10,
        "only {} went through",
        acknowledged.len()
    );
    let mut executed = 0;
    for id in &proposed {
        executed += usize::from(nodes[0].settled(id, SETTLED_WITHIN).await == "executed");
    }
    let paid = cluster.bank.paid().await;
    assert_eq!(
        paid.len(),
        executed,
        "the bank paid what was executed, once each"
    );
    for id in &acknowledged {
        assert!(paid.contains(id), "{id} was acknowledged and not paid");
    }
}

#[tokio::test]
async fn a_word_at_one_node_is_law_at_the_other() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let (a, b) = (cluster.node("a", &[]), cluster.node("b", &[]));
    let transfer = b.transfer(100).await;
    let freeze = json!({"scope": "all", "reason": "a drill"});
    let (status, answer) = a.post(&a.admin_key, "/v1/freeze", &freeze).await.unwrap();
    assert!(status < 300, "{answer}");
    let (status, answer) = b.commit(&transfer).await.unwrap();
    assert_eq!(
        (status, &answer["reason"]),
        (409, &json!("frozen")),
        "at once: {answer}"
    );
    let (status, answer) = a
        .post(&a.admin_key, "/v1/unfreeze", &json!({"scope": "all"}))
        .await
        .unwrap();
    assert!(status < 300, "{answer}");
    // Lifting it is heard of, within a moment.
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let (_, answer) = b.commit(&transfer).await.unwrap();
        if answer["status"] == "committed" {
            break;
        }
        assert_eq!(answer["reason"], "frozen", "{answer}");
        assert!(Instant::now() < until, "still frozen after a second");
    }

    // A key that is revoked here is refused there within a second.
    let key = a.other_agent("leaving").await;
    let id = key.split('_').nth(1).unwrap();
    let body = json!({"tool": "noop", "arguments": {}});
    let (status, _) = b.post(&key, "/v1/proposals", &body).await.unwrap();
    assert_eq!(status, 200, "a key made here works there");
    let gone = a
        .http
        .delete(format!("{}/v1/keys/{id}", a.url))
        .bearer_auth(&a.admin_key);
    let gone = gone.send().await.unwrap();
    assert!(gone.status().is_success(), "{}", gone.status());
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let (status, _) = b.post(&key, "/v1/proposals", &body).await.unwrap();
        if status == 401 {
            break;
        }
        assert!(
            Instant::now() < until,
            "still accepted after a second: {status}"
        );
    }
}

#[tokio::test]
async fn duties_that_run_on_both_nodes_do_everything_once() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let env = [
        ("HUNDI_TOKEN_TTL_SECS", "1"),
        ("HUNDI_ALLOWED_TTL_SECS", "1"),
    ];
    let (a, b) = (cluster.node("a", &env), cluster.node("b", &env));
    let mut left = Vec::new();
    for turn in 0..20 {
        let node = if turn % 2 == 0 { &a } else { &b };
        left.push(node.transfer(100).await);
    }
    let until = Instant::now() + SETTLED_WITHIN;
    for transfer in &left {
        let path = format!("/v1/proposals/{}", transfer.id);
        while b.get(&b.admin_key, &path).await["state"] != "expired" {
            assert!(Instant::now() < until, "{} does not expire", transfer.id);
        }
        let path = format!("/v1/audit?proposal={}", transfer.id);
        let records = a.get(&a.admin_key, &path).await;
        let text = records.to_string();
        assert_eq!(text.matches("\"expired\"").count(), 1, "once: {text}");
    }
    // Both nodes sealed; what either exports verifies and holds everything.
    let budget = format!("/v1/agents/{}/budget", agent_of(&a).await);
    let budget = a.get(&a.admin_key, &budget).await;
    assert_eq!(
        budget["reserved"], 0,
        "each reservation came back once: {budget}"
    );
    for node in [&a, &b] {
        let export = sealed_export(node).await;
        let file = node.dir.path().join("export.jsonl");
        std::fs::write(&file, export).unwrap();
        node.command(&["audit", "verify", file.to_str().unwrap()]);
    }
}

async fn agent_of(node: &Server) -> String {
    let agents = node.get(&node.admin_key, "/v1/agents").await;
    let text = agents.to_string();
    let listed = agents["agents"]
        .as_array()
        .unwrap_or_else(|| panic!("{text}"));
    let ids = listed
        .iter()
        .map(|agent| agent["agent_id"].as_str().unwrap_or_default());
    ids.filter(|id| *id != "external")
        .map(str::to_owned)
        .next()
        .unwrap()
}

/// The export once everything is sealed.
async fn sealed_export(node: &Server) -> String {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let url = format!("{}/v1/audit?format=jsonl", node.url);
        let export = node
            .http
            .get(url)
            .bearer_auth(&node.admin_key)
            .send()
            .await
            .unwrap();
        let status = export.status();
        let text = export.text().await.unwrap();
        if status.is_success() && text.contains("tree_size") {
            return text;
        }
        assert!(Instant::now() < until, "{status}: {text}");
    }
}

#[tokio::test]
async fn tls_is_spoken_and_strangers_are_not_believed() {
    let Some((server, authority)) = OwnPostgres::with_tls() else {
        return;
    };
    let url = |rest: &str| format!("{}?{rest}", server.url());
    let good = format!("sslmode=verify-full&sslrootcert={}", authority.display());
    let cluster = Cluster::on(url(&good));
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = PgConnection::connect(&cluster.database).await {
        assert!(Instant::now() < until, "{error}; {}", server.log());
    }
    let node = cluster.node("a", &[]);
    let transfer = node.transfer(100).await;
    let (_, answer) = node.commit(&transfer).await.unwrap();
    assert_eq!(answer["status"], "committed", "{answer}");
    let mut conn = connect(&cluster.database).await;
    let plain = "SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid) \
                 WHERE a.application_name = 'hundi' AND NOT s.ssl";
    let plain: i64 = conn.fetch_one(plain).await.unwrap().get(0);
    assert_eq!(plain, 0, "nothing goes in plain text");
    for (rest, why) in [
        ("sslmode=verify-full", "UnknownIssuer"),
        ("sslmode=disable", "no encryption"),
    ] {
        let bad = url(rest);
        let said = cluster.try_node("b", &[("HUNDI_DATABASE_URL", &bad)]);
        let said = said.err().unwrap();
        assert!(said.contains(why), "{rest}: {said}");
    }
}

#[tokio::test]
async fn a_server_that_could_forget_a_commit_is_not_used() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let weak = format!("{}&options[synchronous_commit]=off", cluster.database);
    let said = cluster
        .try_node("a", &[("HUNDI_DATABASE_URL", &weak)])
        .err()
        .unwrap();
    assert!(
        said.contains("synchronous_commit=off") && said.contains("does not start"),
        "{said}"
    );
    // The same by the database's own setting for a role, which no URL shows.
    for missing in ["HUNDI_TOKEN_KEY", "HUNDI_AUDIT_KEY", "HUNDI_MASTER_KEY"] {
        let said = cluster.try_node("a", &[(missing, "")]).err().unwrap();
        assert!(said.contains(missing), "{missing}: {said}");
    }
    let short = cluster
        .try_node("a", &[("HUNDI_MASTER_KEY", "00010203")])
        .err()
        .unwrap();
    assert!(
        short.contains("HUNDI_MASTER_KEY") && short.contains("too short"),
        "{short}"
    );
    let mut conn = connect(&cluster.database).await;
    let tables =
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()";
    let tables: i64 = conn.fetch_one(tables).await.unwrap().get(0);
    assert_eq!(tables, 0, "a refused start leaves nothing behind");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_read_back() {
    let Some(mut cluster) = Cluster::fresh().await else {
        return;
    };
    let (proxy, through) = Proxy::before(&cluster.database);
    cluster.database = through;
    let node = cluster.node("a", &[]);
    // Admission, claim and settlement each lose their answer once; then all of them.
    for (how, times) in [
        (Commit::AnswerLost, 1),
        (Commit::AnswerLost, 3),
        (Commit::NeverArrives, 1),
    ] {
        for skip in 0..3 {
            let before = proxy.struck();
            let arguments = json!({"amount": 100, "to": "acct_123"});
            let key = format!("{how:?}-{times}-{skip}");
            let body = json!({
                "tool": "transfer_funds", "arguments": arguments, "idempotency_key": key,
            });
            if skip == 0 {
                proxy.spoil(how, times);
            }
            let mut answer = propose(&node, &body).await;
            if answer["commit_token"].is_null() {
                // Only a COMMIT that never arrived may be told as a failure.
                assert_eq!(how, Commit::NeverArrives, "{answer}");
                assert_eq!(answer["code"], "store_unavailable", "{answer}");
                answer = propose(&node, &body).await;
            }
            let transfer = Transfer {
                id: answer["proposal_id"].as_str().unwrap().to_owned(),
                token: answer["commit_token"].as_str().unwrap().to_owned(),
                arguments,
            };
            if skip > 0 {
                proxy.spoil(how, times);
            }
            let heard = node.commit(&transfer).await.unwrap();
            let state = match heard.1["status"].as_str() {
                Some("committed") => "executed".to_owned(),
                // Refused before the claim: the token is as good as before.
                _ if heard.1["code"] == "store_unavailable" => {
                    assert_eq!(how, Commit::NeverArrives, "{heard:?}");
                    let (_, again) = node.commit(&transfer).await.unwrap();
                    assert_eq!(again["status"], "committed", "{again}");
                    "executed".to_owned()
                }
                _ => node.settled(&transfer.id, SETTLED_WITHIN).await,
            };
            assert_eq!(state, "executed", "{key}: {heard:?}");
            assert_eq!(payments(&cluster, &[transfer]).await, [1], "{key}");
            // The duties commit too, so some of them may have met it instead.
            assert!(proxy.struck() > before, "{key} was not spoiled");
        }
    }
}

/// A usual start writes nothing, so no COMMIT of it can be left without an answer.
#[tokio::test]
async fn a_node_starts_although_a_commit_is_never_answered() {
    let Some(mut cluster) = Cluster::fresh().await else {
        return;
    };
    let first = cluster.node("a", &[]);
    let (proxy, through) = Proxy::before(&cluster.database);
    cluster.database = through;
    proxy.spoil(Commit::AnswerWithheld, 1);
    let second = cluster.node("b", &[]);
    let transfer = first.transfer(100).await;
    let (_, heard) = second.commit(&transfer).await.unwrap();
    let settled = match heard["status"].as_str() {
        Some("committed") => "executed".to_owned(),
        _ => second.settled(&transfer.id, SETTLED_WITHIN).await,
    };
    assert_eq!(settled, "executed", "{heard}");
}

async fn propose(node: &Server, body: &Value) -> Value {
    node.post(&node.agent_key, "/v1/proposals", body)
        .await
        .unwrap()
        .1
}

#[tokio::test]
async fn a_database_that_falls_silent_is_told_and_comes_back() {
    let Some(mut cluster) = Cluster::fresh().await else {
        return;
    };
    let (proxy, through) = Proxy::before(&cluster.database);
    cluster.database = through;
    let node = cluster.node("a", &[]);
    for line in [Line::Silent, Line::Down] {
        let transfer = node.transfer(100).await;
        proxy.line(line);
        let began = Instant::now();
        let ready = node
            .http
            .get(format!("{}/readyz", node.url))
            .send()
            .await
            .unwrap();
        assert_eq!(ready.status().as_u16(), 503, "{line:?}");
        let (status, answer) = node.commit(&transfer).await.unwrap();
        assert_eq!(
            (status, &answer["code"]),
            (503, &json!("store_unavailable")),
            "{answer}"
        );
        let took = began.elapsed();
        assert!(
            took < Duration::from_secs(20),
            "{line:?}: an answer takes {took:?}"
        );
        proxy.line(Line::Up);
        let healed = Instant::now();
        loop {
            let (_, answer) = node.commit(&transfer).await.unwrap();
            match answer["status"].as_str() {
                Some("committed") => break,
                _ => assert_eq!(answer["code"], "store_unavailable", "{answer}"),
            }
            let waited = healed.elapsed();
            assert!(
                waited < Duration::from_secs(10),
                "{line:?}: back only after {waited:?}"
            );
        }
        assert_eq!(payments(&cluster, &[transfer]).await, [1]);
    }
}

#[tokio::test]
async fn a_session_that_the_database_ends_is_replaced() {
    let Some(mut cluster) = Cluster::fresh().await else {
        return;
    };
    let schema = cluster.database.rsplit('=').next().unwrap().to_owned();
    let mut conn = connect(&cluster.database).await;
    cluster.database = format!("{}&application_name=hundi-{schema}", cluster.database);
    let node = cluster.node("a", &[]);
    for _ in 0..3 {
        // A session that died idle may be noticed here first; then nothing was done, and said so.
        let body =
            json!({"tool": "transfer_funds", "arguments": {"amount": 100, "to": "acct_123"}});
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let asked = node.post(&node.agent_key, "/v1/proposals", &body).await;
            let (status, answer) = asked.unwrap();
            if status == 200 {
                break;
            }
            assert_eq!(answer["code"], "store_unavailable", "{answer}");
            assert!(Instant::now() < until, "not back after 10 s");
        }
        let transfer = node.transfer(100).await;
        // Only this test's sessions: other tests share the server.
        let kill = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'hundi-{schema}'"
        );
        conn.execute(AssertSqlSafe(kill)).await.unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let (_, answer) = node.commit(&transfer).await.unwrap();
            if answer["status"] == "committed" {
                break;
            }
            assert_eq!(answer["code"], "store_unavailable", "{answer}");
            assert!(Instant::now() < until, "not back after 10 s");
        }
        assert_eq!(payments(&cluster, &[transfer]).await, [1]);
    }
}

/// The claim of one node is written, and its answer comes so late that the other node has taken
/// over and paid. The bank forgets its idempotency keys, so a second sending would be a second
/// payment.
#[tokio::test]
async fn a_claim_that_is_told_too_late_is_not_sent_any_more() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let (proxy, through) = Proxy::before(&cluster.database);
    let slow = cluster.node("a", &[("HUNDI_DATABASE_URL", &through)]);
    let other = cluster.node("b", &[]);
    let transfer = slow.transfer(100).await;
    // Until the log is sealed, so that the next COMMIT is the claim's.
    let mut conn = connect(&cluster.database).await;
    let sealed = "SELECT (SELECT max(seq) FROM records) = (SELECT (body ->> 'after_seq')::bigint \
                  FROM docs WHERE kind = 'seal')";
    let until = Instant::now() + Duration::from_secs(10);
    while !conn.fetch_one(sealed).await.unwrap().get::<bool, _>(0) {
        assert!(Instant::now() < until, "never sealed");
    }
    let forget = json!({"kind": "forget_keys", "operation": "transfer", "count": 10});
    cluster.bank.arm(forget).await;
    proxy.spoil(Commit::AnswerWithheld, 1);
    let heard = slow.commit(&transfer).await.unwrap();
    assert_eq!(proxy.struck(), 1);
    assert_eq!(
        other.settled(&transfer.id, SETTLED_WITHIN).await,
        "executed"
    );
    let sent = cluster.bank.ledger().await;
    assert_eq!(sent.len(), 1, "{heard:?}: {sent:?}");
    // Whatever the caller heard first, the outcome is there to be read.
    let (_, again) = slow.commit(&transfer).await.unwrap();
    assert_eq!(again["original"]["status"], "committed", "{again}");
}
