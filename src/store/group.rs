//! Groups waiting changes, so that everybody who waits shares one flush to disk.
//!
//! One task per store takes whatever waits, up to the batch limit, hands it to the backend as one
//! batch and answers each caller. A lone caller waits for nobody. Only where other nodes write to
//! the same store does a batch wait, a moment, for as many changes as the one before it had: a
//! server that is asked half as often has more time for each, and those who wait for the other
//! node's transaction would wait anyway. A caller that goes away does not cancel its write once it
//! is queued; before that nothing was written.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::prepared::Prepared;
use super::{ApplyError, StoreError};
use crate::domain::change::{Applied, Change};

/// Changes written in one transaction at most. More would make the last one wait for the first
/// without sharing the flush any better: at 256 its share is below 1 % of a flush.
pub const MAX_BATCH: usize = 256;

/// How long a batch waits for more where other nodes write too: about what one transaction takes.
/// A third of that is the server's whatever the batch holds, and a batch that starts at once mostly
/// waits behind the other node's.
const MOMENT: Duration = Duration::from_millis(2);

/// Changes that may wait for the writer; callers beyond it wait to get in line.
const QUEUE: usize = 4 * MAX_BATCH;

/// Writes batches. Exactly one fate per change, in order. `more` says whether further changes wait
/// by now, and so whether the next batch follows at once.
pub(crate) trait Bulk: Send + 'static {
    fn write(
        &mut self,
        batch: &[Prepared],
        more: &(dyn Fn() -> bool + Sync),
    ) -> impl Future<Output = Vec<Result<Applied, ApplyError>>> + Send;

    /// Whether somebody else was seen to write to the same store since the batch before the last.
    fn shared(&self) -> bool {
        false
    }
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
    let mut last = 0;
    while jobs.recv_many(&mut waiting, limit).await > 0 {
        if bulk.shared() {
            gather(&mut jobs, &mut waiting, last).await;
        }
        last = waiting.len();
        let (batch, replies): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|job| (job.change, job.reply)).unzip();
        record_size(batch.len());
        let fates = bulk.write(&batch, &|| !jobs.is_empty()).await;
        for (reply, fate) in replies.into_iter().zip(fates) {
            // A caller that went away is not told; its change stands all the same.
            let _ = reply.send(fate);
        }
    }
}

/// Waits a moment until so many changes are there, which is within the limit.
async fn gather(jobs: &mut mpsc::Receiver<Job>, waiting: &mut Vec<Job>, enough: usize) {
    let until = Instant::now() + MOMENT;
    while let Some(missing) = enough.checked_sub(waiting.len()).filter(|n| *n > 0) {
        match timeout_at(until, jobs.recv_many(waiting, missing)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn record_size(size: usize) {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    metrics::histogram!("hundi_store_batch_size").record(f64::from(size));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::names::RecordKind;
    use crate::domain::change::{Conflict, Record};
    use crate::domain::ids::OrgId;
    use crate::domain::time::Timestamp;
    use futures_util::future::join_all;
    use std::sync::{Arc, Mutex};

    /// Refuses what `bad` names, notes the sizes of batches, dies on `die`.
    struct Fake(Arc<Mutex<Vec<usize>>>);

    impl Bulk for Fake {
        async fn write(
            &mut self,
            batch: &[Prepared],
            _more: &(dyn Fn() -> bool + Sync),
        ) -> Vec<Result<Applied, ApplyError>> {
            self.0.lock().unwrap().push(batch.len());
            let kinds = batch
                .iter()
                .map(|change| change.rows.records[0].actor.clone());
            kinds
                .map(|kind| match kind.as_str() {
                    "bad" => Err(Conflict::Stale.into()),
                    "die" => panic!("the writer dies"),
                    _ => Ok(Applied { first_seq: 1 }),
                })
                .collect()
        }
    }

    fn change(kind: &str) -> Change {
        let at = Timestamp::from_secs(1);
        let record = Record::new(at, &OrgId::default(), RecordKind::Proposed, kind);
        Change::record(record, None)
    }

    #[tokio::test]
    async fn what_waits_together_is_written_together() {
        for limit in [256, 64, 1] {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let group = Group::start(Fake(seen.clone()), limit);
            let fates = join_all((0..70).map(|n| {
                let kind = if n == 7 { "bad" } else { "good" };
                group.apply(change(kind))
            }));
            let fates = fates.await;
            let refused = fates.iter().filter(|fate| fate.is_err()).count();
            assert_eq!(refused, 1, "each caller gets its own fate");
            assert!(fates[7].is_err());
            let sizes = seen.lock().unwrap().clone();
            assert_eq!(sizes.iter().sum::<usize>(), 70);
            assert!(sizes.iter().all(|size| *size <= limit), "{sizes:?}");
            assert!(limit == 1 || sizes.len() < 10, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_writer_that_dies_leaves_doubt_and_then_refuses() {
        let group = Group::start(Fake(Arc::default()), 8);
        let fate = group.apply(change("die")).await;
        assert!(
            matches!(fate, Err(ApplyError::Store(StoreError::Unknown(_)))),
            "{fate:?}"
        );
        let fate = group.apply(change("good")).await;
        assert!(
            matches!(fate, Err(ApplyError::Store(StoreError::Unavailable(_)))),
            "{fate:?}"
        );
    }
}
