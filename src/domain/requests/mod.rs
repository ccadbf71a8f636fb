//! Requests to models: what is asked, what comes back piece by piece, what goes wrong, and what it
//! costs. One vocabulary for every provider and every door; how each spells it is `connector`'s.

pub mod ask;
pub mod failure;
pub mod piece;
pub mod price;
