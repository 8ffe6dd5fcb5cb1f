//! The README and `docs/`: what they show works, their links lead somewhere, and they name what the source names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Server, skip};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Longest README that a newcomer reads, in lines.
const README_LINES_MAX: usize = 200;
/// A shorter sentence may stand in two places, in bytes.
const SENTENCE_BYTES_MIN: usize = 50;
/// What begins a block of the README that is run.
const TOUR: &str = "<!-- tour -->\n```sh\n";
/// Where a default node listens, which the tour says.
const DEFAULT: &str = "127.0.0.1:7958";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Each document by its path from the root.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut paths = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name();
        if Path::new(&name).extension().is_some_and(|ending| ending == "md") {
            paths.push(Path::new("docs").join(name));
        }
    }
    paths
        .into_iter()
        .map(|path| (path.clone(), read(path.to_str().unwrap())))
        .collect()
}

/// A text without its fenced blocks of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The targets of a document's links and pictures.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let documents = documents();
    for (path, text) in &documents {
        for link in links(text) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = path.parent().unwrap();
            let target = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            let full = root().join(&target);
            assert!(full.exists(), "{}: {link} is not there", path.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(full).unwrap());
                assert!(
                    there.contains(anchor),
                    "{}: {link} has no such heading, but {there:?}",
                    path.display()
                );
            }
        }
    }
}

/// The lists of contents name every document.
#[test]
fn every_document_is_listed() {
    for contents in ["README.md", "docs/README.md"] {
        let text = read(contents);
        let listed: BTreeSet<_> = links(&text)
            .iter()
            .filter_map(|link| {
                Path::new(link.split('#').next()?)
                    .file_name()
                    .map(ToOwned::to_owned)
            })
            .collect();
        for path in documents().keys().filter(|path| !path.ends_with("README.md")) {
            assert!(
                listed.contains(path.file_name().unwrap()),
                "{contents} does not list {}",
                path.display()
            );
        }
    }
}

#[test]
fn no_sentence_stands_in_two_places() {
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in documents() {
        let prose = prose(&text).replace("\n- ", "\n\n").replace(" | ", "\n\n");
        for paragraph in prose.split("\n\n") {
            let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            for sentence in paragraph.split(". ") {
                let sentence = sentence.trim_end_matches(['.', ':', '|']).to_owned();
                if sentence.len() < SENTENCE_BYTES_MIN {
                    continue;
                }
                let before = places.insert(sentence.clone(), path.clone());
                assert_eq!(before, None, "{} has it too: {sentence}", path.display());
            }
        }
    }
}

/// Whether a text has a name that does not continue there.
fn names(all: &str, name: &str) -> bool {
    all.match_indices(name).any(|(at, _)| {
        let after = all[at + name.len()..].chars().next();
        !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    })
}

fn all_documents() -> String {
    documents().into_values().collect()
}

#[test]
fn every_command_and_flag_is_named() {
    let all = all_documents();
    let mut command = pykv::command().disable_help_subcommand(true);
    command.build();
    for sub in command.get_subcommands() {
        let name = sub.get_name();
        assert!(
            names(&all, &format!("pykv {name}")) || all.contains(&format!("`{name}`")),
            "pykv {name} is in no document"
        );
        let flags = sub.get_arguments().filter_map(|argument| argument.get_long());
        for flag in flags.filter(|flag| *flag != "help") {
            assert!(
                names(&all, &format!("--{flag}")),
                "--{flag} of pykv {name} is in no document"
            );
        }
    }
}

/// The strings of a source that stand between quotes and are spelt as `is_name` says.
fn strings(source: &str, is_name: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let pieces = source.split('"').map(str::to_owned);
    pieces.filter(|piece| is_name(piece)).collect()
}

#[test]
fn every_route_is_named() {
    let all = all_documents();
    let sources: String = [
        "src/api.rs",
        "src/api/replication.rs",
        "src/api/election.rs",
        "src/handlers/route.rs",
    ]
    .iter()
    .map(|path| read(path).split("#[cfg(test)]").next().unwrap().to_owned())
    .collect();
    let is_path = |piece: &str| {
        piece.len() > 1
            && piece.starts_with('/')
            && piece
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"/{}.".contains(&byte))
    };
    let routes = strings(&sources, is_path);
    assert!(routes.len() >= 20, "the routes are elsewhere: {routes:?}");
    for route in routes {
        assert!(names(&all, &route), "{route} is in no document");
    }
}

#[test]
fn every_metric_is_named() {
    let all = all_documents();
    let source = read("src/handlers/metrics.rs");
    let calls = ["families.gauge(", "families.counter(", "families.push("];
    let mut metrics: BTreeSet<&str> = calls
        .iter()
        .flat_map(|call| source.split(call).skip(1))
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    // What is made in a loop is named beside it.
    metrics.extend(
        source
            .split("\n            \"follower_")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()),
    );
    assert!(metrics.len() >= 30, "the metrics are elsewhere: {metrics:?}");
    for metric in metrics {
        let is_named =
            names(&all, &format!("pykv_{metric}")) || names(&all, &format!("pykv_follower_{metric}"));
        assert!(is_named, "pykv_{metric} is in no document");
    }
}

/// The alarms that come with pykv ask for metrics that there are, and go off when they should.
#[test]
fn the_alarms_hold() {
    let all = all_documents();
    let rules = read("contrib/prometheus/pykv.rules.yml");
    for rest in rules.split("pykv_").skip(1) {
        let end = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '_')
            .unwrap_or(rest.len());
        let metric = rest[..end].trim_end_matches("_bucket").trim_end_matches("_count");
        assert!(
            names(&all, &format!("pykv_{metric}")),
            "there is no pykv_{metric}"
        );
    }
    for words in [
        ["check", "rules", "pykv.rules.yml"],
        ["test", "rules", "pykv.test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(words)
            .current_dir(root().join("contrib/prometheus"))
            .output();
        let Ok(output) = output else {
            return skip("the_alarms_hold", "promtool is not installed");
        };
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
}

/// The panels of the dashboard show metrics that there are, with their own labels.
#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let all = all_documents();
    let dashboard: serde_json::Value = serde_json::from_str(&read("contrib/grafana/pykv.json")).unwrap();
    let node = Server::start(&["--max-capacity", "1000"]);
    node.client().put("/kv/k?upsert=true", b"v").expect(201);
    let shown = String::from_utf8(node.get("/metrics").expect(200).body).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut count = 0;
    for target in targets {
        let expr = target["expr"].as_str().unwrap();
        for rest in expr.split("pykv_").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap();
            let metric = rest[..end].trim_end_matches("_bucket").trim_end_matches("_count");
            assert!(
                names(&all, &format!("pykv_{metric}")),
                "there is no pykv_{metric}"
            );
            // What a node without followers shows too has the label values that the panel asks for.
            for (label, value) in [
                ("role", "primary"),
                ("state", "written"),
                ("operation", "add"),
                ("result", "hit"),
            ] {
                let asked = format!("{label}=\"{value}\"");
                let line = format!("pykv_{metric}{{");
                if rest[end..].split('}').next().unwrap().contains(&asked) {
                    let has = |shown: &str| shown.starts_with(&line) && shown.contains(&asked);
                    assert!(shown.lines().any(has), "no pykv_{metric} with {asked}");
                }
            }
            count += 1;
        }
    }
    assert!(count >= 20, "{count} metrics in the dashboard");
}

/// What stands behind a command of the tour: what it prints, where that is always the same.
fn expected(line: &str) -> Option<&str> {
    Some(line.split_once("# prints: ")?.1.trim())
}

#[test]
fn the_tour_of_the_readme_works() {
    let node = Server::start(&[]);
    let readme = read("README.md");
    let binary = Path::new(env!("CARGO_BIN_EXE_pykv"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let home = tempfile::tempdir().unwrap();
    let mut commands = 0;
    for block in readme.split(TOUR).skip(1) {
        let block = block.split("```").next().unwrap();
        let mut variables = String::new();
        for line in block.lines() {
            let line = line.replace(DEFAULT, &node.address().to_string());
            if line.starts_with("url=") {
                variables.push_str(&line);
                variables.push('\n');
                continue;
            }
            let output = Command::new("sh")
                .args(["-c", &format!("{variables}{line}")])
                .env("PATH", &path)
                .env("PYKV_SERVER", node.url())
                .env("PYKV_DIR", node.dir())
                .env_remove("PYKV_TOKEN")
                .env_remove("PYKV_TOKEN_FILE")
                .current_dir(home.path())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
            let printed = String::from_utf8_lossy(&output.stdout);
            if let Some(expected) = expected(&line) {
                assert_eq!(printed.trim_end(), expected, "{line}");
            }
            assert!(
                !printed.contains("application/problem+json") && !printed.contains("\"status\":4"),
                "{line}: {printed}"
            );
            commands += 1;
        }
    }
    assert!(commands >= 10, "{commands} commands of the README were run");
    assert_eq!(node.get("/kv/greeting?raw").body, b"hello world");
    assert_eq!(node.get("/kv/code").status, 404, "the tour deletes it");
}
