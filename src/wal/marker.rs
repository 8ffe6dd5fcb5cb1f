//! The file `ROLE` of a data directory: what the node is in its cluster, where that is not plain.
//!
//! A store that was never a replica, and never had one that may take over, has no such file. The file is
//! JSON of one line, and is replaced as a whole.

use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::regular;
use super::term::Term;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read};
use std::path::Path;

const NAME: &str = "ROLE";

/// Larger than any list of addresses that the command line takes, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// What a node is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It decides what comes next.
    Primary,
    /// It copies what another node has decided.
    Replica,
}

impl Role {
    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// The replica that a primary stepped down for, until a higher term begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedTo {
    /// How it is reached, as `host:port`.
    pub address: String,
    /// Which run of it asked: only that process may begin the next term.
    pub process: u64,
    /// Which promotion of that process.
    pub attempt: u64,
    /// The term that ended, in bits.
    pub term: u64,
    /// The followers of that primary that take over by themselves.
    pub successors: Vec<String>,
}

/// What is remembered of an etcd that decides who is primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EtcdMark {
    /// Which etcd: the id of its cluster.
    pub etcd: u64,
    /// The id of the log that it named.
    pub log: Option<String>,
    /// The highest number of a term that it has shown.
    pub term: u64,
    /// The last primary that it named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderMark>,
}

/// A primary that an etcd has named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaderMark {
    /// How it is reached, as `host:port`.
    pub address: String,
    /// Which run of it.
    pub process: String,
    /// The number of its term.
    pub term: u64,
}

/// What is remembered of the cluster from one start to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// What the node is.
    pub role: Role,
    /// Addresses of other nodes, as `host:port`: of those to follow, or of those that are to hear of this one.
    pub peers: Vec<String>,
    /// Whether this node, as a primary, has met a follower that takes over by itself. From then on no
    /// acknowledgement counts without one of such a follower: see `replication`.
    #[serde(default)]
    pub has_successor: bool,
    /// The addresses of those followers. None where an older pykv has written the file.
    #[serde(default)]
    pub successors: Vec<String>,
    /// Whom a former primary stepped down for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_to: Option<HandedTo>,
    /// The term, in bits, above which this replica is about to begin one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotes_above: Option<u64>,
    /// Whether a replica whose store is empty has all of some state, and not none of it yet. None where an older pykv has
    /// written the file.
    #[serde(default)]
    pub is_synced: Option<bool>,
    /// Of an etcd that decides who is primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdMark>,
    /// The runs of this directory that such an etcd may know, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
}

impl Marker {
    /// What the node is, where its log is in `term`. A replica whose process ended in its promotion is primary if
    /// its term has begun: nobody else begins a term in its log between the two.
    pub(crate) fn role(&self, term: Term) -> Role {
        match self.promotes_above {
            Some(before) if term.bits() > before => Role::Primary,
            _ => self.role,
        }
    }

    /// Reads that of a directory; none where it has none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Marker>, Error> {
        let path = dir.join(NAME);
        let cannot_read = Error::io("cannot read", &path);
        let file = match regular::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(Error::NoStore {
                    path: dir.to_owned(),
                    why: "it is a file, and no directory",
                });
            }
            Err(error) => return Err(cannot_read(error)),
            Ok(file) => file,
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(cannot_read)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(unreadable(&path, "it is too long"));
        }
        serde_json::from_slice(&bytes).map_err(|_| unreadable(&path, "it is not what a node writes there"))
    }

    pub(super) fn write(&self, dir: &Dir, disk: &Disk) -> Result<(), Error> {
        let path = dir.path().join(NAME);
        let mut bytes = serde_json::to_vec(self).expect("plain data has a form in JSON");
        bytes.push(b'\n');
        dir.make(disk, &path, |file| {
            disk.write_at(file, &bytes, 0)
                .map_err(Error::io("cannot write", &path))
        })?;
        Ok(())
    }
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::Role {
        path: path.to_path_buf(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let temporary = tempfile::tempdir().unwrap();
        assert_eq!(Marker::read(temporary.path()).unwrap(), None);
        let marker = Marker {
            role: Role::Replica,
            peers: vec!["127.0.0.1:7958".to_owned()],
            has_successor: true,
            successors: vec!["127.0.0.1:7959".to_owned()],
            handed_to: Some(HandedTo {
                address: "127.0.0.1:7959".to_owned(),
                process: u64::MAX,
                attempt: 1,
                term: Term::FIRST.bits(),
                successors: vec!["127.0.0.1:7960".to_owned()],
            }),
            promotes_above: Some(Term::FIRST.bits()),
            is_synced: Some(true),
            etcd: Some(EtcdMark {
                etcd: u64::MAX,
                log: Some("00".repeat(16)),
                term: 7,
                leader: Some(LeaderMark {
                    address: "127.0.0.1:7959".to_owned(),
                    process: "0f".to_owned(),
                    term: 7,
                }),
            }),
            runs: vec!["0e".to_owned(), "0f".to_owned()],
        };
        let dir = Dir::open(temporary.path()).unwrap();
        marker.write(&dir, &Disk::default()).unwrap();
        assert_eq!(Marker::read(temporary.path()).unwrap(), Some(marker));
        let old = r#"{"role":"primary","peers":[],"has_successor":true}"#;
        std::fs::write(temporary.path().join(NAME), old).unwrap();
        let marker = Marker::read(temporary.path()).unwrap().unwrap();
        assert!(marker.has_successor && marker.successors.is_empty());
        assert!(marker.handed_to.is_none() && marker.promotes_above.is_none());
        for wrong in ["", "{}", "{\"role\":\"king\",\"peers\":[]}", "\u{0}"] {
            std::fs::write(temporary.path().join(NAME), wrong).unwrap();
            assert!(
                matches!(Marker::read(temporary.path()), Err(Error::Role { .. })),
                "{wrong:?}"
            );
        }
    }
    #[test]
    fn a_promotion_that_began_its_term_is_one() {
        let mut marker = Marker {
            role: Role::Replica,
            peers: Vec::new(),
            has_successor: false,
            successors: Vec::new(),
            handed_to: None,
            promotes_above: Some(Term::FIRST.bits()),
            is_synced: None,
            etcd: None,
            runs: Vec::new(),
        };
        assert_eq!(marker.role(Term::FIRST), Role::Replica);
        assert_eq!(marker.role(Term::new(2, 7)), Role::Primary);
        marker.promotes_above = None;
        assert_eq!(marker.role(Term::new(2, 7)), Role::Replica);
    }
}
