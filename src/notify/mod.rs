//! How people are told: a notice in, a message out. Pure: posting is the wire's.
//!
//! Names, reasons and arguments come from agents and vendors, and people decide by what they read.
//! So every such text goes through [`shown`] first: nothing invisible, nothing that turns the
//! line around, and never longer than the place it stands in.

pub mod ntfy;
pub mod slack;
pub mod webhook;

use crate::domain::money::Effective;
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::proposal::{Proposal, State};
use crate::domain::reason::Severity;
use crate::domain::tool::Payee;

/// What stands where a text was cut.
const CUT: &str = " [cut]";

/// A text of strangers as people may read it: one line, what cannot be seen spelt out, at most
/// `max` characters.
pub fn shown(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        let piece = visible(c);
        let more = piece.chars().count();
        if count + more > max.saturating_sub(CUT.len()) && text.chars().count() > max {
            out.push_str(CUT);
            return out;
        }
        count += more;
        out.push_str(&piece);
    }
    // Spelling out what is invisible can make a short text long.
    if count > max {
        let kept: String = out.chars().take(max.saturating_sub(CUT.len())).collect();
        return kept + CUT;
    }
    out
}

/// Where the console shows what a message is about, below its origin.
pub fn page(notice: &Notice) -> String {
    match (notice.proposal, notice.kind) {
        (Some(id), NoticeKind::Held) => format!("/console/approvals/{id}"),
        (Some(id), _) => format!("/console/proposals/{id}"),
        (None, _) => "/console".to_owned(),
    }
}

fn visible(c: char) -> String {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => " ".to_owned(),
        c if c.is_control() || is_invisible(c) => format!("[U+{:04X}]", u32::from(c)),
        c => c.to_string(),
    }
}

/// Characters without ink, and those that reorder their neighbours.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// What would move, with the minor units that are compared with limits.
fn amount(effective: &Effective) -> String {
    match effective {
        Effective::Nothing => "no money".to_owned(),
        Effective::Amount(money) => format!("{money} ({} minor units)", money.minor),
        Effective::Unbounded(currency) => format!("everything there is, in {currency}"),
    }
}

/// Who would be paid, as far as the arguments say: the account first, because it alone decides
/// where the money goes, and each part in a line of its own, so that none can pose as another.
fn payee(payee: &Payee, max: usize) -> Vec<(&'static str, String)> {
    let parts = [
        ("Payee account", &payee.account),
        ("Payee name", &payee.name),
        ("Payee site", &payee.url),
    ];
    let named = |(label, part): (&'static str, &Option<String>)| {
        part.as_ref().map(|part| (label, shown(part, max)))
    };
    let lines: Vec<_> = parts.into_iter().filter_map(named).collect();
    match lines.is_empty() {
        true => vec![("Payee", "not named".to_owned())],
        false => lines,
    }
}

/// The headline of a message, without any text of strangers. A hold that one of several people
/// has approved still needs the others.
fn headline(notice: &Notice, proposal: Option<&Proposal>) -> String {
    let what = match &notice.effective {
        Effective::Nothing => notice
            .tool
            .as_ref()
            .map_or(String::new(), ToString::to_string),
        Effective::Amount(money) => money.to_string(),
        Effective::Unbounded(currency) => format!("everything there is, in {currency}"),
    };
    match notice.kind {
        NoticeKind::Held => format!("Approval needed: {what}"),
        NoticeKind::Decided if proposal.is_some_and(|proposal| proposal.state == State::Held) => {
            format!("Approval needed: {what}")
        }
        NoticeKind::Decided => format!("Decided: {what}"),
        NoticeKind::Blocked => format!("Refused: {} ({what})", notice.reason),
        NoticeKind::InDoubt => format!("In doubt: {what}"),
        NoticeKind::Reversed => format!("Came back: {what}"),
        NoticeKind::Alert => "Needs a look".to_owned(),
    }
}

/// The findings, worst first, one line each.
fn findings(notice: &Notice, each: usize) -> Vec<String> {
    let mut findings: Vec<_> = notice.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let line = |finding: &&crate::domain::reason::Finding| {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Hold => "hold",
            Severity::Block => "block",
        };
        let threats = match finding.threats.is_empty() {
            true => String::new(),
            false => format!(" [{}]", finding.threats.join(", ")),
        };
        let text = format!("{}: {}{threats}", finding.reason.code(), finding.detail);
        shown(&format!("{severity} {text}"), each)
    };
    findings.iter().map(line).collect()
}

/// The integrity score in words.
fn risk(proposal: &Proposal) -> String {
    match proposal.fixed.score.composite {
        Some(score) => format!("integrity score {score:.2} (0 agrees, 1 disagrees)"),
        None => "integrity not scored".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn nothing_invisible_gets_through() {
        let cases = [
            ("Acme Ltd",                 100, "Acme Ltd"),
            ("Ac\u{200b}me",             100, "Ac[U+200B]me"),
            ("\u{202e}tnuocca",          100, "[U+202E]tnuocca"),
            ("a\nApproved by CFO",       100, "a Approved by CFO"),
            ("a\u{2028}b\u{0}c",         100, "a b[U+0000]c"),
            ("tag\u{e0041}",             100, "tag[U+E0041]"),
            ("0123456789",               10,  "0123456789"),
            ("0123456789a",              10,  "0123 [cut]"),
            ("\u{200b}\u{200b}",         10,  "[U+2 [cut]"),
            ("₹ é 漢",                   100, "₹ é 漢"),
        ];
        for (text, max, expected) in cases {
            assert_eq!(shown(text, max), expected, "{text:?}");
            assert!(shown(text, max).chars().count() <= max);
        }
    }
}
