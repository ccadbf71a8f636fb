//! Chaos on real processes: two nodes on one Postgres and one Redis, callers that go to either, and
//! everything they stand on killed, cut, frozen, stopped and brought back, in an order that a seed
//! decides. Then everything is healed, and the books are checked against the bank's ledger.
//!
//! `HUNDI_CHAOS_SECS=600` makes the storm that long (`tests/chaos/soak 10`), `HUNDI_CHAOS_SEED=n`
//! repeats one order of faults. Without either, a short sweep. `tests/chaos/upgrade` does without
//! faults: it replaces an older version by this one, node by node.

#[path = "chaos/callers.rs"]
mod callers;
#[path = "chaos/ground.rs"]
mod ground;
#[path = "chaos/ledger.rs"]
mod ledger;
#[path = "chaos/on_sqlite.rs"]
mod on_sqlite;
#[path = "chaos/storm.rs"]
mod storm;
#[path = "chaos/upgrade.rs"]
mod upgrade;
