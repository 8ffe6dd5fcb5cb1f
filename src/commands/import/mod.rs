//! `pykv import`: entries from JSON lines into a node, by batches on several connections.
//!
//! One thread reads lines and gathers them into batches ([`read`]), one for each connection; a thread for
//! each connection sends them ([`send`]). A key always goes by the same connection, and there is one batch
//! at a time on each, so that the last line of a key is the one that counts, though many batches are under
//! way. What is held is bounded: a few batches for each connection.
//!
//! Entries are set, whatever was there: an import that broke off can be run again from its beginning.

mod entry;
mod read;
mod send;
mod tally;

use super::lines::{self, Form, Line, Lines};
use super::progress::{Progress, rate};
use super::{Error, connect, print_json, retry, signals};
use crate::cli::Import;
use indicatif::HumanCount;
use read::{Batch, Gatherer};
use send::Sender;
pub(super) use send::is_cross_slot;
use serde_json::{Value, json};
use signal_hook::consts::SIGTERM;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use tally::{Faults, Tally};

/// Connections that batches are sent on: enough that the node works while lines are read and answers travel.
const CONNECTIONS: usize = 4;

pub(super) fn run(args: &Import) -> Result<(), Error> {
    let input = lines::open(&args.file, Form::JsonLines)?;
    let clients = (0..CONNECTIONS)
        .map(|_| connect(&args.connection))
        .collect::<Result<Vec<_>, _>>()?;
    let tally = Arc::new(Tally::default());
    let count_retry = |_: &_| {
        tally.retries.fetch_add(1, Relaxed);
    };
    let about = retry::first(|| clients[0].about(), count_retry)
        .map_err(Error::client("cannot ask for the limits"))?;
    // Where there is no offset, no key counts as added by an attempt before.
    let since = about.node().map_or(u64::MAX, |status| status.log.offset);
    let limits = about.limits().clone();
    let bytes = input.bytes;
    let mut lines = Lines::new(input.reader, read::line_bytes_max(&limits));
    let gatherer = Gatherer::new(CONNECTIONS, args.if_absent, &limits);
    report_on_signals(&tally)?;
    let mut progress = Progress::new(bytes);

    let read = thread::scope(|scope| {
        let mut ways = Vec::new();
        for client in &clients {
            // One under way, one that waits, and one that is being gathered.
            let (way, batches) = crossbeam_channel::bounded::<Batch>(1);
            ways.push(way);
            let mut sender = Sender::new(client, args.if_absent, &tally, since);
            scope.spawn(move || batches.into_iter().for_each(|batch| sender.send(batch)));
        }
        read_all(&mut lines, gatherer, &tally, &mut progress, &ways)
    });
    let time = progress.end();
    let (faults, broken) = tally.end();
    name_faults(&faults);
    match args.json {
        true => print_json(json(&tally, time, &faults).to_string().into_bytes())?,
        false => summarize(&tally, time),
    }
    read.map_err(lines::broken(&args.file))?;
    if let Some(source) = broken {
        let doing = "the import broke off; run it again".to_owned();
        return Err(Error::Client { doing, source });
    }
    let left_out = format!("lines skipped: {}", faults.count);
    match (faults.count, faults.forbidden) {
        (0, _) => Ok(()),
        (_, Some(source)) => Err(Error::Client {
            doing: left_out,
            source,
        }),
        (_, None) => Err(Error::Usage(left_out)),
    }
}

/// From now on SIGINT and SIGTERM say how far the import is, and end the process.
fn report_on_signals(tally: &Arc<Tally>) -> Result<(), Error> {
    let tally = Arc::clone(tally);
    let report = move |status| {
        let keys = counted(tally.keys.load(Relaxed));
        // The bar has the line still.
        let _ = writeln!(
            io::stderr().lock(),
            "\npykv: interrupted: {keys} imported so far; an import can be run again from its beginning"
        );
        std::process::exit(status);
    };
    signals::on_end(&[SIGTERM], report).map_err(|source| Error::Io {
        doing: "cannot handle signals".to_owned(),
        source,
    })
}

/// Reads all lines and hands them on as batches; ends early where the node takes no more.
fn read_all(
    lines: &mut Lines<impl BufRead>,
    mut gatherer: Gatherer,
    tally: &Tally,
    progress: &mut Progress,
    ways: &[crossbeam_channel::Sender<Batch>],
) -> io::Result<()> {
    // A way takes batches until it is dropped: its thread ends only then.
    let hand_on = |(way, batch): (usize, Batch)| !tally.is_broken() && ways[way].send(batch).is_ok();
    while let Some((number, line)) = lines.next()? {
        let gathered = match line {
            Line::Text(line) => gatherer.add(number, line),
            Line::TooLong => Err("it is longer than any entry of this node".to_owned()),
        };
        match gathered {
            Ok(None) => {}
            Ok(Some(full)) => {
                if !hand_on(full) {
                    return Ok(());
                }
            }
            Err(why) => tally.fault(number, why),
        }
        progress.show(lines.bytes_read, tally.keys.load(Relaxed));
    }
    for batch in gatherer.into_rest() {
        if !hand_on(batch) {
            return Ok(());
        }
    }
    Ok(())
}

/// For programs.
fn json(tally: &Tally, time: Duration, faults: &Faults) -> Value {
    let named = faults.named.iter();
    let named: Vec<Value> = named
        .map(|(line, why)| json!({"line": line, "why": why}))
        .collect();
    json!({
        "imported": tally.keys.load(Relaxed),
        "left_alone": tally.left_alone.load(Relaxed),
        "expired": tally.expired.load(Relaxed),
        "retries": tally.retries.load(Relaxed),
        "left_out": faults.count,
        "faults": named,
        "seconds": time.as_secs_f64(),
    })
}

/// Says on standard error which lines were left out.
fn name_faults(faults: &Faults) {
    // Nothing is left to be done where standard error takes no more.
    let mut err = io::stderr().lock();
    for (number, why) in &faults.named {
        // What a line or a node says must not act on the terminal.
        let why = crate::escape::line(why);
        let _ = writeln!(err, "pykv: line {number}: {why}");
    }
    let more = faults.count - faults.named.len() as u64;
    if more > 0 {
        let _ = writeln!(err, "pykv: and {} more", HumanCount(more));
    }
}

/// Says on standard error what came of it.
fn summarize(tally: &Tally, time: Duration) {
    let keys = tally.keys.load(Relaxed);
    let left_alone = match tally.left_alone.load(Relaxed) {
        0 => String::new(),
        count => format!(", {} left as they were", HumanCount(count)),
    };
    let expired = match tally.expired.load(Relaxed) {
        0 => String::new(),
        count => format!(", {} that had expired left out", HumanCount(count)),
    };
    let retries = match tally.retries.load(Relaxed) {
        0 => String::new(),
        1 => ", after 1 retry".to_owned(),
        count => format!(", after {} retries", HumanCount(count)),
    };
    let rate = match (keys, time.as_secs()) {
        (0, _) | (_, 0) => String::new(), // It would say more of the start than of the node.
        _ => format!(" ({} a second)", rate(keys, time)),
    };
    let seconds = time.as_secs_f64();
    let _ = writeln!(
        io::stderr().lock(),
        "imported {}{left_alone}{expired}, in {seconds:.1} s{rate}{retries}",
        counted(keys)
    );
}

/// So many keys, in words.
fn counted(keys: u64) -> String {
    match keys {
        1 => "1 key".to_owned(),
        keys => format!("{} keys", HumanCount(keys)),
    }
}

/// A line, for fuzzing.
#[cfg(any(test, fuzzing))]
pub fn fuzz_line(bytes: &[u8]) {
    let limits = crate::api::StatusLimits {
        entries_max: None,
        bytes_max: None,
        key_bytes_max: 1024,
        value_bytes_max: 100,
        batch_operations_max: 10,
        batch_bytes_max: 1 << 20,
    };
    let mut gatherer = Gatherer::new(2, bytes.len().is_multiple_of(2), &limits);
    for line in bytes.split(|&byte| byte == b'\n') {
        let _ = gatherer.add(1, line);
    }
    let mut body = Vec::new();
    for (_, batch) in gatherer.into_rest() {
        batch.body(0..batch.operations.len(), &mut body);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
}
