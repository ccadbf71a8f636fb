//! Are two names of companies one name?
//!
//! A register that is searched by name returns whatever resembles it, so what it returns is
//! compared. Case, marks on letters, punctuation and spacing do not matter, nor how a legal form
//! is spelt (`Pvt. Ltd.` is `Private Limited`). The form itself does: `Acme Inc` is another company
//! than `Acme Ltd`, and `Acme` alone is neither.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Words of legal forms, long and short, each with the short one.
const FORMS: &[(&str, &str)] = &[
    ("limited", "ltd"),
    ("private", "pvt"),
    ("pte", "pvt"),
    ("pty", "pvt"),
    ("incorporated", "inc"),
    ("corporation", "corp"),
    ("company", "co"),
    ("companies", "cos"),
    ("international", "intl"),
    ("holdings", "holding"),
    ("gesellschaft mit beschrankter haftung", "gmbh"),
    ("mit beschrankter haftung", "mbh"),
    ("aktiengesellschaft", "ag"),
    ("societe anonyme", "sa"),
    ("societe par actions simplifiee", "sas"),
    ("societe a responsabilite limitee", "sarl"),
    ("sociedad anonima", "sa"),
    ("sociedad de responsabilidad limitada", "srl"),
    ("societa per azioni", "spa"),
    ("societa a responsabilita limitata", "srl"),
    ("besloten vennootschap", "bv"),
    ("naamloze vennootschap", "nv"),
    ("aktiebolag", "ab"),
    ("aktieselskab", "as"),
    ("aksjeselskap", "as"),
    ("osakeyhtio", "oy"),
    ("kabushiki kaisha", "kk"),
    ("public ltd co", "plc"),
    ("ltd liability co", "llc"),
    ("ltd liability partnership", "llp"),
    ("and", "&"),
];

/// Whether two names are one, the spelling of their legal forms aside. A name of nothing but
/// punctuation is nobody's.
pub fn same_entity(a: &str, b: &str) -> bool {
    let a = normalised(a);
    !a.is_empty() && a == normalised(b)
}

/// One spelling for every spelling of a name.
pub(super) fn normalised(name: &str) -> String {
    let letters = name.nfkd().filter(|c| !is_combining_mark(*c));
    let lower: String = letters.flat_map(char::to_lowercase).collect();
    let lower = lower
        .replace('ß', "ss")
        .replace('ø', "o")
        .replace('ł', "l")
        .replace(['\'', '’'], "");
    let mut words = String::new();
    for word in lower.split_whitespace() {
        if is_initials(word) {
            words.extend(word.chars().filter(|c| *c != '.'));
        } else {
            let kept = |c: char| {
                if c.is_alphanumeric() || c == '&' {
                    c
                } else {
                    ' '
                }
            };
            words.extend(word.chars().map(kept));
        }
        words.push(' ');
    }
    shortened(words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// `s.a.` and `l.l.c`, but not `ltd.`.
fn is_initials(word: &str) -> bool {
    let mut parts = word.split('.');
    let one = |part: &str| part.chars().count() <= 1;
    word.contains('.') && parts.all(one)
}

/// Every legal form in its short spelling.
fn shortened(name: String) -> String {
    let mut name = format!(" {name} ");
    for (long, short) in FORMS {
        name = name.replace(&format!(" {long} "), &format!(" {short} "));
    }
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn spelling_does_not_matter_and_the_form_does() {
        let same = [
            ("Acme Ltd",                        "ACME  LIMITED"),
            ("Acme Pvt. Ltd.",                  "Acme Private Limited"),
            ("ACME (PRIVATE) LIMITED",          "acme pvt ltd"),
            ("Smith & Sons, Inc.",              "Smith and Sons Incorporated"),
            ("Société Générale S.A.",           "SOCIETE GENERALE SA"),
            ("Müller GmbH",                     "Muller Gesellschaft mit beschränkter Haftung"),
            ("Straße AG",                       "Strasse Aktiengesellschaft"),
            ("O'Reilly Co.",                    "OReilly Company"),
            ("Acme L.L.C.",                     "Acme Limited Liability Company"),
            ("Acme P.L.C",                      "Acme Public Limited Company"),
            ("टाटा मोटर्स",                         "टाटा मोटर्स"),
            ("ＡＣＭＥ Ltd",                      "acme ltd"),
        ];
        for (a, b) in same {
            assert!(same_entity(a, b) && same_entity(b, a), "{a} | {b}: {} | {}", normalised(a), normalised(b));
        }
        let other = [
            ("acme evil lookalike", "Acme Ltd"),
            ("Acme",                "Acme Ltd"),
            ("Acme Inc",            "Acme Ltd"),
            ("Acme Ltd",            "Acme Holdings Ltd"),
            ("Acme Ltd",            "Acme Ltd India"),
            ("Acme Ltd",            "Аcme Ltd"), // the first letter is Cyrillic
            ("A B Ltd",             "C B Ltd"),
            ("",                    ""),
            ("...",                 "---"),
        ];
        for (a, b) in other {
            assert!(!same_entity(a, b), "{a} | {b}");
        }
    }
}
