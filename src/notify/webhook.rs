//! Webhooks out: an event for a program of the operator's, signed in the manner of Standard Webhooks
//! (`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,...`).
//!
//! The id is the same at every try, so that a receiver can tell a repetition; the time is that of
//! the try. Texts of strangers are data here and go as they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::domain::money::Effective;
use crate::domain::notice::{Notice, NoticeKind, Post};
use crate::domain::proposal::Proposal;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// How a secret in base64 begins.
const IN_BASE64: &str = "whsec_";
/// Fewest bytes of a key.
pub const MIN_KEY: usize = 16;

/// Every kind of event, as receivers and the configuration name it.
pub const EVENTS: [(&str, NoticeKind); 6] = [
    ("proposal.held", NoticeKind::Held),
    ("proposal.decided", NoticeKind::Decided),
    ("proposal.blocked", NoticeKind::Blocked),
    ("proposal.in_doubt", NoticeKind::InDoubt),
    ("proposal.reversed", NoticeKind::Reversed),
    ("alert", NoticeKind::Alert),
];

/// The kind of this name, with or without `proposal.` before it.
pub fn kind_of(event: &str) -> Option<NoticeKind> {
    let named = |name: &str| name == event || name.strip_prefix("proposal.") == Some(event);
    let found = EVENTS.iter().find(|(name, _)| named(name));
    found.map(|(_, kind)| *kind)
}

fn name_of(kind: NoticeKind) -> &'static str {
    let found = EVENTS.iter().find(|(_, known)| *known == kind);
    found.map_or("alert", |(name, _)| name)
}

/// The key that a secret stands for: what `whsec_` is followed by, in base64, or the text itself.
/// `None` if it is too short, or no base64.
pub fn key_of(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose();
    let key = match text.strip_prefix(IN_BASE64) {
        Some(encoded) => STANDARD.decode(encoded).ok()?,
        None => text.as_bytes().to_vec(),
    };
    (key.len() >= MIN_KEY).then_some(key)
}

/// What happened, for a program.
pub fn message(notice: &Notice, proposal: Option<&Proposal>, link: Option<&str>) -> Value {
    let amount = match notice.effective {
        Effective::Nothing => Value::Null,
        Effective::Amount(money) => json!({"minor": money.minor, "currency": money.currency}),
        Effective::Unbounded(currency) => json!({"minor": null, "currency": currency}),
    };
    json!({
        "type": name_of(notice.kind),
        "timestamp": notice.at.to_string(),
        "data": {
            "org": notice.org,
            "proposal_id": notice.proposal,
            "state": proposal.map(|proposal| proposal.state.name()),
            "agent_id": notice.agent,
            "tool": notice.tool,
            "amount": amount,
            "payee": notice.payee,
            "arguments_hash": notice.args_hash,
            "reason": notice.reason,
            "findings": notice.findings,
            "detail": notice.detail,
            "url": link,
        },
    })
}

/// The signed call. `None` only where the secret is no key.
pub fn post(url: &str, secret: &Secret, id: &str, at: Timestamp, body: Value) -> Option<Post> {
    let (secs, text) = (at.secs(), body.to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key_of(secret)?).ok()?;
    mac.update(format!("{id}.{secs}.{text}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    Some(Post {
        url: url.to_owned(),
        bearer: None,
        headers: vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", secs.to_string()),
            ("webhook-signature", format!("v1,{signature}")),
        ],
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_signed_as_the_standard_says() {
        // The key, id and time of the specification's example; signed by another program.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, at) = (
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp::from_secs(1_614_265_330),
        );
        let body = json!({"test": 2_432_232_314_u64});
        let headers = post("https://h", &secret, id, at, body).unwrap().headers;
        let expected = [
            ("webhook-id", id),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v1,Vif40peJBP7Iyl0XGmu61n4MwdrcHov5CFREBpE0svs=",
            ),
        ];
        assert_eq!(
            headers,
            expected.map(|(name, value)| (name, value.to_owned()))
        );
    }

    #[test]
    fn a_secret_is_a_key_or_refused() {
        for (text, len) in [
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Some(24)),
            ("a plain text of thirty characters", Some(33)),
            ("whsec_not base64!", None),
            ("whsec_AAAA", None),
            ("short", None),
        ] {
            let key = key_of(&Secret::new(text));
            assert_eq!(key.map(|key| key.len()), len, "{text}");
        }
    }

    #[test]
    fn events_are_known_by_both_names() {
        assert_eq!(kind_of("proposal.held"), Some(NoticeKind::Held));
        assert_eq!(kind_of("in_doubt"), Some(NoticeKind::InDoubt));
        assert_eq!(kind_of("alert"), Some(NoticeKind::Alert));
        assert_eq!(kind_of("proposal.alert"), None);
    }
}
