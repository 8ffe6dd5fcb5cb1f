//! Where a server listens.

use super::transport::{Client, Transport};
use crate::system;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::fmt;
use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Connections that the kernel holds while the accept loop is busy.
const BACKLOG: i32 = 4096;

/// Longest path of a unix socket: what the kernel's `sun_path` holds beside its last byte.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// What stands before the path of a unix socket.
const UNIX_SCHEME: &str = "unix:";

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// An address; port 0 for any that is free.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl Endpoint {
    /// Whether other machines cannot reach it.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Endpoint::Tcp(address) => address.ip().is_loopback(),
            Endpoint::Unix(_) => true,
        }
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Endpoint, &'static str> {
        if let Some(path) = text.strip_prefix(UNIX_SCHEME) {
            return match path.is_empty() {
                true => Err("a unix socket has a path, as in unix:/run/pykv/pykv.sock"),
                false => Ok(Endpoint::Unix(path.into())),
            };
        }
        // The one name that needs no resolver, and that everybody tries.
        let address = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        address.parse().map(Endpoint::Tcp).map_err(
            |_| "an address is IP:PORT, as in 127.0.0.1:7958, localhost:7958 or [::1]:7958, or unix:PATH",
        )
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "{address}"),
            Endpoint::Unix(path) => write!(f, "{UNIX_SCHEME}{}", path.display()),
        }
    }
}

/// A socket that listens already: who started the process made it, and may have the next one listen at it.
#[derive(Debug)]
pub(crate) enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Passed {
    /// Where it listens.
    pub(crate) fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Passed::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            Passed::Unix(listener) => {
                let address = listener.local_addr()?;
                // One without a path is in the abstract namespace.
                let path = address.as_pathname().unwrap_or(Path::new("@"));
                Ok(Endpoint::Unix(path.to_owned()))
            }
        }
    }
}

/// A socket that listens. The file of a unix socket goes with it, unless another one stands at its path by then.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
    /// It and its file are another's: they outlive this process.
    Passed(Passed, Endpoint),
}

/// The file of a unix socket.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, which distinguish it from a file that was put in its place.
    id: (u64, u64),
}

impl Listening {
    /// Binds an endpoint. `unix_mode`: who may connect to a unix socket, as the mode of its file.
    pub(super) fn bind(endpoint: &Endpoint, unix_mode: u32) -> io::Result<Listening> {
        match endpoint {
            Endpoint::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                listen(&socket)?;
                Ok(Listening::Tcp(socket.into()))
            }
            Endpoint::Unix(path) => {
                let address = unix_address(path)?;
                if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty())
                    && !dir.exists()
                {
                    let why = format!("its directory {} does not exist; make it first", dir.display());
                    return Err(io::Error::new(io::ErrorKind::NotFound, why));
                }
                remove_stale(path, &address)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.bind(&address)?;
                let file = SocketFile {
                    path: path.clone(),
                    id: id_of(path)?,
                };
                // Before it listens, so nobody connects who may not.
                let bound = fs::set_permissions(path, fs::Permissions::from_mode(unix_mode))
                    .and_then(|()| listen(&socket));
                if let Err(error) = bound {
                    file.remove();
                    return Err(error);
                }
                Ok(Listening::Unix(socket.into(), file))
            }
        }
    }

    /// Takes a socket over that listens already.
    pub(super) fn adopt(passed: Passed) -> io::Result<Listening> {
        match &passed {
            Passed::Tcp(listener) => listener.set_nonblocking(true)?,
            Passed::Unix(listener) => listener.set_nonblocking(true)?,
        }
        let endpoint = passed.endpoint()?;
        Ok(Listening::Passed(passed, endpoint))
    }

    /// Where it listens, with the port that was chosen where none was asked for.
    pub(super) fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Listening::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            Listening::Unix(_, file) => Ok(Endpoint::Unix(file.path.clone())),
            Listening::Passed(_, endpoint) => Ok(endpoint.clone()),
        }
    }

    /// A connection that has come; does not wait for one.
    pub(super) fn accept(&self) -> io::Result<(Transport, Client)> {
        match self {
            Listening::Tcp(listener) | Listening::Passed(Passed::Tcp(listener), _) => {
                let (stream, address) = listener.accept()?;
                Ok((Transport::Tcp(stream), Client::Ip(address.ip())))
            }
            Listening::Unix(listener, _) | Listening::Passed(Passed::Unix(listener), _) => {
                let (stream, _) = listener.accept()?;
                Ok((Transport::Unix(stream), Client::Local))
            }
        }
    }

    /// From here on the kernel refuses those who connect. At a socket that was passed they wait for the next process.
    pub(super) fn close(&self) -> io::Result<()> {
        if let Listening::Passed(..) = self {
            return Ok(());
        }
        SockRef::from(self).shutdown(Shutdown::Both)
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listening::Tcp(listener) | Listening::Passed(Passed::Tcp(listener), _) => listener.as_fd(),
            Listening::Unix(listener, _) | Listening::Passed(Passed::Unix(listener), _) => listener.as_fd(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Listening::Unix(_, file) = self {
            file.remove();
        }
    }
}

fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)
}

/// The address of a unix socket; an error where the system has no room for its path.
fn unix_address(path: &Path) -> io::Result<SockAddr> {
    if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
        let why = format!("the path of a unix socket has at most {UNIX_PATH_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    SockAddr::unix(path)
}

/// Device and inode of a file.
fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Removes the file of a unix socket that nobody listens at any more: its server was killed.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let is_socket = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_socket {
        let why = "a file that is no socket is there";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    // Whoever listens may be suspended, with as many waiting as there may be: this does not wait too.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // Somebody listens.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

impl SocketFile {
    fn remove(&self) {
        if id_of(&self.path).ok() != Some(self.id) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!(
                "cannot remove the socket {}: {}",
                self.path.display(),
                system::words(&error)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn endpoints_are_addresses_or_paths() {
        for (text, is_local) in [
            ("127.0.0.1:7958", true),
            ("[::1]:0", true),
            ("0.0.0.0:80", false),
            ("unix:/run/pykv/pykv.sock", true),
            ("unix:pykv.sock", true),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_local(), is_local, "{text}");
        }
        assert_eq!(
            "localhost:1".parse(),
            Ok(Endpoint::Tcp(([127, 0, 0, 1], 1).into()))
        );
        for text in [
            "",
            "unix:",
            "7958",
            "example.org:80",
            "localhost",
            "/run/pykv.sock",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_is_taken_over_only_from_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let endpoint = Endpoint::Unix(path.clone());
        let first = Listening::bind(&endpoint, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = Listening::bind(&endpoint, 0o600).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());

        // As a killed server leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = Listening::bind(&endpoint, 0o660).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        let (transport, from) = second.accept().unwrap();
        assert_eq!(from.to_string(), "unix:");
        client.write_all(b"ping").unwrap();
        let mut buffer = Vec::with_capacity(8);
        transport
            .prepare(
                std::time::Duration::from_secs(10),
                std::time::Duration::from_secs(10),
            )
            .unwrap();
        transport.read(&mut buffer).unwrap();
        assert_eq!(buffer, b"ping");
        transport
            .write(&[io::IoSlice::new(b"po"), io::IoSlice::new(b"ng")])
            .unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
        assert!(!transport.has_gone());
        drop(client);
        assert!(transport.has_gone());
        drop(second);

        fs::write(&path, "a file of somebody").unwrap();
        let taken = Listening::bind(&endpoint, 0o600).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file of somebody");
    }

    #[test]
    fn the_socket_of_another_server_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let endpoint = Endpoint::Unix(path.clone());
        let first = Listening::bind(&endpoint, 0o600).unwrap();
        // Kept under another name, so that its inode is not used again.
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let second = Listening::bind(&endpoint, 0o600).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_listener_that_takes_nobody_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = SockAddr::unix(&path).unwrap();
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&address).unwrap();
        full.listen(0).unwrap();
        let waiting: Vec<Socket> = std::iter::repeat_with(|| {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .take_while(|socket| socket.connect(&address).is_ok())
        .collect();
        assert!(!waiting.is_empty());
        let taken = Listening::bind(&Endpoint::Unix(path.clone()), 0o600).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_is_too_long_is_said_to_be() {
        let path = PathBuf::from("a".repeat(UNIX_PATH_BYTES_MAX + 1));
        let refused = Listening::bind(&Endpoint::Unix(path), 0o600).unwrap_err();
        assert!(refused.to_string().contains("at most 107 bytes"), "{refused}");
    }
}
