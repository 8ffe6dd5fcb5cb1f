//! pykv: a key-value store behind plain HTTP, in one binary.
//!
//! A node keeps a bounded map in memory, and drops the least recently used entries first. It writes every change to an
//! append-only log. It answers HTTP. Only this program uses the library, which shows what `main` needs ([`run`]) and
//! what makes the manual pages ([`command`]). This page is the map of the source. Each module opens with what it is
//! for, what it owns and what must hold in it.
//!
//! # The modules
//! A module uses what this table allows, and no files use each other in a circle: `tests/architecture` holds the source
//! to both.
//!
//! | module | what it is | uses |
//! | --- | --- | --- |
//! | `main.rs` | the program: the allocator, and a call of [`run`] | |
//! | [`cli`] | every subcommand, flag, default, environment variable and help text | `address`, `api`, `auth`, `engine`, `http`, `key`, `wal`, `net`, `node`, `record`, `store`, `wall`, `system`, `election`, `etcd` |
//! | [`commands`] | one file a subcommand: builds the parts and runs them | `address`, `api`, `auth`, `cli`, `client`, `digest`, `engine`, `escape`, `json`, `key`, `wal`, `net`, `node`, `record`, `replication`, `server`, `store`, `wall`, `system`, `episode`, `tls`, `etcd` |
//! | [`client`] | the HTTP client of the command line | `address`, `api`, `pair`, `record`, `system`, `tls` |
//! | [`server`] | accepts connections and runs each: from bytes to a handler, and its answer back | `api`, `auth`, `engine`, `handlers`, `http`, `wal`, `net`, `node`, `observe`, `system` |
//! | [`handlers`] | one file a resource: from a request to its answer, by calls of a node; the table of routes | `address`, `api`, `auth`, `engine`, `histogram`, `http`, `json`, `key`, `wal`, `net`, `node`, `observe`, `page`, `pair`, `record`, `replication`, `session`, `store`, `wall`, `system`, `election` |
//! | [`session`] | a client's way to the data: it holds each key against what the client's token opens, and knows which engine has it | `auth`, `engine`, `key`, `wal`, `node`, `pair` |
//! | [`http`] | HTTP on the wire: requests, answers, problems | `api`, `escape`, `wall` |
//! | [`net`] | connections as bytes: the open ones, what came, the memory that all share; no HTTP, no node | `system`, `episode`, `tls`, `wall` |
//! | [`auth`] | tokens and what they allow | `wall` |
//! | [`observe`] | how long requests took, and who hears of it: the slow log, the access log, `/metrics`, `/history` | `api`, `engine`, `escape`, `histogram`, `http`, `net`, `store`, `waits`, `wall`, `system`, `episode`, `worker` |
//! | [`page`] | the web page: files in the binary | `http` |
//! | [`replication`] | the threads that follow another node, call the others and take over; the whole protocol | `address`, `api`, `boot_clock`, `wal`, `wall`, `node`, `tls`, `system`, `election`, `etcd` |
//! | [`engine`] | what holds the entries: a node, or a Redis or Valkey that this process is a gateway to | `address`, `key`, `node`, `pair`, `resolver`, `store`, `system`, `wall` |
//! | [`etcd`] | a client of etcd: leases, transactions, watches; no node | `address`, `system`, `tls` |
//! | [`api`] | what both sides of the HTTP API speak: paths, headers, JSON | |
//! | [`election`] | who is primary, where etcd decides: the rules, without any I/O | `boot_clock` |
//! | [`node`] | a store, its log and its role: the one thing that handlers and commands talk to | `api`, `boot_clock`, `digest`, `election`, `histogram`, `key`, `lock_order`, `wal`, `pair`, `record`, `resolver`, `store`, `wall`, `worker` |
//! | [`store`] | memory: the LRU map, and the lock it is shared under | `digest`, `lock_order`, `wal`, `pair`, `record`, `waits` |
//! | [`wal`] | disk: segments, group commit, recovery, compaction, backups, check and repair | `boot_clock`, `digest`, `histogram`, `lock_order`, `pair`, `record`, `waits`, `wall`, `worker`, `system` |
//! | [`digest`] | a digest of all entries: equal stores have equal digests | `pair`, `record` |
//! | [`record`] | the one record format | `pair` |
//! | `key` | a key that was checked | `pair` |
//! | `pair` | a key and its value as one piece of memory | |
//! | `address` | the address of a node | |
//! | `resolver` | names looked up by a thread of their own | `system` |
//! | `json` | JSON from outside, its errors in plain words | |
//! | `escape` | makes the text of strangers safe for terminals and logs | |
//! | `system` | what the system says of an error, as people read it | |
//! | `tls` | certificates and keys as files hold them, and whom a client trusts | `system` |
//! | `wall`, `boot_clock` | the time of day, within the dates that can be written; a clock that runs on while the machine is suspended | |
//! | `worker`, `episode` | threads of the node's own, called, stopped and joined; a failure that is logged once | |
//! | `lock_order` | the order of the locks that a thread may hold together; debug builds check it | |
//! | `histogram`, `waits` | how long things took; what a thread has waited for | |
//! | `internals` | what benches and the tests of `tests/` use of the rest; nobody else may count on it | |
//! | `fuzzing` | what fuzzers and property tests call | `handlers`, `wal`, `record` |
//!
//! The store owns the log's [`Appender`](wal): one lock covers a change and its offset. The log knows the store only as a
//! source of entries.
//!
//! # Where to look
//! | task | where |
//! | --- | --- |
//! | add a route | `api` (the path), `handlers::route` (the table), `handlers::dispatch` (the call), a file of `handlers`, `page/openapi.json` |
//! | a token's scope and prefix | `auth` holds both; `handlers::admit` checks the scope, [`session`] each key, the keys of a batch too |
//! | a torn tail is cut | `wal::recovery` |
//! | the answer to a write whose sync failed | `wal::commit` fails the log; `server::output` replaces the answer, `server::deferred` one that another thread sends; `handlers::failure` has the status |
//! | an offset is checked against the branch | `node::poll` for a follower's next chunk, `wal::handle` its last record; `wal::branch` has the rule |
//! | an answer that is sent by another thread | `server::deferred`, `wal::commit_queue`; `wal::rescue` where the disk hangs; `engine::relay`, `handlers::relay` and `server::connection::relay` of a gateway |
//! | an increment is one step of the log | `node::edit`; `node::batch_edit` in a batch |
//! | a version is held against If-Match | `handlers::conditions` reads the field, `node::write` (`Precondition::check`) compares under the store's lock |
//! | a listing by prefix finds its keys | `node::walk`; `store::order` keeps the keys in order, `node::order` makes that |
//! | a start sizes the index | `store::replay` estimates, `store::index` makes room |
//! | add a flag to `serve` | `cli::serve`; its variable and its line of `--config` come by themselves (`cli::config`) |
//! | a certificate is reloaded | `net::certificates`; `commands::reload` calls it on SIGHUP |
//! | a slow watcher's memory is bounded | `handlers::sink`, and `handlers::watch` for one large change |
//! | a primary steps down when its lease ends | `election::primary` decides, `election::shared` sets the fence, `replication::elector` acts |
//! | what `--fsync` means | `wal::options` (`Policy`), `wal::watermarks` |
//! | a bound on memory | `net::budget` for requests and answers in flight, `wal::budget` for records, `store::lru` for entries |
//! | a kind of socket | `net::transport`; `net::endpoint` makes it |
//! | a request to another engine is tried again, or is not | `engine::routing`; `engine::error` judges each error |
//! | an entry changes in another engine | `engine/write.lua`, which `engine::script` calls |
//! | a version of another engine | `engine::gateway` |
//! | a status code or the kind of a problem | `http::problem`, `handlers::failure` |
//! | etcd decides who is primary | `election` has the rules, `replication::elector` acts, `node::election` carries it out; `boot_clock` has the fence, which `wal::appender` and `node::acknowledge` ask |
//! | a replica takes over by itself | `replication::silence` decides, `replication::failover` acts, `node::role` carries it out |
//! | a handover, and its undoing | `replication::handover` (the replica), `node::handover` (the primary), `handlers::replication` (the requests) |
//! | an exit status | `commands::exit` |
//! | a lock's place in the order | `lock_order`; `wal::locks` for those of the log |
//!
//! # One number
//! The log is one endless sequence of bytes, and an **offset** is a position in it that is never reused.
//! Every point in time is said as an offset: a key's version (its ETag) is the offset just past the record that
//! last wrote it; a write is durable when the log is written, or synced, up to there.
//!
//! # The way of a write
//! 1. The connection's thread reads and checks the request, and makes the pair of key and value: one
//!    allocation. It takes room for the record in the log's budget of bytes not yet written. When the
//!    disk falls behind, writers wait here. They hold no lock yet, so readers do not notice.
//! 2. [`Node::put`](node::Node::put) takes the store's lock; checks mode, precondition and the log's
//!    health; evicts what no longer fits; gives the record its offset and hands it to the log's channel;
//!    changes the map. Every check comes before the first change.
//! 3. Out of the lock, [`Node::wait`](node::Node::wait) returns once the log is written (for
//!    `--fsync always`: synced) up to the offset. If no thread is writing, the waiting thread writes all records in
//!    the channel, its own and those of others: group commit. A connection with many requests in hand waits once
//!    for all of them. A connection with one answer to send may find that another thread is writing. It defers its
//!    answer and reads the next request; the thread that brings the log far enough sends the answer ([`server`]).
//! 4. The answer goes out. If the write or the sync fails, `server::output` or `server::deferred` discards the encoded
//!    answer and sends 503 or 507: never a success.
//!
//! # The way of a read
//! Under the store's lock: look the key up, make it the most recently used, copy a small value out or
//! take a share of a large one. No disk, no second lock. Then the answer. A read may show a write that has
//! not been answered yet.
//!
//! # The way of a request to another engine
//! With `--engine` there is no node. The session calls the gateway, which sends one command or one script to the server
//! that has the key's slot, on the connection's own thread, and waits for its answer. The answer goes out at once:
//! nothing of what follows a write above applies. A small request that finds others on their way to the server goes out
//! behind them (`engine::pipeline`). If it is a plain read or write, the thread that reads the engine's answer sends
//! its answer (`engine::relay`), and the connection's thread reads the next request meanwhile.
//!
//! # The way of a watch
//! A watcher reads the log's files behind the writer, up to what is written, on its connection's own thread
//! ([`wal::Feed`]). Where there is nothing new it sleeps; whoever writes the log next wakes one watcher, which
//! wakes the next. A handler never waits. It returns a closure; the connection first sends every finished answer,
//! and then runs the closure (`handlers::stream`).
//!
//! # The way of a replicated record
//! The thread `follow` of a replica asks the primary for what comes after the end of its own log. The primary's
//! connection answers it from the log's files, as it does a watcher, with the bytes as they are. The replica checks
//! every record, hands the chunk to its own log's writer and waits for it, then applies it to the store, and asks
//! for what comes next. This next request acknowledges every record before it, and wakes the primary's threads that wait
//! for replicas. What else may happen (histories that part, snapshots, terms) stands in [`replication`].
//!
//! # The way of a compaction
//! The log continues in a new segment, at offset N. The thread `compact` copies the store into a temporary file, least
//! recently used first, and takes the store's lock for a few entries at a time. The file becomes the base at N once the
//! log is synced up to the end of the walk. Then all that is older than N is removed, except for a backlog.
//!
//! # The way of a restart
//! [`Node::open`](node::Node::open) locks the directory; reads the newest base, if there is one, and the segments from
//! its offset on; hands each record to the thread `replay`, which applies it to the map, evictions too, so a start
//! repeats old decisions and makes none; cuts off a torn tail; if part of a batch is missing, drops the whole batch.
//! Any other damage stops the start. A primary continues at an offset far past the end of its log, so it gives no
//! version twice. Only then does the node answer requests.
//!
//! # Threads
//! | name | how many | started by | ended by |
//! | --- | --- | --- | --- |
//! | `main` | 1 | the system | accepts connections in [`Server::run`](server::Server::run), until stopped |
//! | `connection` | one a connection | `main`, in a scope of [`Server::run`](server::Server::run) | the client, a timeout, or the scope's end: run returns when all have ended |
//! | `replay` | 1 | [`Node::open`](node::Node::open), and a replica that takes over another node's state | the end of what is read: a scope joins it |
//! | `log` | 1 | [`Node::open`](node::Node::open) | [`Node::close`](node::Node::close), which joins it |
//! | `compact` | 1 | [`Node::open`](node::Node::open) | the same, which gives up a compaction that is running |
//! | `watchdog` | 1 | [`Node::open`](node::Node::open) | the same |
//! | `sweep` | 1 | [`Node::open`](node::Node::open) | the same |
//! | `order` | 1 | [`Node::open`](node::Node::open) | the same; idle until the first listing by prefix |
//! | `history` | 1 | [`Server::run`](server::Server::run) | the end of run, which joins it |
//! | `elector`, `watch` | 1 each, with `--etcd` | [`Replication::start`](replication::Replication::start); `elector` starts `watch` | [`Replication::stop`](replication::Replication::stop), once the node has handed over |
//! | `member` | 1 for each other member, with `--etcd` | `elector`, and `GET /cluster`, in a scope | the answer, or its time limit |
//! | `survey` | 1 for each other node | `GET /nodes`, in a scope | the answer, or its time limit |
//! | `retire` | 1, with `--etcd` | `pykv serve` | a signal, and the handover that it begins |
//! | `follow`, `prober` | 1 each | [`Replication::start`](replication::Replication::start) | [`Replication::stop`](replication::Replication::stop), which joins them; idle on a node that has no others |
//! | `resolve` | 1 a look-up, and few at once | `resolver` | the end of the look-up; a time limit bounds each wait for it |
//! | `handshake` | 1 for each address of another node | `follow`, in a scope | the answer, or its time limit |
//! | `access` | 1, with `--access-log` | `pykv serve` | the end of the server, once all lines are written |
//! | `engine` | 1, with `--engine` | `pykv serve` | the end of the server, which joins it |
//! | `pipeline` | 1 for each server of an engine, once requests to it meet | the connection that met another one | the end of the gateway, which joins it |
//! | `service` | 1 | `pykv serve`, for the start, and under systemd for the time after it | the end of either, which joins it |
//! | `reload` | 1 | `pykv serve` | the end of the server, which joins it |
//! | `ctrl-c`, `signals` | 1 for each signal that ends the process | `pykv serve` | the end of the process; they own nothing that must be cleaned up |
//!
//! To stop: the signal's thread tells the server, once the node has handed over where etcd decides; connections finish
//! what they have begun; the server's scope joins them; `follow` and `prober` are stopped; the node is closed, which
//! ends `sweep`, `order`, `compact` and `log`, writes and syncs the rest, says so in a last record, and lets go of the
//! directory.
//!
//! # What holds everywhere
//! - What was acknowledged is durable, as `--fsync` means it.
//! - With `--etcd`, nothing is appended and nothing is acknowledged after the deadline of the node's lease.
//! - The order of records is the order of the changes in memory, because one lock covers both.
//! - Lock order: edit < turn < promotion < base < role < apply < writer < store. `lock_order` names them; debug builds
//!   check it.
//! - A thread that holds the store's lock does not wait, write, encode or free memory.
//! - A refusal before the store's lock has changed nothing and is not in the log.
//! - Bytes from outside (network, disk, command line) come to errors, never to a panic.
//! - All that a client can make the node hold is bounded.

#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(unreachable_pub))]
// This documents the program for its developers, and not a library that others use.
#![allow(rustdoc::private_intra_doc_links)]

mod address;
mod api;
mod auth;
mod boot_clock;
mod cli;
mod client;
mod commands;
mod digest;
mod election;
mod engine;
mod episode;
mod escape;
mod etcd;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
mod histogram;
mod http;
#[doc(hidden)]
pub mod internals;
mod json;
mod key;
mod lock_order;
mod net;
mod node;
mod observe;
mod page;
mod pair;
mod record;
mod replication;
mod resolver;
mod server;
mod session;
mod store;
mod system;
mod tls;
mod waits;
mod wal;
mod wall;
mod worker;

pub use cli::command;
pub use commands::run;
