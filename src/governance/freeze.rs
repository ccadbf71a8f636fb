//! Is this scope frozen by an operator?
//!
//! A freeze outranks every other finding and is checked again at commit, so that it also stops
//! what was allowed before it.

use super::{Request, domains, payee};
use crate::domain::facts::{Fact, Facts, Freeze, FreezeScope};
use crate::domain::payee::{PayeeId, RegisteredPayee, folded};
use crate::domain::reason::{Finding, Reason};

/// `frozen`: an operator's stop, or nobody knows whether there is one.
pub fn frozen(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let freezes = match &facts.freezes {
        Fact::Known(freezes) => freezes,
        Fact::Missing => {
            let why = "whether an operator has frozen this could not be learned";
            return Some(Finding::block(Reason::Frozen, why));
        }
    };
    let known = payee::known(facts);
    let hit = freezes
        .0
        .iter()
        .find(|freeze| covers(freeze, request, known))?;
    let scope = match (hit.scope, hit.id.as_deref().unwrap_or("(unnamed)")) {
        (FreezeScope::All, _) => "everything".to_owned(),
        (FreezeScope::Agent, id) => format!("the agent {id}"),
        (FreezeScope::Tool, id) => format!("the tool {id}"),
        (FreezeScope::Vendor, id) => format!("the vendor {id}"),
        (FreezeScope::Server, id) => format!("the server {id}"),
    };
    let detail = format!("{} froze {scope} at {}: {}", hit.by, hit.at, hit.reason);
    Some(Finding::block(Reason::Frozen, detail))
}

/// A freeze without the id it needs covers everything: an operator who reached for the brake and
/// missed the name meant to stop something.
fn covers(freeze: &Freeze, request: &Request<'_>, known: Option<&RegisteredPayee>) -> bool {
    let Some(id) = freeze.id.as_deref() else {
        return true;
    };
    match freeze.scope {
        FreezeScope::All => true,
        FreezeScope::Agent => request.agent.as_str() == id,
        FreezeScope::Tool => request.tool.name.as_str() == id,
        FreezeScope::Vendor => {
            is_vendor(id, request) || known.is_some_and(|payee| is_known(id, payee))
        }
        FreezeScope::Server => request.tool.server() == Some(id) || request.server == Some(id),
    }
}

fn is_vendor(id: &str, request: &Request<'_>) -> bool {
    let payee = request.payee;
    let named = payee.name.as_deref();
    let named = named.is_some_and(|name| PayeeId::of_name(name) == PayeeId::of_name(id));
    // A vendor's name is not a host, though it may read as one: only what has a dot is.
    let domain = Some(id).filter(|id| id.contains('.'));
    let domain = domain.and_then(domains::plain);
    let at = payee.url.as_deref().and_then(domains::host);
    let hosted = matches!((domain, at), (Some(domain), Some(at)) if domains::covers(&domain, &at));
    let account = payee.account.as_deref().map(folded);
    named || hosted || account == Some(folded(id))
}

/// A registered payee is frozen by its id, and by any account of its, whichever is paid now.
fn is_known(id: &str, payee: &RegisteredPayee) -> bool {
    let frozen = folded(id);
    let mut accounts = payee.fund_accounts.iter().map(|account| folded(account));
    payee.id.as_str() == id || accounts.any(|account| account == frozen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::facts::Freezes;
    use crate::domain::time::Timestamp;
    use crate::governance::testing::{Sample, facts};

    #[test]
    #[rustfmt::skip]
    fn a_freeze_covers_its_scope_and_nothing_else() {
        use FreezeScope::{Agent, All, Server, Tool, Vendor};
        let cases = [
            (All,    None,                true),
            (Agent,  Some("agent-1"),     true),
            (Agent,  Some("agent-2"),     false),
            (Agent,  None,                true),
            (Tool,   Some("transfer_funds"), true),
            (Tool,   Some("noop"),        false),
            (Vendor, Some("acct_123"),    true),
            (Vendor, Some("ACCT_123 "),   true),
            (Vendor, Some("acct_124"),    false),
            (Vendor, Some(" acme LTD"),   true),
            (Vendor, Some("Acme  Limited."), true),
            (Vendor, Some("Acme Inc"),    false),
            (Vendor, Some("acme.example"), true),
            (Vendor, Some("Other Ltd"),   false),
            (Vendor, Some("Acme Ltd."),   true),
            (Vendor, Some("example"),     false),
            (Vendor, Some("https://ACME.example/"), true),
            (Vendor, Some("cme.example"), false),
            (Server, Some("razorpay"),    false),
            (Server, None,                true),
        ];
        for (scope, id, expected) in cases {
            let sample = Sample::default();
            let mut facts = facts();
            facts.freezes = Fact::Known(Freezes(vec![Freeze {
                scope,
                id: id.map(str::to_owned),
                reason: "drill".into(),
                by: "key:op".into(),
                at: Timestamp::from_secs(0),
            }]));
            let found = frozen(&sample.request(), &facts);
            assert_eq!(found.is_some(), expected, "{scope:?} {id:?}");
        }
    }

    #[test]
    fn not_knowing_is_frozen() {
        let facts = Facts {
            freezes: Fact::Missing,
            ..facts()
        };
        let found = frozen(&Sample::default().request(), &facts);
        assert_eq!(found.unwrap().reason, Reason::Frozen);
    }
}
