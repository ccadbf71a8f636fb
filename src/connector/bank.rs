//! A bank as the broker needs it: how it spells its news, what waits there for somebody's word, and
//! which calls ask it, let a payout go or turn it down.
//!
//! Pure, like every connector: nothing here sends or waits. The broker knows no bank by name; the
//! [registry](super::registry) hands out the one there is. Payouts travel as the JSON that the bank
//! shows, reduced to what anybody needs; of that the broker reads `id` and `status` and nothing else.

use serde_json::Value;

use super::Malformed;
use crate::domain::call::{Call, Evidence, Order, Reply, Sighting};
use crate::domain::money::Effective;
use crate::domain::tool::{Payee, Tool};

/// One bank's language.
pub trait Bank: Send + Sync {
    /// The name of its upstream, and of the bank itself where it speaks in records.
    fn name(&self) -> &'static str;

    /// How the names of its settings begin in the environment, for advice.
    fn variables(&self) -> &'static str;

    /// Names of the tools that let operators bring its news by hand.
    fn tools(&self) -> &'static [&'static str];

    /// What a genuine webhook says.
    fn event(&self, document: &Value) -> Event;

    /// Whether an event of this name was only to be told to people.
    fn is_only_told(&self, event: &str) -> bool;

    /// A payout that the bank shows, with what anybody needs of it; `None` if it is none.
    fn payout(&self, shown: &Value) -> Option<Value>;

    /// What a payout tells unasked, and about which order. It may be anybody's:
    /// [`seen`](Self::seen) says whether it is.
    fn evidence(&self, payout: &Value) -> Result<Evidence, Malformed>;

    /// What a payout says about an order of this tool; `None` if the tool orders nothing here.
    fn seen(&self, tool: &str, order: &Order, payout: &Value) -> Option<Sighting>;

    /// Whether orders of this tool make payouts.
    fn makes(&self, tool: &str) -> bool;

    /// What an order of this tool decides about a payout that others made; `None` if it is no such
    /// tool.
    fn decides(&self, tool: &Tool) -> Option<Deciding>;

    /// Whether orders of this tool turn payouts down or withdraw them.
    fn withdraws(&self, tool: &str) -> bool;

    /// The read-only call that shows the payout which these arguments of such a tool name.
    fn look(&self, args: &Value) -> Call;

    /// What the bank shows of it, if that is what the caller says and may still be decided on.
    fn shown(&self, tool: &str, args: &Value, reply: &Reply) -> Result<Shown, Unfit>;

    /// The states in which a payout waits for somebody's word, as the bank spells them.
    fn waits(&self) -> &'static [&'static str];

    /// A payout that waits; `None` if it does not wait, an error if it waits and cannot be governed
    /// as it is.
    fn waiting(&self, payout: &Value) -> Result<Option<Waiting>, &'static str>;

    /// The read-only call for a page of the payouts that wait in one of these states.
    fn list(&self, state: &str, count: usize, skip: usize) -> Call;

    /// The payouts of such a page, or why there is none. Nothing is said about each of them.
    fn listed(&self, reply: &Reply) -> Result<Vec<Value>, String>;

    /// What lets it go.
    fn let_go(&self, waits: &Waiting) -> Step;

    /// What turns it down where it stands, for this reason.
    fn turn_down(&self, waits: &Waiting, why: &str) -> Step;
}

/// What happened at the bank.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A payout changed, or was made.
    Payout {
        /// As the bank names the event.
        name: String,
        /// The payout, reduced to what is needed.
        payout: Value,
    },
    /// A way to pay is down, or up again.
    Downtime {
        /// As the bank names the event.
        name: String,
        /// What is down, for people.
        what: String,
    },
    /// Another event, of this name.
    Other(String),
    /// Not an event at all, and why.
    Unusable(&'static str),
}

impl Event {
    /// The event's name, for records.
    pub fn name(&self) -> &str {
        match self {
            Event::Payout { name, .. } | Event::Downtime { name, .. } | Event::Other(name) => name,
            Event::Unusable(_) => "",
        }
    }
}

/// A payout that waits at the bank for somebody to let it go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The bank's id.
    pub id: String,
    /// Which of [`Bank::waits`] it waits in.
    pub state: &'static str,
    /// The order that lets it go.
    pub order: Value,
    /// Our reference, if it carries one that could be ours.
    pub reference: Option<String>,
    /// What its maker says about the agent. It is only noted.
    pub claimed_agent: Option<String>,
}

/// What an order decides about a payout that others made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deciding {
    /// It goes out.
    LetGo,
    /// It does not.
    TurnDown,
}

/// One order to the bank, as a tool takes it.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The tool.
    pub tool: &'static str,
    /// Its arguments.
    pub arguments: Value,
}

/// What the bank shows of a payout to decide on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// What leaves if it goes out.
    pub amount: Effective,
    /// Who is paid.
    pub payee: Payee,
}

/// Why nothing can be decided about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The bank's word rules the request out. In words that tell a caller nothing it does not know.
    Differs(String),
    /// The bank did not tell.
    Untold(String),
}
