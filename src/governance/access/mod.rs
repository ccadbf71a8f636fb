//! Who may call which tool, and what of its answer they may see.
//!
//! [`rules::decide`] says whether a call may go on and under which masks; [`masks`] hides what they
//! name. Both are pure: which rules there are, who asks and what time it is are handed in. A caller
//! who could not learn the rules does not ask here and does not call.

pub mod masks;
pub mod quoted;
pub mod rules;
