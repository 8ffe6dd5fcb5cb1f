//! Who may do what.
//!
//! | file | what it is |
//! | --- | --- |
//! | `tokens` | the tokens that a node accepts |
//! | `line` | a line of a file of tokens |
//! | `live` | the tokens of now: they may change while requests are checked |
//! | `grant` | what one of them allows |

mod grant;
mod line;
mod live;
mod tokens;

pub(crate) use grant::{Grant, Scope};
pub(crate) use line::{is_name, line, moment};
pub(crate) use live::LiveTokens;
pub(crate) use tokens::Denied;
pub(crate) use tokens::Tokens;
