//! Whose the bank's account is: one organisation owns it, and decides on what others do there.
//!
//! All organisations of a broker stand before one account. Whoever could decide on its payouts, or
//! pay from it, by rules of its own making would move money of somebody else, so what an
//! organisation may do there never follows from its own policies: it is the word of whoever
//! configures the broker.

use std::collections::BTreeSet;

use super::ids::OrgId;

/// Who may do what at the bank's account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holders {
    /// Decides on payouts that others made there, and hears of them.
    pub owner: OrgId,
    /// Who pays from it besides the owner.
    pub payers: Payers,
}

/// Who pays from the account besides its owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payers {
    /// Every organisation: the account is a sandbox's.
    Everybody,
    /// These.
    Only(BTreeSet<OrgId>),
}

impl Default for Holders {
    /// As a sandbox is held.
    fn default() -> Self {
        Self {
            owner: OrgId::default(),
            payers: Payers::Everybody,
        }
    }
}

impl Holders {
    /// Whether the account is this organisation's.
    pub fn owns(&self, org: &OrgId) -> bool {
        self.owner == *org
    }

    /// Whether this organisation may pay from it.
    pub fn pays(&self, org: &OrgId) -> bool {
        let listed = match &self.payers {
            Payers::Everybody => true,
            Payers::Only(listed) => listed.contains(org),
        };
        listed || self.owns(org)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_those_who_are_named_pay() {
        let [ours, named, other]: [OrgId; 3] =
            ["ours", "named", "default"].map(|name| name.parse().unwrap());
        let live = Holders {
            owner: ours.clone(),
            payers: Payers::Only([named.clone()].into()),
        };
        let told = [&ours, &named, &other].map(|org| (live.owns(org), live.pays(org)));
        assert_eq!(told, [(true, true), (false, true), (false, false)]);
        assert!(Holders::default().pays(&named) && !Holders::default().owns(&named));
    }
}
