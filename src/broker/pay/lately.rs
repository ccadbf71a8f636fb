//! What was paid lately: the same payment again, and many small ones instead of a large one.
//!
//! Two requests that are decided at the same moment must not both overlook the other. So who looks
//! at the payments of one side (an agent, a payee) first reads the mark of that side, and what is
//! admitted then writes the mark on, under the condition that it is still the one that was read:
//! of two, on whatever nodes, the second is refused by the store and decided again, and then sees
//! the first. Inside one process they take turns, so that this costs nobody a second decision.
//!
//! An agent whose policy looks at neither writes no mark. What it pays is seen by the others a
//! moment after it was admitted, and not at that very moment.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Pay;
use crate::broker::core::documents::version_of;
use crate::domain::canonical::Canonical;
use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::facts::Earlier;
use crate::domain::ids::{OrgId, hex};
use crate::domain::payee::RegisteredPayee;
use crate::domain::policy::{Per, Policy, Repeat};
use crate::domain::time::Timestamp;
use crate::governance::Request;
use crate::store::{Lately, Same, Side, StoreError};

/// How many turns can be taken at once. Sides that share one wait for each other and no more.
const TURNS: usize = 256;

/// Who is being decided about, in this process.
pub struct Turns([Arc<Mutex<()>>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl Turns {
    /// Waits for the turns of all these sides. In one order, so that nobody waits in a circle.
    async fn take(&self, org: &OrgId, sides: &BTreeSet<Side>) -> Vec<OwnedMutexGuard<()>> {
        let place = |side: &Side| {
            let mut hasher = DefaultHasher::new();
            (org, mark_id(side)).hash(&mut hasher);
            usize::try_from(hasher.finish() % TURNS as u64).unwrap_or(0)
        };
        let places: BTreeSet<usize> = sides.iter().map(place).collect();
        let mut turns = Vec::with_capacity(places.len());
        for turn in places.into_iter().filter_map(|place| self.0.get(place)) {
            turns.push(Arc::clone(turn).lock_owned().await);
        }
        turns
    }
}

/// Left by the payments of one side, so that two that are decided at the same moment see each
/// other. It says nothing: its version does.
#[derive(Serialize, Deserialize)]
struct PaymentMark {}

impl Document for PaymentMark {
    const KIND: &'static str = "payment_mark";
    const CACHED: bool = false;
    type Id = str;
}

/// What was found, and what has to be written with the decision.
#[derive(Default)]
pub(super) struct Found {
    /// The payment that this one would repeat.
    pub(super) earlier: Option<Earlier>,
    /// One figure for each sum of the policy, in its order.
    pub(super) sums: Vec<i64>,
    /// The marks that an admitted payment writes.
    pub(super) marks: Vec<DocWrite>,
    /// Held until the decision is written.
    _turns: Vec<OwnedMutexGuard<()>>,
}

impl Pay {
    /// Looks at the payments that the policy compares with or adds up.
    pub(super) async fn paid_lately(
        &self,
        org: &OrgId,
        request: &Request<'_>,
        registered: Option<&RegisteredPayee>,
        policy: Option<&Policy>,
        now: Timestamp,
    ) -> Result<Found, StoreError> {
        let (Some(policy), Some(currency)) = (policy, request.effective.currency()) else {
            return Ok(Found::default());
        };
        let agent = || Side::Agent(request.agent.clone());
        // Without a payee there is nobody to add up for, so everything of the agent counts.
        let names = request.payee.names(registered);
        let payee = || match names.as_slice() {
            [] => agent(),
            names => Side::Payee(names.to_vec()),
        };
        let compares = policy.duplicates.then != Repeat::Off;
        let of_sum = policy.approval_above.iter().map(|sum| match sum.per {
            Per::Agent => agent(),
            Per::Payee => payee(),
        });
        let of_sum: Vec<Side> = of_sum.collect();
        let mut sides: BTreeSet<Side> = of_sum.iter().cloned().collect();
        sides.extend(compares.then(payee));
        if sides.is_empty() {
            return Ok(Found::default());
        }
        let turns = self.turns.take(org, &sides).await;
        // Before the payments themselves, or one admitted in between would be missed.
        let marks = self.marks(org, &sides).await?;
        let settings = self.settings();
        let life = settings.held_ttl_secs.max(settings.allowed_ttl_secs);
        let lately = |of: Side, window_secs: u32| {
            let since = now.plus_secs(-i64::from(window_secs));
            let org = org.clone();
            Lately {
                org,
                of,
                currency,
                since,
                // What was proposed before can have been sent, or be open, only so much later.
                oldest: since.plus_secs(-life),
            }
        };
        let store = &self.ports().store;
        let mut sums = Vec::with_capacity(of_sum.len());
        for (of, sum) in of_sum.into_iter().zip(&policy.approval_above) {
            sums.push(store.sum_lately(&lately(of, sum.window_secs)).await?);
        }
        let mut earlier = None;
        if compares {
            let side = payee();
            let call = matches!(side, Side::Agent(_)).then(|| {
                (
                    request.tool.name.clone(),
                    Canonical::of(request.args).hash(),
                )
            });
            let same = Same {
                amount: request.effective.minor(),
                call,
            };
            let within = lately(side, policy.duplicates.window_secs);
            earlier = store.same_lately(&within, &same).await?;
        }
        Ok(Found {
            earlier,
            sums,
            marks,
            _turns: turns,
        })
    }

    async fn marks(
        &self,
        org: &OrgId,
        sides: &BTreeSet<Side>,
    ) -> Result<Vec<DocWrite>, StoreError> {
        let mut marks = Vec::with_capacity(sides.len());
        for side in sides {
            let id = mark_id(side);
            let before = self.find::<PaymentMark>(org, &id).await?;
            marks.push(PaymentMark {}.write(org, &id, Some(version_of(before.as_ref()))));
        }
        Ok(marks)
    }
}

/// The document that stands for a side. A payee's name can be long and is anybody's text.
fn mark_id(side: &Side) -> String {
    match side {
        Side::Agent(agent) => format!("agent/{agent}"),
        Side::Payee(names) => {
            let today = names.first().map_or("", String::as_str);
            format!("payee/{}", hex(&Sha256::digest(today.as_bytes())))
        }
    }
}
