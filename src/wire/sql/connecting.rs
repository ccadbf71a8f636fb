//! How a connection to a PostgreSQL server is made: with what its source says, and with nothing of
//! the broker's own environment.

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::domain::secret::Secret;
use crate::domain::tools::{PostgresSource, Tls};

/// How to connect. Everything that the library would take from the environment is said here.
pub(super) fn options(
    config: &PostgresSource,
    secrets: &BTreeMap<String, Secret>,
) -> Result<PgConnectOptions, String> {
    let password = secrets.get("password").map_or("", Secret::expose);
    let mut options = PgConnectOptions::new_without_pgpass();
    let tls = match (&config.host, secrets.get("url")) {
        (Some(host), _) => {
            options = options
                .host(host)
                .port(config.port.unwrap_or(5432))
                .username(config.user.as_deref().unwrap_or_default())
                .database(config.database.as_deref().unwrap_or_default())
                .password(password);
            config.tls
        }
        (None, Some(url)) => {
            let (of_url, tls) = from_url(options, url)?;
            options = of_url;
            tls.unwrap_or(config.tls)
        }
        (None, None) => return Err("neither a host nor the secret `url`".to_owned()),
    };
    let mode = match tls {
        Tls::Disable => PgSslMode::Disable,
        Tls::Prefer => PgSslMode::Prefer,
        Tls::Require => PgSslMode::Require,
        Tls::VerifyFull => PgSslMode::VerifyFull,
    };
    let timeout = config.statement_timeout_ms.to_string();
    Ok(options.ssl_mode(mode).application_name("hundi").options([
        ("standard_conforming_strings", "on"),
        ("statement_timeout", timeout.as_str()),
        ("lock_timeout", timeout.as_str()),
        ("idle_in_transaction_session_timeout", "60000"),
        ("DateStyle", "ISO"),
        ("IntervalStyle", "iso_8601"),
        ("TimeZone", "UTC"),
        ("bytea_output", "hex"),
    ]))
}

/// The parts of an address; of its parameters only `sslmode` is known.
fn from_url(
    options: PgConnectOptions,
    url: &Secret,
) -> Result<(PgConnectOptions, Option<Tls>), String> {
    let wrong = || "the secret `url` is no postgres://user:password@host/database".to_owned();
    let url = url::Url::parse(url.expose()).map_err(|_| wrong())?;
    let plain = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| wrong())
    };
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(wrong)?;
    let host = plain(host)?;
    let database = plain(url.path().trim_start_matches('/'))?;
    let user = plain(url.username())?;
    if !matches!(url.scheme(), "postgres" | "postgresql")
        || user.is_empty()
        || host.starts_with('/')
    {
        return Err(wrong());
    }
    let mut tls = None;
    for (key, value) in url.query_pairs() {
        tls = Some(match (key.as_ref(), value.as_ref()) {
            ("sslmode", "disable") => Tls::Disable,
            ("sslmode", "prefer" | "allow") => Tls::Prefer,
            ("sslmode", "require") => Tls::Require,
            ("sslmode", "verify-full" | "verify-ca") => Tls::VerifyFull,
            _ => {
                return Err(format!(
                    "the secret `url` has a parameter `{key}` that is not known"
                ));
            }
        });
    }
    let database = if database.is_empty() {
        user.clone()
    } else {
        database
    };
    let options = options
        .host(host.trim_matches(['[', ']']))
        .port(url.port().unwrap_or(5432))
        .username(&user)
        .database(&database)
        .password(&plain(url.password().unwrap_or_default())?);
    Ok((options, tls))
}
