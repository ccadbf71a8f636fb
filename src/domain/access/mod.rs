//! Who may use which tool, when, and what they may see of it: rules and masks as people write them.
//!
//! A rule is read strictly: a field that nobody knows, a value of another kind or a list that
//! could never match refuses the whole, and the refusal names the place. What a rule says is
//! compiled here, so that deciding looks nothing up; deciding and masking are governance's.
//!
//! What the parts of a rule mean together:
//!
//! - `who`: one of `agents` or `people` has to be the caller, if either is given; `roles` and
//!   `servers` narrow that down. A part that is left out asks for nothing.
//! - `what`: every part that is given has to fit.
//! - `when`: every part that is given has to hold. Hours are read on the wall clock of `zone` and
//!   belong to the day on which they begin, so `fri` with `22:00-06:00` ends on Saturday morning.
//! - A rule that is not enabled says nothing at all.

mod basis;
mod invalid;
mod mask;
mod mask_key;
mod read;
mod rule;
mod server;
mod when;

pub use basis::{Basis, RuleVersion};
pub use invalid::Invalid;
pub use mask::{BadPath, Mask, MaskDo, MaskPath};
pub use mask_key::MaskKey;
pub use rule::{Effect, Kind, Rule, RuleDef, RuleId, ToolPattern, What, Who};
pub use server::{Disclosure, Entrance, Server};
pub use when::{Clock, Days, Hours, Weekly, When, Zone};

#[cfg(test)]
mod tests;
