//! What may be dropped once it is old, and how long it is kept until then.

/// What may be dropped once it is old. Everything else is kept for ever: the audit log first of all,
/// whose every record is a leaf that later proofs stand on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Old {
    /// Proposals that governance refused, with their arguments. Their records stay; their idempotency
    /// keys are free again.
    RefusedProposals,
    /// Marks of the bank's webhooks that were seen. Their records stay; the same event, sent again
    /// after so long, is worked off again.
    SeenWebhooks,
}

impl Old {
    /// All of them.
    pub const ALL: [Old; 2] = [Old::RefusedProposals, Old::SeenWebhooks];
}

/// How long what may be dropped is kept, in days; `None` keeps it for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Refused proposals.
    pub refused_days: Option<u32>,
    /// Marks of seen webhooks. The bank repeats one for a day.
    pub webhooks_days: Option<u32>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            refused_days: Some(90),
            webhooks_days: Some(90),
        }
    }
}

impl Retention {
    /// How long one kind is kept; `None` is for ever.
    pub fn days(&self, old: Old) -> Option<u32> {
        match old {
            Old::RefusedProposals => self.refused_days,
            Old::SeenWebhooks => self.webhooks_days,
        }
    }
}
