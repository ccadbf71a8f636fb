//! Waiting for an answer of the server, and telling a no from silence.

use std::future::Future;
use std::time::Duration;

/// Longest wait for one answer of the server. Above the server's own limit of 6 s for a statement,
/// so that it is the server that gives up, unless nobody is there any more; and short enough that
/// a node whose connection fell silent works again within 10 s of healing.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// Why an answer did not come, or was a no.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The server said no, and goes on listening.
    #[error("{0}")]
    Said(sqlx::Error),
    /// The connection broke.
    #[error("{0}")]
    Broke(sqlx::Error),
    /// Nobody answered in time.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Late,
}

/// Waits for an answer, and no longer than [`ANSWER_TIMEOUT`].
pub(super) async fn answer<T>(
    asking: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Lost> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error @ sqlx::Error::Database(_))) if !ends_session(&error) => {
            Err(Lost::Said(error))
        }
        // What cannot be sent, or does not read, is nobody's fault but the statement's.
        Ok(Err(error @ (sqlx::Error::Encode(_) | sqlx::Error::ColumnNotFound(_)))) => {
            Err(Lost::Said(error))
        }
        Ok(Err(error)) => Err(Lost::Broke(error)),
        Err(_) => Err(Lost::Late),
    }
}

/// Class 57P: the server is shutting down or has ended this session, maybe after committing.
/// 25P03 and 25P04: it ended the session because we, or the transaction, took too long.
fn ends_session(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("57P") || ["25P03", "25P04"].contains(&&*code))
}
