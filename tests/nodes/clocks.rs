//! Nodes whose clocks differ: nothing is paid twice, and only who is wrong is locked out.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{SETTLED_WITHIN, payments};
use crate::support::clock::Clock;
use crate::support::nodes::Cluster;
use crate::support::server::Server;

async fn state(node: &Server, id: &str) -> String {
    let seen = node
        .get(&node.admin_key, &format!("/v1/proposals/{id}"))
        .await;
    seen["state"].as_str().unwrap().to_owned()
}

/// To a node whose clock is far off, every lease of the others has ended or began in the future. It
/// may take over what is under way, and still nothing is paid twice.
///
/// What a node proposes whose own clock is behind has lapsed for everybody else, who may end it
/// before it is committed. Then it was not paid, and is proposed again.
#[tokio::test]
async fn nodes_whose_clocks_differ_by_an_hour_pay_once() {
    let Some(clock) = Clock::new() else { return };
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let right = cluster.node("a", &[]);
    let wrong = cluster.node("b", &clock.env());
    for off in [3_600, -3_600] {
        clock.jump(off);
        for node in [&right, &wrong] {
            let slow = json!({"kind": "slow", "operation": "transfer", "delay_ms": 1_500});
            cluster.bank.arm(slow).await;
            let behind = off < 0 && std::ptr::eq(node, &raw const wrong);
            let until = Instant::now() + SETTLED_WITHIN;
            loop {
                let transfer = node.transfer(100).await;
                let heard = node.commit(&transfer).await.unwrap();
                let state = right.settled(&transfer.id, SETTLED_WITHIN).await;
                for other in [&right, &wrong] {
                    let (status, again) = other.commit(&transfer).await.unwrap();
                    assert_eq!(status, 409, "{off} s off: {again}");
                }
                let paid = payments(&cluster, &[transfer]).await;
                if state == "executed" {
                    assert_eq!(paid, [1], "{off} s off");
                    break;
                }
                assert_eq!(paid, [0], "{off} s off: {heard:?}");
                assert!(behind && state == "expired", "{off} s off: {heard:?}");
                assert!(Instant::now() < until, "never executed: {heard:?}");
            }
        }
    }
}

/// One node whose clock runs ahead would otherwise end within half a second whatever the others
/// allow.
#[tokio::test]
async fn a_node_ahead_does_not_end_what_others_have_allowed() {
    let Some(clock) = Clock::new() else { return };
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let right = cluster.node("a", &[]);
    let mut ahead = cluster.node("b", &clock.env());
    let transfer = right.transfer(100).await;
    // One that has lapsed for everybody: when it is ended, a whole turn of that duty was taken, and
    // by the node that is ahead, because the other one is frozen meanwhile.
    clock.jump(-3_600);
    right.freeze();
    let lapsed = ahead.transfer(100).await;
    clock.jump(3_600);
    let until = Instant::now() + SETTLED_WITHIN;
    let mut turns = tokio::time::interval(Duration::from_millis(20));
    while state(&ahead, &lapsed.id).await != "expired" {
        assert!(Instant::now() < until, "it never lapses");
        turns.tick().await;
    }
    // Ends after its present turn, so that the turn is over.
    ahead.terminate();
    assert!(ahead.process().ended(SETTLED_WITHIN));
    right.thaw();
    assert_eq!(state(&right, &transfer.id).await, "allowed");
    let (_, answer) = right.commit(&transfer).await.unwrap();
    assert_eq!(answer["status"], "committed", "{answer}");
}
