//! The rows that prove a write in PostgreSQL, and what the role of a source could do there.

use sqlx::{Connection, PgConnection, Row};
use tokio::time::Instant;

use super::failure::{Ended, code};
use super::{Mark, Ping, Written};
use crate::domain::ids::ProposalId;

const MARK: &str = "INSERT INTO hundi_effects (proposal_id, at) VALUES ($1, now()) \
                    ON CONFLICT (proposal_id) DO NOTHING";
const MARK_NEVER: &str = "INSERT INTO hundi_effects (proposal_id, at) VALUES ($1, NULL) \
                          ON CONFLICT (proposal_id) DO NOTHING";
const MARKED: &str = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
                      FROM hundi_effects WHERE proposal_id = $1";
pub(super) const MAKE_MARKERS: &str = "CREATE TABLE IF NOT EXISTS hundi_effects \
                            (proposal_id text PRIMARY KEY, at timestamptz)";
/// What a role could do that a reader need not: whether it is a superuser, and a table it can
/// change.
const CAN_WRITE: &str = "SELECT r.rolsuper, (SELECT c.oid::regclass::text FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'f', 'v') AND c.relname <> 'hundi_effects' \
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' \
    AND n.nspname NOT LIKE 'pg_temp%' \
    AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') LIMIT 1), \
    coalesce((SELECT has_table_privilege(c.oid, 'INSERT') FROM pg_class c \
    WHERE c.oid = to_regclass('hundi_effects')), false), \
    split_part(version(), ' ', 2) FROM pg_roles r WHERE r.rolname = current_user";

/// Writes the marker; what stands there already ends the transaction.
pub(super) async fn mark(
    transaction: &mut PgConnection,
    proposal: ProposalId,
) -> Result<Option<Written>, Ended> {
    let id = proposal.to_string();
    let made = sqlx::query(MARK).bind(&id).execute(&mut *transaction).await;
    match made {
        Ok(made) if made.rows_affected() == 1 => Ok(None),
        Ok(_) => {
            let at: Option<String> = sqlx::query_scalar(MARKED)
                .bind(&id)
                .fetch_one(transaction)
                .await?;
            Ok(Some(match at {
                Some(at) => Written::Before(at),
                None => Written::Refused("it was settled that this is not done".to_owned()),
            }))
        }
        Err(error) if code(&error).as_deref() == Some("42P01") => {
            let why = "the source has no table hundi_effects: prepare it first";
            Ok(Some(Written::Refused(why.to_owned())))
        }
        Err(error) => Err(Ended::Sql(error)),
    }
}

pub(super) async fn looked(
    connection: &mut PgConnection,
    proposal: ProposalId,
    settle: bool,
) -> Result<Mark, sqlx::Error> {
    let id = proposal.to_string();
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    let text = if settle { MARK_NEVER } else { MARK };
    let made = sqlx::query(text)
        .bind(&id)
        .execute(&mut *transaction)
        .await?;
    if made.rows_affected() == 1 {
        return Ok(match settle {
            true => {
                transaction.commit().await?;
                Mark::Never
            }
            false => {
                transaction.rollback().await?;
                Mark::Absent
            }
        });
    }
    let at: Option<String> = sqlx::query_scalar(MARKED)
        .bind(&id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(at.map_or(Mark::Never, Mark::Done))
}

pub(super) async fn pinged(connection: &mut PgConnection) -> Result<Ping, sqlx::Error> {
    // The first question on a connection pays for its making.
    sqlx::query("SELECT 1").execute(&mut *connection).await?;
    let began = Instant::now();
    sqlx::query("SELECT 1").execute(&mut *connection).await?;
    let latency = began.elapsed();
    let row = sqlx::query(CAN_WRITE).fetch_one(&mut *connection).await?;
    let (superuser, table): (bool, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    let (marker, version): (bool, String) = (row.try_get(2)?, row.try_get(3)?);
    let mut advice = Vec::new();
    if superuser {
        advice.push("its role is a superuser: give the source a role of its own".to_owned());
    } else if let Some(table) = table {
        advice.push(format!(
            "its role can change tables (`{table}`): for tools that only read, give the source a \
             role that can only read"
        ));
    }
    Ok(Ping {
        latency,
        detail: format!("PostgreSQL {version}"),
        advice,
        marker,
    })
}
