//! `hundi token inspect`: what a commit token says, and whether it would be honoured. It reads the
//! key ring and the clock and touches no store, so looking never uses a token up.
//!
//! A payload whose signature does not hold is shown as what it is: somebody's claim.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Failure, Json, print};
use crate::domain::reason::Refusal;
use crate::domain::strict;
use crate::domain::time::Timestamp;
use crate::domain::token::{ACCEPTED_SKEW_SECS, Claims, KeyRing, MAX_TOKEN_BYTES};

/// What to do with a commit token.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Decode and verify a token from stdin without using it
    ///
    /// Exit code 0 if it is genuine and in time, 1 if not. That it was not used before, and still
    /// belongs to its proposal, only a commit can tell.
    #[command(
        verbatim_doc_comment,
        after_help = "Example:\n  echo \"$TOKEN\" | hundi token inspect"
    )]
    Inspect(Json),
}

/// What inspecting found.
struct Findings {
    kid: Option<String>,
    claims: Option<Value>,
    verified: bool,
    refusal: Option<(Refusal, String)>,
}

/// Runs the command. `ring` is `None` where there are no keys to verify with, and why.
pub fn run(
    json: Json,
    ring: Result<&KeyRing, String>,
    now: Timestamp,
    input: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let token = read(input)?;
    let found = inspect(token.trim_end_matches(['\r', '\n']), &ring, now);
    if json.json {
        print::json(out, &spell(&found))?;
    } else {
        people(&found, out)?;
    }
    out.flush()?;
    if let Err(why) = ring {
        return Err(Failure::Failed(why));
    }
    found.refusal.map_or(Ok(()), |_| Err(Failure::Told))
}

fn read(input: &mut dyn Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    // A line end may follow the longest token; anything longer is refused for its length.
    let limit = u64::try_from(MAX_TOKEN_BYTES + 3).unwrap_or(u64::MAX);
    input.take(limit).read_to_end(&mut bytes)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        let text = "there is no token on stdin; try: echo \"$TOKEN\" | hundi token inspect";
        return Err(Failure::Usage(text.to_owned()));
    }
    // Bytes that are no text cannot be a token, and read as one that nobody sealed.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn inspect(token: &str, ring: &Result<&KeyRing, String>, now: Timestamp) -> Findings {
    let mut parts = token.split('.');
    let kid = parts.nth(1).filter(|_| token.len() <= MAX_TOKEN_BYTES);
    let payload = kid.and_then(|_| parts.next());
    let kid = kid.map(str::to_owned);
    let Ok(ring) = ring else {
        return Findings {
            claims: payload.and_then(claimed),
            kid,
            verified: false,
            refusal: None,
        };
    };
    let Some(claims) = ring.verify(token, now) else {
        return Findings {
            claims: payload.and_then(claimed),
            refusal: Some((
                Refusal::BadSignature,
                why_unsigned(token, kid.as_deref(), ring),
            )),
            kid,
            verified: false,
        };
    };
    Findings {
        refusal: out_of_time(&claims, now),
        claims: payload.and_then(claimed),
        kid,
        verified: true,
    }
}

/// The payload as JSON, believed by nobody.
fn claimed(payload: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    strict::parse(&bytes).ok().filter(Value::is_object)
}

fn why_unsigned(token: &str, kid: Option<&str>, ring: &KeyRing) -> String {
    if token.len() > MAX_TOKEN_BYTES {
        return format!("it is longer than {MAX_TOKEN_BYTES} bytes");
    }
    let known = |kid: &str| ring.keys().iter().any(|key| key.kid() == kid);
    match kid {
        None => "it does not look like a token: v1.<key>.<payload>.<mac>".to_owned(),
        Some(kid) if !known(kid) => {
            "it was signed with a key that is not in this ring, or that was retired".to_owned()
        }
        Some(_) => {
            "its signature does not hold: it was changed, or its key's time is over".to_owned()
        }
    }
}

fn out_of_time(claims: &Claims, now: Timestamp) -> Option<(Refusal, String)> {
    if claims.expires_at <= now.secs() {
        let at = Timestamp::from_secs(claims.expires_at);
        return Some((Refusal::Expired, format!("it expired at {at}")));
    }
    if claims.issued_at > now.secs() + ACCEPTED_SKEW_SECS {
        let at = Timestamp::from_secs(claims.issued_at);
        let detail = format!("it is dated {at}, which is yet to come; check this clock");
        return Some((Refusal::Expired, detail));
    }
    None
}

fn spell(found: &Findings) -> Value {
    json!({
        "valid": found.verified && found.refusal.is_none(),
        "reason": found.refusal.as_ref().map(|(refusal, _)| refusal.code()),
        "detail": found.refusal.as_ref().map(|(_, detail)| detail),
        "signature_verified": found.verified,
        "kid": found.kid,
        "claims": found.claims,
    })
}

fn people(found: &Findings, out: &mut dyn Write) -> std::io::Result<()> {
    match &found.refusal {
        Some((refusal, detail)) => writeln!(out, "not valid: {} ({detail})", refusal.code())?,
        None if found.verified => writeln!(out, "valid: genuine and in time")?,
        None => writeln!(out, "not verified: there are no keys to verify it with")?,
    }
    let Some(Value::Object(claims)) = &found.claims else {
        return Ok(());
    };
    if !found.verified {
        writeln!(out, "What it claims, and nobody has signed:")?;
    }
    let mut pairs: Vec<(&str, String)> = Vec::new();
    if let Some(kid) = &found.kid {
        pairs.push(("key", kid.clone()));
    }
    for (name, value) in claims {
        let instant = matches!(name.as_str(), "issued_at" | "expires_at");
        let text = match (value, value.as_i64()) {
            (_, Some(secs)) if instant => format!("{secs} ({})", Timestamp::from_secs(secs)),
            (Value::String(text), _) => text.clone(),
            (other, _) => other.to_string(),
        };
        pairs.push((name, text));
    }
    print::pairs(out, &pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ArgsHash, Nonce, ProposalId, TokenId};
    use crate::domain::token::{KeyState, TokenKey};
    use zeroize::Zeroizing;

    fn ring(kid: &str) -> KeyRing {
        let secret = Zeroizing::new((0..32).collect::<Vec<u8>>());
        let at = Timestamp::from_secs(0);
        KeyRing::new(vec![
            TokenKey::new(kid, secret, KeyState::Active, at).unwrap(),
        ])
    }

    fn sealed() -> String {
        let at = Timestamp::from_secs(1_000);
        let claims = Claims {
            agent_id: "agent-1".parse().unwrap(),
            audience: "here".into(),
            composite_score: Some(0.25),
            effect_state: None,
            expires_at: 1_060,
            issued_at: 1_000,
            nonce: Nonce::from_bits([9; 16]),
            proposal_id: ProposalId::at(at, [1; 10]),
            token_id: TokenId::at(at, [2; 10]),
            tool_args_hash: ArgsHash::from_digest([3; 32]),
            tool_name: "noop".parse().unwrap(),
        };
        ring("k1").seal(&claims, None).unwrap()
    }

    fn told(token: &str, ring: Result<&KeyRing, String>, now: i64) -> (Value, bool) {
        let mut out = Vec::new();
        let now = Timestamp::from_secs(now);
        let done = run(
            Json { json: true },
            ring,
            now,
            &mut token.as_bytes(),
            &mut out,
        );
        (serde_json::from_slice(&out).unwrap(), done.is_ok())
    }

    #[test]
    fn a_token_is_explained_without_being_used() {
        let token = sealed();
        let (good, done) = told(&format!("{token}\n"), Ok(&ring("k1")), 1_059);
        assert!(done);
        assert_eq!(good["valid"], true);
        assert_eq!(good["claims"].as_object().unwrap().len(), 10);
        assert_eq!(good["kid"], "k1");

        let cases = [
            (token.clone(), ring("k1"), 1_060, "expired", true),
            (token.clone(), ring("k1"), 900, "expired", true),
            (token.clone(), ring("k2"), 1_001, "bad_signature", false),
            (
                format!("{token}x"),
                ring("k1"),
                1_001,
                "bad_signature",
                false,
            ),
            (
                "hello".to_owned(),
                ring("k1"),
                1_001,
                "bad_signature",
                false,
            ),
            (
                "x".repeat(MAX_TOKEN_BYTES + 9),
                ring("k1"),
                1_001,
                "bad_signature",
                false,
            ),
        ];
        for (token, ring, now, reason, verified) in cases {
            let (told, done) = told(&token, Ok(&ring), now);
            assert!(!done);
            assert_eq!(
                (&told["reason"], &told["valid"]),
                (&json!(reason), &json!(false)),
                "{token:.40}"
            );
            assert_eq!(told["signature_verified"], verified);
        }
        let (told, done) = told(&token, Err("no keys".into()), 1_001);
        assert!(!done && told["valid"] == false && told["claims"]["tool_name"] == "noop");
    }
}
