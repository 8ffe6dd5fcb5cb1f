//! The page in a real browser: what people do with keys and values, by clicks and keys.
//!
//! Where no chromedriver is installed the tests say so and pass; with `PYKV_BROWSER_REQUIRED` set they fail.

use crate::common::browser::{Browser, keys};
use crate::common::client::encode;
use crate::common::{Server, eventually};
use serde_json::json;

/// A browser at the page of a node.
fn at(node: &Server, test: &str, hash: &str) -> Option<Browser> {
    let browser = Browser::start(test)?;
    browser.open(&format!("{}/{hash}", node.url()));
    Some(browser)
}

fn put(node: &Server, key: &str, value: &[u8]) {
    let answer = node.client().put(&format!("/kv/{key}?upsert=true"), value);
    assert!(answer.is_success(), "{answer:?}");
}

fn value(node: &Server, key: &str) -> Option<Vec<u8>> {
    let head = [("Accept", "application/octet-stream")];
    let answer = node.client().request("GET", &format!("/kv/{key}"), &head, b"");
    (answer.status == 200).then_some(answer.body)
}

fn rows(browser: &Browser) -> Vec<String> {
    let rows = browser.run("return [...document.querySelectorAll('.row')].map((row) => row.title)");
    serde_json::from_value(rows).unwrap()
}

#[test]
fn a_value_as_text_json_and_hex_and_what_is_known_of_it() {
    let node = Server::start(&[]);
    put(&node, "person", br#"{"name":"Ada","born":1815}"#);
    put(&node, "bytes", &[0, 255, 16, 65]);
    let Some(browser) = at(&node, "a_value_as_text_json_and_hex", "") else {
        return;
    };
    browser.until("document.querySelectorAll('.row').length === 2");
    assert_eq!(rows(&browser), ["bytes", "person"]);
    browser.click(".row[title=person]");
    browser.until_text("#value", "\"born\": 1815");
    browser.click("[data-form=text]");
    browser.until_text("#value", r#"{"name":"Ada","born":1815}"#);
    browser.click("[data-form=hex]");
    browser.until_text("#value", "7b 22 6e 61");
    let version = node.get("/kv/person").version();
    assert_eq!(browser.text("#version"), version.to_string());
    assert_eq!(browser.text("#size"), "26 bytes");
    assert_eq!(browser.text("#deadline"), "never");
    browser.click(".row[title=bytes]");
    browser.until_text("#value", "00 ff 10 41");
    browser.until("document.querySelector('[data-form=text]').disabled");
    // The address names the key: it can be gone back from, and opened anew.
    browser.back();
    browser.until_text("#entry-key", "person");
    browser.reload();
    browser.until_text("#entry-key", "person");
    browser.check_console();
}

#[test]
fn a_deadline_counts_down_and_then_the_key_is_gone() {
    let node = Server::start(&[]);
    put(&node, "session", b"signed in");
    let Some(mut browser) = at(&node, "a_deadline_counts_down", "#explorer?key=session") else {
        return;
    };
    browser.expect("404");
    browser.click("#expire");
    browser.type_into("dialog input", "90");
    browser.press("Set");
    browser.until_text("#deadline", "in 1 min");
    let expires = node.get("/kv/session").body_json()["expires_at"].clone();
    assert!(expires.is_string(), "{expires}");
    browser.click("#expire");
    browser.press("Never expires");
    browser.until_text("#deadline", "never");
    browser.click("#expire");
    browser.type_into("dialog input", "-1");
    browser.press("Set");
    browser.until_text("dialog .wrong", "above 0");
    browser.fill("dialog input", "1.5");
    browser.press("Set");
    browser.until_text("#entry", "This key is not there.");
    browser.until("document.querySelectorAll('.row').length === 0");
    browser.check_console();
}

#[test]
fn edits_are_saved_and_a_change_in_between_is_shown_and_asked_for() {
    let node = Server::start(&[]);
    put(&node, "text", b"one\r\ntwo");
    let Some(mut browser) = at(&node, "edits_are_saved", "#explorer?key=text") else {
        return;
    };
    browser.expect("412");
    browser.expect("404");
    browser.click("#edit");
    browser.fill("#editor", "three\nfour");
    browser.click("#save");
    browser.until_text(".toast", "Saved.");
    // With the ends of lines that it had.
    assert_eq!(value(&node, "text").unwrap(), b"three\r\nfour");

    browser.click("#edit");
    browser.fill("#editor", "mine");
    put(&node, "text", b"theirs");
    browser.click("#save");
    browser.until_text("dialog .sides", "theirs");
    browser.until_text("dialog .sides", "mine");
    assert_eq!(value(&node, "text").unwrap(), b"theirs");
    browser.press("Go on editing");
    browser.click("#save");
    browser.press("Save mine over it");
    browser.until_text("#value", "mine");
    assert_eq!(value(&node, "text").unwrap(), b"mine");

    browser.click("#edit");
    browser.fill("#editor", "mine again");
    put(&node, "text", b"theirs again");
    browser.type_keys(""); // The focus is in the editor; Ctrl+Enter saves.
    browser.type_into("#editor", "\u{e009}\u{e007}");
    browser.press("Take theirs");
    browser.until_text("#value", "theirs again");

    browser.click("#edit");
    browser.fill("#editor", "not lost");
    node.client().delete("/kv/text").expect(204);
    browser.click("#save");
    browser.until_text("dialog", "Someone has deleted this key");
    browser.press("Add it again");
    browser.until_text("#value", "not lost");
    assert_eq!(value(&node, "text").unwrap(), b"not lost");
    browser.check_console();
}

#[test]
fn keys_are_added_deleted_taken_back_and_deleted_by_prefix() {
    let node = Server::start(&[]);
    for key in ["user:1", "user:2", "other"] {
        put(&node, key, key.as_bytes());
    }
    let Some(mut browser) = at(&node, "keys_are_added_deleted_taken_back", "") else {
        return;
    };
    browser.expect("409");
    browser.expect("404");
    browser.click("#new-key");
    browser.type_into("dialog [name=key]", "user:1");
    browser.type_into("dialog [name=value]", "another");
    browser.press("Add");
    browser.until_text("dialog .wrong", "exists");
    browser.fill("dialog [name=key]", "user:3");
    browser.press("Add");
    browser.until_text("#value", "another");
    assert_eq!(value(&node, "user:3").unwrap(), b"another");
    assert_eq!(value(&node, "user:1").unwrap(), b"user:1");
    browser.until("document.querySelectorAll('.row').length === 4");

    browser.click("#delete");
    browser.until_text(".toast", "Deleted");
    eventually("the key is gone", || value(&node, "user:3").is_none());
    browser.press("Undo");
    eventually("the key is back", || {
        value(&node, "user:3").as_deref() == Some(b"another")
    });

    browser.fill("#prefix", "user:");
    browser.until("document.querySelectorAll('.row').length === 3");
    browser.click("#delete-prefix");
    browser.until_text("dialog", "3 keys begin with user:");
    browser.type_into("dialog input", "2");
    browser.press("Delete");
    browser.until_text("dialog .wrong", "This is not 3");
    browser.fill("dialog input", "3");
    browser.press("Delete");
    browser.until_text(".toast", "Deleted 3 keys");
    assert_eq!(node.get("/stats").body_json()["entries"], 1);
    browser.check_console();
}

#[test]
fn large_values_are_cut_loaded_and_downloaded() {
    let node = Server::start(&[]);
    let large: Vec<u8> = (0..300_000).map(|at| b"abcdefghij"[at % 10]).collect();
    put(&node, "large", &large);
    let Some(browser) = at(&node, "large_values_are_cut", "#explorer?key=large") else {
        return;
    };
    browser.until_text("#cut", "The first 64 KiB of 293 KiB");
    let shown = "document.getElementById('value').textContent.length";
    assert_eq!(browser.run(&format!("return {shown}")), json!(65_536));
    browser.click("#load-all");
    browser.until(&format!("{shown} === 300000"));
    browser.click("#download");
    let file = browser.downloads().join("large");
    eventually("the download is whole", || {
        std::fs::read(&file).is_ok_and(|bytes| bytes == large)
    });
    browser.check_console();
}

#[test]
fn a_hundred_thousand_keys_are_listed_by_scrolling_and_by_prefix() {
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    for first in (0..100_000).step_by(1000) {
        let operations: Vec<_> = (first..first + 1000)
            .map(|at| json!({"op": "set", "key": format!("key-{at:06}"), "value": "v"}))
            .collect();
        client
            .json("POST", "/batch", &json!({"operations": operations}))
            .expect(200);
    }
    let Some(browser) = at(&node, "a_hundred_thousand_keys", "") else {
        return;
    };
    browser.until_text("#keys-line", "There are more");
    assert!(rows(&browser).len() < 200, "only rows in sight are elements");
    let to_end =
        "const keys = document.getElementById('keys'); keys.scrollTop = keys.scrollHeight; return true";
    let seen = "Number(document.getElementById('keys-line').textContent.replace(/[^0-9]/g, ''))";
    for least in [4000, 5000] {
        browser.run(to_end);
        browser.until(&format!("{seen} >= {least}"));
    }
    browser.click("#keys-more");
    browser.fill("#prefix", "key-0777");
    browser.until_text("#keys-line", "100 keys");
    let listed = "[...document.querySelectorAll('.row')].map((row) => row.title)";
    browser.until(&format!("{listed}[0] === 'key-077700'"));
    assert_eq!(
        browser.run(&format!("return new Set({listed}).size === {listed}.length")),
        json!(true)
    );
    // The keyboard goes through the list, and opens.
    browser.click(".row[title=key-077700]");
    browser.until_text("#entry-key", "key-077700");
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys(keys::DOWN);
    browser.type_keys(keys::DOWN);
    browser.type_keys(keys::ENTER);
    browser.until_text("#entry-key", "key-077702");
    browser.type_keys(keys::END);
    browser.type_keys(keys::ENTER);
    browser.until_text("#entry-key", "key-077799");
    browser.check_console();
}

#[test]
fn what_strangers_wrote_is_text_wherever_it_is_shown() {
    let node = Server::start(&[]);
    let evil = "<script>window.bad=1</script><img src=x onerror=window.bad=1>";
    let path = format!("/kv/{}?upsert=true", crate::common::client::percent(evil));
    node.client().put(&path, evil.as_bytes()).expect(201);
    put(&node, "json", json!({ "html": evil }).to_string().as_bytes());
    let mut client = node.client();
    for _ in 0..5 {
        client
            .send(&encode("GET", path.split('?').next().unwrap(), &[], b""))
            .unwrap();
        client.response(false).unwrap().expect(200);
    }
    let Some(browser) = at(&node, "what_strangers_wrote_is_text", "") else {
        return;
    };
    browser.until("document.querySelectorAll('.row').length === 2");
    browser.run("[...document.querySelectorAll('.row')].find((row) => row.title.includes('script')).click()");
    browser.until_text("#entry-key", evil);
    browser.until_text("#value", evil);
    browser.click(".row[title=json]");
    browser.until_text("#value", "window.bad=1");
    browser.open(&format!("{}/#dashboard", node.url()));
    browser.until_text("#hot-keys", evil);
    browser.open(&format!("{}/#console", node.url()));
    browser.type_into("#console-key", evil);
    browser.click("[data-operation=GET]");
    browser.until_text("#output .body", "window.bad=1");
    let ran = browser.run("return window.bad ?? document.querySelectorAll('main script, main img').length");
    assert_eq!(ran, json!(0));
    browser.check_console();
}

#[test]
fn the_console_shows_what_goes_out_and_what_comes_back() {
    let node = Server::start(&[]);
    let Some(mut browser) = at(&node, "the_console_shows", "#console") else {
        return;
    };
    browser.expect("404");
    let first = "#output article:first-child";
    let run = |operation: &str, status: &str| {
        browser.click(&format!("[data-operation={operation}]"));
        browser.until_text(&format!("{first} .line"), operation);
        browser.until_text(&format!("{first} .status"), status);
    };
    browser.type_into("#console-key", "it's a key");
    run("GET", "404");
    browser.type_into("#console-value", "a 'quoted' value");
    run("UPDATE", "404");
    run("SET", "201");
    let line = browser.text(&format!("{first} .curl code"));
    assert!(line.starts_with("curl -i -X PUT "), "{line}");
    // The line does what the console did.
    let words = line.replacen("curl ", "curl -s ", 1);
    let output = std::process::Command::new("sh")
        .args(["-c", &words])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 200"), "{line}\n{said}");
    run("GET", "200");
    browser.until_text(&format!("{first} .body"), "a 'quoted' value");
    browser.until_text(&format!("{first} .took"), "ms");
    browser.click(&format!("{first} summary"));
    browser.until_text(&format!("{first} .headers"), "etag:");
    browser.run("document.getElementById('console-key').value = 'it'");
    run("LIST", "200");
    browser.until_text(&format!("{first} .body"), "it's a key");
    browser.run("document.getElementById('console-key').value = \"it's a key\"");
    run("DELETE", "204");
    assert_eq!(node.get("/stats").body_json()["entries"], 0);
    browser.click(&format!("{first} .curl button"));
    browser.until_text(".toast", "Copied");
    browser.check_console();
}
