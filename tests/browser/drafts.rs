//! What is typed and not sent yet: in the console, for a key that moves or goes, and in the search.
//!
//! Where no chromedriver is installed the tests say so and pass; with `PYKV_BROWSER_REQUIRED` set they fail.

use crate::common::browser::{Browser, keys};
use crate::common::{Server, eventually};
use crate::views::{at, put};
use serde_json::json;

#[test]
fn what_is_typed_in_the_console_outlives_a_reload_and_a_past_request() {
    let node = Server::start(&[]);
    let Some(browser) = at(&node, "what_is_typed_in_the_console", "#console") else {
        return;
    };
    browser.click("[data-operation=SET]");
    browser.fill("#console-key", "sent");
    browser.fill("#console-value", "1");
    browser.click("#console-send");
    browser.until_text("#console-past", "SET sent");
    browser.fill("#console-key", "typed");
    browser.fill("#console-value", "not sent");
    browser.reload();
    let is = |key: &str, value: &str| {
        browser.until(&format!(
            "document.getElementById('console-key')?.value === '{key}' && document.getElementById('console-value').value === '{value}'"
        ));
    };
    is("typed", "not sent");
    browser.until("document.querySelector('[data-operation=SET]').getAttribute('aria-pressed') === 'true'");
    // A past request takes its place, until it is put back. What was sent needs no way back.
    browser.click("#console-past .quiet");
    is("sent", "1");
    browser.click("#put-back");
    is("typed", "not sent");
    browser.click("#console-send");
    eventually("the request is sent", || node.get("/kv/typed").status == 200);
    browser.until_text("#console-past", "SET typed");
    browser.click("#console-past li:last-child .quiet");
    is("sent", "1");
    browser.until("document.getElementById('console-replaced').hidden");
    browser.check_console();
}

/// Opens a key, types something behind its value, and leaves the editor.
fn begin_a_draft(browser: &Browser) {
    browser.click("#edit");
    browser.type_into("#editor", " typed");
    browser.type_keys(keys::ESCAPE);
    browser.until_text("#draft", "not saved");
}

#[test]
fn a_draft_goes_with_its_key_and_is_there_when_the_key_is_made_again() {
    let node = Server::start(&[]);
    put(&node, "old", b"value");
    let Some(mut browser) = at(&node, "a_draft_goes_with_its_key", "#explorer?key=old") else {
        return;
    };
    browser.expect("404");
    begin_a_draft(&browser);
    browser.click("#entry-menu summary");
    browser.click("#rename");
    browser.fill("dialog [name=key]", "new");
    browser.press("Rename");
    browser.until_text("#entry-key", "new");
    browser.click("#continue");
    browser.until("document.getElementById('editor').value === 'value typed'");
    browser.click("#save");
    browser.until_text(".toast:last-child", "Saved.");
    assert_eq!(node.get("/kv/new?raw").body, b"value typed");
    // It is of the new name alone.
    assert_eq!(
        browser.run("return Object.keys(sessionStorage).filter((name) => name.startsWith('pykv-draft:'))"),
        json!([])
    );

    begin_a_draft(&browser);
    node.client().delete("/kv/new").expect(204);
    browser.until_text("#entry", "Your draft of it is kept");
    browser.click("#create");
    browser.until("document.querySelector('dialog [name=value]').value === 'value typed typed'");
    browser.press("Add");
    browser.until_text("#value", "value typed typed");
    browser.until("!document.getElementById('draft')");
    browser.check_console();
}

#[test]
fn what_nobody_sees_in_a_key_is_shown_by_its_number() {
    let node = Server::start(&[]);
    // The order of text turned round, no width, and a joiner that joins nothing; Persian and a family need theirs.
    let key = "pay\u{202e}gpj\u{200d}\u{200b}";
    let family = "\u{1f468}\u{200d}\u{1f467}";
    for key in [key, family] {
        node.client().add(key, "1").expect(201);
    }
    let Some(browser) = at(&node, "what_nobody_sees_in_a_key", "#explorer") else {
        return;
    };
    let shown = r"pay\u{202e}gpj\u{200d}\u{200b}";
    browser.until_text("#keys", shown);
    browser.until_text("#keys", family);
    browser.click(".row[data-key^=pay]");
    browser.until_text("#entry-key", shown);
    browser.click("#delete");
    browser.until_text(".toast", shown);
    browser.check_console();
}

#[test]
fn from_the_search_to_the_list_and_many_keys_at_once() {
    let node = Server::start(&[]);
    for number in 0..300 {
        put(&node, &format!("many:{number:03}"), b"text");
    }
    let Some(browser) = at(&node, "from_the_search_to_the_list", "#explorer") else {
        return;
    };
    browser.until_text("#keys-line", "300 keys.");
    browser.type_into("#prefix", keys::DOWN);
    browser.until("document.activeElement.id === 'keys'");
    browser.type_keys(keys::DOWN);
    browser.type_keys("\u{e007}");
    browser.until_text("#entry-key", "many:001");
    // What the node cannot delete at once is not offered: a pattern is no beginning.
    let is_offered = |is: bool| {
        browser.until(&format!(
            "document.getElementById('delete-prefix').hidden !== {is}"
        ))
    };
    browser.fill("#prefix", "many:0");
    is_offered(true);
    browser.run("const kind = document.getElementById('search-kind'); kind.value = 'pattern'; kind.dispatchEvent(new Event('change'))");
    browser.fill("#prefix", "*:00*");
    is_offered(false);
    browser.until_text("#keys-line", "10 keys like *:00*.");
    browser.fill("#prefix", "many:*");
    browser.until_text("#keys-line", "300 keys like many:*.");
    // A deadline for all of them: each is a request of its own.
    browser.run("document.getElementById('keys').focus()");
    browser.run("document.getElementById('keys').dispatchEvent(new KeyboardEvent('keydown', {key: 'a', ctrlKey: true, bubbles: true}))");
    browser.until_text(".chosen", "300 keys chosen");
    browser.click("#expire-chosen");
    browser.fill("dialog [name=ttl]", "1000");
    browser.press("Set");
    browser.until_text(".toast", "Changed 300 keys.");
    for key in ["many:000", "many:299"] {
        assert!(node.get(&format!("/kv/{key}")).body_json()["expires_at_ms"].is_u64());
    }
    browser.check_console();
}
