//! The architecture is held to what `src/lib.rs` says of it, by the imports of every file.
//!
//! - A module at the top of the crate uses what the table allows it, and nothing else.
//! - No files use each other in a circle.
//! - The table names every such module, and none that is not there.
//! - What has a home (the clock, files that are made, sockets) is done there alone.
//! - A file has at most 400 lines before its tests.
//!
//! What a file uses is what its `use` declarations and its paths from `crate`, `super` and `self` name. A name that a
//! module hands on (`pub use`) counts as the file that it is defined in. Tests count for nothing.

#![allow(clippy::unwrap_used)]

mod imports;

use imports::{File, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn tree() -> Tree {
    Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path())
}

/// The modules and what each may use, as the table of `lib.rs` says.
fn table(lib: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = lib
        .lines()
        .skip_while(|line| !line.starts_with("//! | module |"))
        .skip(2)
        .take_while(|line| line.starts_with("//! |"));
    let names = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect()
    };
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let (modules, uses) = (names(cells[1]), names(cells[3]));
        for module in modules {
            table.insert(module, uses.iter().cloned().collect());
        }
    }
    table
}

/// What is used that the table does not allow, as lines to read.
fn breaches(tree: &Tree, table: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.files() {
        for (used, names) in &file.uses {
            let (from, to) = (file.top_module(), File::top_module_of(used));
            if from == to || from == "lib" || to == "lib" {
                continue;
            }
            if !table.get(from).is_some_and(|uses| uses.contains(to)) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                found.push(format!("{} uses {used} ({})", file.name, names.join(", ")));
            }
        }
    }
    found
}

/// Files that use each other in a circle, as lines to read.
fn circles(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for circle in tree.circles() {
        found.push(format!("{} files use each other:", circle.len()));
        for name in &circle {
            for (used, names) in &tree.file(name).uses {
                if circle.contains(used) {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    found.push(format!("  {name} -> {used}: {}", names.join(", ")));
                }
            }
        }
    }
    found
}

#[test]
fn every_module_uses_what_the_table_allows() {
    let lib = include_str!("../../src/lib.rs");
    let found = breaches(&tree(), &table(lib));
    assert!(
        found.is_empty(),
        "not in the table of src/lib.rs:\n{}",
        found.join("\n")
    );
}

#[test]
fn the_table_names_the_modules_that_are_there() {
    let table = table(include_str!("../../src/lib.rs"));
    let tree = tree();
    let there: BTreeSet<&str> = tree
        .files()
        .map(File::top_module)
        .filter(|module| *module != "lib")
        .collect();
    let named: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(there, named);
    for (module, uses) in &table {
        for used in uses {
            assert!(
                table.contains_key(used),
                "{module} may use {used}, which is no module"
            );
        }
    }
}

#[test]
fn the_table_allows_nothing_that_nobody_uses() {
    let table = table(include_str!("../../src/lib.rs"));
    let tree = tree();
    for (module, uses) in &table {
        for allowed in uses {
            let is_used = tree
                .files()
                .filter(|file| file.top_module() == module)
                .any(|file| file.uses.keys().any(|used| File::top_module_of(used) == allowed));
            assert!(is_used, "{module} may use {allowed}, and does not");
        }
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let found = circles(&tree());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What is done in one place alone, and where: the end of a path, and the files that may spell it.
const HOMES: [(&str, &[&str]); 5] = [
    // The clock may say anything: who asks it directly must know what follows from that.
    ("SystemTime::now", &["main.rs", "wall.rs"]),
    // Files are made, and take another's place, by those who sync what must be durable.
    ("fs::rename", &["commands/output.rs"]),
    ("File::create", &[]),
    ("fs::write", &["wal/fuzzing.rs"]),
    // What comes over a connection, plain or under TLS; another transport would have its place here.
    (
        "TcpStream",
        &[
            "net/tls_stream.rs",
            "net/transport.rs",
            "node/cluster.rs",
            "replication/link.rs",
            "replication/wire.rs",
        ],
    ),
];

#[test]
fn what_has_a_home_is_done_there() {
    let tree = tree();
    for (name, homes) in HOMES {
        let ends_so = |path: &String| path == name || path.ends_with(&format!("::{name}"));
        let found = tree.files().filter(|file| file.spelt.iter().any(ends_so));
        let found: Vec<&str> = found.map(|file| file.name.as_str()).collect();
        assert_eq!(found, homes, "{name}");
    }
}

/// Lines that a file may have before its tests.
const FILE_LINES_MAX: usize = 400;

/// Files that are longer, and how long. The list may only get shorter, and its numbers smaller.
const LONGER: [(&str, usize); 0] = [];

#[test]
fn no_file_is_longer_than_it_may_be() {
    let longer: BTreeMap<&str, usize> = LONGER.into_iter().collect();
    for file in tree().files() {
        let lines_max = longer.get(file.name.as_str()).copied().unwrap_or(FILE_LINES_MAX);
        assert!(file.lines <= lines_max, "{} has {} lines", file.name, file.lines);
        let is_listed_for_nothing = lines_max > FILE_LINES_MAX && file.lines <= FILE_LINES_MAX;
        assert!(!is_listed_for_nothing, "{} is no longer too long", file.name);
    }
}

/// The checks above can fail: in a tree with a planted circle, and a use that no table allows.
#[test]
fn a_planted_circle_and_a_planted_use_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("upper")).unwrap();
    write("lib.rs", "mod upper; mod lower; pub use lower::Thing;");
    write(
        "upper/mod.rs",
        "mod one; mod two; pub use one::One; use crate::lower::Thing;",
    );
    write(
        "upper/one.rs",
        "use super::two; pub struct One; fn f() { two::g() }",
    );
    write(
        "upper/two.rs",
        "pub fn g() { let _ = super::One; } #[cfg(test)] mod tests { use crate::lower; }",
    );
    write(
        "lower.rs",
        "pub struct Thing; fn f() -> crate::upper::One { loop {} }",
    );
    let tree = Tree::read(dir.path());
    assert_eq!(
        circles(&tree),
        [
            "2 files use each other:",
            "  upper/one.rs -> upper/two.rs: two",
            "  upper/two.rs -> upper/one.rs: One",
        ]
    );
    let table = table(
        "//! | module | what | uses |\n//! | --- |\n//! | `upper` | | `lower` |\n//! | `lower` | | |\n",
    );
    assert_eq!(breaches(&tree, &table), ["lower.rs uses upper/one.rs (One)"]);
}
