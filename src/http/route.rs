//! What a path names, which methods it takes, and what a token must allow for it.

use super::auth::Scope;
use super::page;
use super::problem::{self, Problem};
use super::target;
use super::template::Template;
use crate::api;
use std::borrow::Cow;
use tiny_http::Method;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// All keys.
    Keys,
    /// One key, decoded and not yet checked.
    Key(Cow<'a, str>),
    Batch,
    Watch,
    Compact,
    Backup,
    /// A file of the web page.
    Page(&'static page::File),
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
    /// What a node says of itself to another.
    Hello,
    /// Asks a primary to hold its writers.
    Handover,
    /// The log, for followers.
    Log,
    /// The state, for followers.
    Snapshot,
}

impl<'a> Route<'a> {
    pub(super) fn of_path(path: &'a str) -> Result<Route<'a>, Problem> {
        Ok(match path.strip_prefix(api::PATH_KV) {
            Some("") => Route::Keys,
            Some(key) => Route::Key(target::decode(key, problem::BAD_KEY)?),
            None => match path {
                api::PATH_BATCH => Route::Batch,
                api::PATH_WATCH => Route::Watch,
                api::PATH_COMPACT => Route::Compact,
                api::PATH_BACKUP => Route::Backup,
                api::PATH_STATUS => Route::Status,
                api::PATH_STATS => Route::Stats,
                api::PATH_HISTORY => Route::History,
                api::PATH_METRICS => Route::Metrics,
                api::PATH_HEALTHZ => Route::Healthz,
                api::PATH_READYZ => Route::Readyz,
                api::PATH_PRIMARY => Route::Primary,
                api::PATH_REPLICA => Route::Replica,
                api::PATH_PROMOTE => Route::Promote,
                api::PATH_FORGET => Route::Forget,
                api::PATH_REPLICATION_HELLO => Route::Hello,
                api::PATH_REPLICATION_HANDOVER => Route::Handover,
                api::PATH_REPLICATION_LOG => Route::Log,
                api::PATH_REPLICATION_SNAPSHOT => Route::Snapshot,
                _ => match page::file(path) {
                    Some(file) => Route::Page(file),
                    None => return Err(Problem::new(problem::NO_PATH, "keys are under /kv/")),
                },
            },
        })
    }

    /// The methods it takes.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Route::Compact
            | Route::Promote
            | Route::Forget
            | Route::Hello
            | Route::Handover
            | Route::Batch => &["POST"],
            Route::Keys => &["GET", "HEAD", "POST", "DELETE"],
            Route::Key(_) => &["GET", "HEAD", "PUT", "PATCH", "DELETE"],
            // A HEAD of a piece of the log would be an acknowledgement.
            Route::Log | Route::Snapshot => &["GET"],
            Route::Watch
            | Route::Backup
            | Route::Status
            | Route::Stats
            | Route::History
            | Route::Metrics
            | Route::Healthz
            | Route::Readyz
            | Route::Primary
            | Route::Replica
            | Route::Page(_) => &["GET", "HEAD"],
        }
    }

    /// Whether it is about keys and values, and not about the node.
    pub(super) fn is_data(&self) -> bool {
        matches!(
            self,
            Route::Keys | Route::Key(_) | Route::Batch | Route::Watch | Route::Backup
        )
    }

    /// Whether no page of another site has any business with reading it: it is the node's whole state, or asking is
    /// an act (a poll of the log is an acknowledgement).
    pub(super) fn is_guarded(&self) -> bool {
        matches!(self, Route::Backup | Route::Log | Route::Snapshot)
    }

    /// What a token must allow; none where no token is asked for.
    pub(super) fn scope(&self, method: &Method) -> Option<Scope> {
        match (self, method) {
            (Route::Page(_) | Route::Healthz | Route::Readyz | Route::Primary | Route::Replica, _) => None,
            (
                Route::Compact
                | Route::Backup
                | Route::Promote
                | Route::Forget
                | Route::Hello
                | Route::Handover
                | Route::Log
                | Route::Snapshot,
                _,
            ) => Some(Scope::Admin),
            (_, Method::Get | Method::Head) => Some(Scope::Read),
            _ => Some(Scope::Write),
        }
    }

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

    /// The path that a request has in descriptions which may not come in.
    pub(super) fn template_of(path: &str) -> Template {
        Route::of_path(path).map_or(Template::Unmatched, |route| route.template())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn paths() {
        assert_eq!(Route::of_path("/kv/").unwrap(), Route::Keys);
        assert_eq!(Route::of_path("/kv/a%2Fb/c").unwrap(), Route::Key("a/b/c".into()));
        assert_eq!(Route::of_path("/kv//").unwrap(), Route::Key("/".into()));
        assert_eq!(Route::of_path("/status").unwrap(), Route::Status);
        assert!(matches!(Route::of_path("/").unwrap(), Route::Page(_)));
        for (path, status) in [
            ("/kv", 404),
            ("/page", 404),
            ("/page/", 404),
            ("/page/nothing.js", 404),
            ("/status/", 404),
            ("/kv/%", 400),
            ("/kv/%ff", 400),
        ] {
            assert_eq!(Route::of_path(path).unwrap_err().kind.status, status, "{path}");
        }
    }

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
