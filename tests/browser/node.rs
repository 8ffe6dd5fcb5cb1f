//! The page in a real browser: how the node is, what an administrator does, tokens, and a node that goes and comes.
//!
//! Where no chromedriver is installed the tests say so and pass; with `PYKV_BROWSER_REQUIRED` set they fail.

use crate::common::browser::{Browser, keys};
use crate::common::cluster::Member;
use crate::common::{Server, eventually, node::Setup, pykv};
use serde_json::json;
use tempfile::TempDir;

#[test]
fn the_dashboard_shows_what_was_before_it_was_opened() {
    let node = Server::start(&["--max-capacity", "100"]);
    let mut client = node.client();
    for at in 0..300 {
        client
            .put(&format!("/kv/key{at}?upsert=true"), b"value")
            .expect(201);
        client.get(&format!("/kv/key{at}")).expect(200);
    }
    for at in 0..900 {
        let status = if at % 300 < 200 { 404 } else { 200 };
        client.get(&format!("/kv/key{}", at % 300)).expect(status);
    }
    eventually("the node has kept two samples", || {
        let history = node.get("/history").expect(200).body_json();
        history["samples"]["at_ms"].as_array().unwrap().len() >= 2
    });
    let Some(browser) = Browser::start("the_dashboard_shows") else {
        return;
    };
    browser.open(&format!("{}/#dashboard", node.url()));
    for title in [
        "Keys a second",
        "Latency",
        "Hit ratio",
        "Entries",
        "Memory of entries",
        "Dropped a second",
        "Log",
        "Longest sync",
        "Connections",
    ] {
        browser.until_text(".chart h3", title);
    }
    let drawn = "[...document.querySelectorAll('.chart path.s0')].filter((path) => path.getAttribute('d')?.includes('L')).length";
    browser.until(&format!("{drawn} >= 5"));
    browser.until_text(".chart", "of 100");
    browser.until_text("#curve", "100 entries (today)");
    browser.until_text("#hot-keys", "key2");
    browser.until_text("#big-keys", "bytes");
    // Values are read by pointing and by the arrow keys, at the same moment in all charts.
    browser.hover(".chart svg.plot");
    browser.run("document.querySelector('.chart svg.plot').focus()");
    browser.type_keys(keys::LEFT);
    browser.until("document.querySelectorAll('.chart .mark[visibility=visible], .chart .mark:not([visibility=hidden])').length > 3");
    browser.click("[data-seconds='3600']");
    browser
        .until("document.querySelector(\"[data-seconds='3600']\").getAttribute('aria-pressed') === 'true'");
    // A key of the tables opens in the explorer.
    browser.click("#hot-keys a");
    browser.until_text("#value", "value");
    browser.check_console();
}

#[test]
fn a_cluster_is_seen_compacted_backed_up_and_promoted() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &["--failover-after", "60s"]);
    replica.streams();
    primary.fill("key", 500, "value");
    let Some(mut browser) = Browser::start("a_cluster_is_seen") else {
        return;
    };
    browser.open(&format!("http://{}/#cluster", primary.link.address()));
    browser.until_text("#role", "The primary");
    browser.until_text("#followers", &replica.link.address());
    browser.until_text("#followers", "0 bytes");
    browser.until_text("#node-facts", &format!("Takes over\n{}", replica.link.address()));
    assert_eq!(
        browser.run("return document.getElementById('promote').hidden"),
        json!(true)
    );
    browser.press("Compact the log");
    browser.until_text(".toast", "Compacted from");
    browser.until_text("#compaction", "Last compacted from");
    browser.press("Download a backup");
    let mut backup = None;
    eventually("the backup is there", || {
        let files = std::fs::read_dir(browser.downloads())
            .unwrap()
            .flatten()
            .map(|file| file.path());
        backup = files
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "pykv"));
        backup.is_some()
    });
    pykv(&["check", backup.unwrap().to_str().unwrap()]).succeed();

    // The replica names its primary, refuses writes in words, and is promoted by whoever types its name.
    browser.expect("404");
    browser.click("#followers a");
    browser.until_text("#role", "A replica of");
    browser.until_text("#node-facts", "Primary heard");
    browser.until_text("#node-facts", "ms ago");
    assert_eq!(browser.text("#primary"), primary.link.address());
    browser.open(&format!("http://{}/#explorer", replica.link.address()));
    browser.click("#new-key");
    browser.type_into("dialog [name=key]", "a");
    browser.press("Add");
    browser.until_text("dialog .wrong", "This node is a replica");
    browser.press("Cancel");
    browser.open(&format!("http://{}/#cluster", replica.link.address()));
    browser.press("Promote…");
    browser.type_into("#promote-name", "yes");
    browser.press("Promote");
    browser.until_text("dialog .wrong", "This is not");
    browser.fill("#promote-name", &replica.link.address());
    browser.press("Promote");
    browser.until_text(".toast", "It is the primary, of term");
    browser.until_text("#role", "The primary");
    assert!(replica.is_primary());
    browser.check_console();
}

#[test]
fn a_token_is_asked_for_kept_for_the_tab_and_does_what_it_may() {
    let home = TempDir::new().unwrap();
    let tokens = home.path().join("tokens");
    std::fs::write(&tokens, "read eyes\nadmin hands\n").unwrap();
    let node = Setup::new(&["--token-file", tokens.to_str().unwrap()]).start();
    let hands = [("Authorization", "Bearer hands")];
    node.client()
        .request("PUT", "/kv/key?upsert=true", &hands, b"value")
        .expect(201);
    let Some(mut browser) = Browser::start("a_token_is_asked_for") else {
        return;
    };
    for said in ["401", "403", "404"] {
        browser.expect(said);
    }
    let url = format!("{}/#explorer?key=key", node.url());
    browser.open(&url);
    browser.until_text("dialog", "This node asks for a token.");
    browser.type_into("#token", "wrong");
    browser.press("Use it");
    browser.until_text("dialog", "does not know this token");
    browser.fill("#token", "eyes");
    browser.press("Use it");
    browser.until_text("#value", "value");
    browser.until_text("#node", "Forget token");
    // It may read, and is asked for another to write with.
    browser.click("#delete");
    browser.until_text("dialog", "Another token is needed");
    browser.press("Cancel");
    browser.until_text(".toast", "token");
    node.client().request("GET", "/kv/key", &hands, b"").expect(200);
    browser.click("#delete");
    browser.type_into("#token", "hands");
    browser.press("Use it");
    browser.until_text(".toast", "Deleted");
    node.client().request("GET", "/kv/key", &hands, b"").expect(404);
    browser.press("Undo");
    browser.until_text("#value", "value");
    // Kept over a reload, in no lasting place, and never in the address or a line to copy.
    browser.reload();
    browser.until_text("#value", "value");
    let kept = browser.run("return [localStorage.length, document.cookie, location.href.includes('hands')]");
    assert_eq!(kept, json!([0, "", false]));
    browser.open(&format!("{}/#console", node.url()));
    browser.type_into("#console-key", "key");
    browser.click("[data-operation=GET]");
    browser.until_text("#output .status", "200");
    let line = browser.text("#output .curl code");
    assert!(line.contains("$PYKV_TOKEN") && !line.contains("hands"), "{line}");
    browser.click("#forget-token");
    browser.until_text("dialog", "This node asks for a token.");
    browser.check_console();
}

#[test]
fn a_node_that_stops_and_comes_back_is_waited_for() {
    let mut node = Member::primary(&[]);
    node.set("key", "before");
    let Some(mut browser) = Browser::start("a_node_that_stops") else {
        return;
    };
    for said in ["ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "net::ERR"] {
        browser.expect(said);
    }
    browser.open(&format!("http://{}/#explorer?key=key", node.link.address()));
    browser.until_text("#value", "before");
    browser.click("#edit");
    browser.fill("#editor", "typed meanwhile");
    node.server.kill_9();
    browser.click("#save");
    browser.until_text("#banner", "does not answer");
    node.start_again();
    browser.until("document.getElementById('banner').hidden");
    // What was typed is still there, and is saved now.
    browser.click("#save");
    browser.until_text("#value", "typed meanwhile");
    let stored = node.server.get("/kv/key").expect(200).body_json();
    assert_eq!(stored["value"], "typed meanwhile");
    browser.check_console();
}

#[test]
fn the_page_is_used_with_the_keyboard_alone() {
    let node = Server::start(&[]);
    node.client().add("key", "value").expect(201);
    let Some(browser) = Browser::start("the_page_is_used_with_the_keyboard") else {
        return;
    };
    browser.open(&format!("{}/", node.url()));
    browser.until("document.querySelectorAll('.row').length === 1");
    let focus = || {
        let script = "const e = document.activeElement; return e.id || e.innerText || e.tagName";
        browser.run(script).as_str().unwrap_or_default().to_owned()
    };
    let mut order = Vec::new();
    for _ in 0..10 {
        browser.type_keys(keys::TAB);
        order.push(focus());
    }
    assert_eq!(
        order,
        [
            "skip",
            "Explorer",
            "Console",
            "Dashboard",
            "Cluster",
            "API",
            "prefix",
            "delete-prefix",
            "new-key",
            "keys"
        ]
    );
    browser.type_keys(keys::DOWN);
    browser.type_keys(keys::ENTER);
    browser.until_text("#value", "value");
    // A dialog holds the focus, and Escape leaves it.
    browser.run("document.getElementById('expire').focus()");
    browser.type_keys(keys::ENTER);
    browser.until("document.querySelector('dialog[open]')?.contains(document.activeElement)");
    browser.type_keys(keys::ESCAPE);
    browser.until("!document.querySelector('dialog')");
    assert_eq!(focus(), "expire");
    browser.check_console();
}

#[test]
fn nothing_is_cut_off_on_a_phone() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    primary.set(&"long/".repeat(40), &"wide ".repeat(400));
    let Some(browser) = Browser::start("nothing_is_cut_off") else {
        return;
    };
    browser.screen(390, 844, "dark");
    let key = "long%2F".repeat(40);
    for hash in [
        "#explorer",
        &format!("#explorer?key={key}"),
        "#console",
        "#dashboard",
        "#cluster",
    ] {
        browser.open(&format!("http://{}/{hash}", primary.link.address()));
        browser.until("document.querySelector('#tabs [aria-current]') && document.getElementById('main').children.length");
        browser.until("document.querySelector('#node .address')");
        let width = browser.run("return document.documentElement.scrollWidth");
        assert_eq!(width, json!(390), "{hash}");
    }
    browser.check_console();
}
