//! A node behind nginx and HAProxy, each with its defaults, as most who put one in front of it leave them.
//!
//! Expectations come from RFC 9110 and from what the two document of themselves.

use crate::common::{SOON, Server, eventually, skip};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A proxy in front of a node, listening on a socket of its own directory; killed on drop.
struct Proxy {
    child: Child,
    socket: PathBuf,
    _home: TempDir,
}

impl Proxy {
    /// Starts a program with a configuration; none where it is not installed. `SOCKET` and `HOME` in it are the
    /// proxy's own, `NODE` is the node's address.
    fn start(program: &str, args: &[&str], config: &str, node: &Server) -> Option<Proxy> {
        let home = TempDir::new().unwrap();
        let socket = home.path().join("socket");
        let config = config
            .replace("SOCKET", socket.to_str().unwrap())
            .replace("HOME", home.path().to_str().unwrap())
            .replace("NODE", &node.address().to_string());
        let path = home.path().join("config");
        std::fs::write(&path, config).unwrap();
        let child = Command::new(program)
            .args(args)
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let proxy = Proxy {
            child,
            socket,
            _home: home,
        };
        eventually("the proxy listens", || UnixStream::connect(&proxy.socket).is_ok());
        Some(proxy)
    }

    /// nginx, which also shows the node below `/below/`; with some more of its directives.
    fn nginx(node: &Server, more: &str) -> Option<Proxy> {
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path HOME/{name};\n"))
            .collect();
        let config = format!(
            "user root; daemon off; master_process off; pid HOME/pid; events {{}}\n\
             http {{ access_log off; {temporary} {more}\n\
             server {{ listen unix:SOCKET;\n\
             location / {{ proxy_pass http://NODE; }}\n\
             location /below/ {{ proxy_pass http://NODE/; }} }} }}"
        );
        Proxy::start("nginx", &["-e", "/dev/null", "-c"], &config, node)
    }

    fn haproxy(node: &Server) -> Option<Proxy> {
        let config = "defaults\n mode http\n timeout connect 5s\n timeout client 50s\n timeout server 50s\n\
                      frontend all\n bind unix@SOCKET\n default_backend node\n\
                      backend node\n server node NODE\n";
        Proxy::start("haproxy", &["-db", "-f"], config, node)
    }

    /// Those that are installed, and what they are.
    fn both(node: &Server) -> Vec<(&'static str, Proxy)> {
        let all = [
            ("nginx", Proxy::nginx(node, "")),
            ("haproxy", Proxy::haproxy(node)),
        ];
        let there = all.into_iter().filter_map(|(name, proxy)| Some((name, proxy?)));
        there.collect()
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        BufReader::new(stream)
    }

    /// One request on a connection of its own: status, head and body.
    fn ask(&self, request: &str, fields: &str, body: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        let bytes =
            format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n{body}");
        stream.get_mut().write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    fn post(&self, path: &str, fields: &str, key: &str) -> (u16, String, String) {
        let body = format!(r#"{{"key":"{key}","value":"v"}}"#);
        let length = body.len();
        let fields = format!("{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n");
        self.ask(&format!("POST {path}"), &fields, &body)
    }
}

/// One process each, so that none is left once it is killed.
impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a field.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
}

#[test]
fn an_event_is_passed_on_as_soon_as_it_is_there() {
    let node = Server::start(&[]);
    let proxies = Proxy::both(&node);
    if proxies.is_empty() {
        return skip(
            "an_event_is_passed_on_as_soon_as_it_is_there",
            "there is no proxy",
        );
    }
    for (name, proxy) in &proxies {
        let mut stream = proxy.connect();
        stream
            .get_mut()
            .write_all(b"GET /watch HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            .unwrap();
        let mut lines = stream.lines().map(|line| line.expect("the stream goes on"));
        // Before there is any event, the head is there and where to go on from.
        assert!(lines.any(|line| line.starts_with("id: ")), "{name}");
        node.client().add(name, "seen").expect(201);
        let data = lines.find(|line| line.starts_with("data: ")).unwrap();
        assert!(data.contains("seen") && data.contains(name), "{data}");
    }
}

#[test]
fn writes_and_conditions_come_through() {
    let node = Server::start(&[]);
    for (name, proxy) in Proxy::both(&node) {
        assert_eq!(proxy.post("/kv/", "", name).0, 201, "{name}");
        let (status, head, _) = proxy.ask(&format!("GET /kv/{name}"), "", "");
        let tag = field(&head, "ETag").unwrap().to_owned();
        assert_eq!(status, 200, "{name}");
        let put = format!("PUT /kv/{name}");
        let lines = format!("If-Match: \"1\", {tag}\r\nContent-Length: 1\r\n");
        assert_eq!(proxy.ask(&put, &lines, "w").0, 200, "{name}");
        assert_eq!(proxy.ask(&put, &lines, "w").0, 412, "{name}");
        // A proxy may put such a framing on a request that has no body.
        let empty = "Transfer-Encoding: chunked\r\n";
        assert_eq!(
            proxy.ask(&format!("DELETE /kv/{name}"), empty, "0\r\n\r\n").0,
            204,
            "{name}"
        );
    }
}

#[test]
fn a_location_leads_to_the_key_below_any_path() {
    let node = Server::start(&[]);
    let Some(proxy) = Proxy::nginx(&node, "") else {
        return skip(
            "a_location_leads_to_the_key_below_any_path",
            "nginx is not installed",
        );
    };
    for (base, key) in [
        ("/kv/", "plain"),
        ("/below/kv/", "mailto:me"),
        ("/below/kv/", "a/b c"),
    ] {
        let (status, head, _) = proxy.post(base, "", key);
        assert_eq!(status, 201, "{key}");
        // RFC 3986, 5.2: a path that begins with `./` is taken from the base's last slash on.
        let location = field(&head, "Location").unwrap().strip_prefix("./").unwrap();
        assert_eq!(
            proxy.ask(&format!("GET {base}{location}"), "", "").0,
            200,
            "{location}"
        );
    }
}

#[test]
fn the_page_writes_behind_a_proxy_that_the_node_knows_of() {
    let fields = "Origin: https://kv.example.org\r\n";
    let node = Server::start(&[]);
    let Some(proxy) = Proxy::nginx(&node, "") else {
        return skip(
            "the_page_writes_behind_a_proxy_that_the_node_knows_of",
            "nginx is not installed",
        );
    };
    let (status, _, body) = proxy.post("/kv/", fields, "k");
    assert_eq!(status, 403);
    assert!(body.contains("--host-name"), "{body}");
    let node = Server::start(&["--host-name", "kv.example.org"]);
    let proxy = Proxy::nginx(&node, "").unwrap();
    assert_eq!(proxy.post("/kv/", fields, "k").0, 201);
}

/// nginx takes 1 MiB by itself, as its documentation of client_max_body_size says, and a node 8 MiB.
#[test]
fn a_large_batch_goes_through_nginx_with_the_bound_that_the_document_names() {
    const DOCUMENT: &str = include_str!("../../docs/security.md");
    const BOUND: &str = "client_max_body_size 8m;";
    assert!(DOCUMENT.contains(BOUND));
    let node = Server::start(&[]);
    let value = "v".repeat(900_000);
    let set = |key: &str| json!({"op": "set", "key": key, "value": value});
    let body = json!({"operations": [set("a"), set("b")]}).to_string();
    let fields = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    let Some(proxy) = Proxy::nginx(&node, "") else {
        return skip(
            "a_large_batch_goes_through_nginx_with_the_bound_that_the_document_names",
            "nginx is not installed",
        );
    };
    assert_eq!(proxy.ask("POST /batch", &fields, &body).0, 413);
    let proxy = Proxy::nginx(&node, BOUND).unwrap();
    assert_eq!(proxy.ask("POST /batch", &fields, &body).0, 200);
}

#[test]
fn behind_a_proxy_that_compresses_the_version_is_the_tag() {
    let node = Server::start(&[]);
    let gzip = "gzip on; gzip_proxied any; gzip_min_length 1; gzip_types application/json;";
    let Some(proxy) = Proxy::nginx(&node, gzip) else {
        return skip(
            "behind_a_proxy_that_compresses_the_version_is_the_tag",
            "nginx is not installed",
        );
    };
    let version = node.client().add("k", "v").expect(201).body_json()["version"]
        .as_u64()
        .unwrap();
    let mut stream = proxy.connect();
    let request =
        "GET /kv/k HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer).into_owned();
    let tag = field(&head, "ETag").unwrap();
    assert_eq!(
        tag,
        format!("W/\"{version}\""),
        "a coded body is another representation"
    );
    let put = |tag: &str| {
        proxy
            .ask(
                "PUT /kv/k",
                &format!("If-Match: {tag}\r\nContent-Length: 1\r\n"),
                "w",
            )
            .0
    };
    assert_eq!(put(tag), 412, "a weak tag never matches");
    assert_eq!(put(&format!("\"{version}\"")), 200);
}
