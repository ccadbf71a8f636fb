//! Requests to models: what is asked, what comes back piece by piece, what goes wrong, what it
//! costs, and where a request stands. One vocabulary for every provider and every door; how each
//! spells it is `connector`'s.

pub mod ask;
pub mod count;
pub mod event;
pub mod failure;
pub mod piece;
pub mod price;
pub mod price_list;
pub mod provider;
pub mod request;
pub mod rows;
pub mod sealing;
pub mod sending;
pub mod shipped;
pub mod spent;
pub mod unpriced;
