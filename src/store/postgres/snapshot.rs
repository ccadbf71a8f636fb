//! Reads and locks, inside the transaction and in one round trip, everything that the conditions
//! of a batch depend on.
//!
//! Other nodes write at the same time, so what is read is locked: proposals, reservations, pots
//! and documents, each kind in the order of its names and the kinds always in this order, so that
//! two batches never wait for each other in a circle. Documents that a batch only relies on, as
//! nearly every batch does on the policy, it shares with other nodes. A document or a pot that
//! does not exist cannot be locked; [`ensure`] makes an empty row of it first, and then it can.
//! Proposals, keys and nonces that appear in between are found by the constraints, and the batch
//! is run again.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use sqlx::postgres::{PgConnection, PgRow, Postgres};
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use crate::domain::change::{DocKey, Pot};
use crate::domain::ids::ProposalId;
use crate::domain::money::Currency;
use crate::domain::time::Day;
use crate::store::Budget;
use crate::store::plan::{CallerKey, DocState, Needs, Reservation, Snapshot, Standing};

/// Documents are locked in so many runs at most, so that the server has few statements to prepare.
/// A round of sealing among commits has four: freezes, head, policies, cursor and tiles.
const MOST_RUNS: usize = 6;

/// What was read, and who is asking: to find out later what became of the transaction.
pub(super) struct Locked {
    pub snapshot: Snapshot,
    pub transaction: i64,
    pub backend: i64,
}

/// Reads and locks. Documents that are `written` are taken for writing, the others shared with who
/// relies on them too. Only what the batch needs is asked for: an empty question costs the server
/// nearly as much as one with an answer.
pub(super) async fn lock(
    conn: &mut PgConnection,
    needs: &Needs,
    written: &HashSet<&DocKey>,
) -> Result<Locked, sqlx::Error> {
    let mut locked = Locked {
        snapshot: Snapshot::default(),
        transaction: 0,
        backend: 0,
    };
    let mut query = question(needs, written);
    for row in query.build().fetch_all(conn).await? {
        read(&row, needs, &mut locked)?;
    }
    Ok(locked)
}

/// The first column says what a row is, the second which name of its list it answers.
fn question(needs: &Needs, written: &HashSet<&DocKey>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("WITH ");
    if !needs.proposals.is_empty() {
        query.push("p AS MATERIALIZED (SELECT id, version FROM proposals WHERE id = ANY(");
        query.push_bind(uuids(&needs.proposals));
        query.push(") ORDER BY id FOR UPDATE), ");
    }
    let budgets = !needs.reservations.is_empty() || !needs.pots.is_empty();
    if budgets {
        ask_budgets(&mut query, needs);
    }
    let runs = Run::of(&needs.docs, written);
    for (number, run) in runs.iter().enumerate() {
        ask_docs(&mut query, number, run);
    }
    query.push(
        "me AS (SELECT txid_current() AS n1, pg_backend_pid()::bigint AS n2) \
         SELECT 0 AS what, n1, n2, 0::bigint AS n3, \
                NULL::uuid AS id, '' AS a, '' AS b, '' AS c, '' AS d FROM me",
    );
    if !needs.proposals.is_empty() {
        query.push(" UNION ALL SELECT 1, version, 0, 0, id, '', '', '', '' FROM p");
    }
    if budgets {
        query.push(
            " UNION ALL \
             SELECT 2, amount, posted, day, proposal, org, agent, currency, standing FROM r \
             UNION ALL SELECT 3, pending, posted, day, NULL, org, agent, currency, '' FROM b",
        );
    }
    for number in 0..runs.len() {
        query.push(format_args!(
            " UNION ALL SELECT 4, version, (body IS NOT NULL)::int, 0, NULL, kind, org, id, '' \
             FROM d{number}"
        ));
    }
    if !needs.keys.is_empty() {
        ask_keys(&mut query, needs);
    }
    if !needs.nonces.is_empty() {
        let nonces: Vec<Vec<u8>> = needs.nonces.iter().map(|n| n.bytes().to_vec()).collect();
        query.push(" UNION ALL SELECT 6, k.at, 0, 0, NULL, '', '', '', '' FROM unnest(");
        query.push_bind(nonces);
        query.push("::bytea[]) WITH ORDINALITY AS k (nonce, at) JOIN nonces USING (nonce)");
    }
    query
}

fn ask_budgets(query: &mut QueryBuilder<Postgres>, needs: &Needs) {
    let pots = Pots::of(&needs.pots);
    query.push("r AS MATERIALIZED (SELECT * FROM reservations WHERE proposal = ANY(");
    query.push_bind(uuids(&needs.reservations));
    query.push(
        ") ORDER BY proposal FOR UPDATE), \
         b AS MATERIALIZED (SELECT t.* FROM pots t JOIN (SELECT * FROM unnest(",
    );
    query.push_bind(pots.orgs).push("::text[], ");
    query.push_bind(pots.agents).push("::text[], ");
    query.push_bind(pots.days).push("::int[], ");
    query.push_bind(pots.currencies).push(
        "::text[]) AS n (org, agent, day, currency) \
         UNION SELECT org, agent, day, currency FROM r) n \
         USING (org, agent, day, currency) \
         ORDER BY org, agent, day, currency FOR UPDATE OF t), ",
    );
}

/// Documents that follow each other in the order of names and are locked alike.
struct Run<'a> {
    docs: &'a [DocKey],
    written: bool,
}

impl<'a> Run<'a> {
    /// All of them, which are in order, in as few runs as can be; beyond [`MOST_RUNS`] in one that
    /// is taken for writing as a whole.
    fn of(docs: &'a [DocKey], written: &HashSet<&DocKey>) -> Vec<Self> {
        let alike = |a: &DocKey, b: &DocKey| written.contains(a) == written.contains(b);
        let mut runs: Vec<_> = docs
            .chunk_by(alike)
            .map(|docs| Self {
                docs,
                written: docs.iter().any(|key| written.contains(key)),
            })
            .collect();
        if runs.len() > MOST_RUNS {
            runs = vec![Self {
                docs,
                written: true,
            }];
        }
        runs
    }
}

fn ask_docs(query: &mut QueryBuilder<Postgres>, number: usize, run: &Run<'_>) {
    let docs = Docs::of(run.docs);
    query.push(format_args!(
        "d{number} AS MATERIALIZED (SELECT t.* FROM docs t JOIN unnest("
    ));
    query.push_bind(docs.kinds).push("::text[], ");
    query.push_bind(docs.orgs).push("::text[], ");
    query
        .push_bind(docs.ids)
        .push("::text[]) AS n (kind, org, id) USING (kind, org, id) ORDER BY kind, org, id FOR ");
    query.push(if run.written { "UPDATE" } else { "SHARE" });
    query.push(" OF t), ");
}

fn ask_keys(query: &mut QueryBuilder<Postgres>, needs: &Needs) {
    let names = |of: fn(&CallerKey) -> &str| -> Vec<&str> { needs.keys.iter().map(of).collect() };
    query.push(" UNION ALL SELECT 5, k.at, 0, 0, t.id, '', '', '', '' FROM unnest(");
    query
        .push_bind(names(|key| key.org.as_str()))
        .push("::text[], ");
    query
        .push_bind(names(|key| key.agent.as_str()))
        .push("::text[], ");
    query.push_bind(names(|key| &key.key)).push(
        "::text[]) WITH ORDINALITY AS k (org, agent, caller_key, at) \
         JOIN proposals t USING (org, agent, caller_key)",
    );
}

/// Makes an empty row for every document and pot that has none, so that it can be locked. True if
/// there was one to make.
pub(super) async fn ensure(
    conn: &mut PgConnection,
    needs: &Needs,
    snapshot: &Snapshot,
) -> Result<bool, sqlx::Error> {
    let docs = absent(&needs.docs, &snapshot.docs);
    let pots = absent(&needs.pots, &snapshot.pots);
    if !docs.is_empty() {
        let docs = Docs::of(&docs);
        sqlx::query(
            "INSERT INTO docs (kind, org, id, version) \
             SELECT *, 0 FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING",
        )
        .bind(docs.kinds)
        .bind(docs.orgs)
        .bind(docs.ids)
        .execute(&mut *conn)
        .await?;
    }
    if !pots.is_empty() {
        let pots = Pots::of(&pots);
        sqlx::query(
            "INSERT INTO pots (org, agent, day, currency, pending, posted) \
             SELECT *, 0, 0 FROM unnest($1::text[], $2::text[], $3::int[], $4::text[]) \
             ON CONFLICT DO NOTHING",
        )
        .bind(pots.orgs)
        .bind(pots.agents)
        .bind(pots.days)
        .bind(pots.currencies)
        .execute(&mut *conn)
        .await?;
    }
    Ok(!docs.is_empty() || !pots.is_empty())
}

/// The names without a row.
fn absent<K: Clone + Eq + Hash, V>(names: &[K], found: &HashMap<K, V>) -> Vec<K> {
    let absent = names.iter().filter(|name| !found.contains_key(name));
    absent.cloned().collect()
}

fn uuids(ids: &[ProposalId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

/// Names of pots, column by column.
struct Pots {
    orgs: Vec<String>,
    agents: Vec<String>,
    days: Vec<i32>,
    currencies: Vec<String>,
}

impl Pots {
    fn of(pots: &[Pot]) -> Self {
        Self {
            orgs: pots.iter().map(|pot| pot.org.to_string()).collect(),
            agents: pots.iter().map(|pot| pot.agent.to_string()).collect(),
            days: pots.iter().map(|pot| pot.day.number()).collect(),
            currencies: pots.iter().map(|pot| pot.currency.to_string()).collect(),
        }
    }
}

/// Names of documents, column by column.
struct Docs {
    kinds: Vec<String>,
    orgs: Vec<String>,
    ids: Vec<String>,
}

impl Docs {
    fn of(keys: &[DocKey]) -> Self {
        Self {
            kinds: keys.iter().map(|key| key.kind.clone()).collect(),
            orgs: keys.iter().map(|key| key.org.to_string()).collect(),
            ids: keys.iter().map(|key| key.id.clone()).collect(),
        }
    }
}

fn read(row: &PgRow, needs: &Needs, locked: &mut Locked) -> Result<(), sqlx::Error> {
    let number = |column: &str| row.try_get::<i64, _>(column);
    let text = |column: &str| row.try_get::<&str, _>(column);
    let id = || row.try_get("id").map(ProposalId::from_uuid);
    let place = || Ok::<_, sqlx::Error>(usize::try_from(number("n1")? - 1).unwrap_or(usize::MAX));
    let snapshot = &mut locked.snapshot;
    match row.try_get::<i32, _>("what")? {
        0 => {
            locked.transaction = number("n1")?;
            locked.backend = number("n2")?;
        }
        1 => {
            snapshot.versions.insert(id()?, unsigned(number("n1")?)?);
        }
        2 => {
            let held = Reservation {
                pot: pot(row)?,
                amount: number("n1")?,
                posted: number("n2")?,
                standing: Standing::parse(text("d")?).ok_or_else(unreadable)?,
            };
            snapshot.reservations.insert(id()?, held);
        }
        3 => {
            let budget = Budget {
                pending: number("n1")?,
                posted: number("n2")?,
            };
            snapshot.pots.insert(pot(row)?, budget);
        }
        4 => {
            let key = DocKey {
                kind: text("a")?.to_owned(),
                org: text("b")?.parse().map_err(|_| unreadable())?,
                id: text("c")?.to_owned(),
            };
            let state = DocState {
                version: unsigned(number("n1")?)?,
                present: number("n2")? == 1,
            };
            snapshot.docs.insert(key, state);
        }
        5 => {
            let key = needs.keys.get(place()?).cloned();
            let id = id()?;
            snapshot.keys.extend(key.map(|key| (key, id)));
        }
        _ => snapshot.burned.extend(needs.nonces.get(place()?)),
    }
    Ok(())
}

fn pot(row: &PgRow) -> Result<Pot, sqlx::Error> {
    let text = |column: &str| row.try_get::<&str, _>(column);
    let day: i64 = row.try_get("n3")?;
    Ok(Pot {
        org: text("a")?.parse().map_err(|_| unreadable())?,
        agent: text("b")?.parse().map_err(|_| unreadable())?,
        day: Day::from_number(i32::try_from(day).map_err(|_| unreadable())?),
        currency: Currency::parse(text("c")?).ok_or_else(unreadable)?,
    })
}

fn unsigned(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|_| unreadable())
}

/// What is stored does not read back: the batch cannot be decided.
fn unreadable() -> sqlx::Error {
    sqlx::Error::Decode("a stored name or number does not read back".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn documents_are_locked_in_order_and_for_writing_only_if_written() {
        // Each letter is a document; a capital one is written.
        let many = "aBcDeF";
        let too_many = "aBcDeFg";
        let cases: &[(&str, &[(&str, bool)])] = &[
            ("",       &[]),
            ("ab",     &[("ab", false)]),
            ("AB",     &[("AB", true)]),
            ("abCDe",  &[("ab", false), ("CD", true), ("e", false)]),
            (many,     &[("a", false), ("B", true), ("c", false), ("D", true), ("e", false), ("F", true)]),
            (too_many, &[("aBcDeFg", true)]),
        ];
        for (given, expected) in cases {
            let key = |letter: char| DocKey::new(&letter.to_string(), &"o".parse().unwrap(), "x");
            let docs: Vec<DocKey> = given.chars().map(key).collect();
            let written = docs.iter().filter(|key| key.kind.to_uppercase() == key.kind).collect();
            let runs = Run::of(&docs, &written);
            let names = |run: &Run<'_>| run.docs.iter().map(|key| &*key.kind).collect::<String>();
            let runs: Vec<(String, bool)> = runs.iter().map(|run| (names(run), run.written)).collect();
            let expected: Vec<(String, bool)> = expected.iter().map(|(docs, written)| ((*docs).to_owned(), *written)).collect();
            assert_eq!(runs, expected, "{given}");
        }
    }
}
