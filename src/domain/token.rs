//! The commit token: proof that *this* proposal, with *these* arguments, was allowed.
//!
//! `v1.<kid>.<payload>.<mac>`, base64url without padding. The holder is an agent and may be
//! hostile, so nothing in the text is believed before its signature holds, and the decoding is
//! strict: one token has one spelling. A token is signed, not encrypted: it contains no secret.
//!
//! Single use is not decided here. A token may verify twice; the store burns its nonce once.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::canonical::Canonical;
use super::ids::{AgentId, ArgsHash, Nonce, ProposalId, TokenId, ToolName};
use super::proposal::{LiveToken, Proposal};
use super::reason::Refusal;
use super::strict;
use super::time::Timestamp;

/// Longest token looked at, in bytes; anything longer is refused before decoding.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Fewest bytes of a key.
pub const MIN_KEY_BYTES: usize = 32;
/// How far ahead of our clock another node's may run, in seconds. Tokens issued further in the
/// future are refused, and nonces are kept past expiry by as much.
pub const ACCEPTED_SKEW_SECS: i64 = 60;

/// What a key of the ring signs. The label separates this use of HMAC from every other use of the
/// same key, so that no text of one use can be shown as one of another.
pub(super) struct Use {
    /// Goes into the HMAC before the text.
    pub label: &'static [u8],
    /// How the text begins.
    pub version: &'static str,
}

const COMMIT_TOKEN: Use = Use {
    label: b"hundi/commit-token/v1\0",
    version: "v1",
};

/// What a token says, in the order RFC 8785 spells it.
#[derive(Clone, PartialEq, Debug)]
pub struct Claims {
    /// The agent it was given to.
    pub agent_id: AgentId,
    /// The broker instance (one per store) that honours it.
    pub audience: String,
    /// The integrity score at the time; `None` where nothing could be scored.
    pub composite_score: Option<f64>,
    /// The state that the proposal was shown for, where it was shown for one.
    pub effect_state: Option<String>,
    /// Epoch seconds; expired means `expires_at <= now`.
    pub expires_at: i64,
    /// Epoch seconds.
    pub issued_at: i64,
    /// Spent once.
    pub nonce: Nonce,
    /// The proposal.
    pub proposal_id: ProposalId,
    /// Its own name.
    pub token_id: TokenId,
    /// What is bound.
    pub tool_args_hash: ArgsHash,
    /// The tool.
    pub tool_name: ToolName,
}

/// Claims whose proposal, tool and arguments were compared with the stored ones. The only way to
/// a claim leads through this.
#[derive(Debug)]
pub struct Verified {
    claims: Claims,
}

impl Verified {
    /// The claims, now trusted.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// What a key may still be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// Seals and verifies. The newest active key seals.
    Active,
    /// Verifies until this instant (epoch seconds), when its last token has expired.
    Rotated(i64),
    /// Verifies nothing, at once.
    Retired,
}

/// One signing key. Wiped from memory when dropped; `Debug` hides it.
#[derive(Clone)]
pub struct TokenKey {
    kid: String,
    secret: Zeroizing<Vec<u8>>,
    state: KeyState,
    created_at: Timestamp,
}

/// One key, as lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyEntry {
    /// Its public name.
    pub kid: String,
    /// What it may be used for.
    pub state: KeyState,
    /// When it was made; `None` for one given from outside.
    pub created_at: Option<Timestamp>,
    /// True for the one that seals new tokens.
    pub sealing: bool,
}

/// The key cannot be used. Says what to do, never the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Too short.
    #[error("a token key needs at least {MIN_KEY_BYTES} bytes of hex, this one has {0}")]
    Short(usize),
    /// Guessable.
    #[error("a token key of one repeated byte protects nothing; take it from a random source")]
    Trivial,
    /// Not a name.
    #[error("a key id is 1 to 32 letters, digits, `-` or `_`")]
    Kid,
}

impl TokenKey {
    /// A key from at least 32 random bytes.
    pub fn new(
        kid: &str,
        secret: Zeroizing<Vec<u8>>,
        state: KeyState,
        created_at: Timestamp,
    ) -> Result<Self, BadKey> {
        if secret.len() < MIN_KEY_BYTES {
            return Err(BadKey::Short(secret.len()));
        }
        if secret.iter().all(|byte| *byte == secret[0]) {
            return Err(BadKey::Trivial);
        }
        if !well_formed_kid(kid) {
            return Err(BadKey::Kid);
        }
        Ok(Self {
            kid: kid.to_owned(),
            secret,
            state,
            created_at,
        })
    }

    /// Its public name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it may be used for.
    pub fn state(&self) -> KeyState {
        self.state
    }

    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    fn mac(&self, of: &Use, signed: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(of.label);
        mac.update(signed);
        Some(mac)
    }

    /// The one spelling of this payload, signed.
    pub(super) fn sign(&self, of: &Use, payload: &Canonical) -> Option<String> {
        let mut text = format!("{}.{}.", of.version, self.kid);
        URL_SAFE_NO_PAD.encode_string(payload.as_str(), &mut text);
        let mac = self.mac(of, text.as_bytes())?.finalize().into_bytes();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(mac, &mut text);
        Some(text)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("kid", &self.kid)
            .field("state", &self.state)
            .field("secret", &"hidden")
            .finish()
    }
}

fn well_formed_kid(kid: &str) -> bool {
    (1..=32).contains(&kid.len())
        && kid
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The keys of one broker, oldest first.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<TokenKey>,
}

impl KeyRing {
    /// A ring of these keys.
    pub fn new(keys: Vec<TokenKey>) -> Self {
        Self { keys }
    }

    /// Every key.
    pub fn keys(&self) -> &[TokenKey] {
        &self.keys
    }

    /// The key that seals new tokens: the newest active one.
    pub fn sealing(&self) -> Option<&TokenKey> {
        self.keys
            .iter()
            .rev()
            .find(|key| key.state == KeyState::Active)
    }

    fn verifying(&self, kid: &str, now: Timestamp) -> Option<&TokenKey> {
        let key = self.keys.iter().find(|key| key.kid == kid)?;
        match key.state {
            KeyState::Active => Some(key),
            KeyState::Rotated(until) if now.secs() < until => Some(key),
            KeyState::Rotated(_) | KeyState::Retired => None,
        }
    }

    /// Seals claims with the key named `kid`, or with the newest active one. The same claims and
    /// key always give the same text. `None` if there is no such key.
    pub fn seal(&self, claims: &Claims, kid: Option<&str>) -> Option<String> {
        let key = match kid {
            Some(kid) => self
                .keys
                .iter()
                .find(|k| k.kid == kid && k.state != KeyState::Retired)?,
            None => self.sealing()?,
        };
        key.sign(&COMMIT_TOKEN, &Canonical::of(&claims.to_value()))
    }

    /// Believes a text only once its signature holds. Checks the time last, so that `Expired` is
    /// said of genuine tokens alone.
    pub fn open(&self, text: &str, audience: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let claims = self.verify(text, now).ok_or(Refusal::BadSignature)?;
        if claims.audience != audience {
            return Err(Refusal::BadSignature);
        }
        let not_yet = claims.issued_at > now.secs() + ACCEPTED_SKEW_SECS;
        if claims.expires_at <= now.secs() || not_yet {
            return Err(Refusal::Expired);
        }
        Ok(claims)
    }

    /// The claims of a genuine token, whatever the time and the audience.
    pub fn verify(&self, text: &str, now: Timestamp) -> Option<Claims> {
        Claims::from_payload(&self.believed(&COMMIT_TOKEN, text, now)?)
    }

    /// The payload of a text that a key of this ring signed for this use.
    pub(super) fn believed(&self, of: &Use, text: &str, now: Timestamp) -> Option<Vec<u8>> {
        if text.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, mac) = text.rsplit_once('.')?;
        let mut parts = signed.split('.');
        let (version, kid, payload) = (parts.next()?, parts.next()?, parts.next()?);
        if version != of.version || parts.next().is_some() || !well_formed_kid(kid) {
            return None;
        }
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let key = self.verifying(kid, now)?;
        // Constant time: `verify_slice` compares without leaving early.
        key.mac(of, signed.as_bytes())?.verify_slice(&mac).ok()?;
        URL_SAFE_NO_PAD.decode(payload).ok()
    }
}

impl Claims {
    fn to_value(&self) -> Value {
        let mut claims = json!({
            "agent_id": self.agent_id.as_str(),
            "audience": self.audience,
            "composite_score": self.composite_score,
            "expires_at": self.expires_at,
            "issued_at": self.issued_at,
            "nonce": self.nonce.reveal(),
            "proposal_id": self.proposal_id.to_string(),
            "token_id": self.token_id.to_string(),
            "tool_args_hash": self.tool_args_hash.to_string(),
            "tool_name": self.tool_name.as_str(),
        });
        if let Some(state) = &self.effect_state {
            claims["effect_state"] = json!(state);
        }
        claims
    }

    /// Exactly the ten fields, and the one that not every token has, in RFC 8785 form.
    fn from_payload(payload: &[u8]) -> Option<Self> {
        let value = strict::parse(payload).ok()?;
        if Canonical::of(&value).as_str().as_bytes() != payload {
            return None;
        }
        let map: &Map<String, Value> = value.as_object()?;
        let text = |name: &str| map.get(name)?.as_str();
        let effect_state = text("effect_state").map(str::to_owned);
        if map.len() != 10 + usize::from(effect_state.is_some()) {
            return None;
        }
        let score = map.get("composite_score")?;
        let composite_score = if score.is_null() {
            None
        } else {
            Some(score.as_f64()?)
        };
        Some(Self {
            agent_id: text("agent_id")?.parse().ok()?,
            audience: text("audience")?.to_owned(),
            composite_score,
            effect_state,
            expires_at: map.get("expires_at")?.as_i64()?,
            issued_at: map.get("issued_at")?.as_i64()?,
            nonce: text("nonce")?.parse().ok()?,
            proposal_id: text("proposal_id")?.parse().ok()?,
            token_id: text("token_id")?.parse().ok()?,
            tool_args_hash: text("tool_args_hash")?.parse().ok()?,
            tool_name: text("tool_name")?.parse().ok()?,
        })
    }

    /// What the token of a proposal says, given which of its tokens is live.
    pub fn of(proposal: &Proposal, live: &LiveToken, audience: &str) -> Self {
        Self {
            agent_id: proposal.fixed.agent.clone(),
            audience: audience.to_owned(),
            composite_score: proposal.fixed.score.composite,
            effect_state: shown_for(proposal).map(str::to_owned),
            expires_at: live.expires_at,
            issued_at: live.issued_at,
            nonce: live.nonce,
            proposal_id: proposal.fixed.id,
            token_id: live.token_id,
            tool_args_hash: proposal.fixed.args_hash,
            tool_name: proposal.fixed.tool.clone(),
        }
    }

    /// Compares what was sealed with what is stored and with what the caller now asks for.
    pub fn bind(
        self,
        stored: &Proposal,
        tool: &ToolName,
        args: &ArgsHash,
    ) -> Result<Verified, Refusal> {
        let ours = self.proposal_id == stored.fixed.id && self.agent_id == stored.fixed.agent;
        if !ours {
            return Err(Refusal::UnknownProposal);
        }
        let sealed = (&self.tool_name, &self.tool_args_hash);
        let same_as_stored = sealed == (&stored.fixed.tool, &stored.fixed.args_hash)
            && self.effect_state.as_deref() == shown_for(stored);
        if same_as_stored && sealed == (tool, args) {
            Ok(Verified { claims: self })
        } else {
            Err(Refusal::ArgsHashMismatch)
        }
    }
}

fn shown_for(proposal: &Proposal) -> Option<&str> {
    let effect = proposal.fixed.effect.as_ref()?;
    Some(&effect.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str, fill: u8, state: KeyState) -> TokenKey {
        let secret: Vec<u8> = (0..32).map(|i| i ^ fill).collect();
        TokenKey::new(kid, Zeroizing::new(secret), state, Timestamp::from_secs(0)).unwrap()
    }

    fn claims() -> Claims {
        let at = Timestamp::from_secs(1_000);
        Claims {
            agent_id: "agent".parse().unwrap(),
            audience: "here".into(),
            composite_score: Some(0.1679),
            effect_state: None,
            expires_at: 1_060,
            issued_at: 1_000,
            nonce: Nonce::from_bits([9; 16]),
            proposal_id: ProposalId::at(at, [1; 10]),
            token_id: TokenId::at(at, [2; 10]),
            tool_args_hash: ArgsHash::from_digest([3; 32]),
            tool_name: "transfer_funds".parse().unwrap(),
        }
    }

    fn open(ring: &KeyRing, text: &str, now: i64) -> Result<Claims, Refusal> {
        ring.open(text, "here", Timestamp::from_secs(now))
    }

    #[test]
    fn what_was_sealed_opens_until_it_expires() {
        let ring = KeyRing::new(vec![key("k1", 0, KeyState::Active)]);
        let text = ring.seal(&claims(), None).unwrap();
        assert_eq!(open(&ring, &text, 1_059), Ok(claims()));
        assert_eq!(open(&ring, &text, 1_060), Err(Refusal::Expired));
        assert_eq!(
            open(&ring, &text, 939),
            Err(Refusal::Expired),
            "issued beyond the skew"
        );
        assert_eq!(
            ring.seal(&claims(), None),
            Some(text),
            "sealing is deterministic"
        );
    }

    #[test]
    fn every_flipped_bit_and_every_other_spelling_is_refused() {
        let ring = KeyRing::new(vec![key("k1", 0, KeyState::Active)]);
        let text = ring.seal(&claims(), None).unwrap();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                if let Ok(flipped) = String::from_utf8(bytes) {
                    assert_eq!(open(&ring, &flipped, 1_001), Err(Refusal::BadSignature));
                }
            }
        }
        let others = [
            format!("{text}="),
            format!("{text}AAAA"),
            format!("{text}."),
            format!(" {text}"),
            format!("{text}\n"),
            text.replacen("v1", "V1", 1),
            text.replacen("v1.", "v1..", 1),
            text.replace('-', "+").replace('_', "/") + "=",
            text[..text.len() - 1].to_owned(),
            "x".repeat(MAX_TOKEN_BYTES + 1),
            String::new(),
        ];
        for other in others {
            assert_eq!(
                open(&ring, &other, 1_001),
                Err(Refusal::BadSignature),
                "{other:.80}"
            );
        }
    }

    #[test]
    fn a_rotated_key_verifies_for_a_while_and_a_retired_one_never() {
        let one = KeyRing::new(vec![key("k1", 0, KeyState::Active)]);
        let text = one.seal(&claims(), None).unwrap();
        let with = |state| KeyRing::new(vec![key("k1", 0, state), key("k2", 77, KeyState::Active)]);
        assert!(open(&with(KeyState::Rotated(1_060)), &text, 1_059).is_ok());
        assert_eq!(
            open(&with(KeyState::Rotated(1_050)), &text, 1_050),
            Err(Refusal::BadSignature)
        );
        assert_eq!(
            open(&with(KeyState::Retired), &text, 1_001),
            Err(Refusal::BadSignature)
        );
        assert!(
            with(KeyState::Rotated(9))
                .seal(&claims(), None)
                .unwrap()
                .starts_with("v1.k2.")
        );
        let stranger = KeyRing::new(vec![key("k1", 5, KeyState::Active)]);
        assert_eq!(open(&stranger, &text, 1_001), Err(Refusal::BadSignature));
    }

    #[test]
    fn another_instance_does_not_honour_it() {
        let ring = KeyRing::new(vec![key("k1", 0, KeyState::Active)]);
        let text = ring.seal(&claims(), None).unwrap();
        let there = ring.open(&text, "there", Timestamp::from_secs(1_001));
        assert_eq!(there, Err(Refusal::BadSignature));
    }

    #[test]
    fn weak_keys_are_refused_and_no_key_shows_itself() {
        let made = |secret: Vec<u8>| {
            TokenKey::new(
                "k",
                Zeroizing::new(secret),
                KeyState::Active,
                Timestamp::default(),
            )
        };
        assert_eq!(made(vec![1; 31]).unwrap_err(), BadKey::Short(31));
        assert_eq!(made(vec![1; 32]).unwrap_err(), BadKey::Trivial);
        let shown = format!("{:?}", key("k1", 0xAB, KeyState::Active));
        assert!(shown.contains("hidden") && !shown.contains("171"));
    }
}
