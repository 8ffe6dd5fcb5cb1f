//! A real browser, driven over W3C WebDriver: Debian's chromedriver on a free port, and Chromium without a screen.
//! With `PYKV_BROWSER=firefox` in the environment it is Firefox and geckodriver, which tells nothing of the console and
//! knows no dark screen.
//!
//! What a test does goes the way of a user's hands: clicks land where an element is seen, keys go to what has
//! the focus. Nothing sleeps: what is looked for is looked for until it is there or [`SOON`] has passed.

use crate::common::{SOON, poll, skip};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use tempfile::TempDir;

/// One at a time: a browser takes more of a small machine than all nodes together.
static ONE: Mutex<()> = Mutex::new(());

/// A browser, and what is different about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chromium,
    Firefox,
}

impl Kind {
    fn wanted() -> Kind {
        match std::env::var("PYKV_BROWSER").as_deref() {
            Ok("firefox") => Kind::Firefox,
            _ => Kind::Chromium,
        }
    }

    fn driver(self) -> &'static str {
        match self {
            Kind::Chromium => "chromedriver",
            Kind::Firefox => "geckodriver",
        }
    }

    fn capabilities(self, downloads: &Path) -> Value {
        match self {
            Kind::Chromium => json!({
                "goog:chromeOptions": {
                    "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                             "--window-size=1280,800", "--no-first-run", "--disable-extensions", "--lang=en"],
                    "prefs": {"download.default_directory": downloads},
                },
                "goog:loggingPrefs": {"browser": "ALL"},
            }),
            Kind::Firefox => json!({
                "moz:firefoxOptions": {
                    "args": ["-headless", "--width=1280", "--height=800"],
                    "prefs": {"browser.download.folderList": 2, "browser.download.dir": downloads},
                },
            }),
        }
    }

    /// The port in a line that the driver says once it listens.
    fn port(self, line: &str) -> Option<u16> {
        let (before, end) = match self {
            Kind::Chromium => ("successfully on port ", "."),
            Kind::Firefox => ("Listening on 127.0.0.1:", ""),
        };
        let port = line.split(before).nth(1)?;
        port.trim_end_matches(end).parse().ok()
    }
}

/// The name by which WebDriver hands elements over.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Starts of the driver before a test fails for it.
const DRIVER_ATTEMPTS: usize = 5;

/// Keys that are no characters, as WebDriver has them.
pub mod keys {
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
    pub const TAB: &str = "\u{e004}";
    pub const UP: &str = "\u{e013}";
    pub const DOWN: &str = "\u{e015}";
    pub const LEFT: &str = "\u{e012}";
    pub const RIGHT: &str = "\u{e014}";
    pub const HOME: &str = "\u{e011}";
    pub const END: &str = "\u{e010}";
}

/// A browser with one window.
pub struct Browser {
    agent: ureq::Agent,
    kind: Kind,
    session: String,
    driver: Driver,
    /// What the page's console may say; anything else that is an error fails the test.
    expected: Vec<&'static str>,
    downloads: TempDir,
    _one: MutexGuard<'static, ()>,
}

/// The process that drives the browser.
struct Driver {
    child: Child,
    stdout: Option<thread::JoinHandle<()>>,
    url: String,
}

impl Browser {
    /// A window of 1280 by 800 pixels; none, and word of it, where no chromedriver is installed.
    pub fn start(test: &str) -> Option<Browser> {
        Browser::start_with(test, false)
    }

    /// The same, which takes any certificate.
    pub fn start_trusting_all(test: &str) -> Option<Browser> {
        Browser::start_with(test, true)
    }

    fn start_with(test: &str, trusts_all: bool) -> Option<Browser> {
        let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let kind = Kind::wanted();
        let Some(driver) = Driver::start(kind) else {
            // Where a missing browser must not pass for a tested page.
            assert!(
                std::env::var_os("PYKV_BROWSER_REQUIRED").is_none(),
                "{} is missing",
                kind.driver()
            );
            skip(test, &format!("{} is not installed", kind.driver()));
            return None;
        };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(2 * SOON))
            .build()
            .new_agent();
        let downloads = TempDir::new().unwrap();
        let mut browser = Browser {
            agent,
            kind,
            session: driver.url.clone(),
            driver,
            expected: Vec::new(),
            downloads,
            _one: one,
        };
        let mut capabilities = kind.capabilities(browser.downloads.path());
        capabilities["acceptInsecureCerts"] = trusts_all.into();
        let made = browser.post("/session", json!({"capabilities": {"alwaysMatch": capabilities}}));
        let id = made["sessionId"].as_str().expect("the driver names the session");
        browser.session = format!("{}/session/{id}", browser.driver.url);
        Some(browser)
    }

    /// Lets the console say this: what a test provokes is no fault of the page.
    pub fn expect(&mut self, said: &'static str) {
        self.expected.push(said);
    }

    /// Where downloads go.
    pub fn downloads(&self) -> &Path {
        self.downloads.path()
    }

    pub fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url }));
    }

    pub fn back(&self) {
        self.post("/back", json!({}));
    }

    pub fn reload(&self) {
        self.post("/refresh", json!({}));
    }

    /// Runs a script and gives what it returns; a promise is waited for.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    /// Waits until a script, an expression, is true.
    #[track_caller]
    pub fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        let is_so = poll(SOON, || self.run(&script) == json!(true));
        assert!(is_so, "not within {SOON:?}: {expression}\n{}", self.seen());
    }

    /// What a reader of the page sees, for the message of a test that fails.
    pub fn seen(&self) -> String {
        let text = self.run("return document.body.innerText + '\\n' + location.href");
        format!("--- the page:\n{}", text.as_str().unwrap_or_default())
    }

    /// The text of the first element of a CSS selector, once there is one.
    #[track_caller]
    pub fn text(&self, css: &str) -> String {
        let element = self.find(css);
        let text = self.get(&format!("/element/{element}/text"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text of an element has this in it.
    #[track_caller]
    pub fn until_text(&self, css: &str, part: &str) {
        let script = format!(
            "[...document.querySelectorAll({})].some((e) => e.checkVisibility() && (e.innerText ?? e.textContent).includes({}))",
            json!(css),
            json!(part)
        );
        self.until(&script);
    }

    /// Clicks an element as soon as it can be: seen, at rest, and not disabled.
    #[track_caller]
    pub fn click(&self, css: &str) {
        self.act(css, "click", &json!({}));
    }

    /// Does something to an element, as soon as it can be done: the page may draw the element anew meanwhile.
    #[track_caller]
    fn act(&self, css: &str, what: &str, body: &Value) {
        let mut last = Value::Null;
        let done = poll(SOON, || {
            let Some(element) = self.try_find("css selector", css) else {
                return false;
            };
            last = self.try_post(&format!("/element/{element}/{what}"), body.clone());
            last.get("error").is_none()
        });
        assert!(done, "no {what} of {css}: {last}\n{}", self.seen());
    }

    /// Clicks the button that is labelled so, in the uppermost dialog where there is one.
    #[track_caller]
    pub fn press(&self, label: &str) {
        let script = format!(
            "const place = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document;
             const found = [...place.querySelectorAll('button')].find((b) => b.innerText.trim() === {} && !b.disabled && b.checkVisibility());
             document.querySelectorAll('[data-pressed]').forEach((e) => e.removeAttribute('data-pressed'));
             found?.setAttribute('data-pressed', '');
             return Boolean(found)",
            json!(label)
        );
        let is_there = poll(SOON, || self.run(&script) == json!(true));
        assert!(is_there, "no button {label:?}\n{}", self.seen());
        self.click("[data-pressed]");
    }

    /// Types into an element, behind what it holds.
    #[track_caller]
    pub fn type_into(&self, css: &str, text: &str) {
        self.act(css, "value", &json!({ "text": text }));
    }

    /// Empties a field and types into it.
    #[track_caller]
    pub fn fill(&self, css: &str, text: &str) {
        self.act(css, "clear", &json!({}));
        self.act(css, "value", &json!({ "text": text }));
    }

    /// Types where the focus is.
    pub fn type_keys(&self, text: &str) {
        let strokes: Vec<Value> = text
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        self.post(
            "/actions",
            json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}),
        );
    }

    /// Moves the pointer over the middle of an element.
    #[track_caller]
    pub fn hover(&self, css: &str) {
        let element = self.find(css);
        let origin = json!({ ELEMENT: element });
        let step = json!({"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin});
        self.post(
            "/actions",
            json!({"actions": [{"type": "pointer", "id": "mouse", "actions": [step]}]}),
        );
    }

    /// Shows the page as on a screen of this size, light or dark.
    pub fn screen(&self, width: u32, height: u32, scheme: &str) {
        if self.kind == Kind::Firefox {
            self.post("/window/rect", json!({"width": width, "height": height}));
            return;
        }
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// What the window shows, as a PNG in base64.
    pub fn screenshot(&self) -> String {
        let taken = self.get("/screenshot");
        taken.as_str().unwrap_or_default().to_owned()
    }

    /// Fails the test where axe-core finds a serious fault of accessibility in what is shown. Where it is not installed
    /// in `target/axe` (`make test` does that), nothing is looked at; with `PYKV_AXE_REQUIRED` set the test fails.
    #[track_caller]
    pub fn check_accessible(&self, place: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/axe/node_modules/axe-core/axe.min.js");
        let Ok(source) = std::fs::read_to_string(path) else {
            assert!(
                std::env::var_os("PYKV_AXE_REQUIRED").is_none(),
                "axe-core is missing"
            );
            skip(place, "axe-core is not installed");
            return;
        };
        if self.run("return window.axe === undefined") == json!(true) {
            self.run(&format!("{source}; window.axe = axe"));
        }
        let found = self.run(
            "return axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations
                .filter(({impact}) => impact === 'serious' || impact === 'critical')
                .map(({id, nodes}) => `${id}: ${nodes.map((n) => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? '')).slice(0, 4).join(' | ')}`))",
        );
        assert_eq!(found, json!([]), "{place}");
    }

    /// Drags from one part of an element's width to another.
    #[track_caller]
    pub fn drag(&self, css: &str, from: i32, to: i32) {
        let element = self.find(css);
        let origin = json!({ ELEMENT: element });
        let at = |x: i32| json!({"type": "pointerMove", "duration": 0, "x": x, "y": 0, "origin": origin});
        let steps = [
            at(from),
            json!({"type": "pointerDown", "button": 0}),
            at((from + to) / 2),
            at(to),
            json!({"type": "pointerUp", "button": 0}),
        ];
        self.post(
            "/actions",
            json!({"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]}),
        );
    }

    /// Puts the path of a file into an input that takes files.
    #[track_caller]
    pub fn choose_file(&self, css: &str, path: &Path) {
        self.act(css, "value", &json!({"text": path.to_str().unwrap()}));
    }

    /// Fails the test where the page's console has an error that was not expected.
    #[track_caller]
    pub fn check_console(&self) {
        if self.kind == Kind::Firefox {
            return;
        }
        let entries = self.post("/se/log", json!({"type": "browser"}));
        for entry in entries.as_array().into_iter().flatten() {
            let message = entry["message"].as_str().unwrap_or_default();
            let is_expected = self.expected.iter().any(|said| message.contains(said));
            assert!(
                entry["level"] != "SEVERE" || is_expected,
                "the console says: {message}"
            );
        }
    }

    #[track_caller]
    fn find(&self, css: &str) -> String {
        let mut found = None;
        let is_there = poll(SOON, || {
            found = self.try_find("css selector", css);
            found.is_some()
        });
        assert!(is_there, "no {css}\n{}", self.seen());
        found.unwrap()
    }

    fn try_find(&self, using: &str, value: &str) -> Option<String> {
        let found = self.try_post("/element", json!({"using": using, "value": value}));
        Some(found.get(ELEMENT)?.as_str()?.to_owned())
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.agent.get(format!("{}{path}", self.session)).call();
        value_of(answer)
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        let value = self.try_post(path, body);
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }

    fn try_post(&self, path: &str, body: Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.session));
        value_of(request.content_type("application/json").send(body.to_string()))
    }
}

/// The value of WebDriver's answer, which on failure has an `error`.
fn value_of(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let text = answer
        .and_then(|mut answer| answer.body_mut().with_config().limit(64 << 20).read_to_string())
        .expect("the driver answers");
    let mut answer: Value = serde_json::from_str(&text).expect("the driver speaks JSON");
    answer["value"].take()
}

impl Driver {
    /// None where it is not installed.
    ///
    /// Chromium's takes a free port of IPv4, then the same one of IPv6, and ends where somebody else has that: so it has
    /// some attempts.
    fn start(kind: Kind) -> Option<Driver> {
        let mut said = String::new();
        for _ in 0..DRIVER_ATTEMPTS {
            match Driver::try_start(kind)? {
                Ok(driver) => return Some(driver),
                Err(lines) => said.push_str(&lines),
            }
        }
        panic!("{} does not start:\n{said}", kind.driver());
    }

    /// What it said, where it ended at once.
    fn try_start(kind: Kind) -> Option<Result<Driver, String>> {
        let mut child = Command::new(kind.driver())
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (told, is_told) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let mut driver = Driver {
            child,
            stdout: Some(reader),
            url: String::new(),
        };
        let mut said = String::new();
        loop {
            let line = match is_told.recv_timeout(SOON) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Some(Err(said)),
                Err(RecvTimeoutError::Timeout) => panic!("{} does not say its port:\n{said}", kind.driver()),
            };
            if let Some(port) = kind.port(&line) {
                driver.url = format!("http://127.0.0.1:{port}");
                return Some(Ok(driver));
            }
            said.push_str(&line);
            said.push('\n');
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session; killing the driver alone would leave it.
        let _ = self.agent.delete(&self.session).call();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(stdout) = self.stdout.take() {
            let _ = stdout.join();
        }
    }
}
