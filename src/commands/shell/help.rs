//! What the shell knows: its commands, and what is said of each.

use std::fmt::Write;

/// A command of the shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    arguments: &'static str,
    about: &'static str,
    /// Further lines.
    more: &'static str,
    /// Whether its first word is a key that may be there.
    pub(super) takes_key: bool,
}

const fn topic(
    name: &'static str,
    arguments: &'static str,
    takes_key: bool,
    about: &'static str,
    more: &'static str,
) -> Topic {
    Topic {
        name,
        arguments,
        about,
        more,
        takes_key,
    }
}

/// All of them, in the order in which they are listed.
pub(super) static TOPICS: [Topic; 17] = [
    topic(
        "GET",
        "KEY...",
        true,
        "print the value of a key, or of several",
        "On a terminal a value that is no plain text is shown in quotes, as it can be typed.",
    ),
    topic(
        "SET",
        "KEY VALUE [TTL TIME] [IFABSENT | IFVERSION VERSION]",
        true,
        "store a value",
        "TTL: for how long, as 500ms, 90s or 5m. IFABSENT: only if the key is new. IFVERSION: only if it is in\n\
         this version. \"...\" and '...' hold a value with blanks. Escapes in \"...\": \\n \\r \\t \\a \\b \\\" \\' \\\\ and \\xff, a\n\
         byte; in '...' \\' alone.",
    ),
    topic(
        "INCR",
        "KEY [BY]",
        true,
        "add to a number",
        "Prints the new number. BY is 1 unless given; a key that does not exist becomes BY.",
    ),
    topic(
        "DEL",
        "KEY...",
        true,
        "delete keys",
        "Prints how many were there.",
    ),
    topic(
        "DELPREFIX",
        "PREFIX [DRYRUN] [ALL]",
        true,
        "delete all keys with a prefix",
        "Prints how many there were. DRYRUN: counts them, and deletes nothing. DELPREFIX '' ALL deletes every key.",
    ),
    topic(
        "LIST",
        "[PREFIX] [MATCH PATTERN] [LIMIT N]",
        true,
        "print the keys that begin with a prefix",
        "MATCH: of these, those that match: * is any text, ? any character, [a-z] one of a set.\n\
         On a terminal the first 100, unless LIMIT says otherwise.",
    ),
    topic(
        "VALUES",
        "[PREFIX] [MATCH PATTERN] [LIMIT N]",
        true,
        "print entries, each as a line of JSON",
        "MATCH and LIMIT are as for LIST.",
    ),
    topic("EXISTS", "KEY...", true, "print how many of the keys exist", ""),
    topic(
        "TTL",
        "KEY",
        true,
        "print how long a key has left",
        "In seconds; `none` where the key has no deadline.",
    ),
    topic(
        "EXPIRE",
        "KEY TIME",
        true,
        "give a key a deadline",
        "TIME is counted from now on: 500ms, 90s, 5m, 30days.",
    ),
    topic("PERSIST", "KEY", true, "remove a key's deadline", ""),
    topic("PING", "", false, "print PONG if the node answers", ""),
    topic("STATUS", "", false, "print how the node is", ""),
    topic("STATS", "", false, "print what the node has counted, as JSON", ""),
    topic(
        "HELP",
        "[COMMAND]",
        false,
        "list the commands, or explain one",
        "",
    ),
    topic("EXIT", "", false, "leave the shell, as Ctrl-D does", ""),
    topic("QUIT", "", false, "the same", ""),
];

/// The command of this name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Topic> {
    let is_named = |topic: &&Topic, name: &str| topic.name.eq_ignore_ascii_case(name);
    // sqlite3 has its own commands begin with a dot, and psql with a backslash.
    let name = name.strip_prefix(['.', '\\']).unwrap_or(name);
    let meant = OTHER_NAMES
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map_or(name, |(_, meant)| meant);
    TOPICS.iter().find(|topic| is_named(topic, meant))
}

/// How much of a line of the list of commands says how one is typed.
const USAGE_BYTES_MAX: usize = 26;

/// Names that commands have elsewhere, and are taken for them.
const OTHER_NAMES: [(&str, &str); 10] = [
    ("MGET", "GET"),
    ("PUT", "SET"),
    ("INCRBY", "INCR"),
    ("RM", "DEL"),
    ("UNLINK", "DEL"),
    ("LS", "LIST"),
    ("KEYS", "LIST"),
    ("INFO", "STATUS"),
    ("?", "HELP"),
    ("Q", "QUIT"),
];

impl Topic {
    /// How it is typed.
    pub(super) fn usage(&self) -> String {
        format!("{} {}", self.name, self.arguments).trim_end().to_owned()
    }

    /// The same as far as it fits into the list of all commands.
    fn brief_usage(&self) -> String {
        let usage = self.usage();
        if usage.len() <= USAGE_BYTES_MAX {
            return usage;
        }
        let cuts = usage.rmatch_indices(" [").filter_map(|(at, _)| usage.get(..at));
        let brief = cuts
            .map(|start| format!("{start} [...]"))
            .find(|brief| brief.len() <= USAGE_BYTES_MAX);
        brief.unwrap_or(usage)
    }
}

/// What HELP prints, of one command or of all.
pub(super) fn text(topic: Option<&Topic>) -> String {
    let mut text = String::new();
    match topic {
        Some(topic) => {
            writeln!(text, "{}: {}", topic.usage(), topic.about).expect("a string takes all");
            if !topic.more.is_empty() {
                writeln!(text, "{}", topic.more).expect("a string takes all");
            }
        }
        None => {
            for topic in &TOPICS {
                let usage = topic.brief_usage();
                writeln!(text, "{usage:<USAGE_BYTES_MAX$} {}", topic.about).expect("a string takes all");
            }
            text.push_str("HELP COMMAND says more.\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_terminal() {
        for topic in TOPICS.iter().map(Some).chain([None]) {
            for line in text(topic).lines() {
                assert!(line.len() <= 110, "{line}");
            }
        }
        let list = text(None);
        assert!(list.contains("EXPIRE KEY TIME"));
        for line in list.lines().filter(|line| !line.starts_with("HELP COMMAND")) {
            let (usage, about) = line.split_at(USAGE_BYTES_MAX + 1);
            assert!(
                usage.ends_with(' ') && about.starts_with(char::is_lowercase),
                "{line}"
            );
        }
    }

    #[test]
    fn words_by_which_other_shells_are_left_leave_this_one() {
        for word in ["quit", ".quit", ".exit", "\\q", "q", "EXIT"] {
            let topic = find(word).unwrap_or_else(|| panic!("{word}"));
            assert!(["QUIT", "EXIT"].contains(&topic.name), "{word}");
        }
    }

    #[test]
    fn help_of_set_names_every_escape() {
        let help = text(find("set"));
        for escape in ["n", "r", "t", "a", "b", "\"", "'", "\\", "xff"] {
            assert!(help.contains(&format!(" \\{escape}")), "{escape}: {help}");
        }
    }
}
