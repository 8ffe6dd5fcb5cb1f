//! Who may do what.
//!
//! | file | what it is |
//! | --- | --- |
//! | `tokens` | the tokens that a node accepts |
//! | `grant` | what one of them allows |

mod grant;
mod tokens;

pub(crate) use grant::{Grant, Scope};
pub(crate) use tokens::Denied;
pub(crate) use tokens::Tokens;
