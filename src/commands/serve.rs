//! `pykv serve` and `pykv replica`: opens the listener, then the node, and runs until a signal says to stop.
//!
//! The order matters at both ends. The port is bound first, so that one in use is said at once and leaves
//! no directory behind; who connects while the node recovers waits in the kernel, and is answered once
//! that is done. At the end the listener is drained before the node is closed, so
//! that the last answer given is covered by the last sync.

use super::reload::{self, Source};
use super::signals::Signals;
use super::{Error, coordinator, logging, options, service};
use crate::address::Address;
use crate::auth::Tokens;
use crate::cli::{Replica, Serve};
use crate::engine::Engine;
use crate::net::certificates::Certificates;
use crate::net::{Endpoint, Passed};
use crate::node::{Node, PeerTls};
use crate::replication::{Etcd, Replication, retire};
use crate::server::{self, Server};
use crate::tls::{self, Trust};
use crate::wal::{Role, is_open};
use log::{info, warn};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, Scope};
use std::time::Duration;

/// What a token should have, in characters.
const TOKEN_BYTES_MIN: usize = 16;

/// Runs a node, at the sockets that were `passed` to the process where there are some.
pub(super) fn run(args: &Serve, replica: Option<&Replica>, passed: Vec<Passed>) -> Result<(), Error> {
    args.check().map_err(Error::Usage)?;
    logging::start(args.log_level);
    // A file of tokens may be a pipe that nobody writes to.
    let signals = Signals::handle()?;
    let of_cluster = args.cluster.cluster_token_file.as_deref();
    let tokens = args
        .token_file
        .as_deref()
        .map(|path| reload::read_tokens(path, of_cluster));
    let (tokens, token) = tokens.transpose()?.unzip();
    let token = token.flatten();
    let certificates = certificates(args)?;
    if let Some(url) = &args.engine.engine {
        let why =
            format!("a gateway follows no node; leave out --engine {url}, or start it with `pykv serve`");
        return Err(Error::Usage(why));
    }
    let tls = tls_of_cluster(args, replica)?;
    let etcd = coordinator::connect(args, replica)?;
    let token_files = [&args.token_file, &args.cluster.cluster_token_file];
    token_files
        .into_iter()
        .flatten()
        .for_each(|path| warn_of_open_file("the tokens", path));
    tokens.iter().for_each(warn_of_tokens);

    let server = bind(args, passed, tokens, certificates.clone(), &signals)?;
    let mut cluster = options::cluster(&args.cluster, replica, token, tls);
    cluster.address = match &args.cluster.advertise {
        Some(address) => address.host_and_port(),
        None => reachable_address(server.endpoints()),
    };
    if let Some(replica) = replica {
        check_reachable(args, replica, &cluster.address)?;
    }
    let options = args.node_options(cluster);
    let progress = Arc::clone(&options.log.progress);
    let node = service::start(&progress, || Node::open(options))??;
    say_role(&node, replica);
    let served = serve(args, &server, &signals, &node, etcd.as_ref());
    // Whatever came of the listener: what was acknowledged is to be synced.
    let closed = node.close();
    served?;
    closed?;
    info!("stopped");
    Ok(())
}

/// What clients are shown under TLS; none where it is not spoken.
pub(super) fn certificates(args: &Serve) -> Result<Option<Arc<Certificates>>, Error> {
    let Some(files) = args.tls.files() else {
        return Ok(None);
    };
    let key = files.key.clone();
    let certificates = Certificates::load(files).map_err(|error| Error::Usage(error.to_string()))?;
    warn_of_open_file("the private key", &key);
    Ok(Some(Arc::new(certificates)))
}

/// How the node speaks TLS with the others of its cluster, which it does where it speaks TLS itself.
fn tls_of_cluster(args: &Serve, replica: Option<&Replica>) -> Result<Option<PeerTls>, Error> {
    if args.tls.files().is_none() {
        let is_named = replica.is_some_and(|replica| replica.from.iter().any(Address::is_tls));
        return match is_named {
            true => Err(Error::Usage(
                "a node that follows others by https must speak TLS itself: give it --tls-cert and --tls-key"
                    .to_owned(),
            )),
            false => Ok(None),
        };
    }
    let flags = &args.tls_client;
    let trust = match super::trust(flags) {
        // A primary may never call another node; where it does, it believes none.
        Err(_)
            if replica.is_none()
                && args.cluster.election.etcd.is_none()
                && flags.tls_ca.is_none()
                && flags.identity().is_none() =>
        {
            Trust::default()
        }
        trust => trust?,
    };
    let config = trust
        .into_config()
        .map_err(|error| Error::Usage(tls::words(&error)))?;
    Ok(Some(PeerTls::new(config)))
}

pub(super) fn bind(
    args: &Serve,
    passed: Vec<Passed>,
    tokens: Option<Tokens>,
    certificates: Option<Arc<Certificates>>,
    signals: &Signals,
) -> Result<Server, Error> {
    if tokens.is_none()
        && let Some(reachable) = args.listen.iter().find(|endpoint| !endpoint.is_local())
    {
        warn!("whoever can reach {reachable} may read, change and delete everything: --insecure was given");
    }
    Server::bind(server::Options {
        listen: args.listen.clone(),
        passed,
        socket_mode: args.socket_mode,
        limits: args.http_limits(),
        tokens,
        certificates,
        tls_only: args.tls.tls_hsts.map(|span| span.0),
        hosts: args.hosts(),
        slow_min: (args.slow_ms > 0).then(|| Duration::from_millis(args.slow_ms.into())),
        has_store: args.engine.engine.is_none(),
        access_log: args.access_log.clone(),
        reopen_access_log: Arc::clone(&signals.to_reopen),
    })
    .map_err(|error| match error.is_in_use() && is_open(&args.dir) {
        true => Error::Running {
            listen: error,
            dir: args.dir.clone(),
        },
        false => Error::Listen(error),
    })
}

/// A replica that follows another machine and is itself reached on its own machine alone can be read there, and no more:
/// nobody would find it once it is primary.
fn check_reachable(args: &Serve, replica: &Replica, address: &str) -> Result<(), Error> {
    if args.cluster.advertise.is_none()
        && args
            .listen
            .iter()
            .all(|endpoint| matches!(endpoint, Endpoint::Unix(_)))
    {
        let why = "a replica says where other nodes reach it, which no unix socket is; give it an address to listen at \
                   too, or --advertise";
        return Err(Error::Usage(why.to_owned()));
    }
    let is_local = |text: &str| Address::from_str(text).is_ok_and(|address| address.is_loopback());
    let follows_another_machine = !replica.from.iter().any(Address::is_loopback);
    if args.cluster.advertise.is_some() || !follows_another_machine || !is_local(address) {
        return Ok(());
    }
    let why = format!(
        "other machines cannot reach {address}, which is where this replica says that it is; give it a --listen that \
         they reach, or --advertise"
    );
    if replica.failover_after.is_some() {
        return Err(Error::Usage(why));
    }
    warn!("{why}, before it is promoted");
    Ok(())
}

/// How others reach a node that listens at `endpoints`, as far as it can be told from here: at the first that other
/// machines reach, or else at the first address.
fn reachable_address(endpoints: &[Endpoint]) -> String {
    let is_address = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Tcp(_));
    let first = endpoints.iter().find(|endpoint| !endpoint.is_local());
    let first = first.or(endpoints.iter().find(is_address)).or(endpoints.first());
    let Some(first) = first else {
        return String::new();
    };
    match first {
        Endpoint::Tcp(address) if address.ip().is_unspecified() => {
            let name = rustix::system::uname();
            let host = name.nodename().to_str().unwrap_or("localhost");
            format!("{host}:{}", address.port())
        }
        endpoint => endpoint.to_string(),
    }
}

/// Says what the node is, where that is not what it was started as.
fn say_role(node: &Node, replica: Option<&Replica>) {
    match (node.role(), replica) {
        (Role::Replica, None) if node.is_elected() => {}
        (Role::Replica, None) => info!(
            "the directory is a replica's: following {}; `pykv promote` makes it the primary",
            node.cluster().peers().join(", ")
        ),
        (Role::Primary, Some(_)) => info!(
            "this node was the primary of term {}: it asks the nodes that it knows whether there is a higher term",
            node.term()
        ),
        _ => {}
    }
}

fn serve(
    args: &Serve,
    server: &Server,
    signals: &Signals,
    node: &Node,
    etcd: Option<&Etcd>,
) -> Result<(), Error> {
    let (end, is_end) = mpsc::channel();
    signals.serve(server.stopper(), etcd.map(|_| end.clone()));
    thread::scope(|scope| {
        if let Some(etcd) = etcd {
            let stopper = server.stopper();
            // Its followers are served meanwhile, or nobody would have all that it has.
            let retires = move || {
                let _ = is_end.recv(); // There is a sender to the end.
                retire(node, etcd);
                stopper.stop();
            };
            let thread = thread::Builder::new().name("retire".to_owned());
            thread.spawn_scoped(scope, retires).map_err(|source| Error::Io {
                doing: "cannot start the thread that hands over".to_owned(),
                source,
            })?;
        }
        let replication = Replication::start(scope, node, etcd).map_err(|source| Error::Io {
            doing: "cannot start the threads of the replication".to_owned(),
            source,
        })?;
        let served = start_reloads(scope, args, server, signals, Some(node)).and_then(|()| {
            announce(server);
            service::serve(node, || {
                server
                    .run(Engine::Embedded(node), args.shutdown_grace.0)
                    .map_err(Error::Listen)
            })?
        });
        replication.stop();
        let _ = end.send(()); // No thread may be there that waits to hand over: that is no error.
        signals.end_reloads();
        served
    })
}

/// Starts the thread that reads files anew. It ends with [`Signals::end_reloads`].
pub(super) fn start_reloads<'scope>(
    scope: &'scope Scope<'scope, '_>,
    args: &'scope Serve,
    server: &'scope Server,
    signals: &'scope Signals,
    node: Option<&'scope Node>,
) -> Result<(), Error> {
    let options = node.map(|node| node.cluster().options());
    let shown = options.and_then(|options| options.token.as_ref());
    let tokens = server.tokens().and_then(|live| reload::tokens(args, live, shown));
    let certificates = server.certificates().map(|certificates| {
        let paths = certificates.paths().map(Path::to_path_buf).collect();
        Source::new(paths, || certificates.reload().is_ok()).with_look(|| certificates.warn_of_end())
    });
    let peers = options.and_then(|options| options.tls.as_ref());
    let trust = peers.and_then(|peers| reload::trust(&args.tls_client, peers));
    let sources: Vec<Source<'_>> = tokens.into_iter().chain(certificates).chain(trust).collect();
    thread::Builder::new()
        .name("reload".to_owned())
        .spawn_scoped(scope, move || reload::run(signals, sources))
        .map(|_| ())
        .map_err(|source| Error::Io {
            doing: "cannot start a thread that reads files anew".to_owned(),
            source,
        })
}

/// Says on standard output where the node listens. Whoever started it may have closed that, or have read
/// all that it wanted: no reason to stop.
pub(super) fn announce(server: &Server) {
    let mut stdout = io::stdout().lock();
    // Somebody who sees both reads it once: at a terminal, in a file that takes both, in the journal of a service.
    let are_both_seen =
        (stdout.is_terminal() && io::stderr().is_terminal()) || is_same_file(&stdout, &io::stderr());
    for endpoint in server.endpoints() {
        let place = match endpoint {
            Endpoint::Tcp(address) => format!("{}://{address}", server.scheme()),
            Endpoint::Unix(_) => endpoint.to_string(),
        };
        let _ = writeln!(stdout, "listening on {place}").and_then(|()| stdout.flush());
        if !are_both_seen {
            info!("listening on {place}");
        }
    }
}

/// Whether what is written to both goes to one place.
fn is_same_file(one: &impl AsFd, other: &impl AsFd) -> bool {
    let stats = (rustix::fs::fstat(one), rustix::fs::fstat(other));
    matches!(stats, (Ok(one), Ok(other)) if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Says so where others than those it is meant for can read or change a file of secrets.
pub(super) fn warn_of_open_file(what: &str, path: &Path) {
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let mode = metadata.mode() & 0o777;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if let Some((danger, better)) = open_to_others(mode, is_own) {
        warn!(
            "{what} in {} can be {danger} by others on this machine (its mode is {mode:03o}); `chmod {better}` \
             prevents that",
            path.display()
        );
    }
}

/// What others can do with a file of secrets, and the mode that keeps them from it.
///
/// The group may read a file that is not the node's own: it is how the node itself reads it. Secrets of Kubernetes
/// and the credentials of a service have root as their owner.
fn open_to_others(mode: u32, is_own: bool) -> Option<(&'static str, &'static str)> {
    let readers = if is_own { 0o044 } else { 0o004 };
    let danger = match (mode & readers != 0, mode & 0o022 != 0) {
        (true, true) => "read and changed",
        (true, false) => "read",
        (false, true) => "changed",
        (false, false) => return None,
    };
    Some((danger, if is_own { "600" } else { "640" }))
}

/// Says so where a token can be found by trying, or opens nothing any more.
pub(super) fn warn_of_tokens(tokens: &Tokens) {
    let short = tokens.shorter_than(TOKEN_BYTES_MIN);
    if short > 0 {
        warn!("{short} of the tokens have fewer than {TOKEN_BYTES_MIN} characters, and can be guessed");
    }
    let expired = tokens.expired();
    if expired > 0 {
        warn!("{expired} of the tokens have expired");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_those_a_file_is_not_meant_for() {
        for (mode, is_own, danger) in [
            (0o600, true, None),
            (0o640, true, Some(("read", "600"))),
            (0o644, true, Some(("read", "600"))),
            (0o666, true, Some(("read and changed", "600"))),
            (0o620, true, Some(("changed", "600"))),
            (0o440, false, None),
            (0o644, false, Some(("read", "640"))),
            (0o460, false, Some(("changed", "640"))),
        ] {
            assert_eq!(open_to_others(mode, is_own), danger, "{mode:o}");
        }
    }

    #[test]
    fn two_handles_of_one_file_are_one_place() {
        let file = tempfile::tempfile().unwrap();
        assert!(is_same_file(&file, &file.try_clone().unwrap()));
        assert!(!is_same_file(&file, &tempfile::tempfile().unwrap()));
    }
}
