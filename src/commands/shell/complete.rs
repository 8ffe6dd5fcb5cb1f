//! What Tab completes: commands, and the keys that the node has.

use super::help::{self, TOPICS};
use super::words::{is_plain, last_word};
use crate::client::Client;
use crate::commands::quotes::in_quotes;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

/// Keys that are offered; whoever has more types another letter.
const KEYS_MAX: usize = 100;

/// Completes from a node.
pub(super) struct NodeCompleter {
    /// One that waits a short time only: whoever presses Tab does not want to wait.
    client: Client,
}

impl NodeCompleter {
    pub(super) fn new(client: Client) -> NodeCompleter {
        NodeCompleter { client }
    }
}

impl Completer for NodeCompleter {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = &line[..position];
        let (start, word, before) = last_word(line);
        let is_help = || names(line, "HELP");
        if before == 0 || (before == 1 && is_help()) {
            return Ok((start, commands(&word)));
        }
        let takes_key = line
            .split_whitespace()
            .next()
            .and_then(help::find)
            .is_some_and(|topic| topic.takes_key && (before == 1 || topic.name == "DEL"));
        if !takes_key {
            return Ok((start, Vec::new()));
        }
        // That the node cannot be asked shows where it matters: when the command is run.
        let keys = self
            .client
            .list(&word, None, None, KEYS_MAX)
            .map_or(Vec::new(), |page| page.keys);
        let is_quoted = line[start..].starts_with(['"', '\'']);
        Ok((start, candidates(keys, is_quoted)))
    }
}

fn names(line: &str, command: &str) -> bool {
    line.split_whitespace()
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case(command))
}

fn commands(begun: &str) -> Vec<Pair> {
    let upper = begun.to_ascii_uppercase();
    let found = TOPICS.iter().filter(|topic| topic.name.starts_with(&upper));
    found
        .map(|topic| {
            // In the case in which it was begun.
            let name = match begun.chars().any(|c| c.is_ascii_lowercase()) {
                true => topic.name.to_ascii_lowercase(),
                false => topic.name.to_owned(),
            };
            Pair {
                replacement: format!("{name} "),
                display: name,
            }
        })
        .collect()
}

/// All in quotes where one of them must be, or where the word began with one: only so do they begin alike, and
/// what they have in common can be completed.
fn candidates(mut keys: Vec<String>, is_quoted: bool) -> Vec<Pair> {
    keys.sort_unstable();
    keys.truncate(KEYS_MAX);
    let is_quoted = is_quoted || !keys.iter().all(|key| is_plain(key));
    keys.into_iter()
        .map(|key| {
            let typed = match is_quoted {
                true => in_quotes(key.as_bytes()),
                false => key,
            };
            Pair {
                display: typed.clone(),
                replacement: typed,
            }
        })
        .collect()
}

impl Hinter for NodeCompleter {
    type Hint = String;
}

impl Highlighter for NodeCompleter {}

impl Validator for NodeCompleter {}

impl Helper for NodeCompleter {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pairs: Vec<Pair>) -> Vec<String> {
        pairs.into_iter().map(|pair| pair.replacement).collect()
    }

    #[test]
    fn commands_in_the_case_in_which_they_were_begun() {
        assert_eq!(shown(commands("ex")), ["exists ", "expire ", "exit "]);
        assert_eq!(shown(commands("EX")), ["EXISTS ", "EXPIRE ", "EXIT "]);
        assert!(shown(commands("zz")).is_empty());
    }

    #[test]
    fn keys_are_offered_as_they_can_be_typed() {
        let keys = vec!["b c".to_owned(), "a".to_owned(), "\u{1b}[2J".to_owned()];
        assert_eq!(
            shown(candidates(keys, false)),
            ["\"\\x1b[2J\"", "\"a\"", "\"b c\""]
        );
        assert_eq!(shown(candidates(vec!["a".to_owned()], false)), ["a"]);
        assert_eq!(shown(candidates(vec!["a".to_owned()], true)), ["\"a\""]);
    }
}
