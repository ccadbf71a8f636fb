//! Putting tokens out: only for what is allowed, and one live token per proposal.

use serde_json::json;

use super::Pay;
use crate::broker::core::{SealedToken, Trouble};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, Record};
use crate::domain::ids::{Nonce, TokenId};
use crate::domain::principal::Principal;
use crate::domain::proposal::{LiveToken, Proposal, State};
use crate::domain::time::Timestamp;
use crate::domain::token::{Claims, KeyEntry, KeyState};
use crate::store::ApplyError;

/// How often a renewal is tried when others write the same proposal.
const TRIES: u32 = 5;

impl Pay {
    /// Token keys were made, rotated or retired: one record for each, without the key.
    ///
    /// # Errors
    /// The store did not take them, and neither did the spool.
    pub async fn token_keys_changed(
        &self,
        who: &Principal,
        keys: &[&KeyEntry],
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        for key in keys {
            let kind = match key.state {
                KeyState::Active => RecordKind::TokenKeyCreated,
                KeyState::Rotated(_) => RecordKind::TokenKeyRotated,
                KeyState::Retired => RecordKind::TokenKeyRetired,
            };
            let record = Record::new(now, &who.org, kind, &who.id);
            self.audit
                .note(record.with(json!({"kid": key.kid})))
                .await?;
        }
        Ok(())
    }

    /// A new token for a proposal that lives until `lapses_at`; it never outlives the proposal.
    pub(super) fn fresh_token(
        &self,
        now: Timestamp,
        lapses_at: Timestamp,
    ) -> Result<LiveToken, Trouble> {
        let ambient = &self.ports().ambient;
        let ring = self.ports().keys.ring();
        let key = ring.sealing().ok_or_else(no_key)?;
        let until = now.secs().saturating_add(self.settings().token_ttl_secs);
        Ok(LiveToken {
            token_id: TokenId::at(now, ambient.bytes()),
            nonce: Nonce::at(now, ambient.bytes()),
            kid: key.kid().to_owned(),
            issued_at: now.secs(),
            expires_at: until.min(lapses_at.secs()),
        })
    }

    /// The text of a proposal's live token, if it is allowed and has one.
    pub(super) fn sealed(&self, proposal: &Proposal) -> Option<SealedToken> {
        if proposal.state != State::Allowed {
            return None;
        }
        let live = proposal.moving.token.as_ref()?;
        let claims = Claims::of(proposal, live, &self.settings().audience);
        let text = self.ports().keys.ring().seal(&claims, Some(&live.kid))?;
        let token_id = live.token_id.to_string();
        Some(SealedToken {
            text,
            token_id,
            expires_at: live.expires_at,
        })
    }

    /// Replaces the live token. Gives the proposal back as it then stands: with the token that
    /// somebody else put out at the same moment, which serves both, or not allowed any more.
    pub(super) async fn renewed(
        &self,
        mut proposal: Proposal,
        actor: &str,
    ) -> Result<Proposal, Trouble> {
        for _ in 0..TRIES {
            let now = self.ports().ambient.now();
            if proposal.state != State::Allowed || proposal.fixed.lapses_at <= now {
                return Ok(proposal);
            }
            let token = self.fresh_token(now, proposal.fixed.lapses_at)?;
            let Ok((change, next)) = Change::renew(&proposal, token, now, actor) else {
                return Ok(proposal);
            };
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().wrote(&next);
                    return Ok(next);
                }
                Err(ApplyError::Conflict(Conflict::Stale)) => {
                    proposal = self.read(proposal.fixed.id).await?;
                    let token = proposal.moving.token.as_ref();
                    if token.is_some_and(|token| token.issued_at >= now.secs()) {
                        return Ok(proposal);
                    }
                }
                Err(ApplyError::Conflict(_)) => return Err(Trouble::Changed),
                Err(ApplyError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Trouble::Changed)
    }
}

fn no_key() -> Trouble {
    Trouble::Off("no token key is active; run `hundi keyring rotate`".to_owned())
}
