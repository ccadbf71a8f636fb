//! The state that a waiting client carries between two rounds of one request (MCP's
//! `requestState`): which proposal it waits for, who waits, and which round it is.
//!
//! Whoever holds it is an agent and may be hostile, so nothing in it is believed before its HMAC
//! holds, and it is bound to everything that makes the request this one: the store, the principal,
//! the tool with its arguments, the proposal. It is signed, not encrypted, and it gives no right: it
//! never stands for anybody's agreement.
//!
//! Single use is not decided here. A state may open twice; the store counts the rounds.

use serde_json::{Value, json};

use super::canonical::Canonical;
use super::ids::{ArgsHash, ProposalId};
use super::strict;
use super::time::Timestamp;
use super::token::{KeyRing, Use};

const REQUEST_STATE: Use = Use {
    label: b"hundi/request-state/v1\0",
    version: "rs1",
};

/// What a state says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestState {
    /// The broker instance (one per store) that takes it back.
    pub audience: String,
    /// Who waits, as the principal's id.
    pub principal: String,
    /// What is waited for.
    pub proposal_id: ProposalId,
    /// The tool and its arguments, as [`request`] hashes them.
    pub request: ArgsHash,
    /// Counted by the store: a state of a round that is over opens nothing.
    pub round: u64,
    /// Epoch seconds; expired means `expires_at <= now`.
    pub expires_at: i64,
}

/// The hash that binds a state to one call of one tool.
pub fn request(tool: &str, input: &Value) -> ArgsHash {
    Canonical::of(&json!({"tool": tool, "input": input})).hash()
}

impl RequestState {
    /// Seals it with the newest active key; `None` if there is none.
    pub fn seal(&self, ring: &KeyRing) -> Option<String> {
        let payload = Canonical::of(&json!({
            "audience": self.audience,
            "expires_at": self.expires_at,
            "principal": self.principal,
            "proposal_id": self.proposal_id.to_string(),
            "request": self.request.to_string(),
            "round": self.round,
        }));
        ring.sealing()?.sign(&REQUEST_STATE, &payload)
    }

    /// A genuine state that has not expired. `None` does not say what is wrong with it.
    pub fn open(ring: &KeyRing, text: &str, now: Timestamp) -> Option<Self> {
        let payload = ring.believed(&REQUEST_STATE, text, now)?;
        let value = strict::parse(&payload).ok()?;
        let text = |name: &str| value.get(name)?.as_str();
        let state = Self {
            audience: text("audience")?.to_owned(),
            principal: text("principal")?.to_owned(),
            proposal_id: text("proposal_id")?.parse().ok()?,
            request: text("request")?.parse().ok()?,
            round: value.get("round")?.as_u64()?,
            expires_at: value.get("expires_at")?.as_i64()?,
        };
        (state.expires_at > now.secs()).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::domain::token::{KeyState, TokenKey};

    fn ring(fill: u8, state: KeyState) -> KeyRing {
        let secret: Vec<u8> = (0..32).map(|i| i ^ fill).collect();
        let at = Timestamp::from_secs(0);
        KeyRing::new(vec![
            TokenKey::new("k1", Zeroizing::new(secret), state, at).unwrap(),
        ])
    }

    fn state() -> RequestState {
        RequestState {
            audience: "here".into(),
            principal: "key:a".into(),
            proposal_id: ProposalId::at(Timestamp::from_secs(1_000), [1; 10]),
            request: request("pay_propose", &json!({"arguments": {"amount": 1}})),
            round: 3,
            expires_at: 1_060,
        }
    }

    fn opened(ring: &KeyRing, text: &str, now: i64) -> Option<RequestState> {
        RequestState::open(ring, text, Timestamp::from_secs(now))
    }

    #[test]
    fn what_was_sealed_opens_until_it_expires() {
        let ring = ring(0, KeyState::Active);
        let text = state().seal(&ring).unwrap();
        assert_eq!(opened(&ring, &text, 1_059), Some(state()));
        assert_eq!(opened(&ring, &text, 1_060), None);
    }

    #[test]
    fn a_state_changed_anywhere_opens_nothing() {
        let ring = ring(0, KeyState::Active);
        let text = state().seal(&ring).unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(opened(&ring, &changed, 1_000), None, "{at}");
        }
        for changed in [
            String::new(),
            format!("{text}A"),
            format!("{text}."),
            text.replace('.', ""),
        ] {
            assert_eq!(opened(&ring, &changed, 1_000), None, "{changed}");
        }
    }

    #[test]
    fn another_key_or_a_retired_one_opens_nothing() {
        let text = state().seal(&ring(0, KeyState::Active)).unwrap();
        assert_eq!(opened(&ring(1, KeyState::Active), &text, 1_000), None);
        assert_eq!(opened(&ring(0, KeyState::Retired), &text, 1_000), None);
        assert_eq!(state().seal(&ring(0, KeyState::Retired)), None);
    }

    #[test]
    fn a_state_is_no_commit_token() {
        let ring = ring(0, KeyState::Active);
        let text = state().seal(&ring).unwrap();
        let as_token = text.replacen("rs1", "v1", 1);
        for text in [&text, &as_token] {
            assert!(ring.verify(text, Timestamp::from_secs(1_000)).is_none());
        }
    }

    #[test]
    fn a_request_is_its_tool_and_its_arguments_however_they_are_spelt() {
        let hash = |tool, text: &str| request(tool, &serde_json::from_str(text).unwrap());
        let one = hash("pay", r#"{"a":1,"b":2}"#);
        assert_eq!(one, hash("pay", r#"{"b":2.0,"a":1}"#));
        assert_ne!(one, hash("pay", r#"{"a":1,"b":3}"#));
        assert_ne!(one, hash("pray", r#"{"a":1,"b":2}"#));
    }
}
