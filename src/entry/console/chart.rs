//! Small drawings: bars in SVG, with numbers as attributes only (no inline style), and a title on
//! each so that nothing is told by colour alone.

use std::fmt::Write;

/// Width and height of a row of bars.
const WIDE: u64 = 480;
const HIGH: u64 = 96;

/// One bar of a row.
pub(super) struct Bar {
    /// Under it.
    pub label: String,
    /// How much.
    pub value: u64,
    /// How much in words.
    pub words: String,
}

/// A row of bars, each as high as its share of the highest.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or(0).max(1);
    let count = u64::try_from(bars.len()).unwrap_or(1).max(1);
    let step = WIDE / count;
    let mut svg = begin(title, HIGH + 18);
    let mut x = 0;
    for bar in bars {
        let height = share(bar.value, most, HIGH);
        let (y, width) = (HIGH - height, step.saturating_sub(3).max(1));
        let _ = write!(
            svg,
            "<g><title>{} {}</title><rect class=\"track\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"1\"/>\
             <rect class=\"bar\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"1\"/>",
            escaped(&bar.label),
            escaped(&bar.words),
            HIGH - 1,
        );
        if step >= 16 {
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x + width / 2,
                HIGH + 14,
                escaped(&bar.label)
            );
        }
        svg.push_str("</g>");
        x += step;
    }
    svg.push_str("</svg>");
    svg
}

/// One bar that fills up: what is spent, and what is set aside besides. `whole` of nothing draws an
/// empty one.
pub(super) fn filling(title: &str, spent: u64, aside: u64, whole: u64) -> String {
    let first = share(spent, whole, WIDE);
    let second = share(aside, whole, WIDE).min(WIDE - first);
    let mut svg = begin(title, 14);
    let _ = write!(
        svg,
        "<rect class=\"track\" width=\"{WIDE}\" height=\"14\" rx=\"4\"/>\
         <rect class=\"bar\" width=\"{first}\" height=\"14\" rx=\"4\"/>\
         <rect class=\"bar pending\" x=\"{first}\" width=\"{second}\" height=\"14\"/></svg>"
    );
    svg
}

fn begin(title: &str, height: u64) -> String {
    let title = escaped(title);
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDE} {height}\" role=\"img\" aria-label=\"{title}\">"
    )
}

fn share(part: u64, whole: u64, of: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let part = u128::from(part.min(whole)) * u128::from(of) / u128::from(whole);
    u64::try_from(part).unwrap_or(of)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_shares_and_hold_no_markup_of_others() {
        let bar = |label: &str, value| Bar {
            label: label.to_owned(),
            value,
            words: "<b>".to_owned(),
        };
        let svg = bars("a\"b", &[bar("9", 5), bar("10", 10)]);
        assert!(svg.contains("aria-label=\"a&quot;b\"") && svg.contains("&lt;b&gt;"));
        assert!(svg.contains("height=\"96\" rx") && svg.contains("height=\"48\" rx"));
        assert!(!svg.contains("style"));
        let svg = filling("x", 50, 100, 100);
        assert!(
            svg.contains("x=\"240\" width=\"240\""),
            "never more than there is: {svg}"
        );
        assert!(filling("x", 5, 5, 0).contains("width=\"0\""));
        assert!(bars("none", &[]).ends_with("</svg>"));
    }
}
