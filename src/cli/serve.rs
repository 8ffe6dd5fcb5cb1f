//! The flags of `pykv serve`, and what they come to as options of the node and the listener.

use super::choices::{Fsync, LogLevel};
use super::cluster::Cluster;
use super::connection::{DIR_DEFAULT, ENV_DIR, ENV_LISTEN, ENV_LOG, ENV_TOKEN_FILE, LISTEN_DEFAULT};
use super::engine::EngineFlags;
use super::tls::{TlsClient, TlsServer};
use super::units::{Size, Span};
use super::values::{
    buffer, capacity, count, headers, host_name, max_batch, max_value, millis, mode, not_zero, origin, ratio,
    segment_size, unwritten,
};
use crate::http::cors::Origins;
use crate::http::{Hosts, Limits};
use crate::net::Endpoint;
use crate::{node, store, wal};
use clap::Args;
use std::path::PathBuf;

/// What a record, or an entry, has beside its value, at most, in bytes.
const RECORD_OVERHEAD_BYTES_MAX: u64 = 2048;

/// What the request of a value is counted with beside the value, at most, in bytes: buffers grow ahead of
/// what has come.
const REQUEST_OVERHEAD_BYTES: u64 = 512 * 1024;

/// How much may wait to be written to the log, in bytes, where no value needs more.
const UNWRITTEN_BYTES_DEFAULT: u64 = 64 << 20;

/// `pykv serve`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv serve\n  pykv serve --dir /var/lib/pykv --fsync always\n  \
        pykv serve --max-capacity 20000 --max-memory 256MiB\n  \
        pykv serve --listen 0.0.0.0:7958 --token-file /etc/pykv/tokens"
)]
pub(crate) struct Serve {
    /// Where to listen, as IP:PORT or unix:PATH; port 0 takes a free one. May be given several times
    ///
    /// An address that other machines can reach needs --token-file or --insecure. The node removes the file of a
    /// unix socket when it stops, and takes over one that nobody listens at. One flag may name several,
    /// with commas between them. Where systemd passes sockets to the node (LISTEN_FDS), it listens at these alone.
    #[arg(long, value_name = "ADDRESS", env = ENV_LISTEN, default_value = LISTEN_DEFAULT, value_delimiter = ',')]
    pub listen: Vec<Endpoint>,

    /// A file with flags of the node, as TOML: a name without its dashes, as in max-memory = "2GiB"
    ///
    /// A flag wins over its environment variable, that over the file, and the file over the default. A name that is no
    /// flag is refused.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the flags with their values and where each is from, as a file for --config, and do not start
    #[arg(long)]
    pub print_config: bool,

    /// Who may connect to a unix socket, as the mode of its file
    #[arg(long, value_name = "MODE", default_value = "660", value_parser = mode)]
    pub socket_mode: u32,

    /// Where the data is kept; made if it is not there
    #[arg(long, value_name = "DIR", env = ENV_DIR, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,

    /// Make a new store in a directory whose LOCK or ROLE names a store that is not there
    ///
    /// Without it a node refuses to start in such a directory: an empty store in the place of one that was lost
    /// would look right to clients, and replicas might take it over.
    #[arg(long)]
    pub new_store: bool,

    /// Most entries held; the least recently used ones over that are dropped [default: no bound but memory]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Store",
          value_parser = capacity)]
    pub max_capacity: Option<u64>,

    /// Most memory for entries; the least recently used ones over that are dropped
    ///
    /// Counted are keys and values as the allocator rounds them up, and 44 bytes an entry. One value of
    /// --max-value must have room in it.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, default_value = "1GiB", help_heading = "Store", value_parser = not_zero)]
    pub max_memory: Size,

    /// Largest value, up to 256MiB
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, default_value = "1MiB", help_heading = "Store", value_parser = max_value)]
    pub max_value: Size,

    /// When the log is synced to the disk, and so what an answer to a write means
    #[arg(long, value_name = "WHEN", default_value = "everysec", help_heading = "Log")]
    pub fsync: Fsync,

    /// How much memory may wait to be written to the log before writes have to wait [default: 64MiB, or as much as
    /// one value of --max-value needs; up to 1GiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Log", value_parser = unwritten)]
    pub max_unwritten: Option<Size>,

    /// Size at which a new file of the log is begun, up to 2GiB
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, default_value = "64MiB", help_heading = "Log", value_parser = segment_size)]
    pub segment_size: Size,

    /// Compact the log by itself once it has this size; see --compact-ratio [default: 64MiB, or an eighth of the
    /// disk if that is less]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Log")]
    pub compact_min: Option<Size>,

    /// Compact the log by itself once it is N times the size of the live data; 0 for never
    ///
    /// A node also compacts its log if the disk is nearly full and that makes room.
    #[arg(long, value_name = "N", allow_hyphen_values = true, default_value_t = 2.0, help_heading = "Log", value_parser = ratio)]
    pub compact_ratio: f64,

    /// How much of the log is kept behind a compaction, for watchers and replicas that were away for a while
    /// [default: 64MiB if there were some in the last ten minutes, else a tenth of the live data]
    ///
    /// The node keeps complete files, so up to one --segment-size more; of the tenth, no more than that. On a full disk
    /// it keeps none.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Log")]
    pub log_backlog: Option<Size>,

    /// How long a write may wait for the log before it is answered with an error
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        default_value = "30s",
        help_heading = "Log"
    )]
    pub write_timeout: Span,

    /// A file with the tokens that clients must show, one a line
    ///
    /// Each line is `[read|write|admin] TOKEN`, and what restricts the token. `write` includes `read`; a line without a
    /// scope is for admin. `prefix=app1/`, perhaps several times, restricts a token for read or write to such keys.
    /// `name=billing` names the client in the logs. From `expires=2030-01-01T00:00:00Z` on, the token is refused. `sha256:`
    /// and a digest, as `pykv token` prints it, stand for a token, and `cert:NAME` for clients with a certificate for that
    /// DNS name or URI: see --tls-client-ca. Empty lines and lines that begin with # do not count. The node reads the file
    /// again on SIGHUP, and within ten seconds of a change. /status and the log say if it is not valid, and changes nothing.
    #[arg(long, value_name = "FILE", env = ENV_TOKEN_FILE, help_heading = "Security")]
    pub token_file: Option<PathBuf>,

    /// Listen where other machines can reach the node, without a token
    #[arg(long, help_heading = "Security")]
    pub insecure: bool,

    /// What it shows its clients.
    #[command(flatten)]
    pub tls: TlsServer,

    /// Whom it trusts among the other nodes.
    #[command(flatten)]
    pub tls_client: TlsClient,

    /// Its cluster.
    #[command(flatten)]
    pub cluster: Cluster,

    /// What holds its entries, where it does not.
    #[command(flatten)]
    pub engine: EngineFlags,

    /// A name by which browsers reach the node, beside its addresses; may be given several times
    ///
    /// A node that listens on loopback and asks for no token answers requests for IP addresses, for
    /// localhost and for names without a dot, so that no web site can reach it by a name of its own. With
    /// this flag any node does, and answers for these names too. The flag is also needed for the web page to write
    /// if a proxy replaces the Host header.
    #[arg(long, value_name = "NAME", value_parser = host_name, help_heading = "Security")]
    pub host_name: Vec<String>,

    /// An origin whose pages may use the node from a browser, such as `https://app.example.org`; may be given several times
    ///
    /// Such a page can read and write as its token allows. Backups, administration and replication stay refused to pages
    /// of other sites.
    #[arg(long, value_name = "ORIGIN", value_parser = origin, help_heading = "Security")]
    pub allow_origin: Vec<String>,

    /// Most connections open at once
    #[arg(long, value_name = "N", allow_hyphen_values = true, default_value_t = Limits::default().connections_max,
          value_parser = count, help_heading = "Limits of requests")]
    pub max_connections: usize,

    /// How long a request's header may take to arrive
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value_t = Span(Limits::default().header_timeout),
          help_heading = "Limits of requests")]
    pub header_timeout: Span,

    /// How long a request's body may take to arrive, and a second more for every 64 KiB of it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value_t = Span(Limits::default().body_timeout),
          help_heading = "Limits of requests")]
    pub body_timeout: Span,

    /// How long a connection may be idle between two requests
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value_t = Span(Limits::default().idle_timeout),
          help_heading = "Limits of requests")]
    pub idle_timeout: Span,

    /// How long a client may take to receive its answers, and a second more for every 64 KiB of them
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value_t = Span(Limits::default().write_timeout),
          help_heading = "Limits of requests")]
    pub answer_timeout: Span,

    /// Longest request line: method, path and query
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, default_value_t = Size(Limits::default().request_line_bytes_max as u64),
          value_parser = buffer, help_heading = "Limits of requests")]
    pub max_request_line: Size,

    /// Most bytes of a request's header fields
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, default_value_t = Size(Limits::default().header_bytes_max as u64),
          value_parser = buffer, help_heading = "Limits of requests")]
    pub max_header_size: Size,

    /// Most header fields of a request, up to 128
    #[arg(long, value_name = "N", allow_hyphen_values = true, default_value_t = Limits::default().headers_max,
          value_parser = headers, help_heading = "Limits of requests")]
    pub max_headers: usize,

    /// Largest body of a request [default: as much as the largest value needs]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = not_zero, help_heading = "Limits of requests")]
    pub max_body: Option<Size>,

    /// Most operations in a batch, up to 10000; other clients wait for all of a batch, some 1 us an operation
    #[arg(long, value_name = "N", allow_hyphen_values = true, default_value_t = Limits::default().batch_operations_max,
          value_parser = max_batch, help_heading = "Limits of requests")]
    pub max_batch: usize,

    /// Most bytes of requests and answers that all connections together hold; each has a part that others cannot take
    /// [default: 256MiB, or as much as one value of --max-value needs]
    #[arg(
        long,
        value_name = "SIZE",
        allow_hyphen_values = true,
        help_heading = "Limits of requests"
    )]
    pub max_in_flight: Option<Size>,

    /// How long a node that stops waits for requests that have begun
    ///
    /// It does not wait for a request whose next bytes take more than two seconds. The default is less than the ten
    /// seconds after which container runtimes kill.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        default_value = "8s",
        help_heading = "Limits of requests"
    )]
    pub shutdown_grace: Span,

    /// Log requests that took this many milliseconds, to standard error; 0 for never
    ///
    /// The line says what the request waited for: the store's lock, the log, replicas. At most ten a second are logged,
    /// and none that wait by their nature (watches, backups, compactions, replicas).
    #[arg(long, value_name = "MS", default_value_t = 500, help_heading = "Logging", value_parser = millis)]
    pub slow_ms: u32,

    /// Append a line about every request to a file, in the Common Log Format; - for standard output
    ///
    /// The third field is the name of the token, if it has one. After the usual fields stand the seconds that the request
    /// took. If the file cannot be written as fast as requests come, lines are left out. The file holds keys.
    #[arg(long, value_name = "FILE", help_heading = "Logging")]
    pub access_log: Option<PathBuf>,

    /// How much to say on standard error
    #[arg(long, value_name = "LEVEL", env = ENV_LOG, default_value = "info", help_heading = "Logging")]
    pub log_level: LogLevel,
}

impl Serve {
    /// What does not go together, each part of which is right by itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        let reachable = self.listen.iter().find(|endpoint| !endpoint.is_local());
        if let Some(reachable) = reachable
            && self.token_file.is_none()
            && !self.insecure
        {
            return Err(format!(
                "{reachable} can be reached from other machines, and the node asks for no token; give it a \
                 --token-file, or say --insecure if that is meant"
            ));
        }
        let cluster = &self.cluster;
        if cluster.cluster_token_file.is_some() && self.token_file.is_none() {
            return Err(
                "a node that shows other nodes a token must ask for one itself; give it a --token-file too"
                    .to_owned(),
            );
        }
        if let Some(advertise) = cluster.advertise.as_ref().filter(|address| address.is_nowhere()) {
            return Err(format!(
                "--advertise {} leads to no node; name the address that others reach this one at",
                advertise.host_and_port()
            ));
        }
        cluster.election.check(cluster.sync_replicas)?;
        self.engine.check(cluster)?;
        if cluster.sync_reads && cluster.sync_replicas == 0 {
            return Err("--sync-reads waits for replicas; say for how many with --sync-replicas".to_owned());
        }
        for (flag, given, needed) in [
            ("--max-memory", Some(self.max_memory), self.memory_needed()),
            ("--max-unwritten", self.max_unwritten, self.unwritten_needed()),
            ("--max-in-flight", self.max_in_flight, self.in_flight_needed()),
        ] {
            if let Some(given) = given.filter(|given| *given < needed) {
                return Err(format!(
                    "{flag} {given} has no room for one value of --max-value {}; give it at least {}, or --max-value less",
                    self.max_value,
                    needed.rounded_up()
                ));
            }
        }
        Ok(())
    }

    /// What the store counts the largest entry with, at most: the allocator rounds up by a quarter or less.
    fn memory_needed(&self) -> Size {
        let bytes = self.max_value.0 + RECORD_OVERHEAD_BYTES_MAX;
        Size(bytes + bytes.div_ceil(4))
    }

    /// What the log takes for the largest value.
    fn unwritten_needed(&self) -> Size {
        Size(self.max_value.0 + RECORD_OVERHEAD_BYTES_MAX)
    }

    /// What the request of the largest value holds.
    fn in_flight_needed(&self) -> Size {
        Size(self.max_value.0 + REQUEST_OVERHEAD_BYTES)
    }

    fn max_unwritten(&self) -> Size {
        self.max_unwritten
            .unwrap_or(Size(UNWRITTEN_BYTES_DEFAULT).max(self.unwritten_needed()))
    }

    fn max_in_flight(&self) -> Size {
        let default = Size(Limits::default().in_flight_bytes_max as u64);
        self.max_in_flight.unwrap_or(default.max(self.in_flight_needed()))
    }

    /// What the node is built from.
    pub(crate) fn node_options(&self, cluster: node::ClusterOptions) -> node::Options {
        node::Options {
            cluster,
            // What a node says of its directory must mean something from wherever it is read.
            dir: std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone()),
            limits: store::Limits {
                entries_max: self.max_capacity.unwrap_or(store::Limits::ENTRIES_MAX),
                bytes_max: self.max_memory.0,
            },
            value_bytes_max: self.max_value.0 as usize,
            log: wal::Options {
                policy: self.fsync.policy(),
                unwritten_bytes_max: self.max_unwritten().0,
                segment_bytes_max: self.segment_size.0,
                compact_bytes_min: self.compact_min.map(|size| size.0),
                compact_ratio: self.compact_ratio,
                backlog_bytes: self.log_backlog.map(|size| size.0),
                branch_spread_bytes: wal::BRANCH_SPREAD_BYTES,
                new_store: self.new_store,
                progress: std::sync::Arc::default(),
                wait_max: self.write_timeout.0,
            },
        }
    }

    /// The names that the node goes by. Where its place on the machine is all that protects it, or where names
    /// are given, it answers for no other.
    pub(crate) fn hosts(&self) -> Hosts {
        let by_place = self.listen.iter().all(Endpoint::is_local) && self.token_file.is_none();
        // Other nodes send the name that this one advertises.
        let advertised = self
            .cluster
            .advertise
            .iter()
            .map(|address| address.host().to_owned());
        let names = self.host_name.iter().cloned().chain(advertised).collect();
        Hosts::new(names, by_place || !self.host_name.is_empty())
            .shared_with(Origins::new(&self.allow_origin))
    }

    /// What clients may take of the node.
    pub(crate) fn http_limits(&self) -> Limits {
        let bytes = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        Limits {
            connections_max: self.max_connections,
            header_timeout: self.header_timeout.0,
            body_timeout: self.body_timeout.0,
            idle_timeout: self.idle_timeout.0,
            write_timeout: self.answer_timeout.0,
            request_line_bytes_max: bytes(self.max_request_line),
            header_bytes_max: bytes(self.max_header_size),
            headers_max: self.max_headers,
            body_bytes_max: self.max_body.map(bytes),
            batch_operations_max: self.max_batch,
            in_flight_bytes_max: bytes(self.max_in_flight()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use crate::pair::{KEY_BYTES_MAX, Pair};
    use clap::Parser;
    use std::time::Duration;

    fn parse(args: &[&str]) -> Result<Serve, clap::Error> {
        let cli = Cli::try_parse_from([&["pykv", "serve"], args].concat())?;
        let Command::Serve(serve) = cli.command else {
            panic!("serve was asked for")
        };
        Ok(*serve)
    }

    #[test]
    fn flags_come_to_options() {
        let serve = parse(&[
            "--listen=localhost:0",
            "--max-capacity=500",
            "--max-memory=2MiB",
            "--fsync=always",
            "--idle-timeout=500ms",
            "--max-headers=128",
        ])
        .unwrap();
        assert_eq!(serve.listen, ["127.0.0.1:0".parse().unwrap()]);
        let options = serve.node_options(node::ClusterOptions::default());
        assert_eq!(
            (options.limits.entries_max, options.limits.bytes_max),
            (500, 2 << 20)
        );
        assert_eq!(options.value_bytes_max, 1 << 20);
        assert_eq!(options.log.policy, wal::Policy::Always);
        let limits = serve.http_limits();
        assert_eq!(
            (limits.idle_timeout, limits.headers_max),
            (Duration::from_millis(500), 128)
        );
    }

    #[test]
    fn what_is_refused() {
        for flag in [
            "--listen=7958",
            "--listen=example.com:7958",
            "--listen=localhost:65536",
            "--max-capacity=0",
            "--max-capacity=4294967296",
            "--max-value=257MiB",
            "--max-value=0",
            "--max-memory=0",
            "--max-body=0",
            "--segment-size=1",
            "--segment-size=3GiB",
            "--max-unwritten=2GiB",
            "--compact-ratio=0.5",
            "--compact-ratio=-1",
            "--compact-ratio=nan",
            "--fsync=sometimes",
            "--max-connections=0",
            "--max-headers=129",
            "--max-batch=0",
            "--max-batch=10001",
            "--max-request-line=1",
            "--shutdown-grace=0s",
            "--log-level=loud",
        ] {
            assert!(parse(&[flag]).is_err(), "{flag}");
        }
    }

    #[test]
    fn other_machines_need_a_token_or_a_word() {
        for (args, allowed) in [
            (&["--listen=127.0.0.1:0"][..], true),
            (&["--listen=[::1]:0"], true),
            (&["--listen=0.0.0.0:0"], false),
            (&["--listen=[::]:0"], false),
            (&["--listen=0.0.0.0:0", "--insecure"], true),
            (&["--listen=0.0.0.0:0", "--token-file=tokens"], true),
        ] {
            assert_eq!(parse(args).unwrap().check().is_ok(), allowed, "{args:?}");
        }
    }

    #[test]
    fn the_largest_value_fits_the_budget() {
        for (args, allowed) in [
            (&["--max-value=256MiB"][..], true),
            (&["--max-value=64MiB", "--max-unwritten=64MiB"], false),
            (&["--max-value=64MiB", "--max-unwritten=65MiB"], true),
            (&["--max-value=64MiB", "--max-in-flight=64MiB"], false),
            (&["--max-value=64MiB", "--max-in-flight=65MiB"], true),
            (&["--max-memory=1MiB"], false),
            (&["--max-memory=1MiB", "--max-value=512KiB"], true),
        ] {
            assert_eq!(parse(args).unwrap().check().is_ok(), allowed, "{args:?}");
        }
        let serve = parse(&["--max-value=256MiB"]).unwrap();
        assert!(
            serve
                .node_options(node::ClusterOptions::default())
                .log
                .unwritten_bytes_max
                > 256 << 20
        );
        assert!(serve.http_limits().in_flight_bytes_max > 256 << 20);
    }

    #[test]
    fn the_largest_entry_is_counted_with_no_more_than_is_asked_for() {
        for value_bytes in [1, 4000, 100_000, 1 << 20, (1 << 20) + (1 << 18)] {
            let serve = parse(&[&format!("--max-value={value_bytes}")]).unwrap();
            let pair = Pair::new(&[b'k'; KEY_BYTES_MAX], &vec![0; value_bytes]);
            let cost = store::cost_bytes(&pair);
            assert!(cost <= serve.memory_needed().0, "{value_bytes}: {cost}");
        }
    }
}
