//! What every request asks for and seldom changes, from memory: read again when any document was
//! written by anyone, and never believed for a second without the store's word.
//!
//! Whoever comes [`CHECK_EVERY`] after the last look asks the store whether any document changed;
//! meanwhile the others go on with what is known. What nobody could confirm for [`TRUSTED_FOR`] is
//! not used: whoever could not learn the rules decides nothing by them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::Instant;

use super::Trouble;
use crate::store::{Store, StoreError};

/// How old it may be before somebody asks whether it still holds.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How old it may be where it lacks what is asked for: a flood of made-up names should not become a
/// flood of reads.
const CHECK_LACKING_EVERY: Duration = Duration::from_millis(20);
/// How old it may be at most, whatever happens.
const TRUSTED_FOR: Duration = Duration::from_millis(900);
/// How long the store may take to say whether anything changed.
const DEADLINE: Duration = Duration::from_secs(2);

/// What is read as a whole.
#[async_trait::async_trait]
pub(in crate::broker) trait Readable: Send + Sync + Sized + PartialEq {
    /// All of it. `before` is what was known, if anything was, so that what has not changed need
    /// not be made again.
    async fn read(store: &dyn Store, before: Option<&Self>) -> Result<Self, StoreError>;
}

/// The one copy of it, and the right to renew it.
pub(in crate::broker) struct Snapshot<T> {
    known: ArcSwapOption<Known<T>>,
    /// Held by the one who asks the store. Says when asking last failed, so that those who waited
    /// do not each run into the same silence.
    renewal: Mutex<Option<Instant>>,
    changed: watch::Sender<u64>,
}

struct Known<T> {
    value: Arc<T>,
    epoch: u64,
    confirmed: Instant,
}

impl<T> Known<T> {
    fn younger_than(&self, age: Duration) -> bool {
        self.confirmed.elapsed() < age
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self {
            known: ArcSwapOption::empty(),
            renewal: Mutex::new(None),
            changed: watch::Sender::default(),
        }
    }
}

impl<T: Readable> Snapshot<T> {
    /// It, as of less than a second ago.
    pub(in crate::broker) async fn fresh(&self, store: &dyn Store) -> Result<Arc<T>, Trouble> {
        self.fresh_where(store, |_| true).await
    }

    /// It, as of less than a second ago; as of this very moment, or nearly, where it lacks what is
    /// asked for: what another process has just made should work.
    pub(in crate::broker) async fn fresh_where(
        &self,
        store: &dyn Store,
        has: impl Fn(&T) -> bool + Send,
    ) -> Result<Arc<T>, Trouble> {
        let known = self.known.load_full();
        let Some(known) = known.filter(|known| has(&known.value)) else {
            let turn = self.renewal.lock().await;
            return self.renew(store, turn, CHECK_LACKING_EVERY).await;
        };
        if known.younger_than(CHECK_EVERY) {
            return Ok(known.value.clone());
        }
        match self.renewal.try_lock() {
            Ok(turn) => self.renew(store, turn, CHECK_EVERY).await,
            // Somebody is asking already: no reason to wait for the answer yet.
            Err(_) if known.younger_than(TRUSTED_FOR) => Ok(known.value.clone()),
            Err(_) => {
                let turn = self.renewal.lock().await;
                self.renew(store, turn, CHECK_EVERY).await
            }
        }
    }

    /// Reads it again, because this process has just written to it.
    pub(in crate::broker) async fn reload(&self, store: &dyn Store) {
        let mut last_failure = self.renewal.lock().await;
        *last_failure = None;
        match ask::<T>(store, None, self.known.load_full().as_deref()).await {
            Ok(renewed) => self.keep(renewed),
            // Nothing is believed until somebody can read it.
            Err(_) => self.known.store(None),
        }
    }

    /// Wakes after each change that this process has noticed.
    pub(in crate::broker) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn renew(
        &self,
        store: &dyn Store,
        mut last_failure: MutexGuard<'_, Option<Instant>>,
        unless_younger: Duration,
    ) -> Result<Arc<T>, Trouble> {
        let known = self.known.load_full();
        if let Some(known) = known.as_ref().filter(|it| it.younger_than(unless_younger)) {
            return Ok(known.value.clone());
        }
        let usable = known.as_ref().filter(|it| it.younger_than(TRUSTED_FOR));
        let usable = usable.map(|known| known.value.clone());
        if last_failure.is_some_and(|at| at.elapsed() < CHECK_EVERY) {
            return usable.ok_or(Trouble::StoreUnavailable);
        }
        let epoch = known.as_ref().map(|known| known.epoch);
        match ask(store, epoch, known.as_deref()).await {
            Ok(renewed) => {
                *last_failure = None;
                let value = renewed.value.clone();
                self.keep(renewed);
                Ok(value)
            }
            Err(error) => {
                *last_failure = Some(Instant::now());
                tracing::warn!(%error, "what is in force could not be checked for changes");
                usable.ok_or(Trouble::StoreUnavailable)
            }
        }
    }

    fn keep(&self, renewed: Known<T>) {
        let before = self.known.load_full();
        let same = before.is_some_and(|before| before.value == renewed.value);
        self.known.store(Some(Arc::new(renewed)));
        if !same {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

/// What the store has. Of `epoch`, what is known still holds.
async fn ask<T: Readable>(
    store: &dyn Store,
    epoch: Option<u64>,
    known: Option<&Known<T>>,
) -> Result<Known<T>, StoreError> {
    let read = async {
        // Both before the reading: what is written meanwhile is noticed the next time.
        let confirmed = Instant::now();
        let now = store.docs_epoch().await?;
        let value = match known.filter(|_| epoch == Some(now)) {
            Some(known) => known.value.clone(),
            None => {
                let before = known.map(|known| known.value.as_ref());
                Arc::new(T::read(store, before).await?)
            }
        };
        Ok(Known {
            value,
            epoch: now,
            confirmed,
        })
    };
    match tokio::time::timeout(DEADLINE, read).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Unavailable("no answer in time".to_owned())),
    }
}
