//! What an error of PostgreSQL says: whether anything was asked, whether it may be asked again, and
//! in which words it is told.

use super::{Trouble, Written};

/// What went wrong on the way to rows.
pub(super) enum Failed {
    Sql(sqlx::Error),
    Trouble(Trouble),
}

impl Failed {
    pub(super) fn trouble(self) -> Trouble {
        match self {
            Failed::Sql(error) => trouble(&error),
            Failed::Trouble(trouble) => trouble,
        }
    }

    pub(super) fn ended(self) -> Ended {
        match self {
            Failed::Sql(error) => Ended::Sql(error),
            Failed::Trouble(trouble) => Ended::With(Written::Refused(trouble.to_string())),
        }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Failed::Sql(error)
    }
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Failed::Trouble(trouble)
    }
}

/// Why a transaction ended without being committed.
pub(super) enum Ended {
    With(Written),
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        Ended::Sql(error)
    }
}

/// Whether the server itself answered, so that the connection is sound.
pub(super) fn is_answer(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some()
}

/// Whether it is the connection that was no good, and nothing was asked: worth one more try.
pub(super) fn is_stale(failed: &Failed) -> bool {
    match failed {
        Failed::Trouble(_) => false,
        Failed::Sql(error) => match code(error).as_deref() {
            // Ended by its administrator; a plan of before the table changed.
            Some(code) => code == "57P01" || is_outdated(error),
            None => matches!(error, sqlx::Error::Io(_)),
        },
    }
}

/// Whether it is what was asked for that cannot be read or sent, such as a type that nobody here
/// knows: the server is well.
fn is_of_the_statement(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::InvalidArgument(_)
            | sqlx::Error::TypeNotFound { .. }
    )
}

/// Whether the tables are not those that the statement was described for.
pub(super) fn is_outdated(error: &sqlx::Error) -> bool {
    let code = code(error).unwrap_or_default();
    ["0A000", "42804", "42883", "42703", "42704"].contains(&code.as_str())
}

pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

pub(super) fn words(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(said) => said.message().to_owned(),
        None => error.to_string(),
    }
}

pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    match code(error).as_deref() {
        Some("57014" | "55P03") => Trouble::Timeout,
        Some(code)
            if ["08", "53", "57", "28"]
                .iter()
                .any(|class| code.starts_with(class)) =>
        {
            Trouble::Unavailable(words(error))
        }
        Some("3D000") => Trouble::Unavailable(words(error)),
        None if is_of_the_statement(error) => Trouble::Refused(words(error)),
        None => Trouble::Unavailable(words(error)),
        Some(_) => Trouble::Refused(words(error)),
    }
}
