//! A form that was sent is done once: a page that is loaded again, or a button that is pressed twice,
//! sends the very same form, whose second time does nothing.
//!
//! Each page that is shown gives its forms a number of its own, and what was done is remembered by
//! number and fields, in this process: the guard is against hands, not against attackers, who need a
//! form of this session anyway.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::form::Form;
use crate::broker::Trouble;

/// Forms that are remembered; beyond them the oldest are forgotten.
const MOST: usize = 4_096;

type Name = [u8; 32];

/// Forms that were done.
#[derive(Default)]
pub(super) struct Once(Mutex<Done>);

#[derive(Default)]
struct Done {
    known: HashSet<Name>,
    order: VecDeque<Name>,
}

impl Once {
    /// Notes that this form is being done; refused if it was. `None` where it carries no number.
    pub(super) fn begin(&self, form: &Form) -> Result<Option<Name>, Trouble> {
        if form.get("once").is_none_or(str::is_empty) {
            return Ok(None);
        }
        let name = named(form);
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !done.known.insert(name) {
            let words = "this form was sent already, and is done once; load the page anew to see what came of it";
            return Err(Trouble::InvalidRequest(words.to_owned()));
        }
        done.order.push_back(name);
        if done.order.len() > MOST
            && let Some(oldest) = done.order.pop_front()
        {
            done.known.remove(&oldest);
        }
        Ok(Some(name))
    }

    /// It was not done after all, and may be sent again.
    pub(super) fn undone(&self, name: Option<Name>) {
        let Some(name) = name else { return };
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        done.known.remove(&name);
        done.order.retain(|known| *known != name);
    }
}

fn named(form: &Form) -> Name {
    let mut digest = Sha256::new();
    for (name, value) in form.fields() {
        for part in [name, value] {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part.as_bytes());
        }
    }
    digest.finalize().into()
}
