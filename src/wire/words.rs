//! What is said of an upstream that cannot be reached, as callers may read it: without the address,
//! which is the operator's affair and may hold a password.

/// What stands for an address.
const HIDDEN: &str = "(its address)";

/// The same words with every web address hidden.
pub(super) fn without_addresses(words: &str) -> String {
    let mut shown = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(at) = rest.find("://") {
        let scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let begin = rest[..at].trim_end_matches(scheme).len();
        let end = rest[at..].find(ends_address).map_or(rest.len(), |n| at + n);
        shown.push_str(&rest[..begin]);
        shown.push_str(HIDDEN);
        rest = &rest[end..];
    }
    shown.push_str(rest);
    shown
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')' | '`' | ',' | ';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_told() {
        let cases = [
            (
                "error sending request for url (http://u:p@10.0.0.5:8080/mcp?k=1)",
                "error sending request for url ((its address))",
            ),
            (
                "https://a/b, then wss://c",
                "(its address), then (its address)",
            ),
            ("connection refused", "connection refused"),
            ("://", "(its address)"),
        ];
        for (words, expected) in cases {
            assert_eq!(without_addresses(words), expected);
        }
    }
}
