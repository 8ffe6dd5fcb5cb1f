//! The page in a real browser: how the node is, what an administrator does, tokens, and a node that goes and comes.
//!
//! Where no chromedriver is installed the tests say so and pass; with `PYKV_BROWSER_REQUIRED` set they fail.

use crate::common::browser::{Browser, keys};
use crate::common::cluster::{Member, become_equal};
use crate::common::proxy::Mode;
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
        "Requests and keys, per second",
        "Latency of requests for keys",
        "Hit ratio, % of reads",
        "Keys held",
        "Memory of entries, bytes",
        "Keys dropped, per second",
        "Log on disk, bytes",
        "Longest sync of the log",
        "Open connections",
    ] {
        browser.until_text(".chart h3", title);
    }
    for figure in ["OK", "/s", "100 % of 100", "no replica"] {
        browser.until_text("#figures", figure);
    }
    let drawn = "[...document.querySelectorAll('.chart path.s0')].filter((path) => path.getAttribute('d')?.includes('L')).length";
    browser.until(&format!("{drawn} >= 5"));
    browser.until_text(".chart .limit", "limit 100");
    browser.until_text("#curve-assumes", "assumes");
    browser.until_text("#slow", "Requests of 500 ms or longer");
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
    // A stretch is chosen by dragging; a pause holds still; a day has coarser steps.
    browser.drag(".chart svg.plot", 10, 100);
    browser.until("!document.getElementById('unzoom').hidden");
    browser.click("#unzoom");
    browser.until("document.getElementById('unzoom').hidden");
    browser.click("#pause");
    browser.until_text("#dashboard-note", "Paused at");
    browser.click("#pause");
    browser.click("[data-seconds='86400']");
    browser.until_text("#dashboard-note", "every 2 minutes");
    let day = node.get("/history?range=day").expect(200).body_json();
    assert_eq!(day["interval_ms"], 120_000);
    // A key of the tables opens in the explorer.
    browser.click("#hot-keys a");
    browser.until_text("#value", "value");
    browser.check_console();
}

/// The replica says so on every view, greys what writes, and leads to the same key on its primary.
fn a_replica_says_that_it_is_one(browser: &Browser, primary: &str, replica: &str) {
    browser
        .run("document.querySelector('#picture a').dispatchEvent(new MouseEvent('click', {bubbles: true}))");
    browser.open(&format!("http://{}/#explorer?key=key0", replica));
    browser.until_text("#banner", "read-only replica");
    for control in ["new-key", "edit", "expire", "delete", "rename"] {
        browser.until(&format!("document.getElementById('{control}').disabled"));
    }
    browser.until(&format!(
        "document.getElementById('to-primary').href.includes('{}/#explorer?key=key0')",
        primary
    ));
    for view in ["console", "dashboard", "cluster"] {
        browser.click(&format!("#tabs [href='#{view}']"));
        browser.until_text("#banner", "read-only replica");
        if view == "console" {
            browser.until("document.querySelector('[data-operation=SET]').disabled");
            browser.until("!document.querySelector('[data-operation=GET]').disabled");
        }
    }
    // So does the description of the API; its link leads to that of the primary.
    browser.click("#tabs [href=docs]");
    browser.until_text("#banner", "read-only replica");
    browser.until(&format!(
        "document.getElementById('to-primary').href === 'http://{}/docs'",
        primary
    ));
    browser.open(&format!("http://{}/#console", replica));
    browser.click("[data-operation=BATCH]");
    browser.click("#console-send");
    browser.until_text("#output article:first-child", "its primary takes writes");
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
    browser.until_text("#cluster-figures", "takes reads and writes");
    browser.until_text(
        "#cluster-figures",
        &format!("Takes over\n{}", replica.link.address()),
    );
    // Every node's own health, and a picture of who follows whom.
    let row = format!(
        "[...document.querySelectorAll('#nodes tbody tr')].find((tr) => tr.innerText.includes('{}'))",
        replica.link.address()
    );
    browser.until(&format!(
        "{row}?.classList.contains('good') && {row}.innerText.includes('ok')"
    ));
    browser.until("document.querySelectorAll('#picture .box').length === 2 && document.querySelectorAll('#picture .line').length === 1");
    browser.until("document.querySelector('#picture .lag').textContent === 'up to date'");
    assert_eq!(
        browser.run("return document.getElementById('promote').checkVisibility()"),
        json!(false)
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

    browser.expect("404");
    a_replica_says_that_it_is_one(&browser, &primary.link.address(), &replica.link.address());
    browser.click("#tabs [href='#cluster']");
    browser.until_text("#cluster-figures", "behind the primary");
    browser.until_text("#cluster-figures", "ago");
    browser.press("Promote…");
    browser.type_into("#promote-name", "yes");
    browser.press("Promote");
    browser.until_text("dialog .wrong", "This is not");
    browser.fill("#promote-name", &replica.link.address());
    browser.press("Promote");
    browser.until_text(".toast", "This node is the primary, in term");
    browser.until("document.getElementById('banner').hidden");
    assert!(replica.is_primary());
    browser.check_console();
}

#[test]
fn what_was_set_aside_is_looked_at_and_sent_again() {
    let old = Member::primary(&[]);
    let replica = Member::replica(&[&old], &[]);
    old.set("both", "before");
    become_equal(&[&old, &replica]);
    old.link.set(Mode::Cut);
    replica.link.set(Mode::Cut);
    old.set("only", "on the old one");
    old.set("both", "lost");
    replica.promote_by_force();
    replica.set("both", "after");
    old.link.set(Mode::Pass);
    replica.link.set(Mode::Pass);
    let mut file = String::new();
    eventually("something was set aside", || {
        let files = old.server.get("/diverged").expect(200).body_json()["files"].clone();
        file = files[0]["name"].as_str().unwrap_or_default().to_owned();
        !file.is_empty() && !old.is_primary()
    });
    become_equal(&[&old, &replica]);
    let Some(mut browser) = Browser::start("what_was_set_aside") else {
        return;
    };
    browser.expect("404");
    browser.open(&format!("http://{}/#cluster", old.link.address()));
    browser.click(&format!("[data-look='{file}']"));
    browser.until_text("dialog", "only");
    browser.press("Close");
    browser.press("Save");
    let saved = browser.downloads().join(file.replace(".pykv", ".json"));
    eventually("the file is saved", || saved.exists());
    let there = replica.link.address();
    browser.open(&format!("http://{there}/#cluster"));
    // Beside a download, Firefox says that it is there while it still shows the page before.
    browser.until(&format!(
        "location.host === '{there}' && document.querySelector('#nodes tbody tr')"
    ));
    browser.choose_file("[accept='.json']", &saved);
    browser.press("Send");
    browser.until_text("#diverged-report", "1 key sent.");
    browser.until_text("#diverged-report", "1 key left alone");
    assert_eq!(replica.value("only").as_deref(), Some("on the old one"));
    assert_eq!(replica.value("both").as_deref(), Some("after"));
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
    // A question that is cancelled is no dead end: the error has a way out, and so has the header.
    browser.until_text("dialog", "This node asks for a token.");
    browser.press("Cancel");
    browser.until_text(".wrong.inline", "Enter a token…");
    browser.click("#token-button");
    browser.type_into("#token", "wrong\u{e007}");
    browser.until_text("dialog", "does not know this token");
    browser.fill("#token", "eyes");
    browser.press("Use it");
    browser.until_text("#value", "value");
    browser.until_text("#token-button", "Token: read");
    // It may read: what writes is greyed, and the line above says why.
    browser.until_text("#banner", "may only read");
    browser.until("document.getElementById('delete').disabled");
    browser.click("#token-button");
    browser.until_text("dialog", "Your token is for read");
    browser.type_into("#token", "hands");
    browser.press("Use it");
    browser.until_text("#token-button", "Token: admin");
    browser.click("#delete");
    browser.until_text(".toast", "Deleted");
    node.client().request("GET", "/kv/key", &hands, b"").expect(404);
    browser.press("Undo");
    browser.until_text("#value", "value");
    // Kept over a reload, in no lasting place, and never in the address or a line to copy.
    browser.reload();
    browser.until_text("#value", "value");
    browser.open(&format!("{}/#console", node.url()));
    browser.type_into("#console-key", "key");
    browser.click("#console-send");
    browser.until_text("#output .status", "200");
    let line = browser.text("#output .curl code");
    assert!(line.contains("$PYKV_TOKEN") && !line.contains("hands"), "{line}");
    let kept = browser.run("return [JSON.stringify(localStorage).includes('hands'), document.cookie, location.href.includes('hands')]");
    assert_eq!(kept, json!([false, "", false]));
    browser.click("#token-button");
    browser.press("Forget it");
    browser.until_text("#token-button", "Token…");
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
    browser.until("document.querySelector('#node .dot').classList.contains('bad')");
    // The error stands beside the button, and leaves with its view.
    browser.until_text(".entry .wrong.inline", "does not answer");
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
    for _ in 0..18 {
        browser.type_keys(keys::TAB);
        order.push(focus());
    }
    let wanted = [
        "skip",
        "token-button",
        "help",
        "Explorer",
        "Console",
        "Dashboard",
        "Cluster",
        "API",
        "search-kind",
        "prefix",
        "List",
        "a:b",
        "a/b",
        "More",
        "new-key",
        "Name",
        "Size",
        "Expires",
    ];
    assert_eq!(order, wanted);
    browser.type_keys(keys::TAB);
    assert_eq!(focus(), "keys");
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

/// A proxy that shows a node below a path; it ends with its listener's thread, when the test does.
fn below(path: &'static str, node: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::io::{Read, Write, copy};
    use std::net::{Shutdown, TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut client = stream;
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                if text.is_empty() {
                    return;
                }
                // Each connection carries one request.
                let lines = text
                    .lines()
                    .filter(|line| !line.to_ascii_lowercase().starts_with("connection:") && !line.is_empty());
                let head: String = lines.map(|line| format!("{line}\r\n")).collect();
                let head = head.replacen(&format!(" {path}/"), " /", 1) + "Connection: close\r\n\r\n";
                let mut server = TcpStream::connect(node).unwrap();
                let _ = server.write_all(head.as_bytes());
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || copy(&mut from, &mut to));
                let _ = copy(&mut server, &mut client);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

/// Every view, light and dark: no serious fault of accessibility, and on a phone nothing that is cut off.
#[test]
fn every_view_is_accessible_fits_a_phone_and_works_below_a_path() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    primary.set(&"long/".repeat(40), &"wide ".repeat(400));
    primary.set("json", r#"{"a":[1,true,"text"]}"#);
    let Some(mut browser) = Browser::start("every_view_is_accessible") else {
        return;
    };
    browser.expect("404");
    let base = format!("http://{}/kv1", below("/kv1", primary.server.address()));
    let key = "long%2F".repeat(40);
    for (width, height, scheme) in [
        (1280, 800, "light"),
        (1280, 800, "dark"),
        (390, 844, "dark"),
        (390, 844, "light"),
    ] {
        browser.screen(width, height, scheme);
        for (hash, ready) in [
            ("#explorer", "document.querySelectorAll('.row').length > 1"),
            ("#explorer?key=json", "document.querySelector('.l')"),
            (
                &*format!("#explorer?key={key}"),
                "document.getElementById('value')",
            ),
            ("#explorer?key=absent", "document.getElementById('create')"),
            ("#console", "document.getElementById('console-send')"),
            (
                "#dashboard",
                "document.querySelectorAll('.chart').length > 8 && document.querySelector('#figures dd')",
            ),
            (
                "#cluster",
                "document.querySelectorAll('#nodes tbody tr').length === 2",
            ),
        ] {
            // The same page with another hash is not loaded anew: it is left first.
            browser.open("about:blank");
            browser.open(&format!("{base}/{hash}"));
            browser.until(ready);
            browser.until("document.querySelector('#node .dot.good')");
            if width == 390 {
                // Firefox has no window that is so narrow.
                let is_wider = browser.run("return document.documentElement.scrollWidth > innerWidth");
                assert_eq!(is_wider, json!(false), "{hash}");
            }
            if width == 1280 || scheme == "dark" {
                browser.check_accessible(&format!("{hash} at {width}, {scheme}"));
            }
        }
    }
    browser.screen(1280, 800, "light");
    browser.open(&format!("{base}/#explorer?key=json"));
    browser.click("#edit");
    browser.check_accessible("the editor");
    browser.click("#close-editor");
    browser.click("#expire");
    browser.check_accessible("a dialog");
    browser.press("Cancel");
    browser.click("#new-key");
    browser.fill("dialog [name=key]", "below/a path");
    browser.press("Add");
    browser.until_text("#entry-key", "below/a path");
    assert!(primary.value("below/a%20path").is_some());
    browser.check_console();
}
