//! Which process opened a connection, as the kernel knows it.
//!
//! A proxy that stands before a node sees where a connection comes from, and on loopback that is the same address
//! for everybody. The port tells more: `/proc/net/tcp` names the socket behind it, `/proc/PID/fd` the process that
//! holds the socket, and `/proc/PID/cmdline` how that process was started. No node takes part in this, so it holds
//! for whatever a node says, to whomever, from its first connection on.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Whether the kernel tells who opened a connection.
pub fn is_known_here() -> bool {
    Path::new("/proc/net/tcp").exists() && Path::new("/proc/self/fd").exists()
}

/// The socket at `local` that is connected to `peer`, by its inode; none where its process has closed it.
pub fn socket(local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let (local, peer) = (entry(local)?, entry(peer)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let is_it = fields.nth(1) == Some(local.as_str()) && fields.next() == Some(peer.as_str());
        // Between them: state, queues, timer, retransmissions, user and timeout.
        is_it.then(|| fields.nth(6)?.parse().ok()).flatten()
    });
    inode.filter(|inode| *inode != 0)
}

/// An address as `/proc/net/tcp` writes it: the bytes of the IP as one number of this machine, and the port.
fn entry(address: SocketAddr) -> Option<String> {
    match address {
        SocketAddr::V4(address) => Some(format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(address.ip().octets()),
            address.port()
        )),
        SocketAddr::V6(_) => None,
    }
}

/// Whether a process holds a socket.
pub fn holds(process: u32, socket: u64) -> bool {
    let name = format!("socket:[{socket}]");
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
    files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == name.as_str()))
}

/// The processes of which an argument means something, and what.
pub fn processes<T>(meaning: impl Fn(&str) -> Option<T>) -> Vec<(u32, T)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            // One that has ended meanwhile has no command line.
            let line = fs::read(format!("/proc/{process}/cmdline")).ok()?;
            let mut arguments = line.split(|byte| *byte == 0);
            let meant = arguments.find_map(|argument| meaning(std::str::from_utf8(argument).ok()?))?;
            Some((process, meant))
        })
        .collect()
}
