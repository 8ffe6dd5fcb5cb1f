//! The files of a data directory.

use std::fs;
use std::path::{Path, PathBuf};

/// The segment of a log that is written. The ones before it, of a small log, only say how its branches began.
pub fn log_file(dir: &Path) -> PathBuf {
    log_files(dir).pop().expect("a store has a segment")
}

/// The segments of a log, in order.
pub fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut logs: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"))
        .collect();
    logs.sort();
    logs
}

/// Copies a directory and what is in it; what is in the other one goes.
pub fn copy_dir(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &copy),
            false => drop(fs::copy(entry.path(), copy).unwrap()),
        }
    }
}
