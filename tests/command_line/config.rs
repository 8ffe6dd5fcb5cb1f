//! The configuration of a node: flags, variables and a file, and which of them wins.

use crate::common::node::Setup;
use crate::common::pykv;
use std::fs;
use std::path::{Path, PathBuf};

fn file(home: &Path, text: &str) -> PathBuf {
    let path = home.join("pykv.toml");
    fs::write(&path, text).unwrap();
    path
}

/// The line of a flag in what `--print-config` prints.
fn printed(args: &[&str], variables: &[(&str, &str)], flag: &str) -> String {
    let mut run = pykv(&[&["serve", "--print-config"], args].concat());
    for (variable, value) in variables {
        run = run.env(variable, value);
    }
    let text = String::from_utf8(run.succeed()).unwrap();
    let line = text
        .lines()
        .find(|line| line.trim_start_matches("# ").split(' ').next() == Some(flag));
    line.unwrap_or_else(|| panic!("{flag}: {text}")).to_owned()
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let home = tempfile::tempdir().unwrap();
    let path = file(
        home.path(),
        "max-memory = \"2GiB\"\nmax-capacity = 5000\ninsecure = true\n",
    );
    let config = format!("--config={}", path.display());
    let config = config.as_str();
    let from_file = format!("# {}", path.display());
    let variable = [("PYKV_MAX_MEMORY", "3GiB")];
    for (args, variables, flag, expected) in [
        (
            &[][..],
            &[][..],
            "max-memory",
            "# max-memory = \"1GiB\"  # default".to_owned(),
        ),
        (
            &[config],
            &[],
            "max-memory",
            format!("max-memory = \"2GiB\"  {from_file}"),
        ),
        (
            &[config],
            &variable,
            "max-memory",
            "max-memory = \"3GiB\"  # PYKV_MAX_MEMORY".to_owned(),
        ),
        (
            &[config, "--max-memory", "4GiB"],
            &variable,
            "max-memory",
            "max-memory = \"4GiB\"  # command line".to_owned(),
        ),
        (
            &[config],
            &[],
            "max-capacity",
            format!("max-capacity = \"5000\"  {from_file}"),
        ),
        (
            &[config],
            &[],
            "insecure",
            format!("insecure = true  {from_file}"),
        ),
        (
            &[],
            &[("PYKV_INSECURE", "1")],
            "insecure",
            "insecure = true  # PYKV_INSECURE".to_owned(),
        ),
        (
            &[],
            &[("PYKV_INSECURE", "0")],
            "insecure",
            "insecure = false  # PYKV_INSECURE".to_owned(),
        ),
        (&[], &[], "token-file", "# token-file is not set".to_owned()),
        (
            &[],
            &[],
            "max-body",
            "# max-body is not set: as much as the largest value needs".to_owned(),
        ),
    ] {
        assert_eq!(printed(args, variables, flag), expected, "{args:?} {variables:?}");
    }
    let variables = [("PYKV_CONFIG", path.to_str().unwrap())];
    assert!(printed(&[], &variables, "max-memory").starts_with("max-memory = \"2GiB\""));
}

#[test]
fn what_is_printed_is_a_file() {
    let home = tempfile::tempdir().unwrap();
    let args = ["--host-name=a.example", "--host-name=b.example", "--max-batch=77"];
    let first = pykv(&[&["serve", "--print-config"], &args[..]].concat()).succeed();
    let path = file(home.path(), std::str::from_utf8(&first).unwrap());
    let config = format!("--config={}", path.display());
    let again = pykv(&["serve", "--print-config", &config]).succeed();
    let values = |bytes: &[u8]| -> Vec<String> {
        let text = std::str::from_utf8(bytes).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split("  # ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(&first), values(&again));
    assert!(values(&first).contains(&r#"host-name = ["a.example", "b.example"]"#.to_owned()));
}

#[test]
fn a_node_runs_by_its_file() {
    let home = tempfile::tempdir().unwrap();
    let path = file(home.path(), "max-batch = 3\n");
    let config = format!("--config={}", path.display());
    let node = Setup::new(&[&config]).start();
    let status = node.get("/status").expect(200).body_json();
    assert_eq!(status["limits"]["batch_operations_max"], 3);
}

#[test]
fn what_is_wrong_in_a_file_is_said() {
    let home = tempfile::tempdir().unwrap();
    for (text, said) in [
        ("max-memori = \"2GiB\"", "`pykv serve` has no flag \"max-memori\""),
        ("config = \"other\"", "has no flag \"config\""),
        ("from = \"10.0.0.7\"", "has no flag \"from\""),
        ("a = \n", "line 1"),
        ("insecure = \"yes\"", "insecure is true or false"),
        ("max-batch = [{}]", "max-batch is a text, a number"),
        ("max-batch = 0", "invalid value '0' for '--max-batch <N>'"),
        ("fsync = \"never\"", "pykv.toml); see"),
        ("tls-cert = \"cert.pem\"", "--tls-key"),
    ] {
        let path = file(home.path(), text);
        let output = pykv(&["serve", "--config", path.to_str().unwrap()]).expect(2);
        assert!(output.stderr.contains(said), "{text}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
    let output = pykv(&["serve", "--config", "/nowhere/pykv.toml"]).expect(2);
    assert!(
        output.stderr.contains("cannot read /nowhere/pykv.toml"),
        "{output:?}"
    );
}
