//! One node on SQLite: a disk that is full or read-only, and a wall clock that jumps.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::clock::Clock;
use crate::support::complete::needed;
use crate::support::server::{Server, Transfer};

const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How long the bank takes over the commit that is under way while the clock jumps: long enough to
/// see it, and well within the deadline of a call.
const SLOW_MS: u64 = 1_000;

/// A small file system of memory, which only root can make; gone with the value.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        let mounted = as_root("mount", &["-t", "tmpfs", "-o", options, "tmpfs"], at);
        let missing = "no small disk: only root, or who may `sudo`, can mount one";
        needed(mounted.then_some(Self(at)), missing)
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(as_root("mount", &["-o", &options], self.0), "{options}");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        as_root("umount", &["-l"], self.0);
    }
}

/// Runs a program as whoever this is, else with `sudo`. False if neither went well.
fn as_root(program: &str, args: &[&str], at: &Path) -> bool {
    let plain: &[&str] = &[program];
    [plain, &["sudo", "-n", program]].into_iter().any(|words| {
        let mut command = Command::new(words[0]);
        let done = command.args(&words[1..]).args(args).arg(at).output();
        done.is_ok_and(|done| done.status.success())
    })
}

/// The three accounts: what was heard, what the broker says, what the bank paid.
async fn agree(server: &Server, transfer: &Transfer, committed: bool) {
    let state = server.settled(&transfer.id, SETTLED_WITHIN).await;
    let paid = server.bank.paid().await;
    let paid = paid.iter().filter(|id| **id == transfer.id).count();
    assert_eq!(
        paid,
        usize::from(state == "executed"),
        "{} is {state}",
        transfer.id
    );
    assert!(
        !committed || state == "executed",
        "{} was acknowledged",
        transfer.id
    );
}

async fn propose(server: &Server) -> Result<Transfer, Value> {
    let arguments = json!({"amount": 100, "to": "acct_123"});
    let body = json!({"tool": "transfer_funds", "arguments": arguments});
    let (_, answer) = server
        .post(&server.agent_key, "/v1/proposals", &body)
        .await
        .unwrap();
    match (
        answer["proposal_id"].as_str(),
        answer["commit_token"].as_str(),
    ) {
        (Some(id), Some(token)) => Ok(Transfer {
            id: id.to_owned(),
            token: token.to_owned(),
            arguments,
        }),
        _ => Err(answer),
    }
}

/// Pays until the disk says no; then makes room and looks at the books.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path(), "size=2m") else {
        return;
    };
    let data = place.path().join("data");
    let server = Server::start_with(&[("HUNDI_DATA_DIR", data.to_str().unwrap())]).await;
    let mut told = Vec::new();
    let refusal = loop {
        assert!(told.len() < 5_000, "the disk never fills");
        let transfer = match propose(&server).await {
            Ok(transfer) => transfer,
            Err(refusal) => break refusal,
        };
        let (_, answer) = server.commit(&transfer).await.unwrap();
        let committed = answer["status"] == "committed";
        told.push((transfer, committed));
        if !committed && answer["code"] == "store_unavailable" {
            break answer;
        }
    };
    assert_eq!(refusal["code"], "store_unavailable", "{refusal}");
    assert_eq!(
        server
            .http
            .get(format!("{}/healthz", server.url))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    disk.remount("size=64m");
    works_within(&server, Duration::from_secs(10)).await;
    for (transfer, committed) in &told {
        agree(&server, transfer, *committed).await;
    }
}

/// Waits until a commit is visibly under way.
async fn claimed(server: &Server, transfer: &Transfer) {
    let path = format!("/v1/proposals/{}", transfer.id);
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let seen = server.get(&server.admin_key, &path).await;
        match seen["state"].as_str() {
            Some("committing") => return,
            Some("allowed") => assert!(Instant::now() < until, "never claimed: {seen}"),
            _ => panic!("the commit was over before the clock could jump: {seen}"),
        }
    }
}

async fn works_within(server: &Server, limit: Duration) {
    let began = Instant::now();
    loop {
        let last = match propose(server).await {
            Ok(transfer) => {
                let (_, answer) = server.commit(&transfer).await.unwrap();
                if answer["status"] == "committed" {
                    return agree(server, &transfer, true).await;
                }
                answer
            }
            Err(answer) => answer,
        };
        assert!(
            began.elapsed() < limit,
            "does not work after {limit:?}: {last}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_read_only_disk_refuses_and_recovers() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path(), "size=64m") else {
        return;
    };
    let data = place.path().join("data");
    let mut server = Server::start_with(&[("HUNDI_DATA_DIR", data.to_str().unwrap())]).await;
    let transfer = server.transfer(100).await;
    // A disk cannot turn read-only under a file that is open for writing, so the server starts on
    // one that is.
    server.process().kill();
    disk.remount("ro");
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.again(&[("HUNDI_DATA_DIR", data.to_str().unwrap())])
    }));
    assert!(
        refused.is_err(),
        "without a store that can write there is no start"
    );
    disk.remount("rw");
    let server = server.again(&[("HUNDI_DATA_DIR", data.to_str().unwrap())]);
    let (_, answer) = server.commit(&transfer).await.unwrap();
    assert_eq!(answer["status"], "committed", "{answer}");
    agree(&server, &transfer, true).await;
}

#[tokio::test]
async fn a_clock_that_jumps_pays_nobody_twice_and_locks_nobody_out() {
    let Some(clock) = Clock::new() else { return };
    let server = Server::start_with(&clock.env()).await;
    let server = &server;
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let mut told = Vec::new();
    for jump in [MINUTE, -MINUTE, HOUR, -HOUR, DAY, -DAY] {
        clock.jump(0);
        works_within(server, Duration::from_secs(10)).await;
        let transfer = propose(server).await.unwrap();
        // One commit is under way while the clock jumps.
        server
            .bank
            .arm(json!({"kind": "slow", "operation": "transfer", "delay_ms": SLOW_MS}))
            .await;
        let other = propose(server).await.unwrap();
        let slow = server.commit(&other);
        let jumped = async {
            claimed(server, &other).await;
            clock.jump(jump);
        };
        let (slow, ()) = tokio::join!(slow, jumped);
        let committed = slow.unwrap().1["status"] == "committed";
        told.push((other, committed));
        let (_, answer) = server.commit(&transfer).await.unwrap();
        let committed = answer["status"] == "committed";
        if jump >= MINUTE {
            assert_eq!(answer["reason"], "expired", "{jump}: {answer}");
        }
        told.push((transfer, committed));
        works_within(server, Duration::from_secs(10)).await;
        // Again with the token that may be valid once more.
        clock.jump(0);
        for (transfer, committed) in &mut told {
            let (_, answer) = server.commit(transfer).await.unwrap();
            *committed |= answer["status"] == "committed";
        }
    }
    for (transfer, committed) in &told {
        agree(server, transfer, *committed).await;
    }
}
