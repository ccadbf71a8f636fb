//! What has to be asked: Redis, a running server, the bank and its clock, the sidecar and the
//! upstreams. Every question has a deadline and reads only.

use std::time::Duration;

use crate::ambient::Ambient;
use crate::config::Config;
use crate::domain::call::{Call, Reply};
use crate::domain::time::Timestamp;
use crate::entry::cli::doctor::Check;
use crate::wire::Wire;
use serde_json::json;

/// Longest that one question over the network may take.
const ASK: Duration = Duration::from_secs(3);
/// Longest that a child may take to start and list its tools.
const START: Duration = Duration::from_secs(10);
/// Clocks of two machines in good order differ by less.
const SKEW_WARN_SECS: i64 = 5;
/// What tokens and signatures of others tolerate at most.
const SKEW_FAIL_SECS: i64 = 60;
/// The upstream that our own sidecar is.
const BANK: &str = "razorpay";

/// Redis, where one is configured.
pub async fn redis(config: &Config) -> Option<Check> {
    let url = config.redis_url.as_ref()?;
    let advice =
        "limits fall back to a stricter local view until it answers; check HUNDI_REDIS_URL";
    Some(match crate::ephemeral::redis::examine(url.expose()).await {
        Ok(()) => Check::ok("redis", format!("{url} answers and can be written")),
        Err(why) => Check::fail("redis", format!("{url}: {why}"), advice),
    })
}

/// What a question over HTTP told.
struct Told {
    status: u16,
    date: Option<Timestamp>,
    body: String,
}

async fn ask(url: &str) -> Result<Told, String> {
    let client = reqwest::Client::builder()
        .timeout(ASK)
        .redirect(reqwest::redirect::Policy::none());
    let client = client
        .build()
        .map_err(|error| error.without_url().to_string())?;
    let answer = client.get(url).send().await;
    let answer = answer.map_err(|error| cause(&error.without_url()))?;
    let date = answer
        .headers()
        .get("date")
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let date = date.map(|date| Timestamp::from_millis(date.timestamp().as_millisecond()));
    Ok(Told {
        status: answer.status().as_u16(),
        date,
        body: answer.text().await.unwrap_or_default(),
    })
}

/// The innermost error says what happened; the outer ones only that something did.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A running server, or the address free for one.
pub async fn server(config: &Config) -> Check {
    let url = format!("http://{}", config.listen);
    match ask(&format!("{url}/readyz")).await {
        Err(_) => Check::ok(
            "server",
            format!("nothing runs at {url}; `hundi serve` would"),
        ),
        Ok(told) if told.body.contains("\"ready\"") => {
            Check::ok("server", format!("{url} is ready"))
        }
        Ok(told) if told.body.contains("\"checks\"") => {
            let seen = format!("{url} runs and is not ready (HTTP {})", told.status);
            Check::warn(
                "server",
                seen,
                format!("`curl {url}/readyz` says what it misses"),
            )
        }
        Ok(_) => {
            let advice = "set HUNDI_LISTEN to a free address";
            Check::fail(
                "server",
                format!("{url} is in use by another program"),
                advice,
            )
        }
    }
}

/// Where the sandbox bank would be.
pub fn sandbox_url(config: &Config) -> String {
    format!("http://{}", config.sandbox_listen)
}

/// The bank answers, and its clock agrees with ours. True if it can be asked more.
pub async fn bank(config: &Config, checks: &mut Vec<Check>) -> bool {
    let (base, path) = if config.sandbox_mode() {
        (sandbox_url(config), "/sandbox/health")
    } else {
        (config.razorpay.api_base.clone(), "/v1/")
    };
    let told = match ask(&format!("{base}{path}")).await {
        Ok(told) => told,
        Err(_) if config.sandbox_mode() => {
            let seen = format!("the sandbox bank does not run at {base}; `hundi serve` starts it");
            checks.push(Check::ok("bank", seen));
            return false;
        }
        Err(why) => {
            let advice = "commits stay in doubt until it answers; check the network and HUNDI_RAZORPAY_API_BASE";
            checks.push(Check::fail(
                "bank",
                format!("{base} does not answer: {why}"),
                advice,
            ));
            return false;
        }
    };
    let is_bank = !config.sandbox_mode() || told.status == 200;
    if !is_bank {
        let advice = "set HUNDI_SANDBOX_LISTEN to a free address";
        checks.push(Check::fail(
            "bank",
            format!("{base} is another program"),
            advice,
        ));
        return false;
    }
    checks.push(Check::ok("bank", format!("{base} answers")));
    checks.push(clock(told.date, Ambient::real().now()));
    true
}

fn clock(theirs: Option<Timestamp>, ours: Timestamp) -> Check {
    let Some(theirs) = theirs else {
        return Check::ok("clock", "the bank does not tell the time");
    };
    // Their header has whole seconds.
    let skew = (ours.secs() - theirs.secs()).abs();
    let seen = format!("{skew} s off the bank's");
    let advice = "set this machine's clock (NTP): tokens expire and signatures age by it";
    if skew <= SKEW_WARN_SECS {
        Check::ok("clock", format!("within {skew} s of the bank's"))
    } else if skew <= SKEW_FAIL_SECS {
        Check::warn("clock", seen, advice)
    } else {
        Check::fail("clock", seen, advice)
    }
}

/// The sidecar starts, offers its tools, and (where there is a bank) its credentials are good.
pub async fn sidecar(config: &Config, wire: &dyn Wire, bank_runs: bool) -> Vec<Check> {
    let offered = match wire.offered(BANK, START).await {
        Ok(offered) => offered,
        Err(why) => {
            let advice =
                "nothing can be paid without it; `hundi sidecar razorpay` by hand tells more";
            return vec![Check::fail("sidecar", why, advice)];
        }
    };
    let mut checks = vec![Check::ok(
        "sidecar",
        format!("starts and offers {} tools", offered.len()),
    )];
    if bank_runs {
        let call = Call::new(BANK, "fetch_balance", &json!({}));
        let reply = wire.send(&call, START).await;
        checks.push(credentials(config, &reply));
    }
    checks
}

fn credentials(config: &Config, reply: &Reply) -> Check {
    let whose = if config.sandbox_mode() {
        "the sandbox's own".to_owned()
    } else {
        let id = config
            .razorpay
            .key
            .as_ref()
            .map_or("", |key| key.id.as_str());
        format!("key {id}")
    };
    let advice = "check HUNDI_RAZORPAY_KEY_ID and ..._KEY_SECRET, and that the key may use payouts";
    match reply {
        Reply::Result {
            is_error: false, ..
        } => Check::ok("credentials", format!("{whose}: the bank accepts them")),
        Reply::Result { .. } | Reply::RpcError { .. } => Check::fail(
            "credentials",
            format!("{whose}: the bank refuses them"),
            advice,
        ),
        Reply::NotSent(_) | Reply::TurnedAway { .. } | Reply::TooLarge { .. } | Reply::Lost(_) => {
            Check::warn(
                "credentials",
                format!("{whose}: not learned ({})", reply.why()),
                "try again",
            )
        }
    }
}

/// Every configured upstream lists its tools.
pub async fn upstreams(config: &Config, wire: &dyn Wire) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in config.upstreams.keys() {
        let title = format!("upstream {name}");
        checks.push(match wire.offered(name, START).await {
            Ok(offered) => Check::ok(title, format!("offers {} tools", offered.len())),
            Err(why) => {
                let advice = format!("its tools cannot be used; check `[upstream.{name}]`");
                Check::fail(title, why, advice)
            }
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::cli::doctor::Health;

    #[test]
    #[rustfmt::skip]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let ours = Timestamp::from_secs(1_000);
        let cases = [
            (Some(1_000), Health::Ok), (Some(995), Health::Ok), (Some(1_006), Health::Warn),
            (Some(940), Health::Warn), (Some(939), Health::Fail), (None, Health::Ok),
        ];
        for (theirs, expected) in cases {
            let check = clock(theirs.map(Timestamp::from_secs), ours);
            assert_eq!(check.health, expected, "{theirs:?}");
        }
    }
}
