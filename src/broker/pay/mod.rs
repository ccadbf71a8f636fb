//! Money: proposals and their life, from the first check to the evidence that settles them; with
//! policies, budgets, payees, the brake, and the people who are asked.

mod advice;
pub mod agents;
pub mod approve;
pub(in crate::broker) mod at_bank;
pub mod automatic;
pub mod backtest;
mod baselines;
pub(in crate::broker) mod cases;
pub mod commit;
pub mod deliver;
pub mod freeze;
mod fulfilled;
pub mod gather;
mod gauges;
mod hooks;
mod late;
mod lately;
pub mod payees;
mod people;
pub mod policy;
pub mod propose;
pub mod query;
pub mod reconcile;
pub mod retention;
mod room;
mod seen;
pub mod slack;
mod slack_team;
mod standing;
pub mod statement;
pub mod tokens;
mod unsent;
mod waiting;
pub(in crate::broker) mod withdrawn;

use std::ops::Deref;
use std::sync::Arc;

use crate::broker::access::Access;
use crate::broker::audit::Audit;
use crate::broker::core::Core;
use crate::broker::tools::Tools;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Pay(Arc<Parts>);

/// What a [`Pay`] stands on, and what it keeps.
pub struct Parts {
    core: Core,
    audit: Audit,
    access: Access,
    tools: Tools,
    channels: deliver::Channels,
    hooks: hooks::Hooks,
    slack_team: slack_team::OurTeam,
    turns: lately::Turns,
}

impl Deref for Pay {
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

impl Pay {
    /// Over these.
    pub(in crate::broker) fn new(core: Core, audit: Audit, access: Access, tools: Tools) -> Self {
        Self(Arc::new(Parts {
            core,
            audit,
            access,
            tools,
            channels: deliver::Channels::default(),
            hooks: hooks::Hooks::default(),
            slack_team: slack_team::OurTeam::default(),
            turns: lately::Turns::default(),
        }))
    }
}
