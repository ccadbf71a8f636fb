//! Whoever answers is woken: with an hour between two looks at the queue, nothing waits for a look.

use serde_json::json;

use super::queue::{ended, queued};
use super::town::Town;
use crate::support::nodes::Cluster;

const HOURLY: (&str, &str) = ("HUNDI_REQUESTS_POLL_MS", "3600000");

async fn each_is_answered(town: &Town) {
    for number in 0..3 {
        let id = queued(town, json!({"prompt": format!("number {number}")})).await;
        assert_eq!(ended(town, &id).await["status"], "completed");
    }
}

#[tokio::test]
async fn what_is_queued_wakes_a_worker_of_the_same_process() {
    let town = Town::with(&[HOURLY, ("HUNDI_REQUESTS_WORKERS", "1")]).await;
    each_is_answered(&town).await;
    // More than can be in hand at once: whoever is done takes the next.
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(queued(&town, json!({"prompt": format!("at once {number}")})).await);
    }
    for id in ids {
        assert_eq!(ended(&town, &id).await["status"], "completed");
    }
}

#[tokio::test]
async fn what_one_node_queues_wakes_a_worker_of_another() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let town = Town {
        server: cluster.node("takes", &[("HUNDI_REQUESTS_WORKERS", "0")]),
    };
    let answers = cluster.node("answers", &[HOURLY]);
    each_is_answered(&town).await;
    drop(answers);
}
