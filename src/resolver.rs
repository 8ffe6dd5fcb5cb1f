//! Looks names of hosts up, beside the threads that need them.
//!
//! The system's resolver blocks for as long as it likes: some 10 s and more where its server is silent. A thread
//! that decides about a failover must not wait for that. So each look-up runs in a thread of its own, and
//! whoever asks waits no longer than it says. What a name led to last is kept, and used where a look-up is late
//! or fails.
//!
//! # What must hold
//! - A name has one look-up at a time, and there is a bound on names: so there is one on threads.
//! - A look-up's thread holds nothing but its place in the table. Nobody joins it: it ends when the system's
//!   resolver lets it, and the end of the process does not wait for that.

use crate::system;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Most names that are remembered.
const NAMES_MAX: usize = 64;

/// For how long the addresses of a name are used without another look-up.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// A handle on the table of names. A clone shares it.
#[derive(Clone, Default)]
pub(crate) struct Resolver(Arc<Table>);

#[derive(Default)]
struct Table {
    names: Mutex<HashMap<String, Name>>,
    /// A look-up has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Name {
    is_running: bool,
    /// Counts the look-ups that have ended.
    ended: u64,
    /// What the last good look-up found, and when.
    found: Option<(Vec<SocketAddr>, Instant)>,
    /// What the last one said where it failed.
    error: Option<String>,
}

impl Resolver {
    /// The addresses of `HOST:PORT`. Waits for a look-up no longer than `wait_max`.
    pub(crate) fn resolve(&self, address: &str, wait_max: Duration) -> io::Result<Vec<SocketAddr>> {
        if let Ok(literal) = address.parse() {
            return Ok(vec![literal]);
        }
        let deadline = Instant::now() + wait_max;
        let mut names = self.0.lock();
        if !names.contains_key(address) && names.len() >= NAMES_MAX {
            names.retain(|_, name| name.is_running);
        }
        let name = names.entry(address.to_owned()).or_default();
        if let Some((found, at)) = &name.found
            && at.elapsed() < FRESH_FOR
        {
            return Ok(found.clone());
        }
        let before = name.ended;
        if !name.is_running {
            name.is_running = true;
            if let Err(error) = self.look_up(address.to_owned()) {
                name.is_running = false;
                return name.last_good(error);
            }
        }
        loop {
            let name = names.entry(address.to_owned()).or_default();
            if name.ended != before {
                return match &name.error {
                    None => name.last_good(io::ErrorKind::NotFound.into()),
                    Some(error) => name.last_good(io::Error::other(error.clone())),
                };
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = "the name was not resolved in time";
                return name.last_good(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            let waited = self.0.ended.wait_timeout(names, left);
            names = waited.expect("nothing under the resolver's lock panics").0;
        }
    }

    fn look_up(&self, address: String) -> io::Result<()> {
        let table = Arc::clone(&self.0);
        let looks_up = move || {
            let looked_up = address.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            let mut names = table.lock();
            let name = names.entry(address).or_default();
            name.is_running = false;
            name.ended += 1;
            match looked_up {
                Ok(found) if !found.is_empty() => {
                    name.found = Some((found, Instant::now()));
                    name.error = None;
                }
                Ok(_) => name.error = Some("the name has no address".to_owned()),
                Err(error) => name.error = Some(system::words(&error)),
            }
            drop(names);
            table.ended.notify_all();
        };
        let builder = std::thread::Builder::new().name("resolve".to_owned());
        builder.spawn(looks_up).map(drop)
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Name>> {
        self.names
            .lock()
            .expect("nothing under the resolver's lock panics")
    }
}

impl Name {
    /// What the name led to last, or else the error.
    fn last_good(&self, error: io::Error) -> io::Result<Vec<SocketAddr>> {
        match &self.found {
            Some((found, _)) => Ok(found.clone()),
            None => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    #[test]
    fn literals_need_no_look_up_and_names_get_one() {
        let resolver = Resolver::default();
        let literal = resolver.resolve("[::1]:80", Duration::ZERO).unwrap();
        assert_eq!(literal, ["[::1]:80".parse().unwrap()]);
        assert!(resolver.0.lock().is_empty());
        let found = resolver.resolve("localhost:80", WAIT).unwrap();
        assert!(
            found.iter().all(|address| address.ip().is_loopback()),
            "{found:?}"
        );
    }

    #[test]
    fn what_was_found_last_is_used_where_a_look_up_fails() {
        let resolver = Resolver::default();
        let good: Vec<SocketAddr> = vec!["10.0.0.7:80".parse().unwrap()];
        let long_ago = Instant::now().checked_sub(2 * FRESH_FOR).unwrap();
        let name = Name {
            found: Some((good.clone(), long_ago)),
            ..Name::default()
        };
        let mut names = resolver.0.lock();
        // No host of this name can be: a label has 63 bytes at most.
        let long = format!("{}:80", "x".repeat(64));
        names.insert(long.clone(), name);
        drop(names);
        assert_eq!(resolver.resolve(&long, WAIT).unwrap(), good);
        let other = format!("{}:80", "y".repeat(64));
        assert!(resolver.resolve(&other, WAIT).is_err());
    }

    #[test]
    fn names_are_bounded() {
        let resolver = Resolver::default();
        for at in 0..2 * NAMES_MAX {
            let _ = resolver.resolve(&format!("{at}.{}:80", "x".repeat(64)), WAIT);
        }
        assert!(resolver.0.lock().len() <= NAMES_MAX);
    }
}
