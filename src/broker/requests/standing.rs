//! How the queue stands, and whether it goes on: for whoever watches and runs it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Requests;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Record};
use crate::domain::document::{Document, Single};
use crate::domain::ids::OrgId;
use crate::domain::principal::{Principal, Right};
use crate::store::requests::Depth;

/// Whether the queue goes on, for everybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueState {
    /// Nothing is claimed.
    pub paused: bool,
}

impl Document for QueueState {
    const KIND: &'static str = "request_queue";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for QueueState {
    const ID: &'static str = "state";
}

/// How the queue stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueView {
    /// By priority, the highest first.
    pub depths: Vec<Depth>,
    /// In hand.
    pub running: u64,
    /// Nothing is claimed.
    pub paused: bool,
}

impl Requests {
    /// How the queue stands, of the caller's organisation.
    pub async fn queue(&self, who: &Principal) -> Result<QueueView, Trouble> {
        if !who.may(Right::ReadAll) {
            return Err(forbidden(who));
        }
        let store = &self.model_ports()?.store;
        Ok(QueueView {
            depths: store.depths(Some(&who.org)).await?,
            running: store.running_of(&who.org).await?,
            paused: self.is_paused().await?,
        })
    }

    /// Whether nothing is claimed at present.
    pub(super) async fn is_paused(&self) -> Result<bool, Trouble> {
        let org = OrgId::default();
        let state = self.document::<QueueState>(&org, QueueState::ID).await?;
        Ok(state.is_some_and(|stored| stored.value.paused))
    }

    /// Lets nothing be claimed any more, or again.
    pub async fn pause(&self, who: &Principal, paused: bool) -> Result<QueueView, Trouble> {
        // The queue is everybody's.
        if !who.may_for_all(Right::Administer) {
            return Err(forbidden(who));
        }
        let org = OrgId::default();
        let state = QueueState { paused }.write_only(&org, None);
        let now = self.ports().ambient.now();
        let record = Record::new(now, &org, RecordKind::QueuePaused, &who.id)
            .with(json!({"paused": paused}));
        let change = Change::documents(vec![state], Vec::new(), vec![record], Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        self.wake();
        self.queue(who).await
    }
}
