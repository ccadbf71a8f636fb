//! Groups waiting changes, so that everybody who waits shares one flush to disk.
//!
//! One task per store takes whatever waits, up to the batch limit, hands it to the backend as one
//! batch and answers each caller. A lone caller waits for nobody: there is no timer. A caller
//! that goes away does not cancel its write once it is queued; before that nothing was written.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

use super::prepared::Prepared;
use super::{ApplyError, StoreError};
use crate::domain::change::{Applied, Change};

/// Changes written in one transaction at most. More would make the last one wait for the first
/// without sharing the flush any better: at 256 its share is below 1 % of a flush.
pub const MAX_BATCH: usize = 256;

/// Changes that may wait for the writer; callers beyond it wait to get in line.
const QUEUE: usize = 4 * MAX_BATCH;

/// Writes batches. Exactly one fate per change, in order.
pub(crate) trait Bulk: Send + 'static {
    fn write(
        &mut self,
        batch: &[Prepared],
    ) -> impl Future<Output = Vec<Result<Applied, ApplyError>>> + Send;
}

struct Job {
    change: Prepared,
    reply: oneshot::Sender<Result<Applied, ApplyError>>,
}

/// The line of changes in front of one writer. Dropping it lets the writer finish what waits.
#[derive(Clone)]
pub(crate) struct Group {
    line: mpsc::Sender<Job>,
}

impl Group {
    /// Starts the writer task. `limit` is 1 to [`MAX_BATCH`]; 1 turns grouping off.
    pub fn start(bulk: impl Bulk, limit: usize) -> Self {
        let (line, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(run(bulk, jobs, limit.clamp(1, MAX_BATCH)));
        Self { line }
    }

    /// Queues a change and waits for its fate.
    pub async fn apply(&self, change: Change) -> Result<Applied, ApplyError> {
        let change = Prepared::new(change)?;
        let (reply, fate) = oneshot::channel();
        if self.line.send(Job { change, reply }).await.is_err() {
            return Err(StoreError::Unavailable("the writer has stopped".to_owned()).into());
        }
        // The writer took the change and died with it: only reading back tells.
        let lost = || StoreError::Unknown("the writer stopped in the middle".to_owned());
        fate.await.unwrap_or_else(|_| Err(lost().into()))
    }
}

async fn run(mut bulk: impl Bulk, mut jobs: mpsc::Receiver<Job>, limit: usize) {
    let mut waiting = Vec::with_capacity(limit);
    while jobs.recv_many(&mut waiting, limit).await > 0 {
        let (batch, replies): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|job| (job.change, job.reply)).unzip();
        record_size(batch.len());
        let fates = bulk.write(&batch).await;
        for (reply, fate) in replies.into_iter().zip(fates) {
            // A caller that went away is not told; its change stands all the same.
            let _ = reply.send(fate);
        }
    }
}

fn record_size(size: usize) {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    metrics::histogram!("hundi_store_batch_size").record(f64::from(size));
}
