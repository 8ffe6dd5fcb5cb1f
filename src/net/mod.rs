//! Connections as bytes: what accepts them, counts them, reads them, and bounds what they hold. It knows no HTTP and
//! no node.
//!
//! | file | what it is |
//! | --- | --- |
//! | `endpoint` | where a server listens |
//! | `listener` | accepts connections, and refuses those there is no room for |
//! | `transport` | what carries the bytes of one connection |
//! | `tls_stream`, `tls_handshake` | a connection under TLS; how it begins |
//! | `handshakes` | the TLS handshakes that have not ended |
//! | `certificates` | what a server shows its clients, read anew when the files change |
//! | `got` | what a read or a wait of a socket comes to |
//! | `registry` | the connections that are open, and what they count |
//! | `input` | what came and was not consumed |
//! | `budget` | the memory that all connections share |
//! | `parts` | how that is parted among kinds of requests and answers |
//! | `pace` | how long a client may take that moves some bytes |
//! | `linger` | the end of a connection whose client may be sending still |
//! | `stopper` | how a server is stopped |

pub(crate) mod budget;
pub(crate) mod certificates;
mod endpoint;
mod got;
pub(crate) mod handshakes;
pub(crate) mod input;
mod linger;
pub(crate) mod listener;
mod pace;
mod parts;
pub(crate) mod registry;
mod stopper;
pub(crate) mod tls_handshake;
pub(crate) mod tls_stream;
pub(crate) mod transport;

pub(crate) use endpoint::{Endpoint, Passed};
pub(crate) use linger::linger;
pub(crate) use listener::BindError;
pub(crate) use pace::time_for;
pub(crate) use stopper::Stopper;
