//! How much of this process's memory the questions of one caller take up, from the moment their bodies
//! are read until they are answered. Long questions are usual here, so they are not counted by the
//! piece, as other long bodies are, but by their bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Requests;
use crate::broker::core::Trouble;
use crate::domain::principal::Principal;

/// Most bytes of questions of one caller at once: a thousand long ones, or sixteen of the longest.
const MOST: usize = 256 << 20;

/// What everybody's questions weigh. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Scales(Arc<Mutex<HashMap<String, usize>>>);

/// The weight of one question, given back when dropped.
#[derive(Debug)]
pub struct Weight {
    scales: Scales,
    who: String,
    bytes: usize,
}

impl std::fmt::Debug for Scales {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scales")
    }
}

impl Scales {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Sums are whole whoever panicked while holding them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, who: &str, bytes: usize) -> Option<Weight> {
        let mut scales = self.lock();
        let has = scales.get(who).copied().unwrap_or(0);
        let sum = has.checked_add(bytes).filter(|sum| *sum <= MOST)?;
        scales.insert(who.to_owned(), sum);
        Some(Weight {
            scales: self.clone(),
            who: who.to_owned(),
            bytes,
        })
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        let mut scales = self.scales.lock();
        if let Some(has) = scales.get_mut(&self.who) {
            *has = has.saturating_sub(self.bytes);
            if *has == 0 {
                scales.remove(&self.who);
            }
        }
    }
}

impl Requests {
    /// Room for a body that says it is so long, and the most that is read of it.
    pub fn weigh_body(
        &self,
        who: &Principal,
        length: Option<usize>,
    ) -> Result<(usize, Weight), Trouble> {
        let most = self.model_settings().max_body_bytes;
        let weight = self.weigh(who, length.unwrap_or(most).min(most))?;
        Ok((most, weight))
    }

    /// Room for a question of so many bytes, or the advice to come back.
    pub fn weigh(&self, who: &Principal, bytes: usize) -> Result<Weight, Trouble> {
        self.scales.take(&who.id, bytes).ok_or(Trouble::Overloaded {
            retry_after_secs: 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_and_what_is_dropped_is_given_back() {
        let scales = Scales::default();
        let first = scales.take("a", MOST).unwrap();
        assert!(scales.take("a", 1).is_none());
        assert!(scales.take("b", MOST).is_some(), "of another caller");
        drop(first);
        assert!(scales.take("a", MOST).is_some());
        assert!(scales.lock().is_empty());
        assert!(scales.take("a", usize::MAX).is_none());
    }
}
