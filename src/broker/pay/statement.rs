//! Statements: what a person would agree to, and whether what they saw is still what stands.

use super::Pay;
use super::approve::needs;
use crate::broker::core::Trouble;
use crate::domain::ids::ProposalId;
use crate::domain::principal::{Principal, Right};
use crate::domain::statement::{Statement, Verdict};
use crate::domain::time::Timestamp;

/// How long a statement may be agreed to.
const FRESH_SECS: i64 = 5 * 60;
/// The same for a decision that is not signed: people read, and go for lunch.
const SHOWN_SECS: i64 = 24 * 60 * 60;

/// The statement that somebody saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
}

impl Pay {
    /// What `who` would agree to now, and the instant that is part of it.
    pub async fn statement(
        &self,
        who: &Principal,
        id: ProposalId,
        verdict: Verdict,
    ) -> Result<(Statement, Timestamp), Trouble> {
        needs(who, Right::ReadAll)?;
        let proposal = self.seen_by(who, self.visible(who, id).await?);
        let now = self.ports().ambient.now();
        Ok((Statement::of(&proposal, who, verdict, now), now))
    }

    /// Refuses a decision on something else than what was seen. Whoever saw nothing is held to
    /// nothing here.
    pub async fn still_stands(
        &self,
        who: &Principal,
        id: ProposalId,
        verdict: Verdict,
        seen: Option<&Seen>,
    ) -> Result<(), Trouble> {
        needs(who, Right::Decide)?;
        let Some(seen) = seen else {
            return Ok(());
        };
        let proposal = self.seen_by(who, self.visible(who, id).await?);
        let age = self.ports().ambient.now().secs() - seen.asked_at.secs();
        let stands = Statement::of(&proposal, who, verdict, seen.asked_at);
        match (-FRESH_SECS..SHOWN_SECS).contains(&age) && stands.digest() == seen.digest {
            true => Ok(()),
            false => Err(Trouble::Changed),
        }
    }
}
