//! The routes: one table of paths, with the methods that each takes, what a token must allow for it, and what its
//! requests are counted by.

use crate::api;
use crate::auth::Scope;
use crate::http::problem::{self, Problem};
use crate::http::target;
use crate::observe::Label;
use crate::page;
use std::borrow::Cow;
use tiny_http::Method;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// One key.
    Key,
    /// All keys.
    Keys,
    Batch,
    Watch,
    Compact,
    Backup,
    /// A file of the web page.
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
    /// What a node says of itself to another.
    Hello,
    /// Asks a primary to hold its writers.
    Handover,
    /// The log, for followers.
    Log,
    /// The state, for followers.
    Snapshot,
    /// What members of a cluster ask each other where etcd decides.
    Election,
    /// The nodes of such a cluster, and what is done to it.
    Cluster,
    Switchover,
    Failover,
    Pause,
    Resume,
    Leader,
    Liveness,
    /// The requests that took long, of late.
    Slow,
    /// The other nodes, as they describe themselves.
    Nodes,
    /// What was set aside of a log.
    Diverged,
}

/// What a token must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Nothing: no token is asked for.
    Open,
    /// To read for GET and HEAD, to write for the rest.
    ByMethod,
    /// Everything.
    Admin,
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    resource: Resource,
    label: Label,
    methods: &'static [&'static str],
    access: Access,
    /// Whether its POST and PATCH have a body.
    has_body: bool,
    is_guarded: bool,
}

const GET: &[&str] = &["GET", "HEAD"];
/// Of what must not be asked for with HEAD: a HEAD of a chunk of the log would be an acknowledgement.
const GET_ALONE: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];

const fn row(
    resource: Resource,
    path: &'static str,
    methods: &'static [&'static str],
    access: Access,
) -> Row {
    let label = Label {
        path,
        is_data: false,
        waits: false,
    };
    Row {
        resource,
        label,
        methods,
        access,
        has_body: false,
        is_guarded: false,
    }
}

impl Row {
    /// It is about keys and values, and not about the node.
    const fn data(mut self) -> Row {
        self.label.is_data = true;
        self
    }

    /// Its requests take as long as they like: they wait for what is to come, or have an answer without end.
    const fn waits(mut self) -> Row {
        self.label.waits = true;
        self
    }

    const fn with_body(mut self) -> Row {
        self.has_body = true;
        self
    }

    /// No page of another site has any business with reading it: it is the node's whole state, or asking is an act
    /// (a poll of the log is an acknowledgement).
    const fn guarded(mut self) -> Row {
        self.is_guarded = true;
        self
    }
}

/// The table; a row stands where its resource says.
#[rustfmt::skip]
static ROUTES: [Row; 32] = {
    use Access::{Admin, ByMethod, Open};
    [
        row(Resource::Key, "/kv/{key}", &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], ByMethod).data().with_body(),
        row(Resource::Keys, api::PATH_KV, &["GET", "HEAD", "POST", "DELETE"], ByMethod).data().with_body(),
        row(Resource::Batch, api::PATH_BATCH, POST, ByMethod).data().with_body(),
        row(Resource::Watch, api::PATH_WATCH, GET, ByMethod).data().waits(),
        row(Resource::Compact, api::PATH_COMPACT, POST, Admin).waits(),
        row(Resource::Backup, api::PATH_BACKUP, GET, Admin).data().waits().guarded(),
        row(Resource::Page, "/page/{file}", GET, Open),
        row(Resource::Status, api::PATH_STATUS, GET, ByMethod),
        row(Resource::Stats, api::PATH_STATS, GET, ByMethod),
        row(Resource::History, api::PATH_HISTORY, GET, ByMethod),
        row(Resource::Metrics, api::PATH_METRICS, GET, ByMethod),
        row(Resource::Healthz, api::PATH_HEALTHZ, GET, Open),
        row(Resource::Readyz, api::PATH_READYZ, GET, Open),
        row(Resource::Primary, api::PATH_PRIMARY, GET, Open),
        row(Resource::Replica, api::PATH_REPLICA, GET, Open),
        row(Resource::Promote, api::PATH_PROMOTE, POST, Admin).waits(),
        row(Resource::Forget, api::PATH_FORGET, POST, Admin),
        row(Resource::Hello, api::PATH_REPLICATION_HELLO, POST, Admin).with_body(),
        row(Resource::Handover, api::PATH_REPLICATION_HANDOVER, POST, Admin).with_body(),
        row(Resource::Log, api::PATH_REPLICATION_LOG, GET_ALONE, Admin).waits().guarded(),
        row(Resource::Snapshot, api::PATH_REPLICATION_SNAPSHOT, GET_ALONE, Admin).waits().guarded(),
        row(Resource::Election, api::PATH_REPLICATION_ELECTION, POST, Admin).with_body(),
        row(Resource::Cluster, api::PATH_CLUSTER, GET, ByMethod).waits(),
        row(Resource::Switchover, api::PATH_SWITCHOVER, POST, Admin).waits(),
        row(Resource::Failover, api::PATH_FAILOVER, POST, Admin).waits(),
        row(Resource::Pause, api::PATH_PAUSE, POST, Admin).waits(),
        row(Resource::Resume, api::PATH_RESUME, POST, Admin).waits(),
        row(Resource::Leader, api::PATH_LEADER, GET, Open),
        row(Resource::Liveness, api::PATH_LIVENESS, GET, Open),
        row(Resource::Slow, api::PATH_SLOW, GET, ByMethod),
        row(Resource::Nodes, api::PATH_NODES, GET, ByMethod).waits(),
        row(Resource::Diverged, api::PATH_DIVERGED, GET, Admin).waits().guarded(),
    ]
};

/// What requests are counted by, in the order of the table.
pub(crate) fn labels() -> impl Iterator<Item = Label> {
    ROUTES.iter().map(|row| row.label)
}

/// What a path names, and which of its kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    pub(crate) resource: Resource,
    /// Of a [`Resource::Key`]: the key, decoded and not yet checked.
    pub(crate) key: Cow<'a, str>,
    /// Of a [`Resource::Page`]: the file.
    pub(crate) file: Option<&'static page::File>,
}

impl<'a> Route<'a> {
    fn new(resource: Resource) -> Route<'a> {
        Route {
            resource,
            key: Cow::Borrowed(""),
            file: None,
        }
    }

    pub(crate) fn of_path(path: &'a str) -> Result<Route<'a>, Problem> {
        match path.strip_prefix(api::PATH_KV) {
            Some("") => return Ok(Route::new(Resource::Keys)),
            Some(key) => {
                return Ok(Route {
                    key: target::decode(key, problem::BAD_KEY)?,
                    ..Route::new(Resource::Key)
                });
            }
            None if path == "/kv" => return Ok(Route::new(Resource::Keys)),
            None => {}
        }
        let of_node = ROUTES.iter().filter(|row| row.resource != Resource::Page);
        if let Some(row) = of_node.into_iter().find(|row| row.label.path == path) {
            return Ok(Route::new(row.resource));
        }
        match page::file(path) {
            Some(file) => Ok(Route {
                file: Some(file),
                ..Route::new(Resource::Page)
            }),
            None => Err(Problem::new(problem::NO_PATH, "keys are under /kv/")),
        }
    }

    fn row(&self) -> &'static Row {
        &ROUTES[self.resource as usize]
    }

    /// The methods it takes.
    pub(crate) fn methods(&self) -> &'static [&'static str] {
        self.row().methods
    }

    /// Whether it is about keys and values, and not about the node.
    pub(crate) fn is_data(&self) -> bool {
        self.row().label.is_data
    }

    /// Whether a POST or PATCH of it has a body.
    pub(crate) fn has_body(&self) -> bool {
        self.row().has_body
    }

    /// Whether no page of another site may even read it.
    pub(crate) fn is_guarded(&self) -> bool {
        self.row().is_guarded
    }

    /// Whether pages of other origins may use it, where `--allow-origin` names them: it is neither administration nor
    /// replication.
    pub(crate) fn is_for_applications(&self) -> bool {
        self.row().access != Access::Admin
    }

    /// What a token must allow; none where no token is asked for.
    pub(crate) fn scope(&self, method: &Method) -> Option<Scope> {
        match (self.row().access, method) {
            (Access::Open, _) => None,
            (Access::Admin, _) => Some(Scope::Admin),
            (Access::ByMethod, Method::Get | Method::Head) => Some(Scope::Read),
            (Access::ByMethod, _) => Some(Scope::Write),
        }
    }

    /// The path that it has in descriptions.
    #[cfg(test)]
    fn template(&self) -> &'static str {
        self.row().label.path
    }

    /// The number of its row, which its requests are counted by.
    pub(crate) fn number(&self) -> usize {
        self.resource as usize
    }

    /// That of a request which may not come in; none where nothing is at its path.
    pub(crate) fn number_of(path: &str) -> Option<usize> {
        Route::of_path(path).ok().map(|route| route.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn paths() {
        for (path, resource, key) in [
            ("/kv/", Resource::Keys, ""),
            ("/kv", Resource::Keys, ""),
            ("/kv/a%2Fb/c", Resource::Key, "a/b/c"),
            ("/kv//", Resource::Key, "/"),
            ("/kv/{key}", Resource::Key, "{key}"),
            ("/status", Resource::Status, ""),
            ("/", Resource::Page, ""),
        ] {
            let route = Route::of_path(path).unwrap();
            assert_eq!((route.resource, &*route.key), (resource, key), "{path}");
            assert_eq!(route.file.is_some(), resource == Resource::Page, "{path}");
        }
        for (path, status) in [
            ("/kvs", 404),
            ("/page", 404),
            ("/page/", 404),
            ("/page/nothing.js", 404),
            ("/page/{file}", 404),
            ("/status/", 404),
            ("/kv/%", 400),
            ("/kv/%ff", 400),
        ] {
            assert_eq!(Route::of_path(path).unwrap_err().kind.status, status, "{path}");
        }
    }

    #[test]
    fn a_row_stands_where_its_resource_says() {
        for (row, number) in ROUTES.iter().zip(0..) {
            assert_eq!(row.resource as usize, number, "{}", row.label.path);
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
                assert_eq!(route.template(), path);
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
        for label in labels() {
            assert!(described.contains(&label.path), "{} is not described", label.path);
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
