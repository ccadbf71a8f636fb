//! The tools that can be proposed or called, as one snapshot that is replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::tool::Tool;

/// Every tool by name: built-in ones, and those of upstreams. Quarantined ones are in it, so that
/// they can be shown and refused by name.
#[derive(Default)]
pub struct Catalogue {
    tools: ArcSwap<BTreeMap<String, Arc<Tool>>>,
    changed: tokio::sync::watch::Sender<u64>,
}

impl Catalogue {
    /// The tools now.
    pub fn tools(&self) -> Arc<BTreeMap<String, Arc<Tool>>> {
        self.tools.load_full()
    }

    /// One tool by name.
    pub fn get(&self, name: &str) -> Option<Arc<Tool>> {
        self.tools.load().get(name).cloned()
    }

    /// Replaces every tool and wakes those who listen for changes.
    pub fn replace(&self, tools: BTreeMap<String, Arc<Tool>>) {
        self.tools.store(Arc::new(tools));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Wakes after each change of the list.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
