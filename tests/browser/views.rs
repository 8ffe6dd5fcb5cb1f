//! The page in a real browser: what people do with keys and values, by clicks and keys.
//!
//! Where no chromedriver is installed the tests say so and pass; with `PYKV_BROWSER_REQUIRED` set they fail.

use crate::common::browser::{Browser, keys};
use crate::common::client::encode;
use crate::common::{Server, eventually};
use serde_json::json;

/// A browser at the page of a node.
pub(crate) fn at(node: &Server, test: &str, hash: &str) -> Option<Browser> {
    let browser = Browser::start(test)?;
    browser.open(&format!("{}/{hash}", node.url()));
    Some(browser)
}

pub(crate) fn put(node: &Server, key: &str, value: &[u8]) {
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
    browser.until_text("#entry", "session");
    browser.until("document.getElementById('create')");
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
    browser.press("Keep editing");
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
    browser.click("#keys-menu summary");
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
    browser.click("#entry-menu summary");
    browser.click("#download");
    let file = browser.downloads().join("large");
    eventually("the download is whole", || {
        std::fs::read(&file).is_ok_and(|bytes| bytes == large)
    });
    browser.check_console();
}

/// Adds keys `group-G:item-N`, a hundred thousand in each of ten groups.
fn add_a_million(node: &Server) {
    let mut client = node.client();
    for group in 0..10 {
        for first in (0..100_000).step_by(10_000) {
            let operations: Vec<_> = (first..first + 10_000)
                .map(|at| json!({"op": "set", "key": format!("group-{group}:item-{at:06}"), "value": "v"}))
                .collect();
            let batch = json!({"operations": operations});
            client.json("POST", "/batch", &batch).expect(200);
        }
    }
}

#[test]
fn a_million_keys_as_a_tree_as_a_list_and_by_search() {
    let node = Server::start(&["--fsync", "no", "--max-batch", "10000"]);
    add_a_million(&node);
    put(&node, "lonely/key", b"12345678");
    let Some(browser) = at(&node, "a_million_keys", "") else {
        return;
    };
    // One list, in the order of names, of which only what is in sight are elements.
    browser.until_text("#keys-line", "1,000,001 keys, the first 1,000 shown.");
    assert!(rows(&browser).len() < 200, "only rows in sight are elements");
    assert_eq!(
        rows(&browser)[..2],
        ["group-0:item-000000", "group-0:item-000001"]
    );
    browser.run("const keys = document.getElementById('keys'); keys.scrollTop = keys.scrollHeight");
    browser.until_text("#keys-line", "the first 2,000 shown");
    // A tree, with counts, loaded as it is opened.
    browser.click("[data-tree=':']");
    browser.until("document.querySelectorAll('.row.folder').length === 10");
    browser.until_text(".row[title='group-3:'] .size", "100,000 keys");
    browser.click(".row[title='group-3:']");
    browser.until_text(".row[title='group-3:item-000000'] .name", "item-000000");
    browser.click("[data-tree='/']");
    browser.until_text(".row[title='lonely/'] .size", "1 key");
    // The keyboard goes through the tree: closes, opens, and opens a key.
    browser.click("[data-tree=':']");
    browser.until("document.querySelectorAll('.row.folder').length === 10");
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys(keys::DOWN);
    browser.type_keys(keys::RIGHT);
    browser.until("document.querySelector(\".row[title='group-0:item-000000']\")");
    browser.type_keys(keys::DOWN);
    browser.type_keys(keys::ENTER);
    browser.until_text("#entry-key", "group-0:item-000000");
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys(keys::LEFT);
    browser.type_keys(keys::LEFT);
    browser.until("document.querySelectorAll('.row').length <= 11 + 8");
    // By prefix, by a part of the name, and by a pattern: all done by the node.
    browser.click("[data-tree='']");
    browser.fill("#prefix", "group-7:item-0777");
    browser.until_text("#keys-line", "100 keys that begin with");
    let all = "[...document.querySelectorAll('.row')].map((row) => row.title)";
    browser.until(&format!("{all}[0] === 'group-7:item-077700'"));
    browser.run("const kind = document.getElementById('search-kind'); kind.value = 'text'; kind.dispatchEvent(new Event('change'))");
    browser.fill("#prefix", "em-099999");
    browser.until_text("#keys-line", "10 keys with “em-099999”");
    browser.run("const kind = document.getElementById('search-kind'); kind.value = 'pattern'; kind.dispatchEvent(new Event('change'))");
    browser.fill("#prefix", "group-[12]:*-00000?");
    browser.until_text("#keys-line", "20 keys like");
    // All that is found is here, so it can be sorted.
    browser.click("[data-sort=key]");
    browser.until(&format!("{all}[0] === 'group-2:item-000009'"));
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
    browser.click("#console-send");
    browser.until_text("#output .body", "window.bad=1");
    let ran = browser.run("return window.bad ?? document.querySelectorAll('main script, main img').length");
    assert_eq!(ran, json!(0));
    browser.check_console();
}

#[test]
fn the_console_sends_what_is_marked_and_keeps_a_history() {
    let node = Server::start(&[]);
    let Some(mut browser) = at(&node, "the_console_sends", "#console") else {
        return;
    };
    browser.expect("404");
    browser.expect("412");
    let first = "#output article:first-child";
    let run = |operation: &str, status: &str| {
        browser.click(&format!("[data-operation={operation}]"));
        browser.click("#console-send");
        browser.until_text(&format!("{first} .line"), operation);
        browser.until_text(&format!("{first} .status"), status);
    };
    browser.click("#console-send");
    browser.until_text(".ask .wrong", "Enter a key.");
    // Enter does what the marked button does.
    browser.type_into("#console-key", "it's a key\u{e007}");
    browser.until_text(&format!("{first} .status"), "404");
    browser.until("!document.querySelector('.ask .wrong')");
    browser.click("[data-operation=SET]");
    browser.type_into("#console-value", "a 'quoted' value");
    browser.run("document.querySelector('.ask [name=ttl]').value = '1000'");
    run("SET", "201");
    let expires = node.get("/kv/it%27s%20a%20key").body_json()["expires_at_ms"].clone();
    assert!(expires.is_u64(), "{expires}");
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
    // A precondition, which does not hold and then does.
    browser.click("[data-operation=UPDATE]");
    browser.run("const c = document.getElementById('console-condition'); c.value = 'absent'; c.dispatchEvent(new Event('change'))");
    run("UPDATE", "412");
    browser.run("const c = document.getElementById('console-condition'); c.value = 'there'; c.dispatchEvent(new Event('change'))");
    run("UPDATE", "200");
    run("GET", "200");
    browser.until_text(&format!("{first} .body"), "a 'quoted' value");
    browser.click(&format!("{first} summary"));
    browser.until_text(&format!("{first} .headers"), "etag:");
    run("BATCH", "200");
    browser.until_text(&format!("{first} .body"), "\"results\"");
    browser.click("[data-operation=LIST]");
    browser.fill("#console-key", "it");
    run("LIST", "200");
    browser.until_text(&format!("{first} .body"), "it's a key");
    // Changes are watched until that is stopped.
    browser.click("[data-operation=WATCH]");
    browser.fill("#console-key", "w");
    browser.click("#console-send");
    browser.until_text(&format!("{first} .status"), "watching");
    eventually("a change is shown", || {
        put(&node, "watched", b"seen");
        let text = browser.run(&format!(
            "return document.querySelector('{first} .body').textContent"
        ));
        text.as_str().is_some_and(|text| text.contains("watched = seen"))
    });
    browser.press("Stop");
    browser.until_text(&format!("{first} .status"), "stopped");
    // The past requests outlive the tab, and are repeated.
    browser.reload();
    browser.until_text("#console-past", "UPDATE it's a key");
    browser.run("[...document.querySelectorAll('#console-past li')].find((li) => li.innerText.includes('UPDATE')).lastChild.click()");
    browser.until_text(&format!("{first} .line"), "UPDATE");
    browser.click(&format!("{first} .curl button"));
    browser.until_text(".toast", "Copied");
    browser.click("#console-clear");
    assert_eq!(browser.run("return localStorage.length"), json!(0));
    browser.check_console();
}

/// The browser may have no room for a draft, and past requests none for a long value: neither is cut.
#[test]
fn what_has_no_room_is_not_cut() {
    let node = Server::start(&[]);
    put(&node, "a", b"x");
    put(&node, "other", b"value");
    let Some(browser) = at(&node, "what_has_no_room_is_not_cut", "#explorer?key=a") else {
        return;
    };
    browser.click("#edit");
    browser.run(
        "for (let n = 1 << 22; n >= 1; n >>= 1) { try { for (;;) sessionStorage.setItem(`full${n}-${sessionStorage.length}`, 'x'.repeat(n)); } catch {} }",
    );
    browser.type_into("#editor", " typed");
    browser.click(".row[title=other]");
    browser.until_text("#value", "value");
    browser.click(".row[title=a]");
    browser.click("#continue");
    browser.until("document.getElementById('editor').value === 'x typed'");
    browser.click("#discard");
    browser.press("Discard");
    browser.until("!document.getElementById('editor')");
    browser.run("sessionStorage.clear()");

    browser.click("#tabs [href='#console']");
    browser.click("[data-operation=SET]");
    browser.fill("#console-key", "long");
    browser.run("document.getElementById('console-value').value = 'x'.repeat(5000)");
    browser.click("#console-send");
    browser.until_text("#console-past", "SET long");
    assert_eq!(value(&node, "long").unwrap().len(), 5000);
    browser.until("document.querySelector('#console-past li').lastChild.disabled");
    browser.check_console();

    // Nor is a name of two lines.
    put(&node, "two%0Alines", b"1");
    browser.open(&format!("{}/#explorer?key=two%0Alines", node.url()));
    browser.click("#entry-menu summary");
    browser.click("#duplicate");
    browser.press("Duplicate");
    eventually("the copy is there", || {
        node.get("/kv/two%0Alines-copy").status == 200
    });
}

#[test]
fn what_is_typed_is_never_lost_and_what_is_saved_is_what_was_typed() {
    let node = Server::start(&[]);
    let number = br#"{"id": 12345678901234567890, "f": 1.0}"#;
    put(&node, "json", number);
    put(&node, "other", b"value");
    put(&node, "new%0Aline", b"x");
    let Some(mut browser) = at(&node, "what_is_typed_is_never_lost", "#explorer?key=json") else {
        return;
    };
    browser.expect("404");
    // Saved without a change: the same bytes, and no new version.
    let version = node.get("/kv/json").version();
    browser.click("#edit");
    browser.click("#save");
    browser.until_text(".toast", "Nothing was changed.");
    assert_eq!(
        (value(&node, "json").unwrap(), node.get("/kv/json").version()),
        (number.to_vec(), version)
    );
    // A draft outlives Escape, another key, another view and a reload.
    browser.click("#edit");
    browser.type_into("#editor", " typed");
    browser.type_keys(keys::ESCAPE);
    browser.until_text("#draft", "not saved");
    browser.click(".row[title=other]");
    browser.until_text("#entry-key", "other");
    browser.click("#tabs [href='#dashboard']");
    browser.until_text(".chart h3", "Keys held");
    browser.back();
    browser.reload();
    browser.open(&format!("{}/#explorer?key=json", node.url()));
    browser.click("#continue");
    let typed = "document.getElementById('editor').value";
    browser.until(&format!("{typed}.endsWith('1.0}} typed')"));
    // Another key while the editor is open, and back.
    browser.click(".row[title=other]");
    browser.until_text("#value", "value");
    browser.click(".row[title=json]");
    browser.click("#continue");
    browser.until(&format!("{typed}.endsWith(' typed')"));
    browser.click("#discard");
    browser.press("Discard");
    browser.until("!document.getElementById('draft') && !document.getElementById('editor')");
    // Formatting is a button of its own.
    browser.click("#edit");
    browser.click("#format");
    browser.click("#save");
    browser.until_text(".toast", "Saved.");
    assert_eq!(
        value(&node, "json").unwrap(),
        b"{\n  \"id\": 12345678901234567890,\n  \"f\": 1.0\n}"
    );
    // A key of two lines has one row.
    browser.until_text(".row .name", "new⏎line");
    // The open key and the list follow what others do.
    browser.click(".row[title=other]");
    browser.until_text("#value", "value");
    eventually("the page follows", || {
        put(&node, "other", b"changed by somebody");
        browser.run("return document.getElementById('value')?.textContent") == json!("changed by somebody")
    });
    browser.until_text("#changed", "just now");
    put(&node, "fresh", b"1");
    browser.until("document.querySelector('.row[title=fresh]')");
    node.client().delete("/kv/other").expect(204);
    browser.until_text("#entry", "Create it…");
    browser.until("!document.querySelector('.row[title=other]')");
    browser.check_console();
}

#[test]
fn several_keys_are_chosen_moved_in_and_out_and_changed_by_the_keyboard() {
    let node = Server::start(&[]);
    for number in 0..6 {
        put(&node, &format!("many:{number}"), b"some text");
    }
    put(&node, "visits", b"41");
    let Some(mut browser) = at(&node, "several_keys_are_chosen", "#explorer?key=absent") else {
        return;
    };
    for said in ["400", "404", "412"] {
        browser.expect(said);
    }
    // A key that is missing is named, and made.
    browser.until_text("#entry-key", "absent");
    browser.click("#create");
    browser.until("document.querySelector('dialog [name=key]').value === 'absent'");
    browser.press("Cancel");
    // By the keyboard alone: search, choose, edit, delete.
    browser.run("document.body.focus(); document.activeElement.blur()");
    browser.type_keys("/");
    browser.until("document.activeElement.id === 'prefix'");
    browser.type_keys("many");
    browser.until_text("#keys-line", "6 keys that begin with “many”.");
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys("?");
    browser.until_text("dialog", "Keys of the keyboard");
    browser.type_keys(keys::ESCAPE);
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys(keys::DOWN);
    browser.type_keys("e");
    browser.until("document.activeElement.id === 'editor'");
    browser.type_keys(keys::ESCAPE);
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys("\u{e017}"); // Delete
    browser.until_text(".toast", "Deleted");
    browser.until_text("#keys-line", "5 keys");
    // Some of them: a deadline, an export, an end.
    browser.run("document.getElementById('keys').focus()");
    for key in [keys::HOME, " ", keys::DOWN, " "] {
        browser.type_keys(key);
    }
    browser.until_text(".chosen", "2 keys chosen");
    browser.click("#expire-chosen");
    browser.press("1 hour");
    browser.press("Set");
    browser.until_text(".toast", "Changed 2 keys.");
    eventually("both have a deadline", || {
        node.get("/stats").body_json()["entries_with_deadline"] == 2
    });
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys(keys::HOME);
    browser.type_keys(" ");
    browser.click("#export-chosen");
    let file = browser.downloads().join("keys.jsonl");
    eventually("the export is there", || {
        std::fs::read_to_string(&file)
            .is_ok_and(|text| text.contains("\"many:1\"") && text.contains("expires_at_ms"))
    });
    browser.click("#delete-chosen");
    browser.press("Delete");
    browser.until_text(".toast", "Deleted 1 key.");
    assert!(value(&node, "many:1").is_none());
    // A file of lines comes in, with a report of those that do not.
    let lines = "{\"key\":\"in:1\",\"value\":\"one\"}\n{\"key\":\"in:2\",\"value\":{\"a\":1.0}}\nno json\n{\"key\":\"\",\"value\":\"x\"}\n";
    let path = browser.downloads().join("in.jsonl");
    std::fs::write(&path, lines).unwrap();
    browser.choose_file("#import-file", &path);
    browser.press("Import");
    browser.until_text("#import-report", "Imported 1 key.");
    browser.until_text("#import-report", "Line 2: its value must be a string");
    browser.until_text("#import-report", "Line 3: it is no JSON");
    browser.until_text("#import-report", "Line 4:");
    browser.press("Close");
    assert_eq!(value(&node, "in:1").unwrap(), b"one");
    assert!(value(&node, "in:2").is_none());
    put(&node, "in:2", br#"{"a":1}"#);
    counts_renames_and_folds(&browser, &node);
    browser.check_console();
}

/// A number is counted by a button; a key is renamed in one step; JSON folds.
fn counts_renames_and_folds(browser: &Browser, node: &Server) {
    browser.open(&format!("{}/#explorer?key=visits", node.url()));
    browser.click("#increment");
    browser.until_text("#value", "42");
    browser.click("#entry-menu summary");
    browser.click("#rename");
    browser.fill("dialog [name=key]", "in:1");
    browser.press("Rename");
    browser.until_text("dialog .wrong", "Nothing was changed");
    browser.fill("dialog [name=key]", "renamed");
    browser.press("Rename");
    browser.until_text("#entry-key", "renamed");
    assert_eq!(
        (value(node, "visits"), value(node, "renamed")),
        (None, Some(b"42".to_vec()))
    );
    browser.click("#expire");
    browser.until_text("#present-deadline", "It never expires now.");
    browser.run("document.querySelector('dialog [name=date]').value = '2099-01-01T00:00:00'");
    browser.press("Set");
    browser.until_text("#deadline", "in 2");
    // JSON folds, and is searched.
    browser.open(&format!("{}/#explorer?key=in%3A2", node.url()));
    browser.until_text(".l .j-number", "1");
    browser.click(".l .fold[aria-expanded]");
    browser.until_text("#value", "… 1 line");
    browser.type_into("#value-search", "\"a\"");
    browser.until_text("#value .l.here", "\"a\": 1");
}
