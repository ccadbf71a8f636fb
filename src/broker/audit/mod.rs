//! The audit log: written with every change, sealed into a tree, read with its proofs; and what is
//! told of refusals and forgeries without a row for each.

pub mod forgeries;
mod read;
pub(in crate::broker) mod refusals;
mod seal;
mod spool;

pub use read::{Consistency, Export, Inclusion};

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::broker::core::Core;
use crate::domain::ids::OrgId;
use crate::store::StoreError;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Parts>);

/// What a [`Audit`] stands on, and what it keeps.
pub struct Parts {
    core: Core,
    tally: forgeries::Tally,
    refusals: refusals::Refusals,
    cursor_seen: AtomicU64,
    log_sizes: Mutex<BTreeMap<OrgId, u64>>,
}

impl Deref for Audit {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Every subject reaches the core as its own.
impl Deref for Parts {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Audit {
    /// Over these.
    pub(in crate::broker) fn new(core: Core) -> Self {
        Self(Arc::new(Parts {
            core,
            tally: forgeries::Tally::default(),
            refusals: refusals::Refusals::default(),
            cursor_seen: AtomicU64::new(0),
            log_sizes: Mutex::default(),
        }))
    }

    pub(in crate::broker) fn refusals(&self) -> &refusals::Refusals {
        &self.refusals
    }
}

/// That the stored log is not what was written.
fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}
