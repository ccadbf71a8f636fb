//! What happens at the bank without us: webhooks, polling, payouts that others made, and what is
//! relayed of them.

mod borrowed;
mod external;
mod moved_on;
pub mod poll;
pub mod relay;
pub mod webhook;
mod withdrawn;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::broker::audit::Audit;
use crate::broker::core::Core;
use crate::broker::pay::Pay;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Bank(Arc<Parts>);

/// What a [`Bank`] stands on, and what it keeps.
pub struct Parts {
    core: Core,
    audit: Audit,
    pay: Pay,
    cases_from: AtomicUsize,
}

impl Deref for Bank {
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

impl Bank {
    /// Over these.
    pub(in crate::broker) fn new(core: Core, audit: Audit, pay: Pay) -> Self {
        Self(Arc::new(Parts {
            core,
            audit,
            pay,
            cases_from: AtomicUsize::new(0),
        }))
    }
}
