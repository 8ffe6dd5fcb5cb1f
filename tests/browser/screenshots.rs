//! Pictures of the page, to be looked at: `make screenshots` writes them to `target/screenshots`.
//!
//! Each view at 1280 and at 390 pixels, in light and in dark, of a node with something to show and a replica.

use crate::common::browser::Browser;
use crate::common::client::encode;
use crate::common::cluster::Member;
use crate::common::{Random, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use std::path::PathBuf;

const LONG: &str = "a/very/long/key/that/does/not/fit/into/the/list/of/keys/at/any/width/1234567890";

/// Keys of several kinds, and reads with hits and misses for as long as a dashboard needs for a line.
fn furnish(node: &Server) {
    let mut client = node.client();
    let text = "The quick brown fox jumps over the lazy dog.\nA second line, and <b>no</b> markup.\n";
    client
        .put("/kv/notes/today?upsert=true", text.as_bytes())
        .expect(201);
    let profile = json!({"name": "Ada Lovelace", "born": 1815, "tags": ["mathematics", "engines"],
                         "address": {"city": "London", "postcode": null}, "active": true});
    client
        .put("/kv/user/ada?upsert=true", profile.to_string().as_bytes())
        .expect(201);
    let bytes: Vec<u8> = (0..4096_u32).map(|at| (at * 31 % 256) as u8).collect();
    client.put("/kv/image/logo.png?upsert=true", &bytes).expect(201);
    client
        .put("/kv/session/8f14e45f?upsert=true&ttl=5400", b"signed in")
        .expect(201);
    client.put(&format!("/kv/{LONG}?upsert=true"), b"").expect(201);
    client
        .put("/kv/report/2026?upsert=true", &vec![b'x'; 300_000])
        .expect(201);
}

fn use_it(node: &Server, seed: u64) {
    let mut client = node.client();
    let mut random = Random::new(seed);
    for _ in 0..60 {
        let keys: Vec<u64> = (0..50)
            .map(|_| (9_000.0 * random.unit().powi(3)) as u64)
            .collect();
        let gets: Vec<_> = keys
            .iter()
            .flat_map(|key| encode("GET", &format!("/kv/item:{key}"), &[], b""))
            .collect();
        client.send(&gets).unwrap();
        for key in &keys {
            if client.response(false).unwrap().status == 404 {
                let put = encode("PUT", &format!("/kv/item:{key}?upsert=true"), &[], &[b'v'; 200]);
                node.client().send(&put).unwrap();
            }
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one picture after the other")]
fn pictures() {
    let Some(folder) = std::env::var_os("PYKV_SCREENSHOTS").map(PathBuf::from) else {
        return; // Nothing was asked for.
    };
    std::fs::create_dir_all(&folder).unwrap();
    let primary = Member::primary(&["--max-capacity", "2000"]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    // Samples are taken every 5 s: some, so that lines have a shape.
    let begun = std::time::Instant::now();
    let mut seed = 0;
    while begun.elapsed().as_secs() < 32 {
        seed += 1;
        use_it(&primary.server, seed);
    }
    furnish(&primary.server);
    let Some(mut browser) = Browser::start("pictures") else {
        panic!("chromedriver is not installed");
    };
    browser.expect("404");
    let url = primary.server.url();
    let views = [
        (
            "explorer",
            "#explorer".to_owned(),
            "document.querySelectorAll('.row').length > 5",
        ),
        (
            "json",
            "#explorer?key=user%2Fada".to_owned(),
            "document.getElementById('value')",
        ),
        (
            "hex",
            "#explorer?prefix=image&key=image%2Flogo.png".to_owned(),
            "document.getElementById('value')",
        ),
        (
            "long",
            format!("#explorer?key={}", LONG.replace('/', "%2F")),
            "document.getElementById('version')",
        ),
        (
            "large",
            "#explorer?key=report%2F2026".to_owned(),
            "document.getElementById('cut')",
        ),
        (
            "deadline",
            "#explorer?key=session%2F8f14e45f".to_owned(),
            "document.getElementById('deadline')",
        ),
        (
            "console",
            "#console".to_owned(),
            "document.querySelector('.console, #console, form')",
        ),
        (
            "dashboard",
            "#dashboard".to_owned(),
            "document.querySelectorAll('path.series').length > 3",
        ),
        (
            "cluster",
            "#cluster".to_owned(),
            "document.querySelector('table')",
        ),
    ];
    for (width, height) in [(1280, 800), (390, 844)] {
        for scheme in ["light", "dark"] {
            browser.screen(width, height, scheme);
            for (name, hash, ready) in &views {
                if scheme == "dark" && !["json", "dashboard"].contains(name) {
                    continue;
                }
                browser.open(&format!("{url}/{hash}"));
                browser.until(ready);
                if *name == "console" {
                    browser.run("document.querySelector('[name=key], #console-key')?.focus()");
                }
                // Fonts and the answers of the first polls.
                browser.until("document.fonts.status === 'loaded'");
                std::thread::sleep(std::time::Duration::from_millis(700)); // Nothing says that a drawing has come to rest.
                let whole = browser.devtools(
                    "Page.captureScreenshot",
                    json!({"format": "png", "captureBeyondViewport": *name == "dashboard"}),
                );
                let png = BASE64.decode(whole["data"].as_str().unwrap()).unwrap();
                std::fs::write(folder.join(format!("{name}-{width}-{scheme}.png")), png).unwrap();
            }
        }
    }
    browser.check_console();
}
