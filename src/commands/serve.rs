//! `pykv serve` and `pykv replica`: opens the listener, then the node, and runs until a signal says to stop.
//!
//! The order matters at both ends. The port is bound first, so that one in use is said at once and leaves
//! no directory behind; who connects while the node recovers waits in the kernel, and is answered once
//! that is done. At the end the listener is drained before the node is closed, so
//! that the last answer given is covered by the last sync.

use super::{Error, logging};
use crate::cli::{Replica, Serve};
use crate::http::{self, Server, Stopper, Tokens};
use crate::log::Role;
use crate::node::Node;
use crate::replication::{Replication, Settings};
use ::log::{info, warn};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What a shell reports of a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Signals closer to each other than this are one: `timeout` and the like signal a process and its group.
const SAME_SIGNAL_MAX: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Serve, replica: Option<&Replica>) -> Result<(), Error> {
    args.check().map_err(Error::Usage)?;
    let tokens = args.token_file.as_deref().map(tokens).transpose()?;
    let token = match &args.cluster.cluster_token_file {
        Some(path) => Some(super::token_text_of_file(path)?),
        None => tokens.as_ref().and_then(Tokens::first_for_admin),
    };
    logging::start(args.log_level);

    let server = bind(args, tokens)?;
    let mut cluster = args.cluster.options(replica);
    cluster.address = match &args.cluster.advertise {
        Some(address) => address.host_and_port(),
        None => reachable_address(server.address()),
    };
    let node = Node::open(args.node_options(cluster))?;
    say_role(&node, replica);
    let served = serve(args, &server, &node, &args.cluster.settings(replica, token));
    // Whatever came of the listener: what was acknowledged is to be synced.
    let closed = node.close();
    served?;
    closed?;
    info!("stopped");
    Ok(())
}

fn bind(args: &Serve, tokens: Option<Tokens>) -> Result<Server, Error> {
    if tokens.is_none() && !args.listen.ip().is_loopback() {
        warn!(
            "whoever can reach {} may read, change and delete everything: --insecure was given",
            args.listen
        );
    }
    Server::bind(http::Options {
        listen: args.listen,
        limits: args.http_limits(),
        tokens,
        hosts: args.hosts(),
        slow_min: (args.slow_ms > 0).then(|| Duration::from_millis(args.slow_ms.into())),
        access_log: args.access_log.clone(),
    })
    .map_err(Error::Listen)
}

/// How others reach a node that listens at `address`, as far as it can be told from here.
fn reachable_address(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let name = rustix::system::uname();
    let host = name.nodename().to_str().unwrap_or("localhost");
    format!("{host}:{}", address.port())
}

/// Says what the node is, where that is not what it was started as.
fn say_role(node: &Node, replica: Option<&Replica>) {
    match (node.role(), replica) {
        (Role::Replica, None) => info!(
            "the directory is a replica's: following {}; `pykv promote` makes it the primary",
            node.cluster().peers().join(", ")
        ),
        (Role::Primary, Some(_)) => info!(
            "the directory is that of the primary of term {}: taking writes, until there is a higher term",
            node.term()
        ),
        _ => {}
    }
}

fn serve(args: &Serve, server: &Server, node: &Node, settings: &Settings) -> Result<(), Error> {
    // Not before: until the node is open there is nothing to end in order, and a signal ends it at once.
    stop_on_signals(server.stopper())?;
    thread::scope(|scope| {
        let replication = Replication::start(scope, node, settings).map_err(|source| Error::Io {
            doing: "cannot start the threads of the replication".to_owned(),
            source,
        })?;
        announce(server);
        let served = server.run(node, args.shutdown_grace.0);
        replication.stop();
        served.map_err(Error::Listen)
    })
}

/// Says on standard output where the node listens. Whoever started it may have closed that, or have read
/// all that it wanted: no reason to stop.
fn announce(server: &Server) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "listening on http://{}", server.address()).and_then(|()| stdout.flush());
    info!("listening on http://{}", server.address());
}

/// The first signal drains, a later one ends the process as a crash would: the log is made for that.
fn stop_on_signals(stopper: Stopper) -> Result<(), Error> {
    let mut stopping_since = None::<Instant>;
    ctrlc::set_handler(move || match stopping_since {
        None => {
            stopping_since = Some(Instant::now());
            // First of all: nothing that goes wrong in saying so may keep the node from it.
            stopper.stop();
            info!("stopping: requests that have begun are answered first; once more to stop at once");
        }
        Some(since) if since.elapsed() < SAME_SIGNAL_MAX => {}
        Some(_) => {
            warn!("stopping at once");
            std::process::exit(EXIT_INTERRUPTED);
        }
    })
    .map_err(|error| Error::Io {
        doing: "cannot handle signals".to_owned(),
        source: io::Error::other(error),
    })
}

fn tokens(path: &Path) -> Result<Tokens, Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(super::TOKEN_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(Error::io("cannot read the token file", path))?;
    Tokens::parse(&text).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}
