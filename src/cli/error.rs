//! What is wrong with a command line, in one line.
//!
//! clap says it over several, with the usage below; those who want that ask for the help. What was typed is
//! repeated only as far as it fits, and an environment variable that is at fault is named.

use super::elsewhere::{Elsewhere, elsewhere, other_argument, surplus_word};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// Longest word that is repeated whole, in characters, and how much there is of a longer one.
const WORD_CHARS_MAX: usize = 64;
const WORD_CHARS_SHOWN: usize = 32;

/// The message for what clap refused of `args`, the program's name among them; `None` where it is no error
/// but an answer: the help, or the version.
///
/// `file_of`: the file that gave a flag, if one did.
pub(crate) fn usage_message(
    error: &clap::Error,
    args: &[OsString],
    file_of: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    if let Some(message) = unknown_command(error).and_then(other_command) {
        return Some(message);
    }
    if args.get(1).is_some_and(|word| word == "help")
        && let Some(name) = unknown_command(error)
    {
        // `pykv help NAME` says of a name what `pykv NAME` says, with names that are like it.
        let args = [args[0].clone(), name.into()];
        return match super::command().try_get_matches_from(&args) {
            Err(error) => usage_message(&error, &args, file_of),
            Ok(_) => None,
        };
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let mut blocks = text.split("\n\n");
    let mut message = one_line(blocks.next().unwrap_or_default());
    if let Some(name) = unknown_command(error) {
        message = format!("there is no command `{}`", one_line(name));
    }
    if error.kind() == ErrorKind::InvalidUtf8 {
        message = "what is typed here must be UTF-8; `pykv set KEY -` and --file take a value of any bytes"
            .to_owned();
    } else if let Some(meant) = unknown_argument(error, args) {
        message.extend(["; ", meant]);
    } else if let Some(meant) = elsewhere_a_flag(error, args) {
        message.extend(["; ", &meant]);
    } else if error.kind() != ErrorKind::InvalidSubcommand {
        for tip in blocks.flat_map(str::lines).map(str::trim) {
            match tip.strip_prefix("tip: ") {
                // clap names a letter of the word, and this for words that can be nothing but a misspelt flag too.
                Some(tip) if tip.starts_with("to pass '--") => {}
                Some(tip) if tip.starts_with("to pass '") => {
                    message.push_str("; put `--` before a word that begins with a dash and is no flag");
                }
                Some(tip) => message.extend(["; ", tip]),
                None => {}
            }
        }
    }
    if let Some(guess) = likely(error) {
        message.extend(["; ", &guess]);
    }
    for (_, context) in error.context() {
        if let ContextValue::String(word) = context
            && let Some(shown) = without_password(word)
        {
            message = message.replace(&one_line(word), &one_line(&shown));
        }
        if let ContextValue::String(word) = context
            && word.chars().count() > WORD_CHARS_MAX
        {
            let shown: String = word.chars().take(WORD_CHARS_SHOWN).collect();
            message = message.replace(&one_line(word), &format!("{}…", one_line(&shown)));
        }
    }
    let mut command = super::command();
    command.build(); // Only then do its flags know how they are shown.
    let subcommand = args
        .get(1)
        .and_then(|name| command.find_subcommand(name.to_str()?));
    if let Some(source) = subcommand.and_then(|subcommand| source_at_fault(error, subcommand, args, file_of))
    {
        message.extend([" (from ", &source, ")"]);
    }
    message.push_str("; see `pykv help");
    if let Some(subcommand) = subcommand {
        message.extend([" ", subcommand.get_name()]);
    }
    message.push('`');
    Some(message)
}

/// The command that pykv has not, if one was typed.
fn unknown_command(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::InvalidSubcommand => Some(name),
        _ => None,
    }
}

/// What is meant by an argument that the command does not take.
fn unknown_argument(error: &clap::Error, args: &[OsString]) -> Option<&'static str> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = args.get(1).and_then(|name| name.to_str()).unwrap_or_default();
    let command = super::command();
    let command = command.find_subcommand(name).map_or("", clap::Command::get_name);
    let is_surplus = error.kind() == ErrorKind::UnknownArgument && !argument.starts_with('-');
    other_argument(command, argument).or_else(|| surplus_word(command).filter(|_| is_surplus))
}

/// The flag is one of `pykv replica`, which `pykv serve` has not.
fn elsewhere_a_flag(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = argument.strip_prefix("--")?;
    let is_serve = args.get(1).is_some_and(|name| name == "serve");
    let command = super::command();
    let replica = command.find_subcommand("replica").filter(|_| is_serve)?;
    let has_flag = replica.get_arguments().any(|arg| arg.get_long() == Some(flag));
    has_flag.then(|| format!("`pykv replica` has {argument}"))
}

/// What is said of a command that pykv has under another name, or not at all; none of any other word.
fn other_command(name: &str) -> Option<String> {
    match elsewhere(name) {
        Some(Elsewhere::Command(meant)) => {
            let command = meant.split(' ').next().unwrap_or(meant);
            return Some(format!(
                "there is no command `{name}`: `pykv {meant}` does that; see `pykv help {command}`"
            ));
        }
        Some(Elsewhere::Advice(advice)) => {
            return Some(format!("there is no command `{name}`: {advice}; see `pykv help`"));
        }
        None => {}
    }
    let lower = name.to_ascii_lowercase();
    let is_command = lower != name && super::command().find_subcommand(&lower).is_some();
    is_command.then(|| format!("commands are in lower case: `pykv {lower}`; see `pykv help {lower}`"))
}

/// Commands that look like what was typed. A wrong guess may delete keys, or stop takeovers: so they begin alike.
fn likely(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let Some(ContextValue::Strings(guesses)) = error.get(ContextKind::SuggestedSubcommand) else {
        return None;
    };
    let first = |word: &str| word.chars().next();
    let guesses = guesses.iter().filter(|guess| first(guess) == first(typed));
    let quoted: Vec<_> = guesses.map(|guess| format!("`{guess}`")).collect();
    (!quoted.is_empty()).then(|| format!("perhaps {} is meant", quoted.join(" or ")))
}

/// The lines of a text as one, with nothing that a terminal acts on.
fn one_line(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.join(" ").replace(char::is_control, " ")
}

/// A URL without the user and the password in it; none where there are none.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (_, host) = rest.rsplit_once('@')?;
    Some(format!("{scheme}://…@{host}"))
}

/// The file or the environment variable that the value at fault is from, if it is from one.
fn source_at_fault(
    error: &clap::Error,
    subcommand: &clap::Command,
    args: &[OsString],
    file_of: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let Some(ContextValue::String(at_fault)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let arg = subcommand
        .get_arguments()
        .find(|arg| arg.to_string() == *at_fault)?;
    if let Some(file) = arg.get_long().and_then(file_of) {
        return Some(file);
    }
    let variable = arg
        .get_env()
        .filter(|variable| std::env::var_os(variable).is_some())?;
    let long = format!("--{}", arg.get_long()?);
    let short = arg.get_short().map(|letter| format!("-{letter}"));
    let is_flag = |word: &OsString| {
        let word = word.to_string_lossy();
        let is_long = word
            .strip_prefix(&long)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
        is_long || short.as_ref().is_some_and(|short| word.starts_with(short))
    };
    (!args.iter().any(is_flag)).then(|| variable.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::Parser;

    fn message(args: &[&str]) -> Option<String> {
        let args: Vec<OsString> = [&["pykv"], args]
            .concat()
            .into_iter()
            .map(OsString::from)
            .collect();
        usage_message(&Cli::try_parse_from(&args).unwrap_err(), &args, &|_| None)
    }

    /// One line says it.
    fn assert_says(args: &[&str], said: &str) {
        let message = message(args).unwrap();
        assert!(message.contains(said), "{args:?}: {message}");
        assert!(!message.contains('\n') && message.len() < 300, "{message}");
    }

    #[test]
    fn one_line_says_what_is_wrong() {
        let long = "k".repeat(2000);
        let shown = format!("invalid value '{}…' for '<KEY>...'", "k".repeat(32));
        for (args, said) in [
            (
                &["list", "--limit", "-1"][..],
                "it must be a whole number, 1 or more; see `pykv help list`",
            ),
            (&["list", "--limit", "0"], "invalid value '0' for '--limit <N>'"),
            (&["del", "k", "--if-version", "x"], "a version is a number"),
            (
                &["get", "k", "--timeout", "5"],
                "5 has no unit: write 5s, 5ms or 5m",
            ),
            (&["get", "k", "--timeout", "-1s"], "a duration is written as"),
            (
                &["serve", "--max-capacity", "-1"],
                "it must be a whole number between 1 and",
            ),
            (
                &["serve", "--max-value", "257MiB"],
                "it must be between 1 and 256MiB",
            ),
            (&["serve", "--fsync", "maybe"], "always, everysec, no"),
            (&["get", &long], &shown),
            (
                &["get", "-key"],
                "put `--` before a word that begins with a dash and is no flag",
            ),
            (&["get"], "<KEY>"),
            (&["add", "k", "v"], "`pykv set` does that"),
            (&["unlink", "k"], "`pykv del` does that"),
            (&["flushall"], "`pykv del --all` does that; see `pykv help del`"),
            (&["incr", "k", "x"], "it must be a whole number of 64 bits"),
            (&["nonsense"], "see `pykv help`"),
            (
                &["help", "nonsense"],
                "there is no command `nonsense`; see `pykv help`",
            ),
            (&["help", "lst"], "perhaps `ls` or `list` is meant"),
            (&["decr", "n"], "`pykv incr KEY -1` does that"),
            (&["lpush", "l", "a"], "pykv has keys and values only"),
            (&["GET", "k"], "commands are in lower case: `pykv get`"),
            (&["set", "k", "v", "EX", "10"], "`--ttl 90s` makes a key expire"),
            (&["set", "k", "v", "--nx"], "`--if-absent`"),
            (&["get", "k", "--port", "1"], "`-s HOST:PORT`"),
            (&["serve", "--port", "1"], "`--listen IP:PORT`"),
            (&["set", "k", "v", "--EX", "10"], "`--ttl 90s` makes a key expire"),
            (&["get", "k", "--token", "secret"], "PYKV_TOKEN holds a token"),
            (&["version"], "`pykv --version` prints it"),
            (&["stop"], "Ctrl-C or SIGTERM stops a node"),
            (&["run"], "`pykv serve` does that"),
            (&["help", "remove"], "`pykv del` does that"),
            (&["set", "k", "v", "--ttl", "1ns"], "at least 1ms"),
            (&["set", "k", "v", "--ttl", "0.5ms"], "at least 1ms"),
            (&["expire", "k", "999us"], "at least 1ms"),
            (&["del", "--all", "k"], "cannot be used with"),
            (&["set", "k", "hello", "world"], "with blanks in quotes"),
            (
                &["serve", "--failover-after", "5s"],
                "found; `pykv replica` has --failover-after; see",
            ),
            (
                &["serve", "--slow-ms", "5s"],
                "a number of milliseconds, without a unit",
            ),
            (&["get", "k", "-s", "run/pykv.sock"], "as in unix:/run/pykv.sock"),
        ] {
            assert_says(args, said);
        }
    }

    #[test]
    fn what_other_stores_take_leads_to_what_is_meant() {
        for (args, said) in [
            (&["ls", "a", "b"][..], "with blanks in quotes"),
            (
                &["serve", "8000"],
                "`--listen IP:PORT` says where to listen, and `--dir DIR` where the data is",
            ),
            (
                &["replica", "10.0.0.7:7958"],
                "`--from HOST:PORT` names the node to follow",
            ),
            (
                &["restore", "a.pykv", "dir"],
                "`--dir DIR` names the data directory",
            ),
            (&["compact", "dir"], "`--dir DIR` names the data directory"),
            (&["switchover", "10.0.0.7:7958"], "`--to NODE` names the node"),
            (&["failover", "10.0.0.7:7958"], "`--to NODE` names the node"),
            (&["mirror", "a:1", "b:1"], "`--from A --to B` names the two nodes"),
            (&["mirror", "-s", "a:1"], "`--from A --to B` names the two nodes"),
            (&["promote", "10.0.0.8:7958"], "`-s HOST:PORT` names the node"),
            (&["ping", "10.0.0.8"], "`-s HOST:PORT` names the node"),
            (
                &["get", "k", "--endpoints", "a:1"],
                "`-s HOST:PORT` names the node",
            ),
            (&["get", "k", "-w", "json"], "`--json` prints JSON"),
            (&["get", "--prefix", "k"], "`pykv list --values PREFIX` prints"),
            (&["watch", "--prefix", "k"], "the prefix stands alone"),
            (&["export", "-o", "all.jsonl"], "the file stands alone"),
            (&["put", "k", "v", "--lease=1"], "`--ttl 90s` makes a key expire"),
            (
                &["serve", "--data-dir", "d"],
                "`--dir DIR` says where the data is",
            ),
            (&["serve", "--requirepass", "x"], "`--token-file FILE`"),
            (&["-v"], "`pykv --version` prints the version"),
            (&["flushdb"], "`pykv del --all` does that"),
            (
                &["mset", "a", "1"],
                "`pykv batch` changes several keys in one step",
            ),
            (&["defrag"], "`pykv compact` does that"),
            (&["strlen", "k"], "`pykv get KEY | wc -c`"),
            (&[".dump"], "`pykv export` does that"),
            (&["\\q"], "there is nothing to leave"),
        ] {
            assert_says(args, said);
        }
    }

    #[test]
    fn a_guess_begins_as_what_was_typed() {
        assert!(!message(&["lause"]).unwrap().contains("pause"));
        assert!(message(&["pase"]).unwrap().contains("pause"));
    }

    #[test]
    fn help_is_no_error() {
        for args in [&[][..], &["--help"], &["get", "-h"], &["--version"]] {
            assert_eq!(message(args), None, "{args:?}");
        }
    }
}
