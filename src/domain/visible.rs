//! Text of others where people read it: in a terminal, in a log.
//!
//! Names, reasons and error words can hold characters that move the cursor, change colours, begin a
//! line of their own or show what follows in another order. Spelled out, they do none of that.

/// A text that cannot steer whoever shows it, on one line.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// JSON text with the same characters as JSON escapes: another spelling of the same value. The
/// line end after a document is kept.
pub fn plain_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c == '\n' || !steers(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    shown
}

/// A text as people check it: what hides, or turns its neighbours around, is spelled out where it
/// stands. The joiners stay, because names in Persian and Hindi need them.
pub fn seen(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match hides(c) {
            true => shown.push_str(&format!("\u{2039}U+{:04X}\u{203a}", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown
}

/// A whole page, where nothing that [`seen`] spells out may be left, whoever forgot it: line ends
/// and tabs are its own.
pub fn page(html: String) -> String {
    let left = |c: char| hides(c) && !matches!(c, '\n' | '\t');
    if !html.contains(left) {
        return html;
    }
    let mut shown = String::with_capacity(html.len() + html.len() / 8);
    for c in html.chars() {
        match left(c) {
            true => shown.push_str(&format!("\u{2039}U+{:04X}\u{203a}", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown
}

/// Controls, marks of direction, what has no width, tags, and separators of lines.
fn hides(c: char) -> bool {
    let unseen = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}');
    c.is_control() || unseen
}

/// Controls (C0, C1), and characters that change how their neighbours are read and are not seen
/// themselves: line and paragraph separators, marks of direction, zero widths, tags.
pub fn steers(c: char) -> bool {
    let unseen = matches!(c,
        '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_text_steers_the_reader() {
        let cases = [
            ("Acme Ltd", "Acme Ltd"),
            ("Łódź 東京", "Łódź 東京"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\r", "a\\u{a}b\\u{d}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("a\u{2028}b\u{85}", "a\\u{2028}b\\u{85}"),
            ("pay\u{202e}xcod\u{61c}", "pay\\u{202e}xcod\\u{61c}"),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn a_page_keeps_its_lines_and_nothing_else_that_hides() {
        let page = super::page("<p>\n\ta\u{200c}b</p>\u{202e}\r\u{0}".to_owned());
        assert_eq!(page, "<p>\n\ta\u{200c}b</p>‹U+202E›‹U+000D›‹U+0000›");
    }

    #[test]
    fn what_hides_is_seen_and_names_keep_their_joiners() {
        let cases = [
            ("Acme", "Acme"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("क\u{200d}ष", "क\u{200d}ष"),
            ("pay\u{202e}x", "pay‹U+202E›x"),
            (
                "a\u{ad}b\u{200b}c\u{2060}\u{feff}",
                "a‹U+00AD›b‹U+200B›c‹U+2060›‹U+FEFF›",
            ),
            (
                "\u{e0041}\u{2028}\n\u{9b}",
                "‹U+E0041›‹U+2028›‹U+000A›‹U+009B›",
            ),
            ("\u{2066}\u{2069}\u{61c}", "‹U+2066›‹U+2069›‹U+061C›"),
        ];
        for (text, expected) in cases {
            assert_eq!(seen(text), expected);
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a": "x\u{9b}\u{2028}\u{202e}\u{e0041}\u{7f}é東\n"});
        let spelt = plain_json(&format!("{value}\n"));
        assert!(spelt.ends_with("}\n"));
        assert!(spelt.trim_end().chars().all(|c| !steers(c)), "{spelt}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&spelt).unwrap(),
            value
        );
    }
}
