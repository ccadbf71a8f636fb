//! More was settled than was reserved for it.
//!
//! The provider's figure is what is posted, even over a limit: what left has left. So it has to be
//! told wherever it can be seen: in the answer, the record, an alert and a metric.

use super::call::Receipt;
use super::money::{Currency, Effective};
use super::proposal::{Proposal, Settled};

/// The code of records and alerts that tell of it.
pub const SETTLED_ABOVE_RESERVED: &str = "settled_above_reserved";

/// The code of records and alerts that tell that an answer does not say how much was settled, though
/// its rule says where it would.
pub const SETTLED_UNREADABLE: &str = "settled_unreadable";

/// What people are told then.
pub const UNREADABLE: &str = "the provider's answer does not say how much was settled where \
    `settled_amount` looks for it; what was proposed is booked";

/// Whether the outcome of a proposal should say how much was settled, and does not.
pub fn unreadable(proposal: &Proposal) -> bool {
    match proposal.outcome() {
        Some(Settled::Executed(receipt)) => receipt.settled_unreadable,
        Some(Settled::Refused(_) | Settled::Undone { .. }) | None => false,
    }
}

/// By how much a settlement is above its reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Above {
    /// Minor units that were reserved; 0 where nothing was to move.
    pub reserved: i64,
    /// Minor units that the provider settled.
    pub settled: i64,
    /// Their currency, where money was to move.
    pub currency: Option<Currency>,
}

impl Above {
    /// What a receipt says, against what was to move at most. `None` if it is within that, and
    /// where everything there is was let go.
    pub fn of(effective: &Effective, receipt: &Receipt) -> Option<Self> {
        let reserved = match effective {
            Effective::Nothing => 0,
            Effective::Amount(money) => money.minor,
            Effective::Unbounded(_) => return None,
        };
        let settled = receipt
            .settled_minor
            .filter(|settled| *settled > reserved)?;
        Some(Self {
            reserved,
            settled,
            currency: effective.currency(),
        })
    }

    /// What the outcome of a proposal says, if it has one.
    pub fn in_outcome(proposal: &Proposal) -> Option<Self> {
        match proposal.outcome() {
            Some(Settled::Executed(receipt)) => Self::of(&proposal.fixed.effective, receipt),
            Some(Settled::Refused(_) | Settled::Undone { .. }) | None => None,
        }
    }

    /// For people.
    pub fn words(&self) -> String {
        let currency = self.currency.map_or("", |_| " ");
        let code = self.currency.map(|code| code.to_string());
        format!(
            "the provider settled {}{currency}{} in minor units, and {} were reserved for it",
            self.settled,
            code.unwrap_or_default(),
            self.reserved
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::money::Money;

    #[test]
    #[rustfmt::skip]
    fn only_more_than_was_reserved_is_above() {
        let inr = |minor| Effective::Amount(Money { minor, currency: Currency::INR });
        let all = Effective::Unbounded(Currency::INR);
        let cases = [
            (inr(500),           Some(500), None),
            (inr(500),           Some(501), Some((500, 501))),
            (inr(500),           Some(499), None),
            (inr(500),           None,      None),
            (Effective::Nothing, Some(0),   None),
            (Effective::Nothing, Some(900), Some((0, 900))),
            (all,                Some(900), None),
        ];
        for (effective, settled_minor, expected) in cases {
            let receipt = Receipt {
                provider_id: None, provider_state: None, reversed: false, settled_unreadable: false, settled_minor, blocks: Value::Null,
                result: Value::Null,
            };
            let above = Above::of(&effective, &receipt);
            let above = above.map(|above| (above.reserved, above.settled));
            assert_eq!(above, expected, "{effective:?} {settled_minor:?}");
        }
    }
}
