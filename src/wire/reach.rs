//! HTTP clients that connect only to addresses that were checked.
//!
//! A name is resolved once, its addresses are checked, and the connection is made to one of these
//! very addresses, so that a name whose answers change in between (DNS rebinding) leads nowhere
//! else. An address that stands in the URL itself is checked before anything is sent. No proxy of
//! the environment takes part: it would resolve the name again, elsewhere.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};

use crate::domain::tools::reach::Reach;

/// A service that takes longer to accept a connection is down.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that nobody used for so long is not trusted any more.
const IDLE: Duration = Duration::from_secs(30);
/// Redirects that are followed, within one origin.
const MAX_REDIRECTS: usize = 3;

/// Which redirects a client follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redirects {
    /// None.
    Never,
    /// A few, as long as scheme, host and port stay the same. For requests that only read.
    WithinOrigin,
}

/// A client that reaches what `reach` permits.
pub fn client(reach: &Reach, redirects: Redirects) -> Result<reqwest::Client, String> {
    // Installing it twice is no error: whoever came first chose the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = match redirects {
        Redirects::Never => Policy::none(),
        Redirects::WithinOrigin => Policy::custom(|attempt| {
            let previous = attempt.previous();
            let within = previous
                .first()
                .is_some_and(|first| first.origin() == attempt.url().origin());
            match within && previous.len() <= MAX_REDIRECTS {
                true => attempt.follow(),
                false => attempt.stop(),
            }
        }),
    };
    reqwest::Client::builder()
        .user_agent(concat!("hundi/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .redirect(policy)
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .dns_resolver(Arc::new(Checked(Arc::new(reach.clone()))))
        .build()
        .map_err(|error| error.to_string())
}

/// Checks an address that stands in a URL as it is; names are checked when they are resolved.
pub fn check(reach: &Reach, url: &Url) -> Result<(), String> {
    let address = match url.host() {
        Some(Host::Ipv4(four)) => IpAddr::V4(four),
        Some(Host::Ipv6(six)) => IpAddr::V6(six),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err("the address names no host".to_owned()),
    };
    match reach.permits(address) {
        true => Ok(()),
        false => Err(refused()),
    }
}

/// An error in words, without its URL, which may carry a key. The innermost says the most.
pub fn words(error: reqwest::Error) -> String {
    use std::error::Error;
    let error = error.without_url();
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.to_string() {
        same if same == error.to_string() => same,
        inner => format!("{error}: {inner}"),
    }
}

pub(super) fn refused() -> String {
    "this host has a private address, which the configuration does not allow to be reached \
     (sources.private_allowed)"
        .to_owned()
}

/// Resolves names to addresses that may be reached.
struct Checked(Arc<Reach>);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<_> = found.filter(|found| reach.permits(found.ip())).collect();
            if permitted.is_empty() {
                return Err(refused().into());
            }
            let permitted: Addrs = Box::new(permitted.into_iter());
            Ok(permitted)
        })
    }
}
