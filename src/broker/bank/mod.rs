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
use crate::domain::ids::OrgId;
use crate::domain::money::Effective;
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::time::Timestamp;
use crate::domain::tool::Payee;

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

    /// The organisation whose account it is: what happens there is recorded and decided as its own.
    fn owner(&self) -> &OrgId {
        &self.settings().bank.holders.owner
    }

    /// A message to people that is about no proposal.
    fn alert(&self, now: Timestamp, reason: &str, words: &str) -> Notice {
        Notice {
            kind: NoticeKind::Alert,
            at: now,
            org: self.owner().clone(),
            proposal: None,
            agent: None,
            tool: None,
            effective: Effective::Nothing,
            payee: Payee::default(),
            args_hash: String::new(),
            reason: reason.to_owned(),
            findings: Vec::new(),
            detail: words.to_owned(),
            copy: None,
        }
    }
}
