//! Slack: messages in Block Kit, and the button presses that come back.
//!
//! Texts of strangers stand in `plain_text` only, which knows no formatting, and have `&`, `<` and
//! `>` escaped, without which Slack knows neither mentions nor links; the broker's own words need
//! no formatting either. A button carries an opaque value that means something to the broker
//! alone. A press is believed only with Slack's signature over the raw body, made within the last
//! five minutes.

use serde_json::{Value, json};

use super::{CUT, amount, findings, headline, payee, risk, shown};
use crate::domain::notice::{Answer, Notice, NoticeKind, Post};
use crate::domain::proposal::{Proposal, State};
use crate::domain::secret::Secret;
use crate::domain::strict;
use crate::domain::time::Timestamp;

/// Slack cuts or refuses longer texts: of a header, a field, a section, a button.
const MAX_HEADER: usize = 150;
const MAX_FIELD: usize = 400;
const MAX_SECTION: usize = 2_800;
/// Findings shown; the record has them all.
const MAX_FINDINGS: usize = 10;
/// How far a press's time may lie from ours, in seconds, either way.
pub const MAX_AGE_SECS: i64 = 300;
/// Names of the buttons.
pub const APPROVE: &str = "approve_payout";
/// See [`APPROVE`].
pub const REJECT: &str = "reject_payout";

/// The button that only opens a page; Slack tells of its press all the same.
pub const OPEN: &str = "open_page";

/// The opaque values of a hold's two buttons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buttons {
    /// What approving sends back.
    pub approve: String,
    /// What rejecting sends back.
    pub reject: String,
}

/// A message that stands in a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// `C...`.
    pub channel: String,
    /// Slack's name for the message.
    pub ts: String,
}

/// A message to a channel. With a proposal it shows all that an approver has to know; with
/// buttons it asks.
pub fn message(
    channel: &str,
    notice: &Notice,
    proposal: Option<&Proposal>,
    buttons: Option<&Buttons>,
    link: Option<&str>,
) -> Value {
    let mut blocks =
        vec![json!({"type": "header", "text": plain(&headline(notice, proposal), MAX_HEADER)})];
    blocks.push(json!({"type": "section", "fields": fields(notice, proposal)}));
    if notice.kind != NoticeKind::Held && !notice.detail.is_empty() {
        blocks.push(section(&shown(&notice.detail, MAX_SECTION)));
    }
    let findings = findings(notice, MAX_FIELD);
    if !findings.is_empty() {
        let lines: Vec<_> = findings.into_iter().take(MAX_FINDINGS).collect();
        blocks.push(section(&lines.join("\n")));
    }
    if let Some(proposal) = proposal {
        let args = shown(proposal.fixed.args.as_str(), MAX_SECTION - 20);
        blocks.push(section(&format!("Arguments: {args}")));
        if let Some(effect) = &proposal.fixed.effect {
            let before = shown(&effect.before.to_string(), MAX_SECTION / 2);
            let summary = shown(&effect.summary, MAX_SECTION / 4);
            blocks.push(section(&format!("Effect: {summary}\nBefore: {before}")));
        }
    }
    if let Some(buttons) = buttons {
        blocks.push(json!({"type": "actions", "elements": [
            button("Approve", "primary", APPROVE, &buttons.approve),
            button("Reject", "danger", REJECT, &buttons.reject),
        ]}));
    }
    // A press would not count; the page is where it does.
    let on_page = proposal.filter(|one| one.state == State::Held && one.fixed.needs_passkey());
    if let (Some(_), Some(link)) = (on_page, link) {
        let mut opens = button("Decide with a passkey", "primary", OPEN, "page");
        opens["url"] = json!(link);
        blocks.push(json!({"type": "actions", "elements": [opens]}));
    }
    if let Some(link) = link {
        // Our own address: the only text here that Slack may turn into a link.
        let text = format!("<{}|Open in the console>", escaped(link));
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}));
    }
    blocks.push(json!({"type": "context", "elements": [plain(&footer(notice), MAX_SECTION)]}));
    json!({
        "channel": channel,
        "text": escaped(&format!("{}, {}", headline(notice, proposal), who(notice))),
        "blocks": blocks,
        "mrkdwn": false,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// The same message once it is decided, or partly so: who did what, and no stale buttons.
pub fn update(
    place: &Place,
    notice: &Notice,
    proposal: &Proposal,
    buttons: Option<&Buttons>,
    link: Option<&str>,
) -> Value {
    let mut message = message(&place.channel, notice, Some(proposal), buttons, link);
    message["ts"] = json!(place.ts);
    message
}

/// An answer that only the one who pressed can see.
pub fn aside(text: &str) -> Value {
    json!({
        "response_type": "ephemeral",
        "replace_original": false,
        "text": escaped(&shown(text, MAX_SECTION)),
    })
}

/// The call that posts or, for a message that has a `ts`, replaces.
pub fn post(api_base: &str, token: &Secret, message: Value) -> Post {
    let method = match message.get("ts") {
        Some(_) => "chat.update",
        None => "chat.postMessage",
    };
    Post {
        url: format!("{}/api/{method}", api_base.trim_end_matches('/')),
        bearer: Some(token.clone()),
        headers: Vec::new(),
        body: message,
    }
}

/// The call that tells whose bot the token is.
pub fn ask_team(api_base: &str, token: &Secret) -> Post {
    Post {
        url: format!("{}/api/auth.test", api_base.trim_end_matches('/')),
        bearer: Some(token.clone()),
        headers: Vec::new(),
        body: json!({}),
    }
}

/// The team of the bot, or why Slack did not say.
pub fn told_team(answer: &Answer) -> Result<String, String> {
    let body = strict::parse(answer.body.as_bytes()).unwrap_or(Value::Null);
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    match (body.get("ok"), text("team_id"), text("error")) {
        (Some(Value::Bool(true)), team, _) if !team.is_empty() => Ok(team.to_owned()),
        (_, _, "") => Err(format!("HTTP {} without a team", answer.status)),
        (_, _, error) => Err(shown(error, 100)),
    }
}

/// Where the message stands, or why Slack did not take it.
pub fn posted(answer: &Answer) -> Result<Place, String> {
    let body = strict::parse(answer.body.as_bytes()).unwrap_or(Value::Null);
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if answer.status == 200 && body.get("ok") == Some(&Value::Bool(true)) {
        return Ok(Place {
            channel: text("channel").to_owned(),
            ts: text("ts").to_owned(),
        });
    }
    Err(match text("error") {
        "" => format!("HTTP {}", answer.status),
        error => shown(error, 100),
    })
}

/// A press that Slack has signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Press {
    /// Slack's id of who pressed: `U...`. Only unique within a team.
    pub user: String,
    /// Every team that the press names, of the user and of the place: `T...`; where it names none, the
    /// enterprise that it is of.
    pub teams: Vec<String>,
    /// The button's name.
    pub action: String,
    /// The button's value.
    pub value: String,
    /// Where that user alone can be answered.
    pub response_url: Option<String>,
}

impl Press {
    /// Whether it is the button that approves.
    pub fn approves(&self) -> bool {
        self.action == APPROVE
    }
}

/// Not something to act on. The text is for logs; whoever sent it learns nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotGenuine {
    /// Too old, too new, or no time at all.
    #[error("the time of the request is not within five minutes of ours")]
    Stale,
    /// Not signed with our signing secret.
    #[error("the signature does not hold")]
    BadSignature,
    /// Signed, and not a press of a button.
    #[error("not a button press: {0}")]
    Unreadable(&'static str),
}

/// Whether Slack signed this very body just now.
pub fn verify(
    secret: &Secret,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), NotGenuine> {
    let digits = timestamp.bytes().all(|b| b.is_ascii_digit());
    let at = timestamp.parse::<i64>().ok().filter(|_| digits);
    let at = at.ok_or(NotGenuine::Stale)?;
    if now.secs().abs_diff(at) > MAX_AGE_SECS.unsigned_abs() {
        return Err(NotGenuine::Stale);
    }
    let signature = signature.strip_prefix("v0=").unwrap_or_default();
    let parts: [&[u8]; 4] = [b"v0:", timestamp.as_bytes(), b":", body];
    if secret.signed(&parts, signature) {
        Ok(())
    } else {
        Err(NotGenuine::BadSignature)
    }
}

/// The press that a verified body describes.
pub fn press(body: &[u8]) -> Result<Press, NotGenuine> {
    let mut fields = url::form_urlencoded::parse(body).filter(|(name, _)| name == "payload");
    let payload = match (fields.next(), fields.next()) {
        (Some((_, payload)), None) => payload,
        _ => return Err(NotGenuine::Unreadable("no payload, or more than one")),
    };
    let payload = strict::parse(payload.as_bytes());
    let payload = payload.map_err(|_| NotGenuine::Unreadable("the payload is not JSON"))?;
    let text = |path: &[&str]| {
        let value = path.iter().try_fold(&payload, |value, key| value.get(key));
        value.and_then(Value::as_str).map(str::to_owned)
    };
    if text(&["type"]).as_deref() != Some("block_actions") {
        return Err(NotGenuine::Unreadable("another type of interaction"));
    }
    let actions = payload.get("actions").and_then(Value::as_array);
    let action = match actions.map(Vec::as_slice) {
        Some([action]) => action,
        _ => return Err(NotGenuine::Unreadable("not exactly one action")),
    };
    let of_action = |name: &str| action.get(name).and_then(Value::as_str).map(str::to_owned);
    match (
        text(&["user", "id"]),
        of_action("action_id"),
        of_action("value"),
    ) {
        (Some(user), Some(action), Some(value)) => Ok(Press {
            user,
            teams: {
                let teams = [text(&["user", "team_id"]), text(&["team", "id"])];
                let mut teams: Vec<String> = teams.into_iter().flatten().collect();
                // A press in the name of a whole enterprise comes from any of its teams.
                if teams.is_empty() {
                    teams.extend(text(&["enterprise", "id"]));
                }
                teams
            },
            action,
            value,
            response_url: text(&["response_url"]),
        }),
        _ => Err(NotGenuine::Unreadable("a press without user or value")),
    }
}

fn fields(notice: &Notice, proposal: Option<&Proposal>) -> Vec<Value> {
    let mut rows = vec![("Amount", amount(&notice.effective))];
    rows.extend(payee(&notice.payee, MAX_FIELD - 20));
    if let Some(agent) = &notice.agent {
        rows.push(("Agent", agent.to_string()));
    }
    if let Some(tool) = &notice.tool {
        rows.push(("Tool", tool.to_string()));
    }
    if !notice.reason.is_empty() {
        rows.push(("Reason", notice.reason.clone()));
    }
    if let Some(proposal) = proposal {
        rows.push(("Risk", risk(proposal)));
        rows.push(("State", standing(proposal)));
        if notice.kind == NoticeKind::Held {
            rows.push(("Expires", proposal.fixed.lapses_at.to_string()));
        }
    }
    rows.truncate(10);
    let field = |(name, value): (&str, String)| plain(&format!("{name}: {value}"), MAX_FIELD);
    rows.into_iter().map(field).collect()
}

fn standing(proposal: &Proposal) -> String {
    let needed = proposal.approvals_needed();
    match needed {
        0 => proposal.state.name().to_owned(),
        _ => format!(
            "{}, {} of {needed} approvals",
            proposal.state.name(),
            proposal.moving.approvals.len()
        ),
    }
}

fn who(notice: &Notice) -> String {
    let agent = notice.agent.as_ref().map(ToString::to_string);
    agent.map_or_else(String::new, |agent| format!("agent {agent}"))
}

fn footer(notice: &Notice) -> String {
    let mut parts = Vec::new();
    if let Some(proposal) = notice.proposal {
        parts.push(format!("Proposal {proposal}"));
    }
    if !notice.args_hash.is_empty() {
        parts.push(format!("Arguments SHA-256 {}", notice.args_hash));
    }
    parts.push(notice.at.to_string());
    parts.join(" | ")
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": plain(text, MAX_SECTION)})
}

/// A text without any formatting. Escaping makes it longer, and Slack counts what it gets; what
/// does not fit is cut, and says so.
fn plain(text: &str, max: usize) -> Value {
    let mut out = escaped(text);
    if out.chars().count() > max {
        out.clear();
        let mut left = max.saturating_sub(CUT.len());
        for piece in text.chars().map(escape) {
            let Some(rest) = left.checked_sub(piece.chars().count()) else {
                break;
            };
            left = rest;
            out.push_str(&piece);
        }
        out.push_str(CUT);
    }
    json!({"type": "plain_text", "text": out, "emoji": false})
}

fn escaped(text: &str) -> String {
    text.chars().map(escape).collect()
}

fn escape(c: char) -> String {
    match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        c => c.to_string(),
    }
}

fn button(text: &str, style: &str, action: &str, value: &str) -> Value {
    json!({
        "type": "button",
        "text": {"type": "plain_text", "text": text, "emoji": false},
        "style": style,
        "action_id": action,
        "value": value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::OrgId;
    use crate::domain::money::{Currency, Effective, Money};
    use crate::domain::reason::{Finding, Reason};
    use crate::domain::tool::Payee;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn notice(name: &str, detail: &str) -> Notice {
        Notice {
            kind: NoticeKind::Held,
            at: NOW,
            org: OrgId::default(),
            proposal: None,
            agent: Some("agent-1".parse().unwrap()),
            tool: Some("create_payout".parse().unwrap()),
            effective: Effective::Amount(Money {
                minor: 1_234_567,
                currency: Currency::INR,
            }),
            payee: Payee {
                name: Some(name.to_owned()),
                ..Payee::default()
            },
            args_hash: "ab".repeat(32),
            reason: "APPROVAL_REQUIRED".to_owned(),
            findings: vec![Finding::hold(Reason::ApprovalRequired, detail)],
            detail: detail.to_owned(),
            copy: None,
        }
    }

    /// Every text of a message that Slack would render.
    fn texts(message: &Value, out: &mut Vec<(String, String)>) {
        if let Some(kind) = message.get("type").and_then(Value::as_str)
            && let Some(text) = message.get("text").and_then(Value::as_str)
        {
            out.push((kind.to_owned(), text.to_owned()));
        }
        match message {
            Value::Object(map) => map.values().for_each(|value| texts(value, out)),
            Value::Array(items) => items.iter().for_each(|value| texts(value, out)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn no_name_fakes_a_mention_a_link_or_a_line() {
        let hostile = [
            "<!channel>",
            "<@U123>",
            "<https://evil.example|Acme Ltd>",
            "Acme\nApproved by the CFO",
            "Acme\u{202e}dtL",
            "*bold* _it_ ~x~ `code`",
            "&lt;!here&gt;",
            ":money_with_wings:",
        ];
        for name in hostile {
            let buttons = Buttons {
                approve: "a".into(),
                reject: "b".into(),
            };
            let message = message("C1", &notice(name, name), None, Some(&buttons), None);
            let mut all = Vec::new();
            texts(&message, &mut all);
            all.push((
                "plain_text".into(),
                message["text"].as_str().unwrap().into(),
            ));
            for (kind, text) in all {
                assert_eq!(kind, "plain_text", "{text}");
                assert!(!text.contains(['<', '>', '\u{202e}']), "{text}");
                let entity = text
                    .replace("&amp;", "")
                    .replace("&lt;", "")
                    .replace("&gt;", "");
                assert!(!entity.contains('&'), "{text}");
            }
            assert_eq!(message["link_names"], false);
        }
        let doubly = message("C1", &notice("&lt;!here&gt;", ""), None, None, None).to_string();
        assert!(doubly.contains("&amp;lt;!here&amp;gt;"));
    }

    #[test]
    fn an_approver_sees_what_would_move() {
        let text = message("C1", &notice("Acme Ltd", "over 10,000"), None, None, None).to_string();
        for part in [
            "12,345.67 INR",
            "1234567 minor units",
            "Acme Ltd",
            "agent-1",
            "create_payout",
            "APPROVAL_REQUIRED",
            &"ab".repeat(32),
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    /// A name can neither push the account out of sight nor pose as it.
    #[test]
    fn the_account_stands_first_and_alone() {
        let names = [
            "<".repeat(256),
            "Good Ltd / fa_GOOD0001".to_owned() + &" ".repeat(200),
        ];
        for name in names {
            let mut notice = notice(&name, "");
            notice.payee.account = Some("fa_00000000000EVL".to_owned());
            let message = message("C1", &notice, None, None, None);
            let fields = message["blocks"][1]["fields"].as_array().unwrap();
            let texts: Vec<_> = fields
                .iter()
                .filter_map(|f| f["text"]["text"].as_str().or(f["text"].as_str()))
                .collect();
            assert_eq!(texts[1], "Payee account: fa_00000000000EVL");
            assert!(texts[2].starts_with("Payee name: "), "{texts:?}");
            let whole = texts[2].matches("&lt;").count() == 256 || name.starts_with('G');
            assert!(whole || texts[2].ends_with(CUT), "{texts:?}");
        }
    }

    #[test]
    fn long_texts_stay_within_what_slack_takes() {
        for filler in ["x", "<", "\u{200b}", "漢"] {
            let long = filler.repeat(100_000);
            let message = message("C1", &notice(&long, &long), None, None, None);
            let mut all = Vec::new();
            texts(&message, &mut all);
            let longest = all.iter().map(|(_, text)| text.chars().count()).max();
            assert!(longest.unwrap() <= 3_000);
            let fields = message["blocks"][1]["fields"].as_array().unwrap();
            assert!(fields.len() <= 10);
            for field in fields {
                assert!(field["text"].as_str().unwrap().chars().count() <= 2_000);
            }
            assert!(message["blocks"].as_array().unwrap().len() <= 50);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_press_is_believed_only_fresh_and_signed() {
        let secret = Secret::new("8f742231b10e8888abcd99yyyzzz85a5");
        let body = b"payload=%7B%7D";
        let sign = |at: &str, body: &[u8]| {
            "v0=".to_owned() + &secret.sign(&[b"v0:", at.as_bytes(), b":", body])
        };
        let now = NOW.secs();
        let cases: &[(i64, i64, Result<(), NotGenuine>)] = &[
            (now,       now,       Ok(())),
            (now - 300, now,       Ok(())),
            (now - 301, now,       Err(NotGenuine::Stale)),
            (now + 300, now,       Ok(())),
            (now + 301, now,       Err(NotGenuine::Stale)),
        ];
        for (at, now, expected) in cases {
            let at = at.to_string();
            let answer = verify(&secret, &at, &sign(&at, body), body, Timestamp::from_secs(*now));
            assert_eq!(answer, *expected, "{at}");
        }
        let at = now.to_string();
        let bad = Err(NotGenuine::BadSignature);
        assert_eq!(verify(&secret, &at, &sign(&at, b"payload=x"), body, NOW), bad);
        assert_eq!(verify(&secret, &at, &sign(&at, body)[3..], body, NOW), bad);
        assert_eq!(verify(&secret, &at, "v0=é", body, NOW), bad);
        assert_eq!(verify(&secret, &at, "", body, NOW), bad);
        for at in ["", "-1", "+1700000000", "1700000000.0", "NaN", "99999999999999999999"] {
            assert_eq!(verify(&secret, at, &sign(at, body), body, NOW), Err(NotGenuine::Stale), "{at}");
        }
    }

    #[test]
    fn a_press_is_read_or_refused_whole() {
        let encode = |payload: &Value| -> Vec<u8> {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("payload", &payload.to_string());
            form.finish().into_bytes()
        };
        let good = json!({
            "type": "block_actions",
            "user": {"id": "U1", "name": "x"},
            "response_url": "https://hooks.slack.com/actions/1",
            "actions": [{"action_id": APPROVE, "value": "v"}],
        });
        let press = super::press(&encode(&good)).unwrap();
        assert_eq!((press.user.as_str(), press.value.as_str()), ("U1", "v"));
        let mut twice = encode(&good);
        twice.extend_from_slice(b"&");
        twice.extend_from_slice(&encode(&good));
        assert!(super::press(&twice).is_err());
        for (field, value) in [
            ("type", json!("view_submission")),
            ("user", json!({"name": "x"})),
            ("actions", json!([])),
            ("actions", json!([{"action_id": APPROVE}])),
            ("actions", json!({"action_id": APPROVE, "value": "v"})),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(super::press(&encode(&bad)).is_err(), "{bad}");
        }
        for body in [
            "",
            "payload",
            "payload=%7B",
            "payload=%7B%22a%22:1,%22a%22:2%7D",
            "%",
        ] {
            assert!(super::press(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn what_slack_answers() {
        let answer = |status, body: &str| Answer {
            status,
            retry_after_secs: None,
            body: body.to_owned(),
        };
        let place = posted(&answer(200, r#"{"ok":true,"channel":"C1","ts":"1.2"}"#)).unwrap();
        assert_eq!(place.ts, "1.2");
        assert_eq!(
            posted(&answer(200, r#"{"ok":false,"error":"invalid_auth"}"#)),
            Err("invalid_auth".to_owned())
        );
        assert_eq!(posted(&answer(503, "<html>")), Err("HTTP 503".to_owned()));
        assert!(posted(&answer(200, "")).is_err());
    }
}
