//! Who may come in and what they may use: organisations, people, keys, tokens, people in a browser,
//! access rules, virtual servers, and whether this node holds the keys of its peers.

pub mod first;
mod in_force;
mod jwt;
mod key_cache;
pub mod keys;
pub mod orgs;
pub mod owner;
pub mod passkeys;
pub mod peers;
pub mod people;
pub mod rules;
pub mod server_keys;
pub mod servers;
pub mod sessions;
mod slack_user;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::broker::core::Core;
use crate::broker::core::snapshot::Snapshot;
use crate::domain::secret::Secret;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Parts>);

/// What a [`Access`] stands on, and what it keeps.
pub struct Parts {
    core: Core,
    key_cache: key_cache::KeyCache,
    issuer: jwt::Issuer,
    peers: peers::Peers,
    owner: OnceLock<Secret>,
    in_force: Snapshot<in_force::InForce>,
}

impl Deref for Access {
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

impl Access {
    /// Over these.
    pub(in crate::broker) fn new(core: Core) -> Self {
        Self(Arc::new(Parts {
            core,
            key_cache: key_cache::KeyCache::default(),
            issuer: jwt::Issuer::default(),
            peers: peers::Peers::default(),
            owner: OnceLock::new(),
            in_force: Snapshot::default(),
        }))
    }

    fn key_cache(&self) -> &key_cache::KeyCache {
        &self.key_cache
    }
}
