//! The file that says how far a mirror is: JSON, put in place as a whole.

use super::super::Error;
use super::super::output::{Existing, OutputFile};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the file is written.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// How far a mirror is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The place in the log from which changes are followed; none where there is no log.
    pub(super) after: Option<String>,
    /// Where the copy continues.
    pub(super) cursor: Option<String>,
    /// Whether all was copied.
    pub(super) is_copied: bool,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What it is the state of: another mirror must not continue there.
    from: String,
    prefix: String,
    #[serde(flatten)]
    state: State,
}

/// Keeps the state.
pub(super) struct Keeper {
    path: Option<PathBuf>,
    from: String,
    prefix: String,
    found: Option<State>,
    kept: Option<Instant>,
}

impl Keeper {
    /// Reads the file, if it is there.
    pub(super) fn open(path: Option<&Path>, from: &str, prefix: &str) -> Result<Keeper, Error> {
        let mut keeper = Keeper {
            path: path.map(Path::to_owned),
            from: from.to_owned(),
            prefix: prefix.to_owned(),
            found: None,
            kept: None,
        };
        let Some(path) = path else {
            return Ok(keeper);
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(keeper),
            Err(error) => return Err(Error::io("cannot read the state in", path)(error)),
        };
        let kept: Kept = serde_json::from_slice(&bytes)
            .map_err(|_| Error::WrongFile(format!("{} holds no state of a mirror", path.display())))?;
        if kept.from != from || kept.prefix != prefix {
            return Err(Error::WrongFile(format!(
                "{} is the state of a mirror of {} with the prefix {:?}; name another file, or remove it",
                path.display(),
                kept.from,
                kept.prefix
            )));
        }
        keeper.found = Some(kept.state);
        Ok(keeper)
    }

    /// The state that the file held.
    pub(super) fn state(&self) -> Option<State> {
        self.found.clone()
    }

    /// Writes the state: once a second, or where it must be.
    pub(super) fn keep(&mut self, state: &State, is_due: bool) -> Result<(), Error> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if !is_due && self.kept.is_some_and(|kept| kept.elapsed() < KEEP_EVERY) {
            return Ok(());
        }
        self.kept = Some(Instant::now());
        let kept = Kept {
            from: self.from.clone(),
            prefix: self.prefix.clone(),
            state: state.clone(),
        };
        let json = serde_json::to_vec(&kept).expect("plain data has a form in JSON");
        let out = OutputFile::create(path, Existing::Replace)?;
        (&out).write_all(&json).map_err(out.cannot_write())?;
        out.finish()
    }
}
