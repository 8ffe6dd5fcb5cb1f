//! Where the shell keeps the lines that were typed.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// The file of the history: under `XDG_STATE_HOME` where that is set, else `.pykv_history` at home. None
/// where there is no home, or where that name is no plain file: a link to /dev/null is how people say that they want
/// none, and a pipe would be waited for. rustyline makes the file readable to its owner alone, follows links, and
/// appends under a lock, so that two shells never mix their lines.
pub(super) fn path() -> Option<PathBuf> {
    let (path, dir) = place(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))?;
    if let Some(dir) = dir {
        // Where this fails there is no history, which is no reason to stop anybody.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    }
    let is_usable = fs::metadata(&path).map_or(true, |metadata| metadata.is_file());
    is_usable.then_some(path)
}

/// The file, and a directory that must be there for it.
fn place(state: Option<OsString>, home: Option<OsString>) -> Option<(PathBuf, Option<PathBuf>)> {
    // As the specification has it, a relative path counts as none.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(state) = absolute(state) {
        let dir = state.join("pykv");
        return Some((dir.join("history"), Some(dir)));
    }
    Some((absolute(home)?.join(".pykv_history"), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_before_home() {
        let file = |state: Option<&str>, home: Option<&str>| {
            place(state.map(OsString::from), home.map(OsString::from)).map(|(path, _)| path)
        };
        assert_eq!(
            file(Some("/state"), Some("/home/a")),
            Some("/state/pykv/history".into())
        );
        for state in [None, Some(""), Some("relative")] {
            assert_eq!(file(state, Some("/home/a")), Some("/home/a/.pykv_history".into()));
        }
        assert_eq!(file(None, None), None);
    }
}
