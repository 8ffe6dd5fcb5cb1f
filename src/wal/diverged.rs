//! The files of what was set aside, by name; see `copy`, which makes them.

use super::error::Error;
use std::path::Path;

/// The files `diverged-...` of a directory, in the order of their names, with their sizes in bytes.
pub(crate) fn diverged(dir: &Path) -> Result<Vec<(String, u64)>, Error> {
    let listed = std::fs::read_dir(dir).map_err(Error::io("cannot read", dir))?;
    let mut files = Vec::new();
    for entry in listed {
        let entry = entry.map_err(Error::io("cannot read", dir))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with("diverged-") && name.ends_with(".pykv") {
            // One that was removed since is not there.
            let Ok(about) = entry.metadata() else { continue };
            if about.is_file() {
                files.push((name, about.len()));
            }
        }
    }
    files.sort();
    Ok(files)
}
