//! The store is gone: nothing is decided, everybody is told, and nothing has to be restarted.

use std::time::Duration;

use hundi::domain::principal::Role;
use hundi::entry::http::{HttpOptions, router};
use serde_json::json;

use super::door::Door;
use crate::support::fixture::Fixture;
use crate::support::fragile::Fragile;

#[tokio::test]
async fn without_the_store_the_door_refuses_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = Fragile::over(Fixture::store(&folder).await);
    let fixture = Fixture::over(folder, store.clone());
    let router = router(fixture.broker.clone(), HttpOptions::default());
    let door = Door { fixture, router };
    let agent = door.fixture.key(Role::Agent, "payer").await;
    door.fixture.allow_noop("payer", 1_000).await;
    let noop = json!({"tool": "noop", "arguments": {"amount": 5}});
    let allowed = door
        .post("/v1/proposals", &agent, noop.clone())
        .await
        .json();

    store.set_down(true);
    let answer = door.post("/v1/proposals", &agent, noop.clone()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (503, "store_unavailable".to_owned())
    );
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(answer.json()["recovery"], "wait");
    let commit = format!(
        "/v1/proposals/{}/commit",
        allowed["proposal_id"].as_str().unwrap()
    );
    let presented = json!({"commit_token": allowed["commit_token"], "arguments": {"amount": 5}});
    let answer = door.post(&commit, &agent, presented.clone()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (503, "store_unavailable".to_owned())
    );
    assert_eq!(
        door.fixture.wire.sent(),
        0,
        "nothing is sent that is not durable first"
    );
    assert_eq!(door.get("/healthz", "").await.status, 200);
    let ready = door.get("/readyz", "").await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (503, &json!("down"))
    );

    store.set_down(false);
    let well = async {
        while door.get("/readyz", "").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), well)
        .await
        .unwrap();
    let answer = door.post(&commit, &agent, presented).await;
    assert_eq!(
        answer.status,
        200,
        "the token is still good: {}",
        answer.text()
    );
}

/// Whoever could be revoked while nobody can look is refused, not believed.
#[tokio::test]
async fn a_key_is_not_believed_for_longer_than_a_revocation_may_take() {
    let folder = tempfile::tempdir().unwrap();
    let store = Fragile::over(Fixture::store(&folder).await);
    let fixture = Fixture::over(folder, store.clone());
    let key = fixture.key(Role::Auditor, "watcher").await;
    assert!(fixture.broker.access.authenticate(&key).await.is_ok());
    store.set_down(true);
    let refused = async {
        loop {
            match fixture.broker.access.authenticate(&key).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(trouble) => return trouble,
            }
        }
    };
    let trouble = tokio::time::timeout(Duration::from_secs(1), refused)
        .await
        .unwrap();
    assert_eq!(trouble.code(), "store_unavailable");
    let unknown = format!("hk_{}_{}", "0".repeat(16), "0".repeat(64));
    let trouble = fixture
        .broker
        .access
        .authenticate(&unknown)
        .await
        .unwrap_err();
    assert_eq!(
        trouble.code(),
        "store_unavailable",
        "nobody knows whether it exists"
    );
    store.set_down(false);
    let back = async {
        while fixture.broker.access.authenticate(&key).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), back)
        .await
        .unwrap();
}
