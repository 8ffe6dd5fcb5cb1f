//! The clients of `docs/clients.md`, each against a cluster with tokens: they write by way of a replica, read their own
//! writes there, wait where a node says so, and show their token to nobody else.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
/// The example of the page, as it is.
#[allow(dead_code, missing_docs, unreachable_pub)]
#[rustfmt::skip]
mod ureq;

use common::cluster::Member;
use common::fake::{Fake, answer};
use common::{eventually, skip};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const TOKEN: &str = "a-token-of-32-characters-or-more";
const DOCUMENT: &str = include_str!("../../docs/clients.md");

/// The code of an example.
fn example(name: &str) -> &'static str {
    let marker = format!("<!-- client: {name} -->\n```");
    let rest = DOCUMENT.split_once(&marker).unwrap().1;
    let code = rest.split_once('\n').unwrap().1;
    code.split_once("```").unwrap().0
}

/// Two nodes, and what is no node of theirs.
struct Scene {
    home: tempfile::TempDir,
    primary: Member,
    replica: Member,
    /// Refuses once, and then has a value.
    busy: Fake,
    /// Does not know whether it has done what it was asked.
    unsure: Fake,
    /// Sends every request on to a stranger.
    astray: Fake,
    asked: Asked,
    _stranger: Fake,
}

/// How many requests came.
#[derive(Clone, Default)]
struct Asked {
    unsure: Arc<AtomicUsize>,
    stranger: Arc<AtomicUsize>,
}

impl Scene {
    fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let tokens = home.path().join("tokens");
        fs::write(&tokens, format!("admin {TOKEN}\n")).unwrap();
        let args = ["--token-file", tokens.to_str().unwrap()];
        let primary = Member::primary(&args);
        let replica = Member::replica(&[&primary], &args);
        eventually("the replica follows", || {
            replica.server.get("/replica?max_lag=2").status == 200
        });
        let asked = Asked::default();
        let problem = |headers: &str, more: &str| {
            let body = format!("{{\"title\":\"not now\",\"status\":503{more}}}");
            let headers = format!("Content-Type: application/problem+json\r\n{headers}");
            answer("503 Service Unavailable", &headers, &body)
        };
        let (refusal, count) = (problem("Retry-After: 1\r\n", ""), AtomicUsize::new(0));
        let busy = Fake::start(move |_, stream| match count.fetch_add(1, Relaxed) {
            0 => stream.write_all(&refusal),
            _ => stream.write_all(&common::fake::json("{\"value\":\"busy no more\"}")),
        });
        let (unknown, count) = (
            problem("Retry-After: 1\r\n", ",\"outcome\":\"unknown\""),
            asked.unsure.clone(),
        );
        let unsure = Fake::start(move |_, stream| {
            count.fetch_add(1, Relaxed);
            stream.write_all(&unknown)
        });
        let count = asked.stranger.clone();
        let stranger = Fake::start(move |_, stream| {
            count.fetch_add(1, Relaxed);
            stream.write_all(&common::fake::json("{\"value\":\"stolen\"}"))
        });
        let location = format!("Location: {}/kv/k\r\n", stranger.url());
        let astray = Fake::always(&answer("307 Temporary Redirect", &location, "{}"));
        Scene {
            home,
            primary,
            replica,
            busy,
            unsure,
            astray,
            asked,
            _stranger: stranger,
        }
    }

    /// The replica first, so that writes have to be sent on.
    fn nodes(&self) -> [String; 2] {
        [&self.replica, &self.primary].map(|member| format!("http://{}", member.link.address()))
    }

    /// Runs a program with what it needs to know, and holds what it says against what it should.
    #[track_caller]
    fn run(&self, program: &Path, args: &[&str]) {
        let [replica, primary] = self.nodes();
        let output = Command::new(program)
            .args(args)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("PYKV_TOKEN", TOKEN)
            .env("REPLICA", replica)
            .env("PRIMARY", primary)
            .env("BUSY", self.busy.url())
            .env("UNSURE", self.unsure.url())
            .env("ASTRAY", self.astray.url())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        // Around what the Rust client says stands what a test says of itself.
        let own: String = said
            .lines()
            .filter_map(|line| Some(line.strip_prefix("> ")?.to_owned() + "\n"))
            .collect();
        let said = if own.is_empty() { said.into_owned() } else { own };
        assert_eq!(said, "v19\nbusy no more\n503\nrefused\n", "{output:?}");
        self.check();
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(self.asked.unsure.load(Relaxed), 1, "a write was sent twice");
        assert_eq!(
            self.asked.stranger.load(Relaxed),
            0,
            "a stranger was shown the token"
        );
    }
}

/// The example up to where it uses itself, and a scenario in the place of that.
fn program(name: &str, use_begins: &str, scenario: &str) -> String {
    let (client, _) = example(name).split_once(use_begins).unwrap();
    format!("{client}{scenario}")
}

const PYTHON: &str = r#"
env = os.environ
kv = Pykv(env["REPLICA"], env["PRIMARY"])
for n in range(20):
    kv.call("PUT", "/kv/k?upsert=true", json={"value": f"v{n}"}).raise_for_status()
    value = kv.call("GET", "/kv/k").json()["value"]
    assert value == f"v{n}", value
print(value)
print(Pykv(env["BUSY"]).call("GET", "/kv/k").json()["value"])
print(Pykv(env["UNSURE"]).call("PUT", "/kv/k", json={"value": "v"}).status_code)
try:
    print(Pykv(env["ASTRAY"]).call("GET", "/kv/k").json())
except ValueError:
    print("refused")
"#;

const JAVASCRIPT: &str = r#"
const env = process.env;
const kv = new Pykv(env.REPLICA, env.PRIMARY);
const read = async kv => (await (await kv.call('GET', '/kv/k')).json()).value;
for (let n = 0; n < 20; n++) {
  await kv.call('PUT', '/kv/k?upsert=true', { value: `v${n}` });
  if (await read(kv) !== `v${n}`) throw new Error('an old value');
}
console.log(await read(kv));
console.log(await read(new Pykv(env.BUSY)));
console.log((await new Pykv(env.UNSURE).call('PUT', '/kv/k', { value: 'v' })).status);
console.log(await read(new Pykv(env.ASTRAY)).catch(() => 'refused'));
"#;

const GO: &str = r#"
func read(kv *Pykv) string {
	_, answer, err := kv.Call("GET", "/kv/k", "")
	if err != nil {
		return "refused"
	}
	_, value, _ := bytes.Cut(answer, []byte(`"value":"`))
	value, _, _ = bytes.Cut(value, []byte(`"`))
	return string(value)
}

func main() {
	kv := &Pykv{Nodes: []string{os.Getenv("REPLICA"), os.Getenv("PRIMARY")}}
	for n := 0; n < 20; n++ {
		value := fmt.Sprintf("v%d", n)
		kv.Call("PUT", "/kv/k?upsert=true", `{"value":"`+value+`"}`)
		if read(kv) != value {
			panic("an old value")
		}
	}
	fmt.Println(read(kv))
	fmt.Println(read(&Pykv{Nodes: []string{os.Getenv("BUSY")}}))
	status, _, _ := (&Pykv{Nodes: []string{os.Getenv("UNSURE")}}).Call("PUT", "/kv/k", `{"value":"v"}`)
	fmt.Println(status)
	fmt.Println(read(&Pykv{Nodes: []string{os.Getenv("ASTRAY")}}))
}
"#;

/// The Python of `make test`, or the system's, if it has a package.
fn python(package: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    [own, PathBuf::from("python3")].into_iter().find(|python| {
        Command::new(python)
            .args(["-c", &format!("import {package}")])
            .output()
            .is_ok_and(|output| output.status.success())
    })
}

fn is_there(program: &str, version: &str) -> bool {
    Command::new(program).arg(version).output().is_ok()
}

#[test]
fn python_with_requests() {
    let Some(python) = python("requests") else {
        return skip("python_with_requests", "requests is not there");
    };
    let program = program("requests", "kv = Pykv(", PYTHON);
    Scene::new().run(&python, &["-c", &program]);
}

#[test]
fn python_with_httpx() {
    let Some(python) = python("httpx") else {
        return skip("python_with_httpx", "httpx is not there");
    };
    let program = program("httpx", "kv = Pykv(", PYTHON);
    Scene::new().run(&python, &["-c", &program]);
}

#[test]
fn javascript_with_fetch() {
    if !is_there("node", "--version") {
        return skip("javascript_with_fetch", "node is not there");
    }
    let program = program("fetch", "const kv = ", JAVASCRIPT);
    Scene::new().run(Path::new("node"), &["--input-type=module", "--eval", &program]);
}

#[test]
fn go() {
    if !is_there("go", "version") {
        return skip("go", "go is not there");
    }
    let scene = Scene::new();
    let file = scene.home.path().join("client.go");
    fs::write(&file, program("go", "func main() {", GO)).unwrap();
    scene.run(Path::new("go"), &["run", file.to_str().unwrap()]);
}

#[test]
fn rust_with_ureq() {
    assert_eq!(
        example("rust"),
        include_str!("ureq.rs"),
        "tests/clients/ureq.rs is not what the page shows"
    );
    // The client takes its token from the environment, which all tests of a process share.
    let exe = std::env::current_exe().unwrap();
    let args = ["--exact", "the_rust_client", "--ignored", "--nocapture"];
    Scene::new().run(&exe, &args);
}

#[test]
#[ignore = "it is run by another test, in a process of its own"]
fn the_rust_client() {
    let client = |nodes: &[&str]| ureq::Pykv {
        nodes: nodes.iter().map(|name| std::env::var(name).unwrap()).collect(),
        offset: 0,
    };
    let read = |kv: &mut ureq::Pykv| match kv.call("GET", "/kv/k", "") {
        Ok((_, answer)) => {
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            answer["value"].as_str().unwrap().to_owned()
        }
        Err(_) => "refused".to_owned(),
    };
    let mut kv = client(&["REPLICA", "PRIMARY"]);
    for n in 0..20 {
        let body = format!("{{\"value\":\"v{n}\"}}");
        kv.call("PUT", "/kv/k?upsert=true", &body).unwrap();
        assert_eq!(read(&mut kv), format!("v{n}"));
    }
    println!("\n> {}", read(&mut kv));
    println!("> {}", read(&mut client(&["BUSY"])));
    let unsure = client(&["UNSURE"]).call("PUT", "/kv/k", "{\"value\":\"v\"}");
    println!("> {}", unsure.unwrap().0);
    println!("> {}", read(&mut client(&["ASTRAY"])));
}
