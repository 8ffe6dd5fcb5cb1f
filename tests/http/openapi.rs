//! The description of the API is true: every field of every answer stands in it, and schemathesis, which makes requests
//! up from it, finds no answer that it does not allow.
//!
//! Where schemathesis is not installed in `target/venv` (`make test` does that) its test says so and passes; with
//! `PYKV_SCHEMATHESIS_REQUIRED` set it fails. `PYKV_SCHEMATHESIS_EXAMPLES` says how many requests it makes up of each
//! kind.

use crate::common::cluster::Member;
use crate::common::node::Setup;
use crate::common::{Server, eventually, setting, skip};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn description(node: &Server) -> Value {
    node.get("/openapi.json").expect(200).body_json()
}

fn resolve<'a>(api: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => api
            .pointer(&path[1..])
            .unwrap_or_else(|| panic!("nothing is at {path}")),
        None => schema,
    }
}

/// Fails where a value has a member that its schema does not name.
fn assert_described(api: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolve(api, schema);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{place}.{name}");
                let property = &schema["properties"][name];
                assert!(!property.is_null(), "{place} is not described");
                assert_described(api, property, member, &place);
            }
        }
        Value::Array(items) if schema.get("prefixItems").is_none() => {
            for item in items {
                assert_described(api, &schema["items"], item, place);
            }
        }
        _ => {}
    }
}

#[test]
fn every_member_of_what_a_node_tells_is_described() {
    let primary = Member::primary(&["--max-capacity", "100", "--max-memory", "64MiB"]);
    let replica = Member::replica(&[&primary], &["--failover-after", "60s"]);
    replica.streams();
    let mut client = primary.server.client();
    for at in 0..3000 {
        client.put(&format!("/kv/{}?upsert=true&ttl=1000", at % 150), b"value");
        client.get(&format!("/kv/{}", at % 90));
    }
    client.request("POST", "/compact?wait=true", &[], b"").expect(200);
    eventually("a sample is kept", || {
        let history = primary.server.get("/history").body_json();
        !history["samples"]["at_ms"].as_array().unwrap().is_empty()
    });
    let api = description(&primary.server);
    for node in [&primary.server, &replica.server] {
        for path in [
            "/status",
            "/stats",
            "/history",
            "/kv/149",
            "/watch?after=0&wait=0",
            "/kv/?values=true",
        ] {
            let answer = node.get(path);
            // A replica's log begins with the snapshot it took.
            if answer.status == 410 {
                continue;
            }
            let value = answer.expect(200).body_json();
            let bare = path.split('?').next().unwrap();
            let template = if bare == "/kv/149" { "/kv/{key}" } else { bare };
            let content = &api["paths"][template]["get"]["responses"]["200"]["content"]["application/json"];
            let schema = match &content["schema"]["oneOf"] {
                Value::Array(forms) => forms.last().unwrap(),
                _ => &content["schema"],
            };
            assert_described(&api, schema, &value, path);
        }
    }
    let told = primary.server.get("/stats").body_json();
    assert!(told["miss_ratio_curve"].is_object(), "{told}");
}

#[test]
fn a_cursor_has_the_form_that_is_described() {
    let node = Server::start(&[]);
    let mut client = node.client();
    client.put("/kv/a?upsert=true", b"1");
    client.put("/kv/b?upsert=true", b"2");
    let page = client
        .request("GET", "/kv/?limit=1", &[], b"")
        .expect(200)
        .body_json();
    let cursor = page["cursor"].as_str().unwrap();
    let api = description(&node);
    let parameters = api["paths"]["/kv/"]["get"]["parameters"].as_array().unwrap();
    let described = parameters.iter().find(|one| one["name"] == "cursor").unwrap();
    // Three numbers, and a key of up to 1,024 bytes.
    assert_eq!(described["schema"]["anyOf"][0]["pattern"], "^[0-9a-f]{24,2072}$");
    assert_eq!(cursor.len(), 24);
    assert!(
        cursor
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "{cursor}"
    );
}

#[test]
fn the_description_and_what_shows_it_need_no_token() {
    let home = TempDir::new().unwrap();
    let tokens = home.path().join("tokens");
    std::fs::write(&tokens, "secret\n").unwrap();
    let node = Setup::new(&["--token-file", tokens.to_str().unwrap()]).start();
    let page = node.get("/docs").expect(200);
    assert!(page.header("Content-Type").unwrap().starts_with("text/html"));
    assert!(
        page.header("Content-Security-Policy")
            .unwrap()
            .contains("default-src 'none'")
    );
    node.get("/page/docs.js").expect(200);
    assert_eq!(description(&node)["openapi"], "3.1.0");
}

/// The description without what cannot be made up: headers, since the tool wants those refused that it invents, and
/// HTTP wants them passed over; and waits.
fn for_the_tool(mut api: Value) -> Value {
    let kept = api["components"]["parameters"].clone();
    let is_header = |parameter: &Value| {
        let name = parameter["$ref"]
            .as_str()
            .and_then(|path| path.rsplit('/').next());
        name.map_or(&parameter["in"], |name| &kept[name]["in"]) == "header"
    };
    for item in api["paths"].as_object_mut().unwrap().values_mut() {
        for operation in item.as_object_mut().unwrap().values_mut() {
            if let Some(Value::Array(parameters)) = operation.get_mut("parameters") {
                parameters.retain(|parameter| !is_header(parameter));
                for parameter in parameters
                    .iter_mut()
                    .filter(|parameter| parameter["name"] == "wait")
                {
                    if parameter["schema"]["type"] != "boolean" {
                        parameter["required"] = json!(true);
                        parameter["schema"]["maximum"] = json!(0.01);
                        parameter["schema"].as_object_mut().unwrap().remove("default");
                    }
                }
            }
        }
    }
    api
}

#[test]
fn schemathesis_finds_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = root.join("target/venv/bin/schemathesis");
    if !tool.exists() {
        assert!(
            std::env::var_os("PYKV_SCHEMATHESIS_REQUIRED").is_none(),
            "schemathesis is missing"
        );
        return skip("schemathesis_finds_nothing", "schemathesis is not in target/venv");
    }
    let node = Server::start(&["--max-capacity", "5000"]);
    let home = TempDir::new().unwrap();
    let api = for_the_tool(description(&node));
    let methods = ["get", "head", "post", "put", "patch", "delete"];
    let items = api["paths"].as_object().unwrap().values();
    let operations: usize = items
        .map(|item| methods.iter().filter(|method| item.get(method).is_some()).count())
        .sum();
    let file = home.path().join("openapi.json");
    std::fs::write(&file, api.to_string()).unwrap();
    let examples = setting("PYKV_SCHEMATHESIS_EXAMPLES", 15).to_string();
    let output = Command::new(tool)
        .current_dir(home.path())
        .arg("--config-file")
        .arg(root.join("tests/http/schemathesis.toml"))
        .arg("run")
        .arg(&file)
        .args([
            "--url",
            &node.url(),
            "--seed",
            "7958",
            "--max-examples",
            &examples,
        ])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--request-timeout",
            "20",
            "--continue-on-failure",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let tail: String = said
        .lines()
        .map(|line| line.chars().take(300).collect::<String>() + "\n")
        .collect();
    assert!(output.status.success(), "{tail}");
    // All operations were tried, and not merely none refused.
    let is_whole = said
        .lines()
        .any(|line| line.trim() == format!("Tested: {operations}"));
    assert!(is_whole && said.contains(" generated, "), "{tail}");
    node.get("/readyz").expect(200);
}
