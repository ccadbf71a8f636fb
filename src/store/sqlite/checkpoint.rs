//! Copies the log into the database file beside the commits, on a connection and thread of its
//! own, so that no commit has to copy much.
//!
//! What is copied is durable in the log already, and a passive checkpoint keeps nobody waiting, so
//! one that fails or comes late costs nothing but time: the commit that finds the log long copies
//! the rest itself, and that commit, with nobody writing beside it, is also what lets the log
//! begin anew.

use sqlx::Executor;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::mpsc;

/// Batches between two checkpoints, some nine hundred pages of log under load: few enough that a
/// commit has little left to copy, and enough that pages written again and again are copied once.
const BATCHES: u32 = 32;

/// The writer's side. Dropping it ends the copying.
pub(super) struct Checkpoints {
    nudge: mpsc::Sender<()>,
    batches: u32,
}

impl Checkpoints {
    /// Starts the task that copies, on this connection.
    pub fn start(conn: SqliteConnection) -> Self {
        let (nudge, nudges) = mpsc::channel(1);
        tokio::spawn(run(conn, nudges));
        Self { nudge, batches: 0 }
    }

    /// Counts a batch that was written; asks for a checkpoint now and then, and never waits.
    pub fn count(&mut self) {
        self.batches += 1;
        if self.batches >= BATCHES {
            self.batches = 0;
            // One that is under way, or waits already, will do.
            let _ = self.nudge.try_send(());
        }
    }
}

async fn run(mut conn: SqliteConnection, mut nudges: mpsc::Receiver<()>) {
    while nudges.recv().await.is_some() {
        if let Err(error) = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").await {
            tracing::debug!(%error, "no checkpoint; a commit will make one");
        }
    }
}
