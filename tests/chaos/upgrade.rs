//! A rolling upgrade under load: two nodes of an older version on one Postgres and one Redis, each
//! stopped and started again as the present version, while callers go to both. The first new node
//! brings the schema up to date under the old one. Then the books, as after a storm.
//!
//! `HUNDI_UPGRADE_FROM` names the older program (`tests/chaos/upgrade` builds one). Without it both
//! versions are the present one, which still is a rolling restart with the whole of the books.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hundi::ambient::Ambient;
use sqlx::{Executor, Row};
use tokio::task::block_in_place;

use super::callers::Crowd;
use super::ground::{Ground, Heard, NODES};
use super::storm::{agent, limit_rates};
use super::{ground, ledger};
use crate::support::server::HUNDI;

/// Commits that have to be acknowledged in each stage, before the next one begins.
const PER_STAGE: usize = 40;
/// Longest that a stage may take until then.
const STAGE_WITHIN: Duration = Duration::from_secs(60);

/// Waits until so many more commits were acknowledged.
async fn go_on(heard: &Heard, stage: &str) {
    let acknowledged = || {
        let tales = heard.lock().unwrap();
        tales.iter().filter(|tale| tale.committed).count()
    };
    let (before, until) = (acknowledged(), Instant::now() + STAGE_WITHIN);
    let mut turns = tokio::time::interval(Duration::from_millis(20));
    while acknowledged() < before + PER_STAGE {
        let more = acknowledged() - before;
        assert!(Instant::now() < until, "{stage}: only {more} went through");
        turns.tick().await;
    }
    eprintln!("{stage}: {} acknowledged so far", acknowledged());
}

async fn schema(ground: &Ground) -> String {
    let mut conn = ground.postgres.ready().await;
    let row = conn
        .fetch_one("SELECT value FROM meta WHERE name = 'schema'")
        .await;
    row.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_upgrade_loses_nothing() {
    let older = std::env::var_os("HUNDI_UPGRADE_FROM").map(PathBuf::from);
    let older = older.unwrap_or_else(|| HUNDI.into());
    // Short lives, so that what nobody commits gives its reservation back before the books.
    let env = [
        ("HUNDI_ALLOWED_TTL_SECS", "30"),
        ("HUNDI_TOKEN_TTL_SECS", "20"),
    ];
    let Some(mut ground) = Ground::lay_with(&older, &env).await else {
        return;
    };
    let agent = agent(&ground).await;
    limit_rates(&ground, &agent).await;
    let crowd = Crowd::gather(&ground, u64::from_le_bytes(Ambient::real().bytes()));
    println!("schema {} of {}", schema(&ground).await, older.display());
    go_on(&crowd.heard, "two old nodes").await;
    ground.cluster.program = Path::new(HUNDI).into();
    for (node, stage) in [(0, "one of each"), (1, "two new nodes")] {
        block_in_place(|| {
            ground.terminate(node);
            assert!(ground.start(node), "node {} starts", NODES[node]);
        });
        println!("schema {} by now", schema(&ground).await);
        go_on(&crowd.heard, stage).await;
    }
    let done = Instant::now();
    crowd.stop();
    let works = ground.works_again().await;
    let (tales, _) = crowd.leave().await;
    let figures = ledger::settle(&ground, &agent, &tales, &[], done).await;
    println!("{figures}");
    assert!(works < ground::WORKS_WITHIN, "works after {works:?}");
    assert!(figures.acknowledged >= 3 * PER_STAGE, "{figures}");
    assert!(figures.is_clean(), "{figures}");
}
