//! Disk space: how much is free, what of it is kept in reserve, and what gives way when it is used up.
//!
//! A log that cannot grow cannot be compacted either, if the base has nowhere to go. So on a disk that is nearly
//! full the file RESERVE holds as much as a base of the store would take. When a write finds the disk full, in
//! this order:
//! 1. Segments older than the newest base go: they are kept for watchers and replicas that were away, at most. The write is
//!    made again at once, so no client notices ([`Shared::write`]). They go before, where the reserve lacks room.
//! 2. The reserve goes. Where a base of the store fits now, and is much smaller than the log, the node heals as
//!    it does after a failed sync: a new base, and everything before it goes.
//! 3. Where it does not, the reserve is what deletions are written to, and nothing else is taken
//!    ([`Health::Short`]), until a base fits, or somebody has made room. A restart begins there again.

use super::base::Source;
use super::dir::Dir;
use super::health::Health;
use super::reserve::Space;
use super::shared::Shared;
use std::time::{Duration, Instant};

/// What is kept free beside a base, in bytes: for the header of a segment, and for some thousand deletions.
const SLACK_BYTES: u64 = 256 << 10;

/// The least that a reserve has, in bytes, on a disk with a few times as much.
const FLOOR_BYTES_MAX: u64 = 64 << 20;

/// A disk with so many times as much space as the reserve would have needs none.
const AMPLE: u64 = 16;

/// The part of the reserve that may wait to be written: it is written to that room once the disk is full.
const UNWRITTEN_SHARE: u64 = 4;

/// How often the free space is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often the log of a full disk is made smaller, in vain.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// About what a base of the store takes, in bytes.
fn base_bytes(source: &dyn Source) -> u64 {
    let bytes = source.size().1;
    bytes + bytes / 8
}

/// How much the reserve should have, where it has `has` bytes, whether or not there is room for it.
fn wanted_bytes(shared: &Shared, source: &dyn Source, space: Space, has: u64) -> u64 {
    // The store may grow by much from one look to the next.
    let floor = (space.total_bytes / 5 * 2).min(FLOOR_BYTES_MAX);
    let needed = (base_bytes(source) + SLACK_BYTES).max(floor);
    let left = space.free_bytes.saturating_add(has);
    if left >= AMPLE * needed {
        return 0;
    }
    // Not all that is left: that is for writes. But so much of what the log and the reserve share that a base fits once half
    // of the keys are deleted that have filled up the rest. That is so after a restart, too.
    let log_bytes = shared
        .dir
        .list()
        .map_or(0, |listing| shared.dir.files_bytes(listing.all()));
    let of_all = left.saturating_add(log_bytes) / 5 * 2;
    needed.min((left / 5 * 3).max(of_all).max(has))
}

/// Whether a base would leave so much less than the log has that it is worth the trouble.
pub(super) fn is_worth_it(log_bytes: u64, base_bytes: u64) -> bool {
    log_bytes > base_bytes + base_bytes / 4 + SLACK_BYTES / 4
}

/// Whether the disk has so little space left that the log is to be compacted while that is possible still.
pub(super) fn is_scarce(dir: &Dir, source: &dyn Source, log_bytes: u64) -> bool {
    let needed = base_bytes(source);
    is_worth_it(log_bytes, needed)
        && dir
            .space()
            .is_some_and(|space| space.free_bytes < 2 * needed + SLACK_BYTES)
}

/// What the log's thread remembers of the disk.
pub(super) struct DiskSpace {
    looked: Option<Instant>,
    /// When it was last tried to make the log smaller.
    tried: Option<Instant>,
    /// Bytes of the reserve that were given up since the disk was full.
    spent_bytes: u64,
}

impl DiskSpace {
    pub(super) fn new() -> DiskSpace {
        DiskSpace {
            looked: None,
            tried: None,
            spent_bytes: 0,
        }
    }

    /// Makes the reserve before the first write is taken. Where it was given up before the last stop, and neither it nor a
    /// base has room any more, what is left is for deletions: gives what is said then.
    pub(super) fn begin(&mut self, shared: &Shared, source: &dyn Source) -> Option<Health> {
        let dir = &shared.dir;
        let (space, has) = (dir.space()?, dir.reserve_bytes());
        let left = space.free_bytes.saturating_add(has);
        let wanted = wanted_bytes(shared, source, space, has);
        let enough = wanted.min(base_bytes(source) + SLACK_BYTES) + SLACK_BYTES;
        if wanted <= has + has / 8 || left >= enough {
            self.keep_reserve(shared, source);
            return None;
        }
        if has > 0 && dir.set_reserve(&shared.disk, 0).is_err() {
            return None; // It is there still.
        }
        self.spent_bytes = left;
        self.short(shared, source)
    }

    /// Keeps the reserve as large as it should be, now and then.
    pub(super) fn keep_reserve(&mut self, shared: &Shared, source: &dyn Source) {
        self.spent_bytes = 0;
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        self.tried = None;
        let dir = &shared.dir;
        let Some(space) = dir.space() else { return };
        let has = dir.reserve_bytes();
        let most = space.free_bytes.saturating_add(has).saturating_sub(SLACK_BYTES);
        let wanted = wanted_bytes(shared, source, space, has);
        if wanted > most.max(has) || space.free_bytes < base_bytes(source) + SLACK_BYTES {
            // Neither the reserve nor the next base is to lack room for it. The next look sees what that gave.
            if let Err(error) = shared.drop_backlog() {
                log::debug!("cannot make room: {error}");
            }
        }
        let wanted = wanted.min(most.max(has));
        // Not for every entry that comes; and space that is held is not given up for a while.
        if wanted > has + has / 8 || (wanted == 0 && has > 0) {
            match dir.set_reserve(&shared.disk, wanted) {
                Ok(()) => log::debug!("{wanted} bytes of the disk are kept in reserve"),
                Err(error) => log::debug!("cannot keep {wanted} bytes of the disk in reserve: {error}"),
            }
        }
        // What is there, whatever was wanted.
        shared.budget.lower(match dir.reserve_bytes() {
            0 => u64::MAX,
            bytes => bytes / UNWRITTEN_SHARE,
        });
    }

    /// Makes the reserve at once.
    pub(super) fn renew_reserve(&mut self, shared: &Shared, source: &dyn Source) {
        self.looked = None;
        self.keep_reserve(shared, source);
    }

    /// Whether it is time to make the log smaller.
    pub(super) fn may_try(&mut self) -> bool {
        let may = self.tried.is_none_or(|tried| tried.elapsed() >= TRY_EVERY);
        if may {
            self.tried = Some(Instant::now());
        }
        may
    }

    /// Gives up the reserve. Returns whether a base fits then that is worth it.
    pub(super) fn spend_reserve(&mut self, shared: &Shared, source: &dyn Source) -> bool {
        let dir = &shared.dir;
        let reserve_bytes = dir.reserve_bytes();
        // What fails here is tried again a moment later.
        if reserve_bytes > 0 && dir.set_reserve(&shared.disk, 0).is_ok() {
            self.spent_bytes += reserve_bytes;
        }
        let (Some(space), Ok(listing)) = (dir.space(), dir.list()) else {
            return false;
        };
        let needed = base_bytes(source);
        space.free_bytes > needed + SLACK_BYTES / 4 && is_worth_it(dir.files_bytes(listing.all()), needed)
    }

    /// What is said while deletions alone are taken; none where there is room for more: for a base of the store, or
    /// because somebody has made some since the disk was full.
    pub(super) fn short(&mut self, shared: &Shared, source: &dyn Source) -> Option<Health> {
        let Space {
            free_bytes,
            total_bytes,
        } = shared.dir.space()?;
        let needed = base_bytes(source) + SLACK_BYTES;
        let made_by_others = free_bytes.saturating_sub(self.spent_bytes);
        if free_bytes > needed + SLACK_BYTES
            || made_by_others >= (total_bytes / 64).clamp(SLACK_BYTES / 4, 64 << 20)
        {
            return None;
        }
        let follows = shared.locks.writer().follows();
        let remedy = match follows {
            true => "make room on the disk, or delete keys of the primary",
            false => "delete keys, which is possible, or make room on the disk",
        };
        let why =
            format!("{free_bytes} bytes are free, and a new base of the store takes {needed}; {remedy}");
        Some(Health::Short { why })
    }
}
