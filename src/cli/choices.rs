//! What flags of a node choose among.

use crate::wal;
use clap::ValueEnum;

/// When the log is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fsync {
    /// Before each answer: nothing acknowledged is ever lost
    Always,
    /// Once a second: a power cut may take the last second
    Everysec,
    /// When the system likes: a power cut may take what the system held
    No,
}

impl Fsync {
    /// What it means to the log.
    pub(crate) fn policy(self) -> wal::Policy {
        match self {
            Fsync::Always => wal::Policy::Always,
            Fsync::Everysec => wal::Policy::Everysec,
            Fsync::No => wal::Policy::No,
        }
    }
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// How much a node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As the `log` crate has it.
    pub(crate) fn filter(self) -> log::LevelFilter {
        match self {
            LogLevel::Off => log::LevelFilter::Off,
            LogLevel::Error => log::LevelFilter::Error,
            LogLevel::Warn => log::LevelFilter::Warn,
            LogLevel::Info => log::LevelFilter::Info,
            LogLevel::Debug => log::LevelFilter::Debug,
            LogLevel::Trace => log::LevelFilter::Trace,
        }
    }
}
