//! stub
use crate::domain::facts::*;
use crate::domain::ids::AgentId;
use crate::domain::money::Effective;
use crate::domain::policy::Policy;
use crate::domain::reason::*;
use crate::domain::time::Timestamp;
use crate::domain::tool::*;
/// r
#[allow(missing_docs)]
pub struct Request<'a> {
    pub agent: &'a AgentId,
    pub tool: &'a Tool,
    pub args: &'a serde_json::Value,
    pub effective: Effective,
    pub payee: &'a Payee,
}
/// d
pub fn decide(_r: &Request<'_>, _f: &Facts) -> Verdict {
    Verdict::of(vec![])
}
/// r
pub fn recheck(
    _r: &Request<'_>,
    _f: &Fact<Freezes>,
    _p: &Fact<Option<Policy>>,
    _n: Timestamp,
) -> Option<(Refusal, String)> {
    None
}
/// i
pub mod integrity {
    /// h
    pub fn prompt_hash(p: &str) -> String {
        p.into()
    }
    /// s
    pub fn score(
        _s: &[String],
        _h: Option<&str>,
        _b: Option<&str>,
    ) -> crate::domain::proposal::Score {
        Default::default()
    }
}
