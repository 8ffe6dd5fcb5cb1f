//! The manual pages in `man/` are those that the definitions of the command line come to.
//!
//! `make man` writes them: it runs this test with `PYKV_WRITE_MAN` set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::fs;
use std::path::{Path, PathBuf};

const VARIABLE: &str = "PYKV_WRITE_MAN";

/// The command as its users call it, and below it every subcommand.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut root = pykv::command().disable_help_subcommand(true);
    root.build();
    let mut pages = vec![page(root.clone(), "pykv")];
    for sub in root.get_subcommands() {
        pages.push(page(sub.clone(), &format!("pykv-{}", sub.get_name())));
    }
    pages
}

fn page(command: Command, name: &str) -> (String, Vec<u8>) {
    // What all commands take is said once.
    let is_root = name == "pykv";
    let command = command.disable_help_flag(!is_root);
    let after_help = command
        .get_after_long_help()
        .or_else(|| command.get_after_help())
        .map(|text| text.to_string())
        .unwrap_or_default();
    let man = Man::new(command)
        .title(name)
        .date("") // None: the same source makes the same pages.
        .source(concat!("pykv ", env!("CARGO_PKG_VERSION")))
        .manual("pykv manual");
    let mut out = Vec::new();
    man.render_title(&mut out).unwrap();
    man.render_name_section(&mut out).unwrap();
    man.render_synopsis_section(&mut out).unwrap();
    man.render_description_section(&mut out).unwrap();
    man.render_options_section(&mut out).unwrap();
    if is_root {
        man.render_subcommands_section(&mut out).unwrap();
    }
    sections(&after_help).to_writer(&mut out).unwrap();
    if !is_root {
        let mut see_also = Roff::new();
        see_also.control("SH", ["SEE ALSO"]);
        see_also.text([roman(
            "pykv(1), which has the environment and the exit status of all commands",
        )]);
        see_also.to_writer(&mut out).unwrap();
    }
    (format!("{name}.1"), out)
}

/// The text that follows a command's help, its headings made those of a page.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    for block in text.split("\n\n") {
        match block.split_once(":\n") {
            Some((heading, lines)) => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
                for line in lines.lines() {
                    roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                }
                roff.control("fi", []);
            }
            None => {
                roff.control("PP", []);
                roff.text([roman(block)]);
            }
        }
    }
    roff
}

fn man_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

#[test]
fn the_manual_pages_are_current() {
    let pages = pages();
    if std::env::var_os(VARIABLE).is_some() {
        for (name, text) in &pages {
            fs::write(man_dir().join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let there = fs::read(man_dir().join(name)).unwrap_or_default();
        assert!(
            there == *text,
            "man/{name} is not what the command line comes to; run `make man` and commit what it writes"
        );
    }
    let mut expected: Vec<_> = pages.into_iter().map(|(name, _)| name).collect();
    let mut found: Vec<_> = fs::read_dir(man_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "files in man/");
}
