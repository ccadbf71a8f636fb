//! Pages of lists, bounded in rows and in bytes: a row can hold a mebibyte of arguments, and five
//! hundred of those would be read, held and spelt for one question.
//!
//! Rows are read a few at a time until the page is full, so that what does not fit is never read.

use serde_json::Value;

use super::places::LongRead;
use crate::domain::ids::AgentId;
use crate::domain::principal::{Principal, Right};
use crate::domain::proposal::Proposal;
use crate::store::StoredRecord;

/// Most proposals or records per page.
pub(in crate::broker) const MAX_PAGE: u32 = 500;
/// Most bytes of a page's rows, about. A page always holds one row, whatever its size.
const PAGE_BYTES: usize = 1024 * 1024;
/// Rows read at first, before anybody knows how large they are.
const FIRST_ROWS: usize = 16;
/// Most rows read at once.
const MOST_ROWS: usize = 500;
/// What a row costs beside what it says.
const ROW_BYTES: usize = 512;

/// Part of a list, in its order. Whoever spells it out keeps it until that is done: reading and
/// spelling are one turn, so that nobody keeps more than one core busy with lists.
#[derive(Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// There may be more after the last one.
    pub more: bool,
    /// The turn in which it was read.
    pub(in crate::broker) turn: Option<LongRead>,
}

impl<T> Page<T> {
    /// A page of nothing, and nothing follows.
    pub fn empty() -> Self {
        Self {
            rows: Vec::new(),
            more: false,
            turn: None,
        }
    }
}

/// Fills one page.
pub(in crate::broker) struct Filling<T> {
    rows: Vec<T>,
    bytes: usize,
    most: usize,
}

/// Whether to go on.
pub(in crate::broker) enum Next<T> {
    /// Ask for so many rows after the last one.
    Ask(u32),
    /// The page is done.
    Done(Page<T>),
}

impl<T> Filling<T> {
    /// A page of at most so many rows.
    pub fn new(most: u32) -> Self {
        Self {
            rows: Vec::new(),
            bytes: 0,
            most: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    /// How many rows to ask for next.
    pub fn ask(&self) -> u32 {
        let left = self.most - self.rows.len();
        let fit = match self.bytes.checked_div(self.rows.len()) {
            None => FIRST_ROWS,
            Some(average) => (PAGE_BYTES.saturating_sub(self.bytes) / average.max(1)) + 1,
        };
        u32::try_from(fit.min(left).clamp(1, MOST_ROWS)).unwrap_or(1)
    }

    /// The last row so far.
    pub fn last(&self) -> Option<&T> {
        self.rows.last()
    }

    /// Takes what was answered when `asked` rows were asked for.
    pub fn take(mut self, asked: u32, rows: Vec<T>, size: impl Fn(&T) -> usize) -> (Self, Next<T>) {
        let ended = rows.len() < usize::try_from(asked).unwrap_or(usize::MAX);
        for row in rows {
            let bytes = ROW_BYTES + size(&row);
            if !self.rows.is_empty() && self.bytes + bytes > PAGE_BYTES {
                return self.done(true);
            }
            self.bytes += bytes;
            self.rows.push(row);
        }
        if ended {
            return self.done(false);
        }
        if self.rows.len() >= self.most {
            return self.done(true);
        }
        let next = self.ask();
        (self, Next::Ask(next))
    }

    fn done(mut self, more: bool) -> (Self, Next<T>) {
        let rows = std::mem::take(&mut self.rows);
        let turn = None;
        (self, Next::Done(Page { rows, more, turn }))
    }
}

/// About how many bytes a proposal is, spelt out.
pub(in crate::broker) fn proposal_bytes(proposal: &Proposal) -> usize {
    let found = &proposal.fixed.findings;
    let findings: usize = found.iter().map(|finding| finding.detail.len()).sum();
    let result = proposal
        .execution
        .as_ref()
        .map_or(0, |execution| execution.call.arguments.len());
    proposal.fixed.args.as_str().len() + findings + result
}

/// About how many bytes a record is, spelt out.
pub(in crate::broker) fn record_bytes(stored: &StoredRecord) -> usize {
    value_bytes(&stored.record.detail)
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(value_bytes).sum::<usize>(),
        Value::Object(map) => {
            let field = |(key, value): (&String, &Value)| key.len() + 4 + value_bytes(value);
            2 + map.iter().map(field).sum::<usize>()
        }
    }
}

/// Whose rows a list is about: `None` where the caller may see none of them, `Some(None)` where it
/// may see everybody's.
pub(in crate::broker) fn visible_agent(
    who: &Principal,
    asked: Option<&AgentId>,
) -> Option<Option<AgentId>> {
    if who.may(Right::ReadAll) {
        return Some(asked.cloned());
    }
    let own = who.agent.as_ref()?;
    (asked.is_none() || asked == Some(own)).then(|| Some(own.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages through a list of rows of these sizes as a door would: rows and questions per page.
    fn page(sizes: &[usize], most: u32) -> (Vec<usize>, bool, usize) {
        let mut filling = Filling::new(most);
        let (mut asked, mut questions, mut read) = (filling.ask(), 0, 0);
        loop {
            let end = sizes.len().min(read + asked as usize);
            let rows = sizes[read..end].to_vec();
            read = end;
            questions += 1;
            let (next, step) = filling.take(asked, rows, |size| *size);
            filling = next;
            match step {
                Next::Ask(more) => asked = more,
                Next::Done(page) => return (page.rows, page.more, questions),
            }
        }
    }

    #[test]
    fn small_rows_fill_a_page_by_number() {
        let sizes = vec![1_000; 700];
        let (rows, more, questions) = page(&sizes, 500);
        assert_eq!((rows.len(), more, questions), (500, true, 2));
        let (rows, more, _) = page(&sizes[..300], 500);
        assert_eq!((rows.len(), more), (300, false));
        let (rows, more, questions) = page(&sizes, 16);
        assert_eq!((rows.len(), more, questions), (16, true, 1));
    }

    #[test]
    fn large_rows_fill_it_by_bytes_and_one_always_fits() {
        let (rows, more, _) = page(&[PAGE_BYTES * 2; 5], 500);
        assert_eq!((rows.len(), more), (1, true));
        let (rows, more, _) = page(&[PAGE_BYTES / 3; 40], 500);
        assert_eq!((rows.len(), more), (2, true));
        let sum: usize = page(&vec![50_000; 500], 500).0.iter().sum();
        assert!(sum <= PAGE_BYTES && sum > PAGE_BYTES - 60_000, "{sum}");
    }

    #[test]
    fn an_empty_list_is_an_empty_page() {
        assert_eq!(page(&[], 50), (vec![], false, 1));
    }
}
