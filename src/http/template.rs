//! The paths of the API as its descriptions name them, with what changes from request to request left open: what
//! requests are counted by.

use super::routes::Route;
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

    /// That of a request that may not come in.
    pub(super) fn of_path(path: &str) -> Template {
        Route::of_path(path).map_or(Template::Unmatched, |route| route.template())
    }
}

impl Route<'_> {
    /// The path that it has in descriptions.
    pub(super) fn template(&self) -> Template {
        match self {
            Route::Key(_) => Template::Key,
            Route::Keys => Template::Keys,
            Route::Batch => Template::Batch,
            Route::Watch => Template::Watch,
            Route::Compact => Template::Compact,
            Route::Backup => Template::Backup,
            Route::Page(_) => Template::Page,
            Route::Status => Template::Status,
            Route::Stats => Template::Stats,
            Route::History => Template::History,
            Route::Metrics => Template::Metrics,
            Route::Healthz => Template::Healthz,
            Route::Readyz => Template::Readyz,
            Route::Primary => Template::Primary,
            Route::Replica => Template::Replica,
            Route::Promote => Template::Promote,
            Route::Forget => Template::Forget,
            Route::Hello => Template::Hello,
            Route::Handover => Template::Handover,
            Route::Log => Template::Log,
            Route::Snapshot => Template::Snapshot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{page, problem};
    use serde_json::{Value, json};

    fn description() -> Value {
        let file = page::file("/openapi.json").unwrap();
        serde_json::from_slice(file.bytes()).unwrap()
    }

    /// The description has what there is, and nothing else: paths, methods, kinds of problems.
    #[test]
    fn the_description_has_every_route_and_problem() {
        let description = description();
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut described: Vec<&str> = Vec::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            let sample = path.replace("{key}", "a").replace("{file}", "app.js");
            let route = Route::of_path(&sample).unwrap_or_else(|_| panic!("nothing is at {path}"));
            if !matches!(path.as_str(), "/" | "/docs" | "/openapi.json") {
                assert_eq!(route.template().path(), path);
                described.push(path);
            }
            let methods = item
                .as_object()
                .unwrap()
                .keys()
                .map(|method| method.to_uppercase());
            let methods: Vec<String> = methods.filter(|name| name != "PARAMETERS").collect();
            for method in route.methods() {
                let is_implied = *method == "HEAD" && !path.starts_with(api::PATH_KV);
                assert!(
                    is_implied || methods.iter().any(|name| name == method),
                    "{method} {path}"
                );
            }
            assert!(
                methods
                    .iter()
                    .all(|name| route.methods().contains(&name.as_str())),
                "{path}"
            );
        }
        for template in Template::ALL {
            let is_there = template == Template::Unmatched || described.contains(&template.path());
            assert!(is_there, "{} is not described", template.path());
        }
        let mut kinds: Vec<Value> = Vec::new();
        for kind in problem::KINDS {
            let name = json!(format!("urn:pykv:problem:{}", kind.name));
            if !kinds.contains(&name) {
                kinds.push(name);
            }
            let response = &description["components"]["responses"][format!("P{}", kind.status)];
            assert!(response.is_object(), "{}", kind.status);
        }
        let problem = &description["components"]["schemas"]["Problem"];
        assert_eq!(problem["properties"]["type"]["enum"], Value::Array(kinds));
    }
}
