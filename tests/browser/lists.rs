//! The list of keys in a real browser: sorted, by the keyboard alone, and by files that are dropped; and slow requests.
//!
//! Where no chromedriver is installed the tests say so and pass; with `PYKV_BROWSER_REQUIRED` set they fail.

use crate::common::browser::{Browser, keys};
use crate::common::{Server, eventually};
use serde_json::json;

/// The names of the rows from top to bottom.
const NAMES: &str = "[...document.querySelectorAll('.row')].sort((a, b) => a.offsetTop - b.offsetTop).map((row) => row.title).join()";

fn put(node: &Server, target: &str, value: &[u8]) {
    let answer = node.client().put(target, value);
    assert!(answer.is_success(), "{answer:?}");
}

fn value(node: &Server, key: &str) -> Option<String> {
    let answer = node.client().get(&format!("/kv/{key}?raw"));
    (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap())
}

#[test]
fn keys_are_sorted_by_name_size_and_deadline() {
    let node = Server::start(&[]);
    put(&node, "/kv/a?upsert=true&ttl=7200", b"333");
    put(&node, "/kv/b?upsert=true", b"1");
    put(&node, "/kv/c?upsert=true&ttl=3600", b"22");
    put(&node, "/kv/d:1?upsert=true", b"4444");
    let Some(browser) = Browser::start("keys_are_sorted") else {
        return;
    };
    browser.open(&format!("{}/#explorer", node.url()));
    let is = |names: &str| browser.until(&format!("{NAMES} === '{names}'"));
    is("a,b,c,d:1");
    // Each heading sorts, and turns the order round when it is pressed again. What never expires comes last.
    for (column, up, down) in [
        ("value_bytes", "b,c,a,d:1", "d:1,a,c,b"),
        ("expires_at_ms", "c,a,b,d:1", "d:1,b,a,c"),
        ("key", "a,b,c,d:1", "d:1,c,b,a"),
    ] {
        let head = format!("[data-sort={column}]");
        browser.click(&head);
        is(up);
        browser.click(&head);
        is(down);
        browser.until(&format!(
            "document.querySelector('{head}').getAttribute('aria-pressed') === 'true'"
        ));
    }
    // In a tree folders stay above the keys.
    browser.click("[data-sort=value_bytes]");
    browser.click("[data-tree=':']");
    is("d:,b,c,a");
    browser.check_console();
}

#[test]
fn a_key_is_duplicated_edited_and_deleted_from_the_list_by_the_keyboard() {
    let node = Server::start(&[]);
    put(&node, "/kv/one?upsert=true&ttl=7200", b"text");
    put(&node, "/kv/two?upsert=true", b"other");
    let Some(mut browser) = Browser::start("a_key_is_duplicated") else {
        return;
    };
    for said in ["404", "412"] {
        browser.expect(said);
    }
    browser.open(&format!("{}/#explorer", node.url()));
    browser.until(&format!("{NAMES} === 'one,two'"));
    // Without the mouse: into the list, to the key, into the editor, saved.
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys(keys::HOME);
    browser.type_keys("e");
    browser.until("document.activeElement.id === 'editor'");
    browser.type_keys(" and more");
    browser.type_into("#editor", "\u{e009}\u{e007}");
    browser.until_text(".toast", "Saved.");
    assert_eq!(value(&node, "one").as_deref(), Some("text and more"));
    // Duplicated with value and deadline; a name that is taken is refused.
    browser.click("#entry-menu summary");
    browser.click("#duplicate");
    browser.until("document.querySelector('dialog [name=key]').value === 'one-copy'");
    browser.fill("dialog [name=key]", "two");
    browser.press("Duplicate");
    browser.until_text("dialog .wrong", "Nothing was changed");
    browser.fill("dialog [name=key]", "three");
    browser.press("Duplicate");
    browser.until_text("#entry-key", "three");
    assert_eq!(value(&node, "two").as_deref(), Some("other"));
    assert_eq!(value(&node, "three").as_deref(), Some("text and more"));
    let deadline =
        |key: &str| node.get(&format!("/kv/{key}")).expect(200).body_json()["expires_at_ms"].clone();
    assert_eq!(deadline("three"), deadline("one"));
    // Deleted from the list, taken back by the button that has the focus order next.
    browser.until(&format!("{NAMES} === 'one,three,two'"));
    browser.run("document.getElementById('keys').focus()");
    browser.type_keys(keys::END);
    browser.type_keys("\u{e017}"); // Delete
    browser.until_text(".toast", "Deleted “two”");
    eventually("the key is gone", || value(&node, "two").is_none());
    browser.press("Undo");
    eventually("the key is back", || {
        value(&node, "two").as_deref() == Some("other")
    });
    browser.check_console();
}

#[test]
fn a_file_that_is_dropped_on_the_list_is_imported() {
    let node = Server::start(&[]);
    put(&node, "/kv/there?upsert=true", b"before");
    let Some(browser) = Browser::start("a_file_that_is_dropped") else {
        return;
    };
    browser.open(&format!("{}/#explorer", node.url()));
    browser.until(&format!("{NAMES} === 'there'"));
    let drop = |kind: &str| {
        browser.run(&format!(
            r#"const data = new DataTransfer();
               data.items.add(new File(['{{"key":"there","value":"after"}}\n{{"key":"new","value":"AP8=","encoding":"base64","ttl":90}}\nnonsense\n'], 'keys.jsonl'));
               document.querySelector('.side').dispatchEvent(new DragEvent('{kind}', {{ dataTransfer: data, bubbles: true, cancelable: true }}))"#
        ))
    };
    drop("dragover");
    browser.until("document.querySelector('.side').classList.contains('dropping')");
    drop("drop");
    browser.until("!document.querySelector('.side').classList.contains('dropping')");
    browser.until_text("dialog", "keys.jsonl has 2 keys.");
    browser.until_text("dialog", "1 line cannot be read.");
    // Nothing is done before it is asked for.
    assert_eq!(value(&node, "there").as_deref(), Some("before"));
    browser.press("Import");
    browser.until_text("#import-report", "Imported 2 keys.");
    browser.until_text("#import-report", "Line 3: it is no JSON");
    browser.press("Close");
    browser.until(&format!("{NAMES} === 'new,there'"));
    assert_eq!(value(&node, "there").as_deref(), Some("after"));
    let entry = node.get("/kv/new").expect(200).body_json();
    assert_eq!(
        (&entry["value"], &entry["encoding"]),
        (&json!("AP8="), &json!("base64")),
        "{entry}"
    );
    assert!(entry["expires_at_ms"].is_u64(), "{entry}");
    browser.check_console();
}

#[test]
fn slow_requests_stand_on_the_dashboard_with_what_they_waited_for() {
    let node = Server::start(&["--slow-ms", "1", "--max-batch", "10000"]);
    let operations: Vec<_> = (0..10_000)
        .map(|at| json!({"op": "set", "key": format!("key {at}"), "value": "v"}))
        .collect();
    let batch = json!({ "operations": operations });
    let mut slow = json!(null);
    eventually("the node has seen a slow request", || {
        node.client().json("POST", "/batch", &batch).expect(200);
        slow = node.get("/slow").expect(200).body_json()["requests"][0].clone();
        slow["took_ms"].as_f64() >= Some(1.0)
    });
    let Some(browser) = Browser::start("slow_requests_stand") else {
        return;
    };
    browser.open(&format!("{}/#dashboard", node.url()));
    browser.until_text("#slow", "Requests of 1 ms or longer");
    browser.until_text("#slow tbody tr", "POST /batch");
    for head in [
        "When",
        "Request",
        "Status",
        "Took",
        "Waited: lock",
        "Waited: log",
        "Waited: replicas",
    ] {
        browser.until_text("#slow th", head);
    }
    // Its status, and a time of the form of a time.
    browser.until("document.querySelector('#slow tbody tr').cells[2].innerText === '200'");
    browser.until("/^[0-9.]+ (ms|s)$/.test(document.querySelector('#slow tbody tr').cells[3].innerText)");
    browser.check_console();
}
