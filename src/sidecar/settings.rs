//! What the sidecar is told by its environment: credentials, the account that pays, and where the
//! bank is. Any of them can be given as the name of a file, in `..._FILE`.
//!
//! A missing or empty credential stops the start. Credentials never travel in the clear: plain
//! HTTP is accepted on loopback, or with a test key (`rzp_test_`), which moves no money.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

/// Where RazorpayX is. Only an address other than this can be a sandbox.
const RAZORPAY: &str = "https://api.razorpay.com";

/// Variable of the API key.
pub const KEY_ID: &str = "HUNDI_RAZORPAY_KEY_ID";
/// Variable of the API key's secret.
pub const KEY_SECRET: &str = "HUNDI_RAZORPAY_KEY_SECRET";
/// Variable of the account that pays.
pub const ACCOUNT_NUMBER: &str = "HUNDI_RAZORPAY_ACCOUNT_NUMBER";
/// Variable of the bank's address.
pub const API_BASE: &str = "HUNDI_RAZORPAY_API_BASE";

/// Everything the sidecar knows.
pub struct Settings {
    pub(super) key_id: Zeroizing<String>,
    pub(super) key_secret: Zeroizing<String>,
    pub(super) account_number: String,
    pub(super) base: Url,
}

/// Hides the credentials and the account.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({}, credentials hidden)", self.base)
    }
}

/// Why the environment does not do. Never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A variable is missing or empty.
    #[error("{0} is not set; give it or {0}_FILE")]
    Missing(&'static str),
    /// The file that a `..._FILE` names cannot be read.
    #[error("the file named by {0}_FILE cannot be read")]
    Unreadable(&'static str),
    /// The address is not one.
    #[error("{API_BASE} must be an http or https address without user, query or fragment")]
    BadBase,
    /// Credentials would travel in the clear.
    #[error("{API_BASE} must be https: a live key never travels in the clear")]
    InTheClear,
}

impl Settings {
    /// Reads the settings through `variable`, which looks up one environment variable.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let key_id = required(variable, KEY_ID)?;
        let key_secret = required(variable, KEY_SECRET)?;
        let account_number = required(variable, ACCOUNT_NUMBER)?;
        let base = optional(variable, API_BASE)?;
        let base = read_base(base.as_ref().map_or(RAZORPAY, |base| base.as_str()))?;
        if base.scheme() == "http" && !is_loopback(&base) && !key_id.starts_with("rzp_test_") {
            return Err(SettingsError::InTheClear);
        }
        Ok(Self {
            key_id,
            key_secret,
            account_number: account_number.to_string(),
            base,
        })
    }

    /// True if the bank cannot be the real one, so that the sandbox's own calls may be offered.
    pub fn is_sandbox(&self) -> bool {
        !self
            .base
            .host_str()
            .is_some_and(|host| host == "razorpay.com" || host.ends_with(".razorpay.com"))
    }
}

fn required(
    variable: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Zeroizing<String>, SettingsError> {
    optional(variable, name)?.ok_or(SettingsError::Missing(name))
}

fn optional(
    variable: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<Zeroizing<String>>, SettingsError> {
    let text = match variable(name).filter(|text| !text.is_empty()) {
        Some(text) => Zeroizing::new(text),
        None => match variable(&format!("{name}_FILE")).filter(|path| !path.is_empty()) {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                Zeroizing::new(read.map_err(|_| SettingsError::Unreadable(name))?)
            }
            None => return Ok(None),
        },
    };
    let trimmed = text.trim();
    Ok((!trimmed.is_empty()).then(|| Zeroizing::new(trimmed.to_owned())))
}

/// The address without a trailing slash or `/v1`, which the calls bring themselves.
fn read_base(text: &str) -> Result<Url, SettingsError> {
    let text = text.trim_end_matches('/');
    let text = text.strip_suffix("/v1").unwrap_or(text);
    let base = Url::parse(text).map_err(|_| SettingsError::BadBase)?;
    let plain = base.username().is_empty()
        && base.password().is_none()
        && base.query().is_none()
        && base.fragment().is_none();
    if plain && matches!(base.scheme(), "http" | "https") && base.has_host() {
        Ok(base)
    } else {
        Err(SettingsError::BadBase)
    }
}

fn is_loopback(base: &Url) -> bool {
    match base.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let pairs: std::collections::BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::read(&|name| pairs.get(name).cloned())
    }

    fn with_base(key: &str, base: &str) -> Result<Settings, SettingsError> {
        read(&[
            (KEY_ID, key),
            (KEY_SECRET, "hush"),
            (ACCOUNT_NUMBER, "2323230041626905"),
            (API_BASE, base),
        ])
    }

    #[test]
    fn a_missing_or_empty_credential_stops_the_start() {
        let all = [(KEY_ID, "k"), (KEY_SECRET, "s"), (ACCOUNT_NUMBER, "1")];
        for (index, (missing, _)) in all.iter().enumerate() {
            let mut some = all.to_vec();
            some[index].1 = "  ";
            assert_eq!(read(&some).err(), Some(SettingsError::Missing(missing)));
            some.remove(index);
            assert_eq!(read(&some).err(), Some(SettingsError::Missing(missing)));
        }
        let real = read(&all).unwrap();
        assert_eq!(real.base.as_str(), "https://api.razorpay.com/");
        assert!(!real.is_sandbox());
    }

    #[test]
    fn a_secret_can_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "from a file\n").unwrap();
        let file = file.to_str().unwrap();
        let name = format!("{KEY_SECRET}_FILE");
        let some = [(KEY_ID, "k"), (ACCOUNT_NUMBER, "1"), (name.as_str(), file)];
        assert_eq!(read(&some).unwrap().key_secret.as_str(), "from a file");
        let gone = [
            (KEY_ID, "k"),
            (ACCOUNT_NUMBER, "1"),
            (name.as_str(), "/nowhere"),
        ];
        assert_eq!(
            read(&gone).err(),
            Some(SettingsError::Unreadable(KEY_SECRET))
        );
    }

    #[test]
    #[rustfmt::skip]
    fn credentials_never_travel_in_the_clear() {
        use SettingsError::{BadBase, InTheClear};
        let cases = [
            ("rzp_live_1", "https://api.razorpay.com",       Ok(false)),
            ("rzp_live_1", "https://api.razorpay.com/v1/",   Ok(false)),
            ("rzp_live_1", "http://127.0.0.1:8788",          Ok(true)),
            ("rzp_live_1", "http://localhost:8788/",         Ok(true)),
            ("rzp_live_1", "http://[::1]:8788",              Ok(true)),
            ("rzp_live_1", "http://api.razorpay.com",        Err(InTheClear)),
            ("rzp_live_1", "http://bank:8788",               Err(InTheClear)),
            ("rzp_live_1", "http://127.0.0.1.evil.example",  Err(InTheClear)),
            ("rzp_test_1", "http://bank:8788",               Ok(true)),
            ("rzp_live_1", "https://bank.example",           Ok(true)),
            ("rzp_live_1", "https://notrazorpay.com",        Ok(true)),
            ("rzp_live_1", "ftp://127.0.0.1",                Err(BadBase)),
            ("rzp_live_1", "https://user:pass@bank.example", Err(BadBase)),
            ("rzp_live_1", "https://bank.example?x=1",       Err(BadBase)),
            ("rzp_live_1", "bank.example",                   Err(BadBase)),
        ];
        for (key, base, expected) in cases {
            let sandbox = with_base(key, base).map(|settings| settings.is_sandbox());
            assert_eq!(sandbox, expected, "{key} {base}");
        }
    }

    #[test]
    fn debug_shows_no_credential() {
        let settings = with_base("rzp_live_visible", "http://127.0.0.1:1").unwrap();
        let shown = format!("{settings:?}");
        for secret in ["rzp_live_visible", "hush", "2323230041626905"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
