//! A payout that others made, as the bank shows it, held against what a caller says of it.
//!
//! Whoever decides on such a payout names its amount and account, and the bank's own word is what
//! counts: what is not the same is refused, and who is paid is read from the bank's answer alone.

use serde_json::Value;

use super::heard::{self, Heard};
use super::{Razorpay, State, UPSTREAM, entity};
use crate::connector::bank::{Shown, Unfit};
use crate::domain::call::{Call, Reply};
use crate::domain::money::{Currency, Effective, Money};
use crate::domain::tool::Payee;

impl Razorpay {
    /// The read-only call that shows the payout which `args` name.
    pub fn look(args: &Value) -> Call {
        let id = args.get("payout_id").cloned().unwrap_or_default();
        Call::new(
            UPSTREAM,
            "fetch_payout",
            &serde_json::json!({"payout_id": id}),
        )
    }

    /// What the bank shows of it, if that is what the caller says and may still be decided on.
    pub fn shown(self, args: &Value, reply: &Reply) -> Result<Shown, Unfit> {
        let body = match heard::hear(reply) {
            Heard::Answer(body) => body,
            Heard::No(refusal) if refusal.is_about_id() => {
                let why = "the bank knows no payout of this id";
                return Err(Unfit::Differs(why.to_owned()));
            }
            Heard::No(refusal) => return Err(Unfit::Untold(refusal.to_string())),
            Heard::Precondition(error) => return Err(Unfit::Untold(error.description)),
            Heard::NotSent(why) | Heard::Unclear(why) => return Err(Unfit::Untold(why)),
        };
        let text = |field: &str| body.get(field).and_then(Value::as_str);
        if text("entity") != Some("payout") || body.get("id") != args.get("payout_id") {
            let why = "the answer is not the payout that was asked for";
            return Err(Unfit::Untold(why.to_owned()));
        }
        for field in ["amount", "fund_account_id"] {
            entity::same(body, args, field).map_err(|_| differs(field))?;
        }
        if !notes_are_its(body, args) {
            return Err(differs("notes"));
        }
        let currency = text("currency").and_then(Currency::parse);
        let minor = body.get("amount").and_then(Value::as_i64);
        let (Some(currency), Some(minor)) = (currency, minor) else {
            let why = "the bank shows no amount of a currency";
            return Err(Unfit::Untold(why.to_owned()));
        };
        self.still_waits(text("status").unwrap_or_default())?;
        let note = |name: &str| {
            let note = body.get("notes").and_then(|notes| notes.get(name));
            note.and_then(Value::as_str).map(str::to_owned)
        };
        Ok(Shown {
            amount: Effective::Amount(Money { minor, currency }),
            payee: Payee {
                account: text("fund_account_id").map(str::to_owned),
                name: note("vendor_name"),
                url: note("vendor_url"),
                ..Payee::default()
            },
        })
    }

    fn still_waits(self, word: &str) -> Result<(), Unfit> {
        let state = State::parse(word).ok_or_else(|| {
            Unfit::Untold("the payout is in a state that is not known here".to_owned())
        })?;
        let (fits, which) = match self {
            Self::Approve | Self::Reject => (state == State::Pending, "a pending one"),
            Self::Cancel => (
                matches!(state, State::Queued | State::Scheduled),
                "a queued or scheduled one",
            ),
            Self::Create | Self::Transfer => (true, "any"),
        };
        if fits {
            return Ok(());
        }
        Err(Unfit::Differs(format!(
            "at the bank the payout is {}, and {} takes {which} only",
            state.name(),
            self.tool()
        )))
    }
}

fn differs(field: &str) -> Unfit {
    Unfit::Differs(format!(
        "`{field}` is not what the bank shows of this payout"
    ))
}

/// Whether the payout carries every note that is named.
fn notes_are_its(body: &Value, args: &Value) -> bool {
    let named = args.get("notes").and_then(Value::as_object);
    named.is_none_or(|named| {
        let its = body.get("notes");
        let mut named = named.iter();
        named.all(|(name, value)| its.and_then(|its| its.get(name)) == Some(value))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said() -> Value {
        json!({
            "payout_id": "pout_00000000000001", "amount": 700, "remarks": "fine",
            "fund_account_id": "fa_00000000000001",
        })
    }

    fn shows(field: &str, value: Value) -> Reply {
        let mut payout = json!({
            "id": "pout_00000000000001", "entity": "payout", "amount": 700, "currency": "INR",
            "fund_account_id": "fa_00000000000001", "status": "pending",
            "notes": {"vendor_name": "Acme", "vendor_url": "https://acme.example"},
        });
        payout[field] = value;
        Reply::Result {
            content: json!({"status": 200, "body": payout}),
            is_error: false,
        }
    }

    #[test]
    fn who_is_paid_and_how_much_is_the_banks_word() {
        let shown = Razorpay::Approve
            .shown(&said(), &shows("fees", json!(0)))
            .unwrap();
        assert_eq!(shown.amount.minor(), 700);
        assert_eq!(shown.payee.name.as_deref(), Some("Acme"));
        assert_eq!(shown.payee.url.as_deref(), Some("https://acme.example"));
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_not_the_same_is_refused_and_what_is_not_told_is_not_guessed() {
        use Razorpay::*;
        let cases = [
            (Approve, "amount",          json!(701),                   true),
            (Approve, "amount",          json!("700"),                 true),
            (Reject,  "fund_account_id", json!("fa_00000000000002"),   true),
            (Approve, "status",          json!("queued"),              true),
            (Approve, "status",          json!("processed"),           true),
            (Reject,  "status",          json!("queued"),              true),
            (Cancel,  "status",          json!("pending"),             true),
            (Approve, "status",          json!("brand_new"),           false),
            (Approve, "currency",        json!(null),                  false),
            (Approve, "id",              json!("pout_00000000000002"), false),
            (Approve, "entity",          json!("refund"),              false),
        ];
        for (kind, field, value, known) in cases {
            let unfit = kind.shown(&said(), &shows(field, value.clone())).unwrap_err();
            assert_eq!(matches!(unfit, Unfit::Differs(_)), known, "{field} {value}: {unfit:?}");
        }
        let mut noted = said();
        noted["notes"] = json!({"vendor_url": "https://good.example"});
        assert!(Approve.shown(&noted, &shows("fees", json!(0))).is_err());
        let lost = Reply::Lost("gone".to_owned());
        assert!(matches!(Approve.shown(&said(), &lost), Err(Unfit::Untold(_))));
    }
}
