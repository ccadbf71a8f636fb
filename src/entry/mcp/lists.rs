//! What one caller sees of the tools: a page at a time, in an order that stays; and that it hears
//! when this changes, and of nobody else's changes.
//!
//! A list is what the caller could call at this moment: by its roles, through its door, under the
//! access rules. So it changes with the catalogue, with rules and servers, and with the hour where
//! rules look at the clock.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{ErrorData, ListToolsResult, Tool as Listed};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::answers::refused;
use super::finder;
use super::server::Shared;
use super::surface::Surface;
use crate::broker::Trouble;
use crate::domain::principal::Principal;

/// Tools told at once.
const PAGE: usize = 200;
/// How often the clock alone is reason enough to look whether a list has changed.
const CLOCK: Duration = Duration::from_secs(30);

impl Shared {
    /// Every tool that this caller may call now, in a stable order, however its server shows them.
    pub(super) async fn all(&self, who: &Principal) -> Result<Vec<Listed>, Trouble> {
        let usable = self.broker().tools.usable_by(who).await?;
        let surface = self.surface(&who.org);
        let list = surface.list(who.roles);
        if usable.is_all() {
            return Ok(list.to_vec());
        }
        let may = |listed: &&Listed| {
            let route = surface.route(listed.name.as_ref());
            route.is_some_and(|route| {
                let behind = Surface::is_behind(route, who);
                behind && route.tool().is_none_or(|tool| usable.has(tool))
            })
        };
        Ok(list.iter().filter(may).cloned().collect())
    }

    /// The tools that this caller is shown.
    async fn shown(&self, who: &Principal) -> Result<Vec<Listed>, Trouble> {
        match finder::is_shown(who) {
            true => Ok(finder::list()),
            false => self.all(who).await,
        }
    }

    /// One page of them. A cursor is the name that the page before ended with: whatever has come or
    /// gone meanwhile, nothing that stayed is told twice or left out.
    pub(super) async fn page(
        &self,
        who: &Principal,
        cursor: Option<&str>,
    ) -> Result<ListToolsResult, ErrorData> {
        let list = self.shown(who).await.map_err(|trouble| refused(&trouble))?;
        let surface = self.surface(&who.org);
        let rest: Vec<Listed> = match cursor {
            None => list,
            Some(name) => {
                let again = || {
                    ErrorData::invalid_params(
                        "the cursor is of no list that there is now; list again from the start",
                        None,
                    )
                };
                let after = surface.place(name).ok_or_else(again)?;
                let later = |listed: &Listed| {
                    let place = surface.place(listed.name.as_ref());
                    place.is_some_and(|place| place > after)
                };
                list.into_iter().filter(later).collect()
            }
        };
        let more = rest.len() > PAGE;
        let page: Vec<Listed> = rest.into_iter().take(PAGE).collect();
        let last = page.last().map(|listed| listed.name.to_string());
        let mut result = ListToolsResult::with_all_items(page);
        result.next_cursor = last.filter(|_| more);
        Ok(result)
    }

    /// Stands for what this caller is shown, and for what the tools behind it are.
    async fn fingerprint(&self, who: &Principal) -> Result<u64, Trouble> {
        let mut hasher = DefaultHasher::new();
        // Nothing is behind a door that has been closed.
        let Some(who) = self.broker().access.still_here(who).await? else {
            return Ok(hasher.finish());
        };
        let surface = self.surface(&who.org);
        for listed in self.shown(&who).await? {
            listed.name.hash(&mut hasher);
            let route = surface.route(listed.name.as_ref());
            let tool = route.and_then(|route| route.tool());
            tool.map(|tool| tool.digest.as_str()).hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

/// The changes of one caller's list.
pub(super) struct Changes {
    shared: Arc<Shared>,
    who: Arc<Principal>,
    catalogue: watch::Receiver<u64>,
    rules: watch::Receiver<u64>,
    clock: Interval,
    last: Option<u64>,
}

impl Changes {
    /// From now on.
    pub(super) async fn of(shared: Arc<Shared>, who: Arc<Principal>) -> Self {
        // Listened for before the first look, so that nothing falls between the two.
        let catalogue = shared.broker().tools.catalogue().watch();
        let rules = shared.broker().access.watch_rules();
        let mut clock = tokio::time::interval(CLOCK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let last = shared.fingerprint(&who).await.ok();
        Self {
            shared,
            who,
            catalogue,
            rules,
            clock,
            last,
        }
    }

    /// Resolves at the next change; false where none can come any more.
    pub(super) async fn next(&mut self) -> bool {
        loop {
            let ended = tokio::select! {
                changed = self.catalogue.changed() => changed.is_err(),
                changed = self.rules.changed() => changed.is_err(),
                _ = self.clock.tick() => false,
            };
            if ended {
                return false;
            }
            // What cannot be looked at is looked at again at the next change.
            let Ok(now) = self.shared.fingerprint(&self.who).await else {
                continue;
            };
            if self.last.replace(now) != Some(now) {
                return true;
            }
        }
    }
}
