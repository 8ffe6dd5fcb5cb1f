//! `pykv status`

use super::{Error, connect, print, print_json, terminal, trouble};
use crate::api::{About, GatewayStatus, ReplicationStatus, Stats, Status};
use crate::cli;
use crate::client::Client;
use crate::escape;
use serde::Serialize;
use std::time::Duration;

/// Both of a node's answers, as one.
#[derive(Serialize)]
struct Answers<'a> {
    #[serde(flatten)]
    status: &'a About,
    stats: &'a Stats,
}

pub(super) fn run(args: &cli::Status) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let Some(every) = &args.watch else {
        return once(&client, args.json);
    };
    loop {
        // From the top left corner on, over what is there.
        if terminal::is_seen() {
            print(b"\x1b[H\x1b[2J")?;
        }
        once(&client, false)?;
        if !terminal::is_seen() {
            print(b"\n")?;
        }
        std::thread::sleep(every.0);
    }
}

fn once(client: &Client, as_json: bool) -> Result<(), Error> {
    let about = client
        .about()
        .map_err(Error::client("cannot ask for the status"))?;
    let stats = client
        .stats()
        .map_err(Error::client("cannot ask for the counters"))?;
    if as_json {
        let answers = Answers {
            status: &about,
            stats: &stats,
        };
        let json = serde_json::to_vec(&answers).expect("its keys are strings, and its numbers finite");
        return print_json(json);
    }
    print(text_of(&about, &stats, terminal::has_colours()).as_bytes())
}

/// For people, whoever holds the entries.
pub(super) fn text_of(about: &About, stats: &Stats, with_colours: bool) -> String {
    match about {
        About::Node(status) => text(status, stats, with_colours),
        About::Gateway(status) => {
            let lines = gateway_lines(status, stats);
            lines.iter().map(|one| line(one, with_colours)).collect()
        }
    }
}

/// The lines of a gateway: what it is, and a line for each server of its engine.
fn gateway_lines(status: &GatewayStatus, stats: &Stats) -> Vec<(&'static str, String)> {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    let engine = &status.engine;
    let kind = if engine.cluster {
        "cluster"
    } else {
        "single server"
    };
    let mut lines = vec![
        ("health", status.health.clone()),
        (
            "node",
            format!("pykv {}, {}, up {uptime}", status.version, status.role),
        ),
        ("engine", format!("{}, {kind}", engine.url)),
        ("entries", stats.entries.to_string()),
        ("memory", format!("{} of the engine's masters", size(stats.bytes))),
        (
            "reads",
            format!(
                "{}, {}",
                counted(stats.hits, "hit", "hits"),
                counted(stats.misses, "miss", "misses")
            ),
        ),
    ];
    lines.extend(engine.servers.iter().map(|server| {
        let what = match &server.error {
            Some(why) => {
                let why = why.strip_prefix(&format!("{}: ", server.address)).unwrap_or(why);
                format!("{} {}: {why}", server.address, server.role)
            }
            None => format!(
                "{} {}, {}, {}, {}, {}",
                server.address,
                server.role,
                server.version,
                counted(server.slots, "slot", "slots"),
                counted(server.keys, "key", "keys"),
                size(server.used_bytes)
            ),
        };
        ("server", what)
    }));
    lines
}

/// The lines of each group but the last, which has the others: the node's place in its cluster, and trouble.
const GROUPS: [&[&str]; 3] = [
    &["health", "node", "data", "process", "connections", "answers"],
    &["entries", "memory", "reads", "writes", "more memory", "most read"],
    &["log", "offset", "compaction"],
];

/// For people, in groups: what they ask first stands first.
fn text(status: &Status, stats: &Stats, with_colours: bool) -> String {
    let lines = lines(status, stats);
    let last = GROUPS.len();
    let group_of = |name: &str| {
        let group = GROUPS.iter().position(|names| names.contains(&name));
        group.unwrap_or(last)
    };
    let groups = (0..=last).map(|group| {
        let lines = lines.iter().filter(|(name, _)| group_of(name) == group);
        lines.map(|one| line(one, with_colours)).collect::<String>()
    });
    let groups: Vec<String> = groups.filter(|group| !group.is_empty()).collect();
    groups.join("\n")
}

/// Each line: its name, and what it says.
fn lines(status: &Status, stats: &Stats) -> Vec<(&'static str, String)> {
    let log = &status.log;
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    let hit_ratio = stats
        .hit_ratio
        .map_or(String::new(), |ratio| format!(" ({:.1} % hits)", ratio * 100.0));
    let entries_max = bound(status.limits.entries_max, |max| max.to_string());
    let bytes_max = bound(status.limits.bytes_max, size);
    let lines = [
        ("health", status.health.clone()),
        (
            "node",
            format!("pykv {}, {}, up {uptime}", status.version, status.role),
        ),
        ("data", status.dir.clone()),
        ("entries", format!("{}{entries_max}", stats.entries)),
        ("memory", format!("{}{bytes_max} for entries", size(stats.bytes))),
        ("process", resident(status)),
        (
            "reads",
            format!(
                "{}, {}{hit_ratio}",
                counted(stats.hits, "hit", "hits"),
                counted(stats.misses, "miss", "misses")
            ),
        ),
        (
            "writes",
            format!(
                "{} added, {} updated, {} deleted, {} evicted",
                stats.adds, stats.updates, stats.deletes, stats.evictions
            ),
        ),
        (
            "log",
            format!("{}, term {}, fsync {}", log.id, log.term, log.fsync),
        ),
        (
            "offset",
            format!(
                "{}, {} to be written, {} to be synced",
                log.offset,
                size(log.offset.saturating_sub(log.written)),
                size(log.offset.saturating_sub(log.synced))
            ),
        ),
        ("compaction", compaction(status)),
        (
            "connections",
            format!(
                "{} of {} open, {} accepted, {} refused",
                stats.connections.open,
                stats.connections.max,
                stats.connections.accepted,
                stats.connections.refused
            ),
        ),
        (
            "answers",
            format!(
                "{} 2xx, {} 3xx, {} 4xx, {} 5xx",
                stats.answers.done, stats.answers.redirected, stats.answers.refused, stats.answers.failed
            ),
        ),
    ];
    let lines = lines
        .into_iter()
        .chain(more_memory(stats))
        .chain(most_read(stats))
        .chain(trouble::of(status));
    let mut lines: Vec<_> = lines
        .chain(replication(&status.role, &status.replication))
        .collect();
    // It is the log's, and stands first: nobody is to stop reading at an "ok".
    if status.health == "ok" && lines.iter().any(|(name, _)| *name == "trouble") {
        lines[0].1.push_str(", with trouble: see below");
    }
    lines
}

fn resident(status: &Status) -> String {
    status
        .resident_bytes
        .map_or("memory not known".to_owned(), |bytes| size(bytes) + " resident")
}

/// A line of a status. Colours are for what wants to be seen first.
fn line((name, value): &(&str, String), with_colours: bool) -> String {
    // A node is another machine's word: nothing of it may act on the terminal.
    let value = escape::lines(&value.replace(char::is_control, " ")).into_owned();
    let colour = match *name {
        _ if !with_colours => None,
        "health" if value == "ok" => Some(GREEN),
        "health" if value.starts_with("ok") => Some(YELLOW),
        "health" => Some(RED),
        "trouble" => Some(YELLOW),
        _ => None,
    };
    let value = colour.map_or(value.clone(), |colour| format!("{colour}{value}{PLAIN}"));
    match with_colours {
        true => format!("{BOLD}{name:<12}{PLAIN} {value}\n"),
        false => format!("{name:<12} {value}\n"),
    }
}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// What twice the entries would buy; `None` until enough keys were read to say so.
fn more_memory(stats: &Stats) -> Option<(&'static str, String)> {
    let curve = stats.miss_ratio_curve.as_ref()?;
    // The point next to a number of entries, which is near: there are many to each doubling.
    let at = |entries: u64| {
        let points = curve.points.iter();
        points
            .min_by_key(|point| point.entries.abs_diff(entries))
            .map_or(0.0, |point| point.hit_ratio * 100.0)
    };
    let (today, twice) = (curve.entries, curve.entries.saturating_mul(2));
    let text = format!(
        "{:.1} % hits at {today} entries, {:.1} % at {twice}",
        at(today),
        at(twice)
    );
    Some(("more memory", text))
}

/// The key that is read most, once one was read.
fn most_read(stats: &Stats) -> Option<(&'static str, String)> {
    let hot = stats.hot_keys.first()?;
    let text = format!("{}, at least {}", hot.key, counted(hot.reads, "time", "times"));
    Some(("most read", text))
}

/// A node's place in its cluster, where it has one.
fn replication(role: &str, replication: &ReplicationStatus) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if role == "replica" {
        let primary = replication.primary.as_deref().unwrap_or("not known");
        lines.push(("primary", primary.to_owned()));
        let lag = match (replication.lag_bytes, replication.lag_ms) {
            (Some(bytes), Some(ms)) => format!(", {} and {} behind", size(bytes), millis(ms)),
            _ => String::new(),
        };
        let taken = match replication.snapshot_bytes {
            Some(bytes) => format!(", {} have come", size(bytes)),
            None => String::new(),
        };
        lines.push(("replication", format!("{}{taken}{lag}", replication.state)));
        if let Some(seconds) = replication.failover_after_seconds {
            lines.push((
                "failover",
                format!("takes over after {seconds} s without the primary"),
            ));
        }
    }
    if let Some(cluster) = &replication.cluster {
        lines.push(("cluster", format!("{cluster}: `pykv cluster` shows it")));
    }
    if let Some(error) = &replication.error {
        lines.push(("trouble", error.clone()));
    }
    for successor in replication.successors.iter().filter(|one| !one.connected) {
        let address = &successor.address;
        lines.push((
            "trouble",
            format!(
                "{address} takes over by itself and is not connected: writes that wait for replicas wait for it; \
                 if it is gone for good, run `pykv forget {address}`"
            ),
        ));
    }
    for follower in &replication.followers {
        let successor = if follower.successor { ", takes over" } else { "" };
        lines.push((
            "follower",
            format!(
                "{} at {}, {} and {} behind, heard {} ago{successor}",
                follower.address,
                follower.offset,
                size(follower.lag_bytes),
                millis(follower.lag_ms),
                millis(follower.last_heard_ms)
            ),
        ));
    }
    lines
}

/// So many of something.
fn counted(number: u64, one: &str, more: &str) -> String {
    let name = if number == 1 { one } else { more };
    format!("{number} {name}")
}

/// A time in ms, as people say it.
fn millis(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
    }
}

fn compaction(status: &Status) -> String {
    if let Some(running) = &status.compaction.running {
        let (entries, total) = (running.entries, running.entries_total);
        return format!(
            "running for {:.1} s, {entries} of {total} entries",
            running.seconds
        );
    }
    match &status.compaction.last {
        None => "none yet".to_owned(),
        Some(last) => match (&last.error, last.bytes_before, last.bytes_after) {
            (Some(error), ..) => format!("failed: {error}"),
            (None, before, after) => format!(
                "the last took {:.1} s, from {} to {}{}",
                last.seconds,
                size(before.unwrap_or_default()),
                size(after.unwrap_or_default()),
                match last.kept_bytes {
                    None | Some(0) => String::new(),
                    Some(kept) => format!(", of which {} are kept for watchers and replicas", size(kept)),
                }
            ),
        },
    }
}

fn bound<T>(max: Option<T>, show: impl FnOnce(T) -> String) -> String {
    max.map_or(String::new(), |max| format!(" of {}", show(max)))
}

/// A size to one decimal. Not `cli::Size`, which is exact.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            let decimals = usize::from(unit != "bytes");
            return format!("{size:.decimals$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(1 << 30), "1.0 GiB");
        assert_eq!(size(1 << 50), "1024.0 TiB");
    }
}
