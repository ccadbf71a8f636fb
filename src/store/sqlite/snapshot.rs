//! Reads, inside the write transaction and in one round trip, everything that the conditions of
//! a batch depend on.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::domain::change::Pot;
use crate::domain::ids::ProposalId;
use crate::domain::money::Currency;
use crate::domain::time::Day;
use crate::store::Budget;
use crate::store::plan::{DocState, Needs, Reservation, Snapshot, Standing};

/// Takes the write lock, then answers each list of names with the rows that exist. The first
/// column says which list, the second the position in it. Each statement takes the next value:
/// numbered ones would be miscounted by sqlx across statements.
const BEGIN: &str = "\
BEGIN IMMEDIATE;
SELECT 0, 0, seq FROM sqlite_sequence WHERE name = 'records';
SELECT 1, j.key, p.version
    FROM json_each(?) j CROSS JOIN proposals p WHERE p.id = unhex(j.value);
SELECT 2, j.key, p.id
    FROM json_each(?) j CROSS JOIN proposals p
    WHERE p.org = j.value ->> 0 AND p.agent = j.value ->> 1 AND p.caller_key = j.value ->> 2
      AND p.caller_key IS NOT NULL;
SELECT 3, j.key
    FROM json_each(?) j CROSS JOIN nonces n WHERE n.nonce = unhex(j.value);
SELECT 4, j.key, p.pending, p.posted
    FROM json_each(?) j CROSS JOIN pots p
    WHERE p.org = j.value ->> 0 AND p.agent = j.value ->> 1
      AND p.day = j.value ->> 2 AND p.currency = j.value ->> 3;
SELECT 5, j.key, r.org, r.agent, r.day, r.currency, r.amount, r.posted, r.standing,
       p.pending, p.posted
    FROM json_each(?) j
    CROSS JOIN reservations r CROSS JOIN pots p
    WHERE r.proposal = unhex(j.value)
      AND p.org = r.org AND p.agent = r.agent AND p.day = r.day AND p.currency = r.currency;
SELECT 6, j.key, d.version, d.body_json IS NOT NULL
    FROM json_each(?) j CROSS JOIN docs d
    WHERE d.kind = j.value ->> 0 AND d.org = j.value ->> 1 AND d.id = j.value ->> 2;
";

/// Begins the write transaction and reads. The transaction stays open on success, and may be
/// open after an error.
pub(super) async fn begin(
    conn: &mut SqliteConnection,
    needs: Needs,
) -> Result<Snapshot, sqlx::Error> {
    let ids = |ids: &[ProposalId]| list(ids.iter().map(|id| id.uuid().simple().to_string()));
    let keys = needs.keys.iter();
    let pots = needs.pots.iter();
    let docs = needs.docs.iter();
    let query = sqlx::query(BEGIN)
        .bind(ids(&needs.proposals)?)
        .bind(list(keys.map(|k| (&k.org, &k.agent, &k.key)))?)
        .bind(list(needs.nonces.iter().map(|nonce| nonce.reveal()))?)
        .bind(list(
            pots.map(|p| (&p.org, &p.agent, p.day.number(), p.currency)),
        )?)
        .bind(ids(&needs.reservations)?)
        .bind(list(docs.map(|key| (&key.kind, &key.org, &key.id)))?);
    let mut snapshot = Snapshot::default();
    for row in query.fetch_all(conn).await? {
        read(&row, &needs, &mut snapshot)?;
    }
    Ok(snapshot)
}

fn list<T: Serialize>(names: impl Iterator<Item = T>) -> Result<String, sqlx::Error> {
    let names: Vec<T> = names.collect();
    serde_json::to_string(&names).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn read(row: &SqliteRow, needs: &Needs, snapshot: &mut Snapshot) -> Result<(), sqlx::Error> {
    let at: i64 = row.try_get(1)?;
    let at = usize::try_from(at).map_err(|_| unreadable("a position"))?;
    match row.try_get::<i64, _>(0)? {
        0 => snapshot.last_seq = row.try_get(2)?,
        1 => insert(
            &mut snapshot.versions,
            &needs.proposals,
            at,
            version(row, 2)?,
        ),
        2 => {
            let id = ProposalId::from_uuid(row.try_get(2)?);
            insert(&mut snapshot.keys, &needs.keys, at, id);
        }
        3 => snapshot.burned.extend(needs.nonces.get(at)),
        4 => insert(&mut snapshot.pots, &needs.pots, at, budget(row, 2)?),
        5 => {
            let held = reservation(row)?;
            snapshot.pots.insert(held.pot.clone(), budget(row, 9)?);
            insert(&mut snapshot.reservations, &needs.reservations, at, held);
        }
        _ => {
            let state = DocState {
                version: version(row, 2)?,
                present: row.try_get(3)?,
            };
            insert(&mut snapshot.docs, &needs.docs, at, state);
        }
    }
    Ok(())
}

fn insert<K: Clone + Eq + std::hash::Hash, V>(
    map: &mut HashMap<K, V>,
    names: &[K],
    at: usize,
    value: V,
) {
    map.extend(names.get(at).map(|name| (name.clone(), value)));
}

fn version(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    let version: i64 = row.try_get(column)?;
    u64::try_from(version).map_err(|_| unreadable("a version"))
}

fn budget(row: &SqliteRow, column: usize) -> Result<Budget, sqlx::Error> {
    Ok(Budget {
        pending: row.try_get(column)?,
        posted: row.try_get(column + 1)?,
    })
}

fn reservation(row: &SqliteRow) -> Result<Reservation, sqlx::Error> {
    let text = |column: usize| row.try_get::<&str, _>(column);
    let pot = Pot {
        org: text(2)?
            .parse()
            .map_err(|_| unreadable("an organisation"))?,
        agent: text(3)?.parse().map_err(|_| unreadable("an agent"))?,
        day: Day::from_number(row.try_get(4)?),
        currency: Currency::parse(text(5)?).ok_or_else(|| unreadable("a currency"))?,
    };
    Ok(Reservation {
        pot,
        amount: row.try_get(6)?,
        posted: row.try_get(7)?,
        standing: Standing::parse(text(8)?).ok_or_else(|| unreadable("a reservation"))?,
    })
}

/// What is stored does not read back: the batch cannot be decided.
fn unreadable(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{what} that is stored does not read back").into())
}
