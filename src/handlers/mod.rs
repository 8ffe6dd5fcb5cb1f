//! Handlers: from a request to its answer, by calls of a node.
//!
//! | file | what it is |
//! | --- | --- |
//! | `route`, `admit` | which request is which, and whether it may come in |
//! | `dispatch` | from an admitted request to its handler |
//! | `context`, `shared`, `allowance` | what handlers work with, what all connections share, and what one request takes of the memory that they share |
//! | `consistency` | what a request asks of the node's place in its cluster |
//! | `kv`, `edit`, `keys`, `level`, `batch`, `watch` | the data |
//! | `compact`, `backup`, `replication`, `election`, `cluster_view`, `nodes`, `diverged`, `status`, `metrics`, `page` | the node |
//! | `families`, `engine_metrics` | metrics as Prometheus has them; those of another engine |
//! | `engine_status` | what another engine is like, where one holds the entries |
//! | `body`, `entry_fields`, `deadline`, `conditions` | JSON bodies, and the fields of an entry in them; times to live; entity tags |
//! | `relay` | requests of one key that an engine answers to the client at once |
//! | `glob` | patterns of keys |
//! | `stream`, `sink`, `out`, `connection_handle` | answers that wait, answers that are sent while they are made, what they are written into, and the connection that they go to |
//! | `failure` | refusals of the node as problems |

pub(crate) mod admit;
pub(crate) mod allowance;
mod backup;
mod batch;
mod body;
mod cluster_view;
mod compact;
mod conditions;
pub(crate) mod connection_handle;
pub(crate) mod consistency;
pub(crate) mod context;
mod deadline;
pub(crate) mod dispatch;
mod diverged;
mod edit;
mod election;
mod engine_metrics;
mod engine_status;
mod entry_fields;
mod failure;
mod families;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod glob;
mod keys;
mod kv;
mod level;
mod metrics;
mod nodes;
pub(crate) mod out;
mod page;
pub(crate) mod relay;
mod replication;
pub(crate) mod route;
pub(crate) mod shared;
pub(crate) mod sink;
mod status;
pub(crate) mod stream;
mod watch;
