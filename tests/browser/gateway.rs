//! The page of a gateway in a real browser: it shows the servers of its engine, and offers nothing that a node alone has.
//!
//! Where no chromedriver or no redis-server is installed the tests say so and pass.

use crate::common::browser::{Browser, keys};
use crate::common::engine::{self, Redis, RedisCluster};
use crate::common::{Server, eventually, node::Setup, skip};
use serde_json::json;
use std::collections::BTreeSet;
use tempfile::TempDir;

fn is_skipped(test: &str) -> bool {
    let is_missing = !engine::is_installed();
    if is_missing {
        skip(test, "redis-server is not installed");
    }
    is_missing
}

fn is_seen(browser: &Browser, css: &str) -> bool {
    let script = format!(
        "return [...document.querySelectorAll({})].some((e) => e.checkVisibility())",
        json!(css)
    );
    browser.run(&script) == json!(true)
}

/// The row of a server in the table of them, as a script.
fn row(port: u16) -> String {
    format!(
        "[...document.querySelectorAll('#engine tbody tr')].find((tr) => tr.innerText.includes(':{port}'))"
    )
}

#[test]
fn a_gateway_shows_its_engine_and_hides_what_a_node_alone_has() {
    if is_skipped("a_gateway_shows_its_engine") {
        return;
    }
    let mut cluster = RedisCluster::start();
    let node = Server::start(&["--engine", &cluster.url()]);
    let mut client = node.client();
    for at in 0..30 {
        client.add(&format!("key-{at:02}"), "value").expect(201);
    }
    for at in 0..60 {
        let status = if at < 30 { 200 } else { 404 };
        client.get(&format!("/kv/key-{at:02}")).expect(status);
    }
    let Some(mut browser) = Browser::start("a_gateway_shows_its_engine") else {
        return;
    };
    browser.open(&format!("{}/#dashboard", node.url()));
    browser.until_text("#node", "gateway");
    // Figures of the engine, and of each of its servers.
    browser.until_text("#figures", "6 of 6");
    browser.until_text("#figures", "no limit");
    for (server, slots) in cluster
        .servers
        .iter()
        .zip(["5,461", "5,462", "5,461", "–", "–", "–"])
    {
        let role = if slots == "–" { "replica" } else { "master" };
        browser.until(&format!("{}.innerText.includes('{role}')", row(server.port)));
        browser.until(&format!("{}.cells[3].innerText === '{slots}'", row(server.port)));
        browser.until(&format!("/MiB/.test({}.cells[5].innerText)", row(server.port)));
    }
    // What each master itself says of its keys and reads.
    for master in &cluster.servers[..3] {
        let keys = master.call(&["DBSIZE"]);
        browser.until(&format!("{}.cells[4].innerText === '{keys}'", row(master.port)));
        browser.until(&format!("{}.cells[7].innerText.endsWith('%')", row(master.port)));
    }
    nothing_of_a_log(&browser);

    browser.click("#tabs [href='#cluster']");
    browser.until_text("#cluster-figures", "Cluster");
    browser.until_text("#cluster-figures", "100 %");
    browser.until_text("#role", "CLUSTER FAILOVER");
    for control in [
        "#compact",
        "#backup",
        "#promote",
        "#diverged-file",
        "#diverged",
        "#nodes",
    ] {
        assert!(!is_seen(&browser, control), "{control}");
    }
    browser.check_accessible("the cluster view of a gateway");
    browser.check_console();
    // A server that dies is seen.
    browser.expect("503");
    cluster.servers[5].kill_9();
    browser.until(&format!(
        "{}.innerText.includes('does not answer')",
        row(cluster.servers[5].port)
    ));
    browser.until_text("#cluster-figures", "5 of 6");
    cluster.fail_over(0);
    eventually("the gateway sends everything to the new master", || {
        node.get("/readyz").status == 200
    });
    browser.until(&format!(
        "{}.innerText.includes('master')",
        row(cluster.servers[3].port)
    ));
    browser.until("document.getElementById('banner').hidden");
    browser.check_console();
}

fn nothing_of_a_log(browser: &Browser) {
    browser.until_text(".chart h3", "Keys held");
    for title in [
        "Log on disk, bytes",
        "Longest sync of the log",
        "What would more memory buy",
    ] {
        let script = format!(
            "return [...document.querySelectorAll('.chart h3')].some((h) => h.checkVisibility() && h.innerText.includes({}))",
            json!(title)
        );
        assert_eq!(browser.run(&script), json!(false), "{title}");
    }
    assert!(!is_seen(browser, "#hot-keys"));
}

#[test]
fn the_explorer_and_the_console_of_a_gateway() {
    if is_skipped("the_explorer_and_the_console_of_a_gateway") {
        return;
    }
    let cluster = RedisCluster::start();
    let node = Server::start(&["--engine", &cluster.url()]);
    let mut client = node.client();
    let names: BTreeSet<String> = (0..20).map(|at| format!("user:{at:02}")).collect();
    for name in &names {
        client.add(name, "41").expect(201);
    }
    client.add("other", "value").expect(201);
    let Some(mut browser) = Browser::start("the_explorer_of_a_gateway") else {
        return;
    };
    browser.open(&format!("{}/#explorer", node.url()));
    browser.until_text("#keys-line", "21 keys.");
    // No order of keys, so no tree; no watch, so a button.
    assert!(!is_seen(&browser, "[data-tree=':']"));
    client.add("fresh", "value").expect(201);
    browser.press("Refresh");
    browser.until_text("#keys-line", "22 keys.");
    browser.fill("#prefix", "user:");
    browser.until_text("#keys-line", "20 keys that begin with “user:”.");
    let rows = browser.run("return [...document.querySelectorAll('.row')].map((row) => row.title)");
    assert_eq!(rows, json!(names));
    // All is there, so it can be sorted; the first is opened and counted up.
    browser.click("[data-sort=key]");
    browser.until("document.querySelector('.row').title === 'user:19'");
    browser.click(".row[title='user:19']");
    browser.click("#increment");
    browser.until_text("#value", "42");
    // Keys of many slots are chosen, exported and deleted, although a cluster takes no such batch.
    browser.expect("400");
    browser.expect("404");
    browser.run("document.getElementById('keys').focus()");
    for key in [keys::HOME, " ", keys::DOWN, " ", keys::DOWN, " "] {
        browser.type_keys(key);
    }
    browser.until_text(".chosen", "3 keys chosen");
    browser.click("#export-chosen");
    let file = browser.downloads().join("keys.jsonl");
    eventually("the export is there", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 3)
    });
    browser.click("#delete-chosen");
    browser.press("Delete");
    browser.until_text(".toast", "Deleted 3 keys.");
    browser.until_text("#keys-line", "17 keys that begin");
    // And come back by the file.
    browser.choose_file("#import-file", &file);
    browser.press("Import");
    browser.until_text("#import-report", "Imported 3 keys.");
    browser.press("Close");
    browser.until_text("#keys-line", "20 keys that begin");
    browser.click("#keys-menu summary");
    browser.click("#delete-prefix");
    browser.until_text("dialog", "20 keys begin with user:");
    browser.type_into("dialog input", "20");
    browser.press("Delete");
    browser.until_text(".toast", "Deleted 20 keys");
    assert_eq!(node.get("/kv/other").expect(200).body_json()["value"], "value");

    the_console(&browser);
    browser.check_console();
}

/// Nothing is watched here; what is written says which engine has it.
fn the_console(browser: &Browser) {
    browser.click("#tabs [href='#console']");
    browser.until("document.querySelector('[data-operation=WATCH]')?.hidden");
    browser.click("[data-operation=SET]");
    browser.type_into("#console-key", "other\u{e007}");
    browser.until_text("#output article:first-child .status", "200");
    browser.click("#output article:first-child summary");
    browser.until_text("#output .headers", "pykv-engine: redis");
    browser.check_accessible("the console of a gateway");
}

#[test]
fn a_token_of_a_gateway_says_what_it_may() {
    if is_skipped("a_token_of_a_gateway") {
        return;
    }
    let redis = Redis::start();
    let home = TempDir::new().unwrap();
    let tokens = home.path().join("tokens");
    std::fs::write(&tokens, "read eyes\nadmin hands\n").unwrap();
    let node = Setup::new(&["--engine", &redis.url(), "--token-file", tokens.to_str().unwrap()]).start();
    let hands = [("Authorization", "Bearer hands")];
    node.client()
        .request("PUT", "/kv/key?upsert=true", &hands, b"value")
        .expect(201);
    let Some(mut browser) = Browser::start("a_token_of_a_gateway") else {
        return;
    };
    browser.expect("401");
    // Until there is a token, the page does not know what it is of, and asks for an order.
    browser.expect("501");
    browser.open(&format!("{}/#explorer?key=key", node.url()));
    browser.until_text("dialog", "This node asks for a token.");
    browser.type_into("#token", "eyes");
    browser.press("Use it");
    browser.until_text("#value", "value");
    browser.until_text("#token-button", "Token: read");
    browser.until_text("#banner", "may only read");
    browser.until("document.getElementById('delete').disabled");
    browser.click("#token-button");
    browser.type_into("#token", "hands");
    browser.press("Use it");
    browser.until_text("#token-button", "Token: admin");
    browser.click("#delete");
    browser.until_text(".toast", "Deleted");
    browser.check_console();
}
