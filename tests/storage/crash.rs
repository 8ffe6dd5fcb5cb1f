//! kill -9 under writing clients: what was acknowledged is there.
//!
//! Each client owns its keys, so it knows for each the last state that was acknowledged and the states that
//! it has sent since. After a restart a key must be in one of these. A version that was acknowledged must
//! be the same after the restart, and new versions must be larger than all before.
//!
//! `PYKV_CRASH_ROUNDS` sets the number of crashes (default 8 for each policy).

use crate::common::client::encode;
use crate::common::{Client, Random, Server, poll, setting};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

const CLIENTS: u64 = 16;
const KEYS_PER_CLIENT: u64 = 12;

/// A value that was sent, or none for a delete.
type State = Option<Vec<u8>>;

/// What a client knows of a key.
#[derive(Default)]
struct Known {
    acknowledged: State,
    /// The version of the acknowledged state, where it is a value.
    version: Option<u64>,
    /// Sent after it and not answered, in order.
    in_flight: VecDeque<State>,
}

struct Writer {
    id: u64,
    random: Random,
    keys: Vec<Known>,
    sent: u64,
    version_max: u64,
    /// Requests in one batch: 1 waits for each answer, more are pipelined.
    depth: u64,
}

impl Writer {
    fn new(id: u64) -> Writer {
        Writer {
            id,
            random: Random::new(id),
            keys: (0..KEYS_PER_CLIENT).map(|_| Known::default()).collect(),
            sent: 0,
            version_max: 0,
            depth: if id.is_multiple_of(2) { 1 } else { 8 },
        }
    }

    fn path(&self, key: usize) -> String {
        format!("/kv/client-{}/{key}", self.id)
    }

    /// Writes until the node is gone.
    fn write(&mut self, address: SocketAddr, acknowledged: &AtomicU64) {
        let Ok(mut client) = Client::try_connect(address) else {
            return;
        };
        while self.write_batch(&mut client, acknowledged).is_ok() {}
    }

    fn write_batch(&mut self, client: &mut Client, acknowledged: &AtomicU64) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut keys = Vec::new();
        for _ in 0..self.depth {
            let key = self.random.below(KEYS_PER_CLIENT) as usize;
            let path = self.path(key);
            // What the key will be in when this request is reached: answers come in order.
            let known = &mut self.keys[key];
            let is_there = known.in_flight.back().unwrap_or(&known.acknowledged).is_some();
            if is_there && self.random.below(4) == 0 {
                bytes.extend(encode("DELETE", &path, &[], b""));
                known.in_flight.push_back(None);
            } else {
                self.sent += 1;
                let mut value = format!("{}/{key}/{}/", self.id, self.sent).into_bytes();
                value.resize(value.len() + self.random.below(3000) as usize, b'.');
                if is_there {
                    let headers = [("Content-Type", "application/octet-stream")];
                    bytes.extend(encode("PUT", &path, &headers, &value));
                } else {
                    let name = path.strip_prefix("/kv/").unwrap();
                    let text = std::str::from_utf8(&value).unwrap();
                    let body = format!(r#"{{"key":"{name}","value":"{text}"}}"#);
                    let headers = [("Content-Type", "application/json")];
                    bytes.extend(encode("POST", "/kv/", &headers, body.as_bytes()));
                }
                known.in_flight.push_back(Some(value));
            }
            keys.push(key);
        }
        client.send(&bytes)?;
        for key in keys {
            let answer = client.response(false)?;
            let known = &mut self.keys[key];
            let state = known.in_flight.pop_front().unwrap();
            // The client alone writes its keys, so nothing but success is right.
            let path = format!("client-{}/{key}", self.id);
            assert!(answer.is_success(), "{path}: {answer:?}");
            known.version = None;
            if state.is_some() {
                let version = answer.version();
                assert!(
                    version > self.version_max,
                    "{path}: version {version} does not grow"
                );
                self.version_max = version;
                known.version = Some(version);
            }
            known.acknowledged = state;
            acknowledged.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Looks at every key after a restart, and takes what is there as known.
    fn verify(&mut self, client: &mut Client) {
        for key in 0..self.keys.len() {
            let path = self.path(key);
            let answer = client.request("GET", &path, &[("Accept", "application/octet-stream")], b"");
            let state = match answer.status {
                200 => Some(answer.body.clone()),
                404 => None,
                _ => panic!("{path}: {answer:?}"),
            };
            let known = &mut self.keys[key];
            let show = |state: &State| {
                state
                    .as_ref()
                    .map(|value| String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned())
            };
            assert!(
                state == known.acknowledged || known.in_flight.contains(&state),
                "{path} is {:?}; acknowledged {:?}, sent after it {:?}",
                show(&state),
                show(&known.acknowledged),
                known.in_flight.iter().map(show).collect::<Vec<_>>()
            );
            if state.is_some() {
                let version = answer.version();
                match known.version {
                    Some(acknowledged) if state == known.acknowledged => {
                        assert_eq!(version, acknowledged, "{path}: the version changed")
                    }
                    Some(acknowledged) => assert!(version > acknowledged, "{path}: the version went back"),
                    None => {}
                }
                self.version_max = self.version_max.max(version);
                known.version = Some(version);
            } else {
                known.version = None;
            }
            known.acknowledged = state;
            known.in_flight.clear();
        }
    }
}

fn crash_again_and_again(policy: &str) {
    let mut node = Server::start(&["--fsync", policy]);
    let mut writers: Vec<Writer> = (0..CLIENTS).map(Writer::new).collect();
    let mut random = Random::new(policy.len() as u64);
    let mut version_max = 0;
    for round in 0..setting("PYKV_CRASH_ROUNDS", 8) {
        let acknowledged = AtomicU64::new(0);
        let enough = 300 + random.below(1500);
        let address = node.address();
        let killed = thread::scope(|scope| {
            for writer in &mut writers {
                scope.spawn(|| writer.write(address, &acknowledged));
            }
            let enough = poll(crate::common::SOON, || acknowledged.load(Relaxed) >= enough);
            node.kill_9();
            enough
        });
        assert!(
            killed,
            "only {} writes in {:?}",
            acknowledged.into_inner(),
            crate::common::SOON
        );
        if round % 2 == 1 {
            node.start_and_kill_9(); // A crash in recovery.
        }
        node.start_again();

        let mut client = node.client();
        for writer in &mut writers {
            writer.verify(&mut client);
            version_max = version_max.max(writer.version_max);
        }
        let probe = client.put("/kv/probe?upsert=true", round.to_string().as_bytes());
        assert!(probe.is_success(), "{probe:?}");
        assert!(
            probe.version() > version_max,
            "{} after {version_max}",
            probe.version()
        );
        version_max = probe.version();

        // What is there beyond what the clients know would be a deleted key come back.
        let listed = list_all(&mut client);
        let known: usize = writers
            .iter()
            .map(|writer| {
                writer
                    .keys
                    .iter()
                    .filter(|known| known.acknowledged.is_some())
                    .count()
            })
            .sum();
        assert_eq!(listed, known + 1, "keys listed, the probe's among them");
    }
    assert!(node.sigterm().success());
    crate::common::pykv(&["check"]).dir(node.dir()).succeed();
}

fn list_all(client: &mut Client) -> usize {
    let mut count = 0;
    let mut target = "/kv/?limit=100".to_string();
    loop {
        let page = client.get(&target).expect(200).body_json();
        count += page["keys"].as_array().unwrap().len();
        match page["cursor"].as_str() {
            Some(cursor) => target = format!("/kv/?limit=100&cursor={cursor}"),
            None => return count,
        }
    }
}

#[test]
fn always() {
    crash_again_and_again("always");
}

#[test]
fn everysec() {
    crash_again_and_again("everysec");
}

/// Neither policy's acknowledgement depends on a sync where it is the process that dies.
#[test]
fn no() {
    crash_again_and_again("no");
}
