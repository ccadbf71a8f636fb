//! What the bank keeps in memory: where each payout is in the ledger, its state, and how to find
//! it by id, key and reference. The whole of it is a fold over the ledger's entries, so a restart
//! and a running bank cannot disagree.
//!
//! About 150 bytes a payout; bodies stay in the file.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::ledger::{Brief, Entry, Kind, Place};
use super::payout::State;
use crate::domain::time::Timestamp;

/// Accounts one sandbox knows; a stranger's loop must not fill the memory.
pub(super) const MAX_ACCOUNTS: usize = 64;

/// Length of an id after its prefix, and how it is split.
const ID_LENGTH: usize = 14;
const NUMBER_LENGTH: usize = 8;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The position of a payout or transfer in the order of creation.
pub(super) type Number = u32;

/// One payout or transfer.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) place: Place,
    pub(super) created: Timestamp,
    pub(super) amount: i64,
    /// The one before it under the same reference.
    pub(super) same_reference: Option<Number>,
    pub(super) account: u16,
    pub(super) kind: Kind,
    pub(super) state: State,
    /// Made by somebody at the bank; what it waits for is a person.
    pub(super) made_by_hand: bool,
}

/// A fingerprint of a key or reference: short, and long enough never to collide.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Print([u8; 16]);

impl Print {
    fn of(kind: Kind, text: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(kind.prefix())
            .chain_update(text)
            .finalize();
        let mut print = [0; 16];
        print.copy_from_slice(&digest[..16]);
        Self(print)
    }
}

/// An account payouts leave from.
pub(super) struct Account {
    pub(super) number: String,
    pub(super) balance: i64,
}

/// The fold.
pub(super) struct Index {
    /// Minor units that an account begins with.
    opening_balance: i64,
    salt: String,
    /// Where in the file the present bank begins.
    pub(super) start: u64,
    pub(super) seq: u64,
    pub(super) slots: Vec<Slot>,
    pub(super) accounts: Vec<Account>,
    keys: HashMap<Print, Number>,
    references: HashMap<Print, Number>,
}

impl Index {
    pub(super) fn new(opening_balance: i64) -> Self {
        Self {
            opening_balance,
            salt: String::new(),
            start: 0,
            seq: 0,
            slots: Vec::new(),
            accounts: Vec::new(),
            keys: HashMap::new(),
            references: HashMap::new(),
        }
    }

    /// True until the ledger has begun.
    pub(super) fn is_blank(&self) -> bool {
        self.salt.is_empty()
    }

    /// The id of a number: unguessable enough that an id of another ledger is not one of ours.
    pub(super) fn id(&self, kind: Kind, number: Number) -> String {
        let digest = Sha256::new()
            .chain_update(&self.salt)
            .chain_update(number.to_be_bytes())
            .finalize();
        let mut id = kind.prefix().to_owned();
        for byte in &digest[..ID_LENGTH - NUMBER_LENGTH] {
            id.push(letter(u32::from(*byte)));
        }
        let mut digits = [0; NUMBER_LENGTH];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = rest % 62;
            rest /= 62;
        }
        id.extend(digits.into_iter().map(letter));
        id
    }

    /// The number of an id, if it is one of ours.
    pub(super) fn find(&self, kind: Kind, id: &str) -> Option<Number> {
        let digits = id.strip_prefix(kind.prefix())?.as_bytes();
        let digits = digits.get(digits.len().checked_sub(NUMBER_LENGTH)?..)?;
        let number = digits.iter().try_fold(0_u64, |number, digit| {
            let value = ALPHABET.iter().position(|letter| letter == digit)?;
            Some(number * 62 + value as u64)
        })?;
        let number = Number::try_from(number).ok()?;
        let slot = self.slots.get(number as usize)?;
        (slot.kind == kind && self.id(kind, number) == id).then_some(number)
    }

    /// The next number to be given; `None` when there are too many.
    pub(super) fn next(&self) -> Option<Number> {
        Number::try_from(self.slots.len()).ok()
    }

    pub(super) fn slot(&self, number: Number) -> Option<&Slot> {
        self.slots.get(number as usize)
    }

    pub(super) fn by_key(&self, kind: Kind, key: &str) -> Option<Number> {
        self.keys.get(&Print::of(kind, key)).copied()
    }

    /// Newest first.
    pub(super) fn by_reference(&self, kind: Kind, reference: &str) -> Vec<Number> {
        let newest = self.references.get(&Print::of(kind, reference)).copied();
        let next = |number: &Number| self.slot(*number)?.same_reference;
        std::iter::successors(newest, next).collect()
    }

    pub(super) fn account(&self, number: &str) -> Option<&Account> {
        self.accounts
            .iter()
            .find(|account| account.number == number)
    }

    /// What an account holds, or will when it is first used.
    pub(super) fn balance(&self, number: &str) -> i64 {
        let known = self.account(number);
        known.map_or(self.opening_balance, |account| account.balance)
    }

    /// Takes one entry in. Entries that name nothing known change nothing.
    pub(super) fn apply(&mut self, entry: &Entry<Brief>, place: Place) {
        match entry {
            Entry::Opened { salt, .. } => {
                let seq = self.seq;
                *self = Self::new(self.opening_balance);
                self.salt.clone_from(salt);
                self.start = place.at;
                self.seq = seq;
            }
            Entry::Row(row) => {
                self.seq = row.seq;
                if row.replayed {
                    return;
                }
                let at = Timestamp::parse(&row.at).unwrap_or_default();
                let state = match row.kind {
                    Kind::Payout => State::Processing,
                    Kind::Transfer => State::Processed,
                };
                let reference = row.reference_id.as_deref();
                if let Some(number) = self.add(row.kind, state, &row.body, at, place, reference) {
                    let key = Print::of(row.kind, &row.idempotency_key);
                    self.keys.insert(key, number);
                }
            }
            Entry::Made {
                at, status, body, ..
            } => {
                let at = Timestamp::from_millis(*at);
                let reference = body.reference_id.as_deref();
                let made = self.add(Kind::Payout, *status, body, at, place, reference);
                let slot = made.and_then(|number| self.slots.get_mut(number as usize));
                if let Some(slot) = slot {
                    slot.made_by_hand = true;
                }
            }
            Entry::State { id, to, .. } => {
                if let Some(number) = self.find(Kind::Payout, id) {
                    self.enter(number, *to);
                }
            }
            Entry::Balance {
                account_number,
                minor,
                ..
            } => {
                let index = usize::from(self.open_account(account_number));
                if let Some(account) = self.accounts.get_mut(index) {
                    account.balance = *minor;
                }
            }
            Entry::KeysForgotten { .. } => self.keys.clear(),
        }
    }

    fn add(
        &mut self,
        kind: Kind,
        state: State,
        body: &Brief,
        created: Timestamp,
        place: Place,
        reference: Option<&str>,
    ) -> Option<Number> {
        let number = self.next()?;
        let account = match kind {
            Kind::Payout => self.open_account(&body.account_number),
            Kind::Transfer => u16::MAX,
        };
        let print = reference.map(|reference| Print::of(kind, reference));
        let same_reference = print.and_then(|print| self.references.insert(print, number));
        self.slots.push(Slot {
            place,
            created,
            amount: body.amount,
            same_reference,
            account,
            kind,
            state,
            made_by_hand: false,
        });
        if state.is_debited() {
            self.pay(account, body.amount.saturating_neg());
        }
        Some(number)
    }

    fn enter(&mut self, number: Number, to: State) {
        let Some(slot) = self.slots.get_mut(number as usize) else {
            return;
        };
        let from = std::mem::replace(&mut slot.state, to);
        let (account, amount) = (slot.account, slot.amount);
        match (from.is_debited(), to.is_debited()) {
            (false, true) => self.pay(account, amount.saturating_neg()),
            (true, false) => self.pay(account, amount),
            (true, true) | (false, false) => {}
        }
    }

    fn pay(&mut self, account: u16, minor: i64) {
        if let Some(account) = self.accounts.get_mut(usize::from(account)) {
            account.balance = account.balance.saturating_add(minor);
        }
    }

    fn open_account(&mut self, number: &str) -> u16 {
        let known = self
            .accounts
            .iter()
            .position(|account| account.number == number);
        let index = known.unwrap_or_else(|| {
            self.accounts.push(Account {
                number: number.to_owned(),
                balance: self.opening_balance,
            });
            self.accounts.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }
}

fn letter(value: u32) -> char {
    char::from(ALPHABET[value as usize % ALPHABET.len()])
}
