//! A store that can be cut off: while it is down, every call fails as one whose database is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use hundi::domain::change::{Applied, Change, Doc, DocKey, Pot};
use hundi::domain::facts::{Earlier, PastPayout};
use hundi::domain::ids::{AgentId, OrgId, ProposalId};
use hundi::domain::proposal::Proposal;
use hundi::domain::retention::Old;
use hundi::domain::time::Timestamp;
use hundi::store::{
    ApplyError, Budget, Lately, ProposalFilter, RecordFilter, Same, Standings, Store, StoreError,
    StoredRecord, Waiting,
};

/// A store and the switch in front of it.
pub struct Fragile {
    inner: Arc<dyn Store>,
    down: AtomicBool,
}

impl Fragile {
    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            down: AtomicBool::new(false),
        })
    }

    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn up(&self) -> Result<&dyn Store, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("cut off by the test".to_owned()));
        }
        Ok(self.inner.as_ref())
    }
}

/// Writes one method of the trait as "only while it is up".
macro_rules! while_up {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for Fragile {
            async fn apply(&self, change: Change) -> Result<Applied, ApplyError> {
                self.up()?.apply(change).await
            }

            $(async fn $name(&self, $($arg: $kind),*) -> Result<$answer, StoreError> {
                self.up()?.$name($($arg),*).await
            })*
        }
    };
}

while_up! {
    proposal(id: ProposalId) -> Option<Proposal>;
    by_key(org: &OrgId, agent: &AgentId, key: &str) -> Option<Proposal>;
    proposals(filter: &ProposalFilter) -> Vec<Proposal>;
    lapsed(now: Timestamp, limit: u32) -> Vec<Proposal>;
    unsettled(now: Timestamp, limit: u32) -> Vec<Proposal>;
    standings() -> Standings;
    doc(key: &DocKey) -> Option<Doc>;
    docs(kind: &str, org: Option<&OrgId>) -> Vec<Doc>;
    docs_epoch() -> u64;
    records(filter: &RecordFilter) -> Vec<StoredRecord>;
    budget(pot: &Pot) -> Budget;
    history(org: &OrgId, agent: &AgentId, limit: u32) -> Vec<PastPayout>;
    sum_lately(lately: &Lately) -> i64;
    same_lately(lately: &Lately, same: &Same) -> Option<Earlier>;
    agents(org: &OrgId) -> Vec<AgentId>;
    take_notices(now: Timestamp, hidden_until: Timestamp, limit: u32) -> Vec<Waiting>;
    notice_done(id: i64, retry_at: Option<Timestamp>) -> ();
    prune_nonces(now_secs: i64, limit: u32) -> u64;
    count_old(old: Old, before: Timestamp) -> u64;
    drop_old(old: Old, before: Timestamp, limit: u32) -> u64;
    ping() -> ();
}
