//! TLS as others speak it: Python, `sslscan`, a browser, nodes that come back, certificates in place of tokens.

use crate::common::browser::Browser;
use crate::common::node::Setup;
use crate::common::tls::{Ca, Pair, TlsClient, certificates, url};
use crate::common::{Client, Server, eventually, pykv, skip};
use rustix::process::Signal;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// A run of `pykv` against a node: its exit status, and what it says.
fn run(node: &Server, ca: &Ca, args: &[&str]) -> (Option<i32>, String) {
    let output = pykv(args)
        .env("PYKV_SERVER", &url(node))
        .env("PYKV_TLS_CA", &ca.file())
        .run();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.code, said + &output.stderr)
}

#[track_caller]
fn done(node: &Server, ca: &Ca, args: &[&str]) -> String {
    let (code, said) = run(node, ca, args);
    assert_eq!(code, Some(0), "{args:?}: {said}");
    said.trim_end().to_owned()
}

/// What a program says; none where it is not installed.
fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(said + &String::from_utf8_lossy(&output.stderr))
}

/// One request of a client without a token.
fn ask(node: &Server, ca: &Ca, path: &str) -> (String, Vec<u8>) {
    let mut client = TlsClient::connect(node.address(), ca);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
    client.answer()
}

const PYTHON: &str = "
import http.client, ssl, sys
port, ca, old = int(sys.argv[1]), sys.argv[2], ssl.TLSVersion.TLSv1_2
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection('localhost', port, context=context, timeout=30)
    body = bytes(range(256)) * 4096
    headers = {'Content-Type': 'application/octet-stream'}
    for path in ('/kv/large?upsert=true', '/kv/again?upsert=true'):
        connection.request('PUT', path, body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 201), answer.status
    connection.request('GET', '/kv/large', headers={'Accept': 'application/octet-stream'})
    answer = connection.getresponse()
    assert answer.read() == body
    print(connection.sock.version(), connection.sock.cipher()[0])
try:
    stranger = ssl.create_default_context()
    http.client.HTTPSConnection('localhost', port, context=stranger, timeout=30).request('GET', '/healthz')
except ssl.SSLCertVerificationError:
    print('a stranger trusts nobody')
";

#[test]
fn python_speaks_with_a_node() {
    let (_dir, ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    let port = node.address().port().to_string();
    let Some(said) = output_of("python3", &["-c", PYTHON, &port, &ca.file()]) else {
        return skip("python_speaks_with_a_node", "python3 is not there");
    };
    for line in [
        "TLSv1.2 ECDHE-ECDSA-AES",
        "TLSv1.3 TLS_",
        "a stranger trusts nobody",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

/// The ciphers that a scan finds, which RFC 9325, 4.2 recommends or TLS 1.3 has; and no version before 1.2.
#[test]
fn a_scan_finds_no_weak_cipher_and_no_old_version() {
    let (_dir, _ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    let address = node.address().to_string();
    let Some(said) = output_of("sslscan", &["--no-colour", "--xml=-", &address]) else {
        return skip("a_scan_finds_no_weak_cipher", "sslscan is not there");
    };
    let enabled: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("<protocol ") && line.contains("enabled=\"1\""))
        .filter_map(|line| line.split("version=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(enabled, ["1.2", "1.3"], "{said}");
    let ciphers: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("<cipher "))
        .filter_map(|line| line.split("cipher=\"").nth(1)?.split('"').next())
        .collect();
    assert!(ciphers.len() >= 4, "{said}");
    for cipher in ciphers {
        let is_sealed = ["GCM", "CHACHA20"].iter().any(|part| cipher.contains(part));
        let is_forward_secret = cipher.starts_with("TLS_") || cipher.starts_with("ECDHE-");
        assert!(is_sealed && is_forward_secret, "{cipher}");
    }
    let renegotiation = said.lines().find(|line| line.contains("<renegotiation "));
    assert!(
        renegotiation.is_none_or(|line| line.contains("supported=\"0\"")),
        "{said}"
    );
}

/// RFC 6797, 7.2: the field stands in answers over TLS, and in no other.
#[test]
fn a_browser_is_sent_to_https_alone_only_where_that_is_asked_for() {
    const FIELD: &str = "Strict-Transport-Security:";
    let (dir, ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    assert!(!ask(&node, &ca, "/").0.contains(FIELD));
    let socket = dir.path().join("socket");
    let listen = format!("unix:{}", socket.display());
    let flags = [&pair.flags()[..], &["--tls-hsts", "30d", "--listen", &listen]].concat();
    let node = Server::start(&flags);
    for path in ["/", "/kv/nope", "/nope"] {
        let (head, _) = ask(&node, &ca, path);
        assert!(
            head.contains("Strict-Transport-Security: max-age=2592000\r\n"),
            "{head}"
        );
    }
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains(FIELD));
    let output = pykv(&["serve", "--tls-hsts", "30d"]).run();
    assert_eq!(output.code, Some(2), "{}", output.stderr);
}

#[test]
fn a_client_for_which_there_is_no_room_is_told_so_under_tls_too() {
    let (_dir, ca, pair) = certificates();
    let node = Server::start(&[&pair.flags()[..], &["--max-connections", "2"]].concat());
    let mut kept: Vec<TlsClient> = (0..2).map(|_| TlsClient::connect(node.address(), &ca)).collect();
    for client in &mut kept {
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(client.answer().0.starts_with("HTTP/1.1 200"));
    }
    // RFC 8446, 6.2: a fatal alert, internal_error.
    let mut refused = TcpStream::connect(node.address()).unwrap();
    refused.set_read_timeout(Some(crate::common::SOON)).unwrap();
    let mut answer = Vec::new();
    refused.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 80]);
    let (code, said) = run(&node, &ca, &["get", "k"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("takes no more connections"), "{said}");
    drop(kept);
    eventually("there is room again", || {
        run(&node, &ca, &["get", "k"]).0 == Some(1)
    });
}

#[test]
fn the_page_the_docs_and_events_work_over_https() {
    let (_dir, ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    let Some(browser) = Browser::start_trusting_all("the_page_over_https") else {
        return;
    };
    done(&node, &ca, &["set", "colour", "green"]);
    browser.open(&format!("{}/#explorer?key=colour", url(&node)));
    browser.until_text("#value", "green");
    browser.run(
        "window.seen = []; window.source = new EventSource('/watch'); \
         source.addEventListener('set', (event) => seen.push(JSON.parse(event.data).key))",
    );
    browser.until("source.readyState === EventSource.OPEN");
    done(&node, &ca, &["set", "later", "red"]);
    browser.until("seen.includes('later')");
    browser.run("source.close()");
    assert_eq!(browser.run("return location.protocol"), "https:");
    browser.open(&format!("{}/docs", url(&node)));
    browser.until_text("body", "/kv/{key}");
    browser.check_console();
}

/// A replica takes over while its primary is away. The old primary comes back, follows, and sets aside what only it had.
#[test]
fn an_old_primary_comes_back_over_tls() {
    let (_dir, ca, pair) = certificates();
    let trust = ca.file();
    let flags = [&pair.flags()[..], &["--tls-ca", &trust]].concat();
    let first_port = free_port();
    let second_port = free_port();
    let address = |port: u16| format!("localhost:{port}");
    let start = |port: u16, from: Option<u16>, data: &Path| {
        let (listen, advertise) = (format!("127.0.0.1:{port}"), address(port));
        let more = ["--listen", &listen, "--advertise", &advertise];
        let flags = [&flags[..], &more].concat();
        let setup = match from {
            None => Setup::new(&flags),
            Some(port) => Setup::replica(&format!("https://{}", address(port)), &flags),
        };
        setup.data(data).start()
    };
    let home = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| home.path().join(name));
    let mut first = start(first_port, None, &one);
    let second = start(second_port, Some(first_port), &two);
    done(&first, &ca, &["set", "before", "1"]);
    eventually("the replica has it", || {
        run(&second, &ca, &["get", "before"]).0 == Some(0)
    });
    first.kill_9();
    done(&second, &ca, &["promote", "--force"]);
    done(&second, &ca, &["set", "after", "2"]);
    drop(first);
    // It was the primary, and its directory says so; what it is started as says whom to ask.
    let first = start(first_port, Some(second_port), &one);
    eventually("the old primary follows", || {
        run(&first, &ca, &["get", "after"]) == (Some(0), "2".to_owned())
    });
    let status: serde_json::Value = serde_json::from_slice(&ask(&first, &ca, "/status").1).unwrap();
    assert_eq!(status["role"], "replica", "{status}");
    assert_eq!(done(&first, &ca, &["get", "before"]), "1");
    // By way of the old primary, which sends it on to the new one.
    done(&first, &ca, &["set", "sent-on", "3"]);
    assert_eq!(done(&second, &ca, &["get", "sent-on"]), "3");
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A CA that takes the place of another: a replica that trusts it from then on follows again, without a restart.
#[test]
fn whom_a_replica_trusts_is_read_anew() {
    let (dir, ca, pair) = certificates();
    let other = Ca::new(dir.path(), "other");
    let trusted = dir.path().join("trusted.pem");
    std::fs::copy(other.file(), &trusted).unwrap();
    let first = Server::start(&pair.flags());
    done(&first, &ca, &["set", "k", "v"]);
    let trust = trusted.to_str().unwrap();
    let flags = [&pair.flags()[..], &["--tls-ca", trust]].concat();
    let second = Setup::replica(&url(&first), &flags).start();
    let error = || {
        let status: serde_json::Value = serde_json::from_slice(&ask(&second, &ca, "/status").1).unwrap();
        status["replication"]["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    eventually("it says whom it does not trust", || {
        error().contains("unknown CA")
    });
    // What is no certificate changes nothing.
    std::fs::write(&trusted, "nothing").unwrap();
    second.signal(Signal::HUP);
    eventually("that is told of", || {
        second.stderr().contains("other nodes are trusted as before")
    });
    std::fs::copy(ca.file(), &trusted).unwrap();
    second.signal(Signal::HUP);
    eventually("it follows", || run(&second, &ca, &["get", "k"]).0 == Some(0));
}

/// What a certificate opens, by requests of each kind: the same as a token of its line would.
#[test]
fn certificates_open_what_their_lines_say() {
    let (dir, ca, pair) = certificates();
    let tokens = dir.path().join("tokens");
    let text = "admin cert:admin.example.org\nread cert:reader.example.org\nwrite cert:writer.example.org\n\
                write cert:app1.example.org prefix=app1/\nwrite cert:old.example.org expires=2020-01-01T00:00:00Z\n\
                admin the-token-of-an-admin\n";
    std::fs::write(&tokens, text).unwrap();
    let client_ca = ca.file();
    let mut flags = pair.flags().to_vec();
    flags.extend(["--tls-client-ca", &client_ca, "--tls-client-auth", "optional"]);
    flags.extend(["--token-file", tokens.to_str().unwrap()]);
    let node = Server::start(&flags);
    let names = ["admin", "reader", "writer", "app1", "old", "nobody"];
    let given: Vec<Pair> = names
        .iter()
        .map(|name| ca.give_client(name, &[&format!("{name}.example.org")], &[], "x"))
        .collect();
    let json = |body: &str| {
        format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let value = json(r#"{"value":"v"}"#);
    let batch =
        json(r#"{"operations":[{"op":"get","key":"app1/k"},{"op":"set","key":"other","value":"v"}]}"#);
    let none = "\r\n".to_owned();
    // By whom: an admin, a reader, a writer, one of a prefix, one that has expired, one that stands for nothing; and one
    // that shows no certificate.
    #[rustfmt::skip]
    let table = [
        ("GET", "/healthz", &none, [200, 200, 200, 200, 200, 200, 200]),
        ("PUT", "/kv/app1/k?upsert=true", &value, [201, 403, 200, 200, 401, 401, 401]),
        ("PUT", "/kv/other?upsert=true", &value, [201, 403, 200, 403, 401, 401, 401]),
        ("GET", "/kv/app1/k", &none, [200, 200, 200, 200, 401, 401, 401]),
        ("GET", "/kv/other", &none, [200, 200, 200, 403, 401, 401, 401]),
        ("GET", "/kv/", &none, [200, 200, 200, 200, 401, 401, 401]),
        ("GET", "/kv/?prefix=o", &none, [200, 200, 200, 403, 401, 401, 401]),
        ("DELETE", "/kv/?prefix=zz", &none, [200, 403, 200, 403, 401, 401, 401]),
        ("POST", "/batch", &batch, [200, 403, 200, 403, 401, 401, 401]),
        ("GET", "/watch?wait=0", &none, [200, 200, 200, 200, 401, 401, 401]),
        ("GET", "/status", &none, [200, 200, 200, 200, 401, 401, 401]),
        ("GET", "/backup", &none, [200, 403, 403, 403, 401, 401, 401]),
        ("GET", "/replication/log", &none, [400, 403, 403, 403, 401, 401, 401]),
        ("POST", "/compact", &none, [202, 403, 403, 403, 401, 401, 401]),
    ];
    let shown: Vec<Option<&Pair>> = given.iter().map(Some).chain([None]).collect();
    for (method, target, rest, statuses) in table {
        for ((pair, name), expected) in shown.iter().zip(names.iter().chain(&["none"])).zip(statuses) {
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{rest}");
            let mut client = TlsClient::connect_as(node.address(), &ca, *pair);
            client.send(request.as_bytes());
            let (head, _) = client.answer();
            assert!(
                head.starts_with(&format!("HTTP/1.1 {expected} ")),
                "{method} {target} by {name}, not {expected}: {head}"
            );
        }
    }
    // A token counts in the place of a certificate.
    let mut client = TlsClient::connect_as(node.address(), &ca, Some(&given[1]));
    client.send(
        b"POST /compact HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-token-of-an-admin\r\n\r\n",
    );
    assert!(client.answer().0.starts_with("HTTP/1.1 202"));
}

/// A stream of events ends with the token that it was asked for with, once that expires or its line is taken away.
#[test]
fn a_watch_ends_with_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let soon = humantime::format_rfc3339_millis(soon);
    let lines = format!("admin the-token-of-an-admin\nread expires-soon expires={soon}\n");
    std::fs::write(&tokens, format!("{lines}read taken-away\n")).unwrap();
    let node = Server::start(&["--token-file", tokens.to_str().unwrap()]);
    let watch = |token: &str, target: &str, accept: &str| {
        let mut client = Client::connect(node.address());
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\n\r\n"
        );
        client.send(request.as_bytes()).unwrap();
        client
    };
    let all = |mut client: Client| {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(client.reader(), &mut rest).unwrap();
        String::from_utf8(rest).unwrap()
    };
    const EVENTS: &str = "text/event-stream";
    let expires = watch("expires-soon", "/watch", EVENTS);
    let poll = watch("expires-soon", "/watch?wait=60", "application/json");
    let taken_away = watch("taken-away", "/watch", EVENTS);
    let stays = watch("the-token-of-an-admin", "/watch", EVENTS);
    let put = |key: &str| {
        let headers = [
            ("Authorization", "Bearer the-token-of-an-admin"),
            ("Content-Type", "application/octet-stream"),
        ];
        let target = format!("/kv/{key}?upsert=true");
        let answer = node.client().request("PUT", &target, &headers, b"v");
        assert!(answer.is_success(), "{answer:?}");
    };
    // Ends that nothing but the clock has brought about.
    let said = all(expires);
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("0\r\n\r\n"),
        "{said}"
    );
    let said = all(poll);
    assert!(
        said.starts_with("HTTP/1.1 401") && said.contains("expired"),
        "{said}"
    );
    std::fs::write(&tokens, lines).unwrap();
    node.signal(Signal::HUP);
    eventually("the token is not known any more", || {
        let headers = [("Authorization", "Bearer taken-away")];
        node.client().request("GET", "/stats", &headers, b"").status == 401
    });
    put("secret");
    let said = all(taken_away);
    assert!(said.ends_with("0\r\n\r\n") && !said.contains("secret"), "{said}");
    // The line of this one stands in both files.
    let mut stays = stays;
    let mut seen = String::new();
    while !seen.contains("\"key\":\"secret\"") {
        let mut bytes = [0; 512];
        let count = stays.reader().read(&mut bytes).unwrap();
        assert!(count > 0, "it ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}
