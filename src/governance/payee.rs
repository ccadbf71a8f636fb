//! Is the payee one that operators registered, and is it called by its own name?
//!
//! For a registered account the registry is believed, so a caller that says otherwise is either
//! wrong about whom it pays or hopes that a person is: held. The same for an account of nobody's
//! that is given the name of a registered payee, which is what a changed account looks like.
//!
//! A missing registry registers nobody, and claims nothing.

use super::{Request, domains, policy_of};
use crate::domain::facts::{Facts, Registration};
use crate::domain::payee::{PayeeId, RegisteredPayee};
use crate::domain::policy::Payees;
use crate::domain::reason::{Finding, Reason};
use crate::domain::tool::Payee;

/// `PAYEE_UNKNOWN`: nobody can read who is paid, or the policy pays registered payees only, and this
/// is none.
pub fn registered(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    if request.effective.moves_money()
        && let Some(place) = request.tool.lacks_payee(request.args)
    {
        let why = format!(
            "the argument `{place}` says who is paid, and here it says nothing that can be read: \
             it takes one plain text, or an account's number"
        );
        return Some(Finding::block(Reason::PayeeUnknown, why));
    }
    match policy_of(facts)?.payees {
        Payees::Any => return None,
        Payees::Registered => {}
    }
    if !request.effective.moves_money() || known(facts).is_some() {
        return None;
    }
    let why = match &request.payee.account {
        Some(account) => format!(
            "nobody registered the account {account}, and the policy pays registered payees only; \
             an operator can (`hundi payee add`)"
        ),
        None => "the request names no account, and the policy pays registered payees only".into(),
    };
    Some(Finding::block(Reason::PayeeUnknown, why))
}

/// `PROMPT_CONTRADICTED`, held: the caller calls the payee by a name or a site that is not its own.
pub fn misnamed(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let claimed = request.tool.payee(request.args);
    let registration = facts.registration.known()?;
    let said = match registration {
        Registration {
            payee: Some(payee), ..
        } => against(payee, &claimed),
        Registration {
            namesake: Some(payee),
            ..
        } => {
            let account = claimed.account.as_deref().unwrap_or("none");
            vec![format!(
                "{} is a registered payee, and the account {account} is none of its accounts",
                payee.name
            )]
        }
        Registration {
            payee: None,
            namesake: None,
        } => return None,
    };
    (!said.is_empty()).then(|| Finding::hold(Reason::PromptContradicted, said.join("; ")))
}

/// The registered payee, if the account is one's.
pub(super) fn known(facts: &Facts) -> Option<&RegisteredPayee> {
    facts.registration.known()?.payee.as_ref()
}

fn against(payee: &RegisteredPayee, claimed: &Payee) -> Vec<String> {
    let mut said = Vec::new();
    let other = |name: &&String| PayeeId::of_name(name) != payee.id;
    if let Some(name) = claimed.name.as_ref().filter(other) {
        said.push(format!(
            "the arguments call the payee {name:?}, the account is registered as {}",
            payee.name
        ));
    }
    if let Some(url) = &claimed.url
        && !is_site(url, payee.vendor_url.as_deref())
    {
        let ours = payee.vendor_url.as_deref().unwrap_or("no site");
        said.push(format!(
            "the arguments name the site {url:?}, the payee is registered with {ours}"
        ));
    }
    said
}

/// Whether a site is the registered one, by what somebody registered of the host: a shop's page and
/// its front page are one vendor's.
fn is_site(claimed: &str, registered: Option<&str>) -> bool {
    let owner = |url: &str| domains::host(url).map(|host| domains::registrable(&host).to_owned());
    match (owner(claimed), registered.and_then(owner)) {
        (Some(claimed), Some(registered)) => claimed == registered,
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::facts::Fact;
    use crate::domain::money::Effective;
    use crate::domain::policy::Policy;
    use crate::domain::tool::PayeeRule;
    use crate::governance::testing::{Sample, facts, tool};

    fn acme() -> RegisteredPayee {
        RegisteredPayee {
            id: PayeeId::of_name("Acme Ltd"),
            name: "Acme Ltd".to_owned(),
            vendor_url: Some("https://acme.example".to_owned()),
            lei: None,
            fund_accounts: vec!["fa_1".to_owned()],
            labels: Vec::new(),
        }
    }

    fn as_known(payee: Option<RegisteredPayee>, namesake: Option<RegisteredPayee>) -> Facts {
        Facts {
            registration: Fact::Known(Registration { payee, namesake }),
            ..facts()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn only_registered_payees_are_paid_where_the_policy_says_so() {
        let missing = Facts { registration: Fact::Missing, ..facts() };
        let cases = [
            (Payees::Any,        as_known(None, None),         true),
            (Payees::Any,        missing.clone(),              true),
            (Payees::Registered, as_known(Some(acme()), None), true),
            (Payees::Registered, as_known(None, None),         false),
            (Payees::Registered, as_known(None, Some(acme())), false),
            (Payees::Registered, missing,                      false),
        ];
        for (payees, facts, expected) in cases {
            let policy = Policy { payees, ..Policy::default() };
            let facts = Facts { policy: Fact::Known(Some(policy)), ..facts };
            let found = registered(&Sample::default().request(), &facts);
            assert_eq!(found.is_none(), expected, "{payees:?} {:?}", facts.registration);
            let nothing = Sample { effective: Effective::Nothing, ..Sample::default() };
            assert_eq!(registered(&nothing.request(), &facts), None);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_claim_that_is_not_the_registrys_is_held() {
        let ours = || as_known(Some(acme()), None);
        let cases = [
            // what the caller says of the account                                     held
            (json!({"to": "fa_1"}),                                                    ours(), false),
            (json!({"to": "fa_1", "name": "acme  LTD"}),                               ours(), false),
            (json!({"to": "fa_1", "name": "Acme Evil"}),                               ours(), true),
            (json!({"to": "fa_1", "url": "https://shop.acme.example/pay"}),            ours(), false),
            (json!({"to": "fa_1", "url": "acme.example"}),                             ours(), false),
            (json!({"to": "fa_1", "url": "https://acme.example.evil.com"}),            ours(), true),
            (json!({"to": "fa_1", "url": "not a url"}),                                ours(), true),
            (json!({"to": "fa_9", "name": "Acme Ltd"}),     as_known(None, Some(acme())), true),
            (json!({"to": "fa_9", "name": "Other"}),        as_known(None, None),         false),
        ];
        for (args, facts, held) in cases {
            let mut tool = tool();
            tool.payee = PayeeRule {
                account: Some("to".into()),
                name: Some("name".into()),
                url: Some("url".into()),
            };
            let sample = Sample { args: args.clone(), tool, ..Sample::default() };
            let found = misnamed(&sample.request(), &facts);
            assert_eq!(found.is_some(), held, "{args}");
        }
    }
}
