//! The paths of the API as its descriptions name them, with what changes from request to request left open: what
//! requests are counted by.

use crate::api;

/// A path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    Key,
    Keys,
    Batch,
    Watch,
    Compact,
    Backup,
    Page,
    Status,
    Stats,
    History,
    Metrics,
    Healthz,
    Readyz,
    Primary,
    Replica,
    Promote,
    Forget,
    Hello,
    Handover,
    Log,
    Snapshot,
    /// No path that there is, or no request that could be read.
    Unmatched,
}

impl Template {
    pub(super) const ALL: [Template; 22] = [
        Template::Key,
        Template::Keys,
        Template::Batch,
        Template::Watch,
        Template::Compact,
        Template::Backup,
        Template::Page,
        Template::Status,
        Template::Stats,
        Template::History,
        Template::Metrics,
        Template::Healthz,
        Template::Readyz,
        Template::Primary,
        Template::Replica,
        Template::Promote,
        Template::Forget,
        Template::Hello,
        Template::Handover,
        Template::Log,
        Template::Snapshot,
        Template::Unmatched,
    ];

    /// As a label.
    pub(super) fn path(self) -> &'static str {
        match self {
            Template::Key => "/kv/{key}",
            Template::Keys => api::PATH_KV,
            Template::Batch => api::PATH_BATCH,
            Template::Watch => api::PATH_WATCH,
            Template::Compact => api::PATH_COMPACT,
            Template::Backup => api::PATH_BACKUP,
            Template::Page => "/page/{file}",
            Template::Status => api::PATH_STATUS,
            Template::Stats => api::PATH_STATS,
            Template::History => api::PATH_HISTORY,
            Template::Metrics => api::PATH_METRICS,
            Template::Healthz => api::PATH_HEALTHZ,
            Template::Readyz => api::PATH_READYZ,
            Template::Primary => api::PATH_PRIMARY,
            Template::Replica => api::PATH_REPLICA,
            Template::Promote => api::PATH_PROMOTE,
            Template::Forget => api::PATH_FORGET,
            Template::Hello => api::PATH_REPLICATION_HELLO,
            Template::Handover => api::PATH_REPLICATION_HANDOVER,
            Template::Log => api::PATH_REPLICATION_LOG,
            Template::Snapshot => api::PATH_REPLICATION_SNAPSHOT,
            Template::Unmatched => "unmatched",
        }
    }

    /// Whether its requests take as long as they like: they wait for what is to come, or have an answer without end.
    pub(super) fn waits(self) -> bool {
        matches!(
            self,
            Template::Watch
                | Template::Compact
                | Template::Backup
                | Template::Promote
                | Template::Log
                | Template::Snapshot
        )
    }
}
