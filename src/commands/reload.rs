//! What a node reads from files anew while it serves: on SIGHUP all of it, and by itself what has changed.
//!
//! One thread does, `reload`. It looks at the files every [`LOOK_EVERY`], by their paths: a file that another was
//! renamed over, or a link that leads elsewhere since, is another file. What could not be used is tried again at each
//! look, so that a file which was read while it was being written does not stay unread.
//!
//! # What must hold
//! - What cannot be read changes nothing: the node keeps what it has, and says why.
//! - Only regular files are read anew. The thread waits for nothing but the signal.

use super::signals::Signals;
use super::{Error, service};
use crate::auth::{LiveTokens, Tokens};
use crate::cli::{Serve, TlsClient};
use crate::node::{PeerTls, Secret};
use crate::tls;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What shows that a file has changed: device, inode, size, and when it changed.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Something that is read from files.
pub(super) struct Source<'a> {
    paths: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    /// Reads it; says whether what was read is used.
    read: Box<dyn FnMut() -> bool + Send + 'a>,
    is_used: bool,
    /// What there is to do at each look besides.
    look: Option<Box<dyn FnMut() + Send + 'a>>,
}

impl<'a> Source<'a> {
    /// Something that was just read from `paths`, and that `read` reads anew.
    pub(super) fn new(paths: Vec<PathBuf>, read: impl FnMut() -> bool + Send + 'a) -> Source<'a> {
        Source {
            stamps: stamps(&paths),
            paths,
            read: Box::new(read),
            is_used: true,
            look: None,
        }
    }

    /// With something that there is to do at each look besides.
    pub(super) fn with_look(mut self, look: impl FnMut() + Send + 'a) -> Source<'a> {
        self.look = Some(Box::new(look));
        self
    }

    fn read_if_changed(&mut self) {
        if !self.is_used || stamps(&self.paths) != self.stamps {
            self.read();
        }
        if let Some(look) = &mut self.look {
            look();
        }
    }

    fn read(&mut self) {
        // A pipe gives what is in it once, and whoever opens it waits for a writer.
        if self.paths.iter().any(|path| is_no_file(path)) {
            return;
        }
        // Before it is read: what changes meanwhile is seen at the next look.
        self.stamps = stamps(&self.paths);
        self.is_used = (self.read)();
    }
}

/// Whether something is there that is no regular file.
fn is_no_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((
            file.dev(),
            file.ino(),
            file.size(),
            file.ctime(),
            file.ctime_nsec(),
        ))
    };
    paths.iter().map(stamp).collect()
}

/// The thread's part: reads `sources` anew until [`Signals::end_reloads`].
pub(super) fn run(signals: &Signals, mut sources: Vec<Source<'_>>) {
    let mut hangups = &signals.hangups;
    let waits = hangups.set_read_timeout(Some(LOOK_EVERY));
    if let Err(error) = waits {
        log::error!("files cannot be read again: {error}");
        return;
    }
    loop {
        // Several signals that came meanwhile are one.
        match hangups.read(&mut [0; 64]) {
            Ok(0) => return,
            Ok(_) => service::reload(|| {
                log::info!("SIGHUP: reading files again");
                signals.reopen_access_log();
                sources.iter_mut().for_each(Source::read);
            }),
            Err(error) if is_timeout(&error) => sources.iter_mut().for_each(Source::read_if_changed),
            Err(error) => {
                log::error!("files are not read again any more: {error}");
                return;
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The tokens that clients must show, and the one that other nodes are shown.
pub(super) fn tokens<'a>(
    args: &'a Serve,
    live: &'a LiveTokens,
    shown: Option<&'a Secret>,
) -> Option<Source<'a>> {
    let path = args.token_file.as_deref()?;
    let of_cluster = args.cluster.cluster_token_file.as_deref();
    let paths = [Some(path), of_cluster].into_iter().flatten();
    let read = move || match read_tokens(path, of_cluster) {
        Ok((tokens, to_show)) => {
            log::info!("read the tokens in {} again: {tokens}", path.display());
            live.replace(tokens);
            if let (Some(shown), Some(to_show)) = (shown, to_show) {
                shown.replace(to_show);
            }
            true
        }
        Err(error) => {
            let error = error.to_string();
            if live.keep(error.clone()) {
                log::error!("{error}; the former tokens stay valid");
            }
            false
        }
    };
    Some(Source::new(paths.map(Path::to_owned).collect(), read))
}

/// Whom the node trusts among others, and what it shows them. None where no files were given.
pub(super) fn trust<'a>(flags: &'a TlsClient, peers: &'a PeerTls) -> Option<Source<'a>> {
    let identity = flags.identity();
    let of_identity = identity
        .into_iter()
        .flat_map(|(certificate, key)| [certificate, key]);
    let paths: Vec<PathBuf> = flags
        .tls_ca
        .as_deref()
        .into_iter()
        .chain(of_identity)
        .map(Path::to_owned)
        .collect();
    if paths.is_empty() {
        return None;
    }
    let mut said = None;
    let read = move || {
        let config = super::trust(flags).and_then(|trust| {
            trust
                .into_config()
                .map_err(|error| Error::Usage(tls::words(&error)))
        });
        match config {
            Ok(config) => {
                log::info!("read the certificates for connections to other nodes again");
                peers.replace(config);
                said = None;
                true
            }
            Err(error) => {
                let why = error.to_string();
                if said.as_ref() != Some(&why) {
                    log::error!("{why}; other nodes are trusted as before");
                    said = Some(why);
                }
                false
            }
        }
    };
    Some(Source::new(paths, read))
}

/// The tokens of a file, and the one to show to other nodes: that of the file `of_cluster`, or else the first that is
/// good for everything.
pub(super) fn read_tokens(path: &Path, of_cluster: Option<&Path>) -> Result<(Tokens, Option<String>), Error> {
    let tokens = Tokens::parse(&super::token_file(path)?)
        .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
    let to_show = match of_cluster {
        Some(path) => Some(super::token_text_of_file(path)?),
        None => tokens.first_for_admin(),
    };
    Ok((tokens, to_show))
}
