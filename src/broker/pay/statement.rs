//! Statements: what a person would agree to, whether what they saw is still what stands, and what
//! they signed of it with a passkey.

use serde::{Deserialize, Serialize};

use super::Pay;
use super::approve::needs;
use crate::broker::access::passkeys::Page;
use crate::broker::core::Trouble;
use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::ids::ProposalId;
use crate::domain::principal::{Principal, Right};
use crate::domain::signed::Signed;
use crate::domain::statement::{Statement, Verdict};
use crate::domain::time::Timestamp;
use crate::domain::webauthn::Assertion;

/// How long a statement may be signed.
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

/// A statement that was signed, which nobody can use again. Named by its digest.
#[derive(Serialize, Deserialize)]
struct SignedStatement {
    at: Timestamp,
}

impl Document for SignedStatement {
    const KIND: &'static str = "signed_statement";
    const CACHED: bool = false;
    type Id = str;
}

/// A signature that holds, and the writes that use it up.
pub(super) struct Proof {
    pub signed: Signed,
    pub used: Vec<DocWrite>,
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
        let proposal = self.seen_by(who, self.visible(who, id).await?).await;
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
        match seen {
            Some(seen) => self
                .seen(who, id, verdict, seen, SHOWN_SECS)
                .await
                .map(|_| ()),
            None => Ok(()),
        }
    }

    /// The statement that was seen, if it is no older than this and still what stands.
    async fn seen(
        &self,
        who: &Principal,
        id: ProposalId,
        verdict: Verdict,
        seen: &Seen,
        within: i64,
    ) -> Result<Statement, Trouble> {
        let proposal = self.seen_by(who, self.visible(who, id).await?).await;
        let age = self.ports().ambient.now().secs() - seen.asked_at.secs();
        let stands = Statement::of(&proposal, who, verdict, seen.asked_at);
        match (-1..within).contains(&age) && stands.digest() == seen.digest {
            true => Ok(stands),
            false => Err(Trouble::Changed),
        }
    }

    /// A passkey's signature over exactly what was seen, given within five minutes on our own page.
    pub(super) async fn proof(
        &self,
        who: &Principal,
        id: ProposalId,
        verdict: Verdict,
        seen: &Seen,
        given: &Assertion,
    ) -> Result<Proof, Trouble> {
        needs(who, Right::Decide)?;
        let Some(public) = self.public_origin() else {
            let text = "passkeys need the address of the console (HUNDI_PUBLIC_URL)";
            return Err(Trouble::Off(text.to_owned()));
        };
        let page = Page::of(public);
        let statement = self.seen(who, id, verdict, seen, FRESH_SECS).await?;
        let challenge = statement.challenge();
        let held = self.access.signed_by(who, given, page, &challenge).await?;
        let once = SignedStatement {
            at: self.ports().ambient.now(),
        };
        Ok(Proof {
            used: vec![
                held.counted,
                once.write(&who.org, &statement.digest(), Some(0)),
            ],
            signed: Signed {
                statement: statement.text().to_owned(),
                assertion: given.clone(),
                public_key: held.public_key,
                origin: page.origin.to_owned(),
                rp_id: page.party.to_owned(),
            },
        })
    }
}
