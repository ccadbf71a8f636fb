//! Whether this node's keys are those of its peers. A start with other keys is refused; but keys are
//! rotated while nodes run, and a node that was left out would refuse every token that the others
//! seal without anybody knowing why. So each looks at the mark of the store again and again, and
//! tells in its log and in `/readyz` what it lacks.

use arc_swap::ArcSwapOption;

use super::Access;
use crate::broker::core::Trouble;
use crate::domain::document::Single;
use crate::domain::ids::OrgId;
use crate::domain::mark::{Foreign, Held, Mark};

/// What this node lacks, as it was last seen; empty while it lacks nothing.
#[derive(Default)]
pub(super) struct Peers {
    lacks: ArcSwapOption<String>,
}

impl Access {
    /// Compares the keys of this process with those that the store names. A duty of the worker.
    pub async fn look_at_peers(&self) -> Result<(), Trouble> {
        let lacks = self.foreign_keys().await?;
        let seen = &self.peers.lacks;
        let text = match lacks.is_empty() {
            true => None,
            false => {
                let told: Vec<String> = lacks.iter().map(ToString::to_string).collect();
                Some(told.join("; "))
            }
        };
        if seen.load().as_deref() == text.as_ref() {
            return Ok(());
        }
        match &text {
            Some(text) => tracing::warn!(
                "the keys of this node are not those of its peers: {text}; start it with theirs"
            ),
            None => tracing::info!("the keys of this node are those of its peers again"),
        }
        seen.store(text.map(Into::into));
        Ok(())
    }

    /// What this node's keys lack, as it was last seen; `None` if they are its peers'.
    pub fn lacking_keys(&self) -> Option<String> {
        self.peers
            .lacks
            .load_full()
            .map(|text| text.as_ref().clone())
    }

    async fn foreign_keys(&self) -> Result<Vec<Foreign>, Trouble> {
        let org = OrgId::default();
        let Some(mark) = self.document::<Mark>(&org, Mark::ID).await? else {
            return Ok(Vec::new());
        };
        Ok(mark
            .value
            .keys
            .after(&self.held_keys())
            .err()
            .unwrap_or_default())
    }

    fn held_keys(&self) -> Held {
        let ring = self.ports().keys.ring();
        let kid = |key: &crate::domain::token::TokenKey| key.kid().to_owned();
        let audit = self.ports().audit_key.as_ref();
        Held {
            tokens: ring.keys().iter().map(kid).collect(),
            sealing: ring.sealing().map_or_else(String::new, kid),
            audit: audit.map_or_else(String::new, |key| key.public().id()),
            masters: self.settings().masters.clone(),
        }
    }
}
