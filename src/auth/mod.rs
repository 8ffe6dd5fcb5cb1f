//! Who may do what.

mod tokens;

pub use tokens::Tokens;
pub(crate) use tokens::{Denied, Scope};
