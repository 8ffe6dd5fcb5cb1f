//! What is wrong with a command line, in one line.
//!
//! clap says it over several, with the usage below; those who want that ask for the help. What was typed is
//! repeated only as far as it fits, and an environment variable that is at fault is named.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// Words that other stores have for commands, and the command that is meant. clap looks at letters alone.
const OTHER_NAMES: [(&str, &str); 27] = [
    ("delete", "del"),
    ("remove", "del"),
    ("unset", "del"),
    ("unlink", "del"),
    ("flushall", "del --all"),
    ("add", "set"),
    ("write", "set"),
    ("store", "set"),
    ("setex", "set"),
    ("setnx", "set"),
    ("scan", "list"),
    ("dbsize", "status"),
    ("cat", "get"),
    ("read", "get"),
    ("mget", "get"),
    ("gte", "get"),
    ("incrby", "incr"),
    ("increment", "incr"),
    ("has", "exists"),
    ("dump", "export"),
    ("load", "import"),
    ("info", "status"),
    ("stat", "status"),
    ("health", "ping"),
    ("start", "serve"),
    ("server", "serve"),
    ("cli", "shell"),
];

/// Longest word that is repeated whole, in characters, and how much there is of a longer one.
const WORD_CHARS_MAX: usize = 64;
const WORD_CHARS_SHOWN: usize = 32;

/// The message for what clap refused of `args`, the program's name among them; `None` where it is no error
/// but an answer: the help, or the version.
pub(crate) fn usage_message(error: &clap::Error, args: &[OsString]) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand)
        && let Some((_, meant)) = OTHER_NAMES
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
    {
        return Some(format!(
            "there is no command `{name}`: `pykv {meant}` does that; see `pykv help {}`",
            meant.split(' ').next().unwrap_or(meant)
        ));
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && args.get(1).is_some_and(|word| word == "help")
        && let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand)
    {
        // `pykv help NAME` says of a name what `pykv NAME` says, with names that are like it.
        let args = [args[0].clone(), name.into()];
        return match super::command().try_get_matches_from(&args) {
            Err(error) => usage_message(&error, &args),
            Ok(_) => None,
        };
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let mut blocks = text.split("\n\n");
    let mut message = one_line(blocks.next().unwrap_or_default());
    for tip in blocks.flat_map(str::lines).map(str::trim) {
        if let Some(tip) = tip.strip_prefix("tip: ") {
            message.extend(["; ", tip]);
        }
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
    if let Some(variable) = subcommand.and_then(|subcommand| variable_at_fault(error, subcommand, args)) {
        message.extend([" (from ", &variable, ")"]);
    }
    message.push_str("; see `pykv help");
    if let Some(subcommand) = subcommand {
        message.extend([" ", subcommand.get_name()]);
    }
    message.push('`');
    Some(message)
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

/// The environment variable that the value at fault is from, if it is from one.
fn variable_at_fault(error: &clap::Error, subcommand: &clap::Command, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(at_fault)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let arg = subcommand
        .get_arguments()
        .find(|arg| arg.to_string() == *at_fault)?;
    let variable = arg
        .get_env()
        .filter(|variable| std::env::var_os(variable).is_some())?;
    let flag = format!("--{}", arg.get_long()?);
    let is_flag = |word: &OsString| {
        let word = word.to_string_lossy();
        word.strip_prefix(&flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
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
        usage_message(&Cli::try_parse_from(&args).unwrap_err(), &args)
    }

    #[test]
    fn one_line_says_what_is_wrong() {
        let long = "k".repeat(2000);
        let shown = format!("invalid value '{}…' for '<KEY>...'", "k".repeat(32));
        for (args, said) in [
            (
                &["list", "--limit", "-1"][..],
                "it must be 1 or more; see `pykv help list`",
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
            (&["get", "-k"], "'-- -k'"),
            (&["get"], "<KEY>"),
            (&["add", "k", "v"], "`pykv set` does that"),
            (&["unlink", "k"], "`pykv del` does that"),
            (&["flushall"], "`pykv del --all` does that; see `pykv help del`"),
            (&["incr", "k", "x"], "it must be a whole number of 64 bits"),
            (&["nonsense"], "see `pykv help`"),
            (
                &["help", "nonsense"],
                "unrecognized subcommand 'nonsense'; see `pykv help`",
            ),
            (&["help", "lst"], "'list'"),
            (&["help", "remove"], "`pykv del` does that"),
            (&["set", "k", "v", "--ttl", "1ns"], "at least 1ms"),
            (&["set", "k", "v", "--ttl", "0.5ms"], "at least 1ms"),
            (&["expire", "k", "999us"], "at least 1ms"),
            (&["del", "--all", "k"], "cannot be used with"),
        ] {
            let message = message(args).unwrap();
            assert!(message.contains(said), "{args:?}: {message}");
            assert!(!message.contains('\n') && message.len() < 300, "{message}");
        }
    }

    #[test]
    fn help_is_no_error() {
        for args in [&[][..], &["--help"], &["get", "-h"], &["--version"]] {
            assert_eq!(message(args), None, "{args:?}");
        }
    }
}
