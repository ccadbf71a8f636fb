//! ntfy: a short message to a topic. Nobody can answer it; it says where to decide.

use serde_json::{Value, json};

use super::{amount, findings, headline, payee, shown};
use crate::domain::notice::{Notice, NoticeKind, Post};
use crate::domain::proposal::Proposal;
use crate::domain::secret::Secret;

/// ntfy turns longer messages into attachments.
const MAX_MESSAGE: usize = 3_500;
/// Longest title, and longest line of the message.
const MAX_TITLE: usize = 200;
const MAX_LINE: usize = 300;

/// The message to a topic.
pub fn message(
    topic: &str,
    notice: &Notice,
    proposal: Option<&Proposal>,
    link: Option<&str>,
) -> Value {
    let (priority, tags) = looks(notice);
    let mut lines = vec![format!("Amount: {}", amount(&notice.effective))];
    let payee = payee(&notice.payee, MAX_LINE).into_iter();
    lines.extend(payee.map(|(label, text)| format!("{label}: {text}")));
    if let Some(agent) = &notice.agent {
        lines.push(format!("Agent: {agent}"));
    }
    if let Some(tool) = &notice.tool {
        lines.push(format!("Tool: {tool}"));
    }
    if !notice.reason.is_empty() {
        lines.push(format!("Reason: {}", shown(&notice.reason, MAX_LINE)));
    }
    if !notice.detail.is_empty() {
        lines.push(shown(&notice.detail, MAX_LINE));
    }
    lines.extend(findings(notice, MAX_LINE));
    if let Some(proposal) = notice.proposal {
        lines.push(format!("Arguments SHA-256: {}", notice.args_hash));
        let decide = match notice.kind {
            NoticeKind::Held => format!("Decide: hundi proposal approve {proposal} (or reject)"),
            NoticeKind::Decided
            | NoticeKind::Blocked
            | NoticeKind::InDoubt
            | NoticeKind::Reversed
            | NoticeKind::Alert => format!("Proposal: {proposal}"),
        };
        lines.push(decide);
    }
    if let Some(link) = link {
        lines.push(link.to_owned());
    }
    let text: String = lines.join("\n").chars().take(MAX_MESSAGE).collect();
    let mut message = json!({
        "topic": topic,
        "title": shown(&headline(notice, proposal), MAX_TITLE),
        "message": text,
        "priority": priority,
        "tags": tags,
    });
    // What a tap on it opens.
    if let Some(link) = link {
        message["click"] = json!(link);
    }
    message
}

/// The call that posts it: JSON goes to the server's root.
pub fn post(url: &str, token: Option<&Secret>, message: Value) -> Post {
    Post {
        url: format!("{}/", url.trim_end_matches('/')),
        bearer: token.cloned(),
        headers: Vec::new(),
        body: message,
    }
}

/// How loud, and under which signs.
fn looks(notice: &Notice) -> (u8, &'static [&'static str]) {
    match notice.kind {
        NoticeKind::Held => (4, &["warning", "moneybag"]),
        NoticeKind::Decided => (2, &["ballot_box_with_check"]),
        NoticeKind::InDoubt => (5, &["question", "moneybag"]),
        NoticeKind::Reversed => (4, &["leftwards_arrow_with_hook", "moneybag"]),
        NoticeKind::Alert => (4, &["eyes"]),
        NoticeKind::Blocked => match notice.reason.as_str() {
            "RISK_HIGH" => (4, &["biohazard"]),
            "DOMAIN_BLOCKED" => (4, &["no_entry_sign"]),
            "LIMIT_EXCEEDED" | "TXN_LIMIT_EXCEEDED" => (4, &["money_with_wings"]),
            "NO_POLICY" => (4, &["clipboard"]),
            _ => (4, &["x"]),
        },
    }
}
