//! The segments that feeds read: all feeds in one share one open file.

use super::dir::Dir;
use super::error::Error;
use super::file_reader::FileReader;
use super::listing::LogFile;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, Weak};

/// Times that a segment is looked for again that was removed between being listed and being opened.
const OPEN_ATTEMPTS: usize = 3;

/// A segment that some feed has open.
pub(super) struct Segment {
    pub(super) named: LogFile,
    pub(super) file: File,
    /// Tells the file from a later one of the same name.
    pub(super) inode: u64,
}

/// The segments that feeds have open.
pub(super) struct Segments {
    dir: Arc<Dir>,
    open: Mutex<HashMap<u64, Weak<Segment>>>,
}

impl Segments {
    pub(super) fn new(dir: Arc<Dir>) -> Segments {
        Segments {
            dir,
            open: Mutex::default(),
        }
    }

    /// Opens the segment whose place among all of them `choose` says; also says the first offset of all.
    pub(super) fn find(
        &self,
        choose: impl Fn(&[LogFile]) -> Option<usize>,
    ) -> Result<(Option<Arc<Segment>>, Option<u64>), Error> {
        let mut attempts = OPEN_ATTEMPTS;
        loop {
            let listing = self.dir.list()?;
            let oldest = listing.segments.first().map(|first| first.first_offset);
            let chosen = choose(&listing.segments).and_then(|at| listing.segments.get(at));
            let Some(named) = chosen else {
                return Ok((None, oldest));
            };
            attempts -= 1;
            match self.open(named) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && attempts > 0 => {
                }
                opened => return opened.map(|segment| (Some(segment), oldest)),
            }
        }
    }

    fn open(&self, named: &LogFile) -> Result<Arc<Segment>, Error> {
        let cannot_open = Error::io("cannot open", &named.path);
        let (_, inode) = self.dir.identity(&named.path).map_err(cannot_open)?;
        let mut open = self.open.lock().expect("nothing under the segments' lock panics");
        let shared = open.get(&named.first_offset).and_then(Weak::upgrade);
        if let Some(shared) = shared.filter(|shared| shared.inode == inode) {
            return Ok(shared);
        }
        let file = FileReader::open_in(&self.dir, named)?.into_file();
        let metadata = file.metadata().map_err(Error::io("cannot read", &named.path))?;
        let segment = Arc::new(Segment {
            named: named.clone(),
            file,
            inode: metadata.ino(),
        });
        open.retain(|_, segment| segment.strong_count() > 0);
        open.insert(named.first_offset, Arc::downgrade(&segment));
        Ok(segment)
    }
}
