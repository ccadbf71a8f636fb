//! The pages behind the README, as a book: what is too long for a first page. Each is a file of
//! `src/pages`, and a test holds the tables in them to the code they tell of.

#[doc = include_str!("pages/concepts.md")]
pub mod concepts {}
#[doc = include_str!("pages/settings.md")]
pub mod settings {}
#[doc = include_str!("pages/policies.md")]
pub mod policies {}
#[doc = include_str!("pages/codes.md")]
pub mod codes {}
#[doc = include_str!("pages/tools.md")]
pub mod tools {}
#[doc = include_str!("pages/models.md")]
pub mod models {}
#[doc = include_str!("pages/coming_from.md")]
pub mod coming_from {}
#[doc = include_str!("pages/operations.md")]
pub mod operations {}
#[doc = include_str!("pages/security.md")]
pub mod security {}
#[doc = include_str!("pages/promises.md")]
pub mod promises {}
#[doc = include_str!("pages/sandbox.md")]
pub mod sandbox {}
#[doc = include_str!("pages/mcp.md")]
pub mod mcp {}
#[doc = include_str!("pages/measured.md")]
pub mod measured {}
#[doc = include_str!("pages/adding.md")]
pub mod adding {}
