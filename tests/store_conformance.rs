//! What a store promises, one promise per test, run on every backend.
//!
//! A failure reads `store_conformance::sqlite::a_nonce_burns_once`. A new backend adds a line to
//! `backends!` and inherits the whole list.

mod books;
mod given;
mod model;
mod postgres_only;
mod promises;
mod sqlite_only;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hundi::ambient::Ambient;
use hundi::store::Store;
use hundi::store::postgres::Postgres;
use hundi::store::sqlite::Sqlite;

/// Somewhere that holds data, and can be opened more than once, as several processes would.
#[async_trait]
trait Place: Send + Sync {
    /// One more handle on the same data.
    async fn open(&self) -> Arc<dyn Store>;
    /// Every row of every table, so that "no trace" means no trace.
    async fn dump(&self) -> String;
}

struct SqliteFile {
    dir: tempfile::TempDir,
}

impl SqliteFile {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("hundi.db")
    }
}

#[async_trait]
impl Place for SqliteFile {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Sqlite::open(&self.path(), &Ambient::real()).await.unwrap())
    }

    async fn dump(&self) -> String {
        sqlite_only::dump(&self.path()).await
    }
}

pub struct PostgresSchema {
    url: String,
}

impl PostgresSchema {
    async fn fresh() -> Option<Self> {
        let url = crate::support::postgres::fresh_schema().await?;
        Some(Self { url })
    }
}

#[async_trait]
impl Place for PostgresSchema {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Postgres::open(&self.url, &Ambient::real()).await.unwrap())
    }

    async fn dump(&self) -> String {
        postgres_only::dump(&self.url).await
    }
}

macro_rules! backends {
    ($($file:ident: $($promise:ident,)*;)*) => {
        mod sqlite {
            $($(
                #[tokio::test]
                async fn $promise() {
                    let place = super::SqliteFile::new();
                    super::$file::$promise(&place).await;
                }
            )*)*
        }

        mod postgres {
            $($(
                #[tokio::test]
                async fn $promise() {
                    if let Some(place) = super::PostgresSchema::fresh().await {
                        super::$file::$promise(&place).await;
                    }
                }
            )*)*
        }
    };
}

backends! {
    promises:
        what_was_written_reads_back,
        a_refused_admission_leaves_no_trace,
        a_refused_claim_leaves_no_trace,
        conditions_are_checked_in_their_order,
        a_nonce_burns_once,
        a_nonce_is_kept_until_its_time_and_then_pruned,
        an_idempotency_key_names_one_proposal_for_ever,
        a_proposal_is_executed_once,
        one_claim_repeated_applies_once,
        a_stale_version_is_refused,
        a_conflict_does_not_fail_its_neighbours,
        a_batch_sees_its_own_earlier_changes,
        what_was_applied_survives_reopening,
        two_handles_agree,
        a_caller_that_goes_away_does_not_cancel_its_write,
        proposals_are_listed_newest_first,
        what_lapsed_is_found_oldest_first,
        what_is_unsettled_is_found_when_its_lease_ends,
        the_store_answers_a_ping,
        history_is_what_was_really_paid,
        what_was_paid_lately_is_found_and_added_up,
        a_budget_move_without_money_is_harmless,
    ;
    books:
        a_budget_compares_strictly,
        fifty_callers_share_a_budget_for_ten,
        three_hundred_callers_are_all_written,
        pots_are_kept_apart,
        a_settlement_posts_what_was_settled,
        a_failure_or_an_end_gives_back_what_was_reserved,
        a_reversal_gives_back_what_was_posted_once,
        the_day_that_reserved_gets_it_back,
        a_document_is_written_from_the_version_read,
        a_document_is_made_once_by_racing_callers,
        a_deleted_document_is_absent_and_its_version_never_returns,
        documents_are_listed_by_kind,
        the_epoch_rises_when_a_cached_document_is_written,
        records_get_rising_numbers,
        a_record_reads_back_whole,
        records_are_found_by_each_filter,
        a_message_waits_until_it_is_delivered,
        many_deliverers_share_the_outbox,
        whoever_has_to_decide_is_told_first,
        what_is_old_is_dropped_and_nothing_else,
        numbers_survive_the_store,
    ;
}
