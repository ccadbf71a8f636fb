//! The bank's rules: what it accepts, what follows what, and what it shows.
//!
//! Nothing is answered before its ledger lines are written. Time and salt are handed in; the
//! callers hold the lock.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::index::{Index, MAX_ACCOUNTS, Number, Slot};
use super::ledger::{self, Entry, Kind, Ledger, Place, Row, Rows};
use super::payout::State;
use super::refusal::Refusal;
use super::request::{self, Filter};
use super::show;
use crate::domain::canonical::Canonical;
use crate::domain::time::Timestamp;

/// Payouts moved on in one go, so that the lock is never held for long.
const MAX_STEPS_AT_ONCE: usize = 500;
/// How this bank behaves.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The only account it knows; `None` takes any.
    pub(super) account_number: Option<String>,
    /// Minor units an account begins with.
    pub(super) opening_balance: i64,
    /// Milliseconds that a payout is under way.
    pub(super) step_ms: i64,
}

/// Something that a webhook tells.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct News {
    pub(super) event: &'static str,
    pub(super) entity: Value,
    pub(super) at: Timestamp,
}

/// The bank.
pub(super) struct Bank {
    rules: Rules,
    ledger: Ledger,
    index: Index,
    /// Payouts under way, by when they arrive.
    due: VecDeque<(Timestamp, Number)>,
    /// Whether anybody wants news.
    pub(super) listening: bool,
    news: Vec<News>,
}

impl Bank {
    /// Opens the bank as its ledger left it.
    pub(super) fn open(
        folder: &Path,
        rules: Rules,
        now: Timestamp,
        salt: &str,
    ) -> io::Result<Self> {
        let mut index = Index::new(rules.opening_balance);
        let ledger = Ledger::open(folder, |entry, place| index.apply(&entry, place))?;
        let mut bank = Self {
            rules,
            ledger,
            index,
            due: VecDeque::new(),
            listening: false,
            news: Vec::new(),
        };
        if bank.index.is_blank() {
            bank.begin(now, salt)?;
        }
        let arrival = now.plus_millis(bank.rules.step_ms);
        for (number, slot) in bank.index.slots.iter().enumerate() {
            if slot.state == State::Processing
                && let Ok(number) = Number::try_from(number)
            {
                bank.due.push_back((arrival, number));
            }
        }
        Ok(bank)
    }

    /// Empties the bank. The file keeps its history; the ledger that is shown begins anew.
    pub(super) fn begin(&mut self, now: Timestamp, salt: &str) -> io::Result<()> {
        self.write(vec![Entry::Opened {
            at: now.millis(),
            salt: salt.to_owned(),
        }])?;
        self.due.clear();
        self.news.clear();
        Ok(())
    }

    /// Makes a payout or transfer, or shows the one that this key made before.
    pub(super) fn create(
        &mut self,
        kind: Kind,
        key: &str,
        body: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let body = Value::Object(body);
        if let Some(number) = self.index.by_key(kind, key) {
            return self.replay(kind, number, key, body, now);
        }
        let fields = body.as_object().ok_or_else(|| Refusal::trouble(500))?;
        request::create(kind, fields)?;
        let queued = match kind {
            Kind::Payout => self.must_wait(&body)?,
            Kind::Transfer => false,
        };
        let number = self.index.next().ok_or_else(|| Refusal::trouble(503))?;
        let id = self.index.id(kind, number);
        let mut entries = vec![Entry::Row(self.row(kind, &id, key, &body, now, false))];
        if queued {
            entries.push(state_entry(&id, State::Queued, now, None));
        }
        self.write(entries).map_err(trouble)?;
        self.arrived(number, &body, now);
        self.show(number, &body)
    }

    fn replay(
        &mut self,
        kind: Kind,
        number: Number,
        key: &str,
        body: Value,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let known = self.body(number)?;
        if Canonical::of(&known) != Canonical::of(&body) {
            return Err(Refusal::other_body());
        }
        let id = self.index.id(kind, number);
        let row = self.row(kind, &id, key, &body, now, true);
        self.write(vec![Entry::Row(row)]).map_err(trouble)?;
        self.show(number, &body)
    }

    /// Whether a payout has to wait for balance, or why it cannot be made at all.
    fn must_wait(&self, body: &Value) -> Result<bool, Refusal> {
        let account = body["account_number"].as_str().unwrap_or_default();
        self.check_account(account)?;
        if self.index.balance(account) >= body["amount"].as_i64().unwrap_or(i64::MAX) {
            Ok(false)
        } else if body["queue_if_low_balance"] == json!(true) {
            Ok(true)
        } else {
            Err(Refusal::low_balance())
        }
    }

    fn check_account(&self, account: &str) -> Result<(), Refusal> {
        let ours = self.rules.account_number.as_deref();
        let known = self.index.account(account).is_some();
        let room = self.index.accounts.len() < MAX_ACCOUNTS;
        if ours.is_none_or(|ours| ours == account) && (known || room) {
            Ok(())
        } else {
            let words = "The account number is invalid.";
            Err(Refusal::field("account_number", words))
        }
    }

    /// A payout that somebody at the bank makes, waiting in `status`. Not a row of the ledger: no
    /// request of ours made it.
    pub(super) fn make(
        &mut self,
        status: State,
        body: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        request::create(Kind::Payout, &body)?;
        let account = body.get("account_number").and_then(Value::as_str);
        self.check_account(account.unwrap_or_default())?;
        let body = Value::Object(body);
        let number = self.index.next().ok_or_else(|| Refusal::trouble(503))?;
        let entry = Entry::Made {
            id: self.index.id(Kind::Payout, number),
            at: now.millis(),
            status,
            body: body.clone(),
        };
        self.write(vec![entry]).map_err(trouble)?;
        self.arrived(number, &body, now);
        self.show(number, &body)
    }

    /// Lets a pending payout go.
    pub(super) fn approve(
        &mut self,
        id: &str,
        remarks: String,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let (number, slot) = self.pending(id)?;
        let balance = self.index.accounts.get(usize::from(slot.account));
        let enough = balance.is_some_and(|account| account.balance >= slot.amount);
        let to = if enough {
            State::Processing
        } else {
            State::Queued
        };
        self.move_on(number, to, Some(remarks), now)
    }

    /// Turns a pending payout down.
    pub(super) fn reject(
        &mut self,
        id: &str,
        remarks: String,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let (number, _) = self.pending(id)?;
        self.move_on(number, State::Rejected, Some(remarks), now)
    }

    /// Withdraws a payout that has not gone yet.
    pub(super) fn cancel(&mut self, id: &str, now: Timestamp) -> Result<Value, Refusal> {
        let (number, slot) = self.payout(id)?;
        match slot.state {
            State::Queued | State::Scheduled => self.move_on(number, State::Cancelled, None, now),
            State::Pending
            | State::Processing
            | State::Processed
            | State::Reversed
            | State::Cancelled
            | State::Rejected
            | State::Failed => Err(Refusal::not_cancellable()),
        }
    }

    /// Moves a payout on as a test wants it, along the allowed ways only.
    pub(super) fn push(&mut self, id: &str, to: State, now: Timestamp) -> Result<Value, Refusal> {
        let (number, slot) = self.payout(id)?;
        if !slot.state.may_become(to) {
            let words = format!(
                "A payout does not go from {} to {}.",
                slot.state.name(),
                to.name()
            );
            return Err(Refusal::field("status", words));
        }
        self.move_on(number, to, None, now)
    }

    /// Sets an account's balance and lets go what waited for it.
    pub(super) fn set_balance(
        &mut self,
        account: &str,
        minor: i64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check_account(account)?;
        let entry = Entry::Balance {
            at: now.millis(),
            account_number: account.to_owned(),
            minor,
        };
        self.write(vec![entry]).map_err(trouble)?;
        for number in 0..self.index.next().unwrap_or(Number::MAX) {
            let Some(slot) = self.index.slot(number).copied() else {
                break;
            };
            let theirs = self.index.accounts.get(usize::from(slot.account));
            let goes = slot.state == State::Queued
                && !slot.made_by_hand
                && theirs.is_some_and(|one| one.number == account && one.balance >= slot.amount);
            if goes {
                self.move_on(number, State::Processing, None, now)?;
            }
        }
        Ok(())
    }

    /// Forgets which keys were used, as a bank does after a time.
    pub(super) fn forget_keys(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let at = now.millis();
        self.write(vec![Entry::KeysForgotten { at }])
            .map_err(trouble)
    }

    /// Lets payouts arrive whose time has come. True if more are due.
    pub(super) fn advance(&mut self, now: Timestamp) -> io::Result<bool> {
        let mut moving = Vec::new();
        let mut entries = Vec::new();
        while moving.len() < MAX_STEPS_AT_ONCE {
            match self.due.front() {
                Some((at, number)) if *at <= now => {
                    let number = *number;
                    self.due.pop_front();
                    let under_way = self.index.slot(number).map(|slot| slot.state);
                    if under_way == Some(State::Processing) {
                        let id = self.index.id(Kind::Payout, number);
                        entries.push(state_entry(&id, State::Processed, now, None));
                        moving.push(number);
                    }
                }
                Some(_) | None => break,
            }
        }
        if !entries.is_empty() {
            self.write(entries)?;
        }
        for number in moving {
            self.tell(number, None, now);
        }
        Ok(self.due.front().is_some_and(|(at, _)| *at <= now))
    }

    /// One payout or transfer.
    pub(super) fn fetch(&self, kind: Kind, id: &str) -> Result<Value, Refusal> {
        let number = self.index.find(kind, id).ok_or_else(Refusal::unknown_id)?;
        self.show(number, &self.body(number)?)
    }

    /// Payouts or transfers, newest first.
    pub(super) fn list(&self, kind: Kind, filter: &Filter) -> Result<Value, Refusal> {
        let numbers: Box<dyn Iterator<Item = Number>> = match &filter.reference_id {
            Some(reference) => Box::new(self.index.by_reference(kind, reference).into_iter()),
            None => Box::new((0..self.index.next().unwrap_or(Number::MAX)).rev()),
        };
        let mut items = Vec::new();
        let mut skipped = 0;
        for number in numbers {
            if items.len() >= filter.count {
                break;
            }
            let Some(slot) = self.index.slot(number) else {
                continue;
            };
            if slot.kind != kind || !self.passes(slot, filter) {
                continue;
            }
            // Counting does not need the body unless a field of it is asked for.
            if filter.fields.is_empty() && skipped < filter.skip {
                skipped += 1;
                continue;
            }
            let entity = self.show(number, &self.body(number)?)?;
            let equal = |(field, wanted): &(&str, String)| entity[field] == json!(wanted);
            if !filter.fields.iter().all(equal) {
                continue;
            }
            if skipped < filter.skip {
                skipped += 1;
                continue;
            }
            items.push(entity);
        }
        Ok(show::collection(items))
    }

    fn passes(&self, slot: &Slot, filter: &Filter) -> bool {
        let account = self.index.accounts.get(usize::from(slot.account));
        let theirs = account.map(|account| account.number.as_str());
        let wanted = filter.account_number.as_deref();
        // Transfers leave from no account, so the filter does not concern them.
        (slot.kind == Kind::Transfer || wanted.is_none() || theirs == wanted)
            && filter.status.is_none_or(|status| status == slot.state)
            && filter.from.is_none_or(|from| slot.created >= from)
            && filter.to.is_none_or(|to| slot.created.secs() <= to.secs())
    }

    /// Every account and what it holds.
    pub(super) fn balances(&self, now: Timestamp) -> Value {
        let ours = self.rules.account_number.iter();
        let unused = ours.filter(|ours| self.index.account(ours).is_none());
        let known = self
            .index
            .accounts
            .iter()
            .map(|one| (&one.number, one.balance));
        let items = known
            .chain(unused.map(|number| (number, self.rules.opening_balance)))
            .map(|(number, balance)| show::balance(number, balance, now));
        show::collection(items.collect())
    }

    /// The public ledger, as it is now.
    pub(super) fn rows(&self) -> io::Result<Rows> {
        self.ledger.rows(self.index.start)
    }

    /// How many payouts and transfers there are.
    pub(super) fn count(&self) -> usize {
        self.index.slots.len()
    }

    /// What is to be told since the last time.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    fn payout(&self, id: &str) -> Result<(Number, Slot), Refusal> {
        let number = self.index.find(Kind::Payout, id);
        let found = number.and_then(|number| Some((number, *self.index.slot(number)?)));
        found.ok_or_else(Refusal::unknown_id)
    }

    fn pending(&self, id: &str) -> Result<(Number, Slot), Refusal> {
        let (number, slot) = self.payout(id)?;
        if slot.state == State::Pending {
            Ok((number, slot))
        } else {
            Err(Refusal::not_pending())
        }
    }

    fn move_on(
        &mut self,
        number: Number,
        to: State,
        remarks: Option<String>,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let id = self.index.id(Kind::Payout, number);
        let body = self.body(number)?;
        let entry = state_entry(&id, to, now, remarks);
        self.write(vec![entry]).map_err(trouble)?;
        self.arrived(number, &body, now);
        self.show(number, &body)
    }

    /// A payout has just entered its state: it may be under way, and people may want to know.
    fn arrived(&mut self, number: Number, body: &Value, now: Timestamp) {
        if self.index.slot(number).map(|slot| (slot.kind, slot.state))
            == Some((Kind::Payout, State::Processing))
        {
            let arrival = now.plus_millis(self.rules.step_ms);
            self.due.push_back((arrival, number));
        }
        self.tell(number, Some(body), now);
    }

    fn tell(&mut self, number: Number, body: Option<&Value>, now: Timestamp) {
        let Some(slot) = self.index.slot(number).filter(|_| self.listening) else {
            return;
        };
        let Some(event) = slot.state.event().filter(|_| slot.kind == Kind::Payout) else {
            return;
        };
        let shown = match body {
            Some(body) => self.show(number, body),
            None => self.body(number).and_then(|body| self.show(number, &body)),
        };
        if let Ok(entity) = shown {
            self.news.push(News {
                event,
                entity,
                at: now,
            });
        }
    }

    fn body(&self, number: Number) -> Result<Value, Refusal> {
        let slot = self.index.slot(number).ok_or_else(Refusal::unknown_id)?;
        match self.ledger.read(slot.place).map_err(trouble)? {
            Entry::Row(Row { body, .. }) | Entry::Made { body, .. } => Ok(body),
            Entry::Opened { .. }
            | Entry::State { .. }
            | Entry::Balance { .. }
            | Entry::KeysForgotten { .. } => Err(Refusal::trouble(500)),
        }
    }

    /// The entity as the bank shows it.
    fn show(&self, number: Number, body: &Value) -> Result<Value, Refusal> {
        let slot = self.index.slot(number).ok_or_else(Refusal::unknown_id)?;
        let id = self.index.id(slot.kind, number);
        Ok(match slot.kind {
            Kind::Payout => show::payout(&id, number, slot, body),
            Kind::Transfer => show::transfer(&id, slot, body),
        })
    }

    fn row(
        &self,
        kind: Kind,
        id: &str,
        key: &str,
        body: &Value,
        now: Timestamp,
        replayed: bool,
    ) -> Row {
        let reference = body.get("reference_id").and_then(Value::as_str);
        Row {
            seq: self.index.seq + 1,
            at: ledger::shown(now),
            kind,
            id: id.to_owned(),
            idempotency_key: key.to_owned(),
            reference_id: reference.map(str::to_owned),
            body: body.clone(),
            replayed,
        }
    }

    /// Writes the entries, then takes them in.
    fn write(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let mut lines = String::new();
        let mut places = Vec::with_capacity(entries.len());
        for entry in &entries {
            let line = entry.line()?;
            let at = self.ledger.end() + lines.len() as u64;
            places.push(Place::new(at, line.len()));
            lines.push_str(&line);
        }
        self.ledger.append(&lines)?;
        for (entry, place) in entries.into_iter().zip(places) {
            self.index.apply(&entry.brief(), place);
        }
        Ok(())
    }
}

fn state_entry(id: &str, to: State, now: Timestamp, remarks: Option<String>) -> Entry {
    Entry::State {
        id: id.to_owned(),
        at: now.millis(),
        to,
        remarks,
    }
}

fn trouble(error: io::Error) -> Refusal {
    tracing::error!(%error, "the sandbox's ledger failed");
    Refusal::trouble(500)
}

#[cfg(test)]
#[path = "bank_tests.rs"]
mod tests;
