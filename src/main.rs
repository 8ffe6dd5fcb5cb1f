//! The program.

use std::process::ExitCode;
#[cfg(target_os = "linux")]
use std::time::{SystemTime, UNIX_EPOCH};

/// A small key and value share an allocation; jemalloc's size classes waste the least on such.
/// `.cargo/config.toml` has its settings.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's own threads count the time in 64 bits of nanoseconds since 1970. Where the clock shows more they would
/// never rest, so they are switched off: what was freed then goes back to the system when something else is freed.
#[cfg(target_os = "linux")]
fn keep_allocator_at_rest() {
    let shown = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if shown.as_nanos() > u64::MAX.into() {
        // Without it the threads only cost time.
        let _ = tikv_jemalloc_ctl::background_thread::write(false);
    }
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    keep_allocator_at_rest();
    pykv::run(std::env::args_os().collect())
}
