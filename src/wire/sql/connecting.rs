//! How a connection to a PostgreSQL server is made: with what its source says, and with nothing of
//! the broker's own environment.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::Trouble;
use crate::domain::secret::Secret;
use crate::domain::tools::reach::Reach;
use crate::domain::tools::{PostgresSource, Tls};
use crate::wire::reach::refused;

/// Sees to it that connections are made to addresses that were checked.
///
/// The library looks a name up by itself, so it is given the address in its place. Only where the
/// server has to prove its name does it get the name: another server that the name leads to in
/// between cannot prove it, and is asked nothing.
pub(super) struct Gate {
    options: PgConnectOptions,
    reach: Reach,
}

impl Gate {
    pub(super) fn new(options: PgConnectOptions, reach: Reach) -> Self {
        Self { options, reach }
    }

    /// How to connect now, where that is another way than before.
    pub(super) async fn checked(&self) -> Result<Option<PgConnectOptions>, Trouble> {
        let host = self.options.get_host();
        if let Ok(address) = host.parse::<IpAddr>() {
            return match self.reach.permits(address) {
                true => Ok(None),
                false => Err(Trouble::Unavailable(refused())),
            };
        }
        let found = tokio::net::lookup_host((host, self.options.get_port())).await;
        let found = found.map_err(|_| {
            Trouble::Unavailable("the name of its host leads to no address".to_owned())
        })?;
        let mut permitted = found.filter(|found| self.reach.permits(found.ip()));
        let Some(address) = permitted.next() else {
            return Err(Trouble::Unavailable(refused()));
        };
        // Who may reach this machine itself has nothing to gain by a name that changes, and the library
        // tries all of its addresses.
        let trusted = self.reach.permits(IpAddr::from([127, 0, 0, 1]));
        if trusted || matches!(self.options.get_ssl_mode(), PgSslMode::VerifyFull) {
            return Ok(None);
        }
        let address = address.ip().to_string();
        Ok(Some(self.options.clone().host(&address)))
    }
}

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
