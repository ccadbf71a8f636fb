//! Hearing that a request waits which another node took on: the server tells so (`NOTIFY`) as part of
//! the change that queues it.
//!
//! A ring may be lost, with the connection or behind a proxy that lends connections out; whoever
//! listens looks by himself now and then. After each silence of ours there is a ring, since something
//! may have been missed.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Executor, Row};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connect::ACQUIRE_TIMEOUT;

/// What the trigger of the table names (`sql/postgres/0008_wake_ups.sql`).
const CHANNEL: &str = "hundi_requests";
/// Silence after which it is tried whether the connection still lives.
const SILENCE: Duration = Duration::from_secs(30);
/// Pause before another connection is made.
const PAUSE: Duration = Duration::from_secs(2);

/// A connection that listens, for as long as this lives.
pub(super) struct Bell {
    heard: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Bell {
    /// Begins to listen, and waits for nobody.
    pub fn start(options: PgConnectOptions) -> Self {
        let (ring, heard) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                // Whatever ended it, polling goes on meanwhile.
                if let Err(error) = listen(options.clone(), &ring).await {
                    tracing::debug!(%error, "wake-ups are not heard; the queue is polled");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { heard, task }
    }

    /// Changes at every ring.
    pub fn heard(&self) -> watch::Receiver<u64> {
        self.heard.clone()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens until the connection ends.
async fn listen(options: PgConnectOptions, ring: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    let ours = listener.fetch_one("SELECT current_schema()").await?;
    let ours: String = ours.try_get(0)?;
    ring.send_modify(|rings| *rings += 1);
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            // Others may keep their queues in the same database.
            Ok(Ok(Some(told))) if told.payload() != ours => {}
            Ok(Ok(Some(_))) => ring.send_modify(|rings| *rings += 1),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let asked = timeout(ACQUIRE_TIMEOUT, listener.execute("SELECT 1")).await;
                asked.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}
