//! The configuration of a node beside its flags: a variable for every flag, and a file.
//!
//! # What must hold
//! - A flag wins over its variable, that over the file, and the file over the default.
//! - What a file says is read as if it stood on the command line: with the same names, bounds and words for what is
//!   wrong.
//! - A name that is no flag is refused: a slip of the pen must not leave a node without its tokens.

use crate::system;
use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// The subcommands that are nodes.
const NODES: [&str; 2] = ["serve", "replica"];

/// Flags that are about the configuration itself.
const OF_CONFIG: [&str; 3] = ["config", "print-config", "help"];

/// Flags about entries that a node holds itself, beside those of its log.
const OF_STORE: [&str; 6] = [
    "dir",
    "new_store",
    "max_capacity",
    "max_memory",
    "advertise",
    "cluster_token_file",
];

/// The flags of the log stand under it.
const LOG_HEADING: &str = "Log";

/// Names the file.
const ENV_CONFIG: &str = "PYKV_CONFIG";

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Gives every flag of a node its variable: `PYKV_MAX_MEMORY` for `--max-memory`. Some have one already.
pub(super) fn with_variables(command: Command) -> Command {
    NODES.into_iter().fold(command, |command, node| {
        command.mut_subcommand(node, |node| node.mut_args(with_variable))
    })
}

fn with_variable(arg: Arg) -> Arg {
    let Some(flag) = arg.get_long().map(str::to_owned) else {
        return arg;
    };
    if arg.get_env().is_some() || (OF_CONFIG.contains(&&*flag) && flag != "config") {
        return arg;
    }
    let arg = arg.env(format!("PYKV_{}", flag.replace('-', "_").to_uppercase()));
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        ArgAction::Append => arg.value_delimiter(','),
        _ => arg,
    }
}

/// A command line with what a file says.
pub(crate) struct Configured {
    /// The words.
    pub(crate) args: Vec<OsString>,
    /// The flags among them that the file gave, and its name.
    from_file: Option<(Vec<String>, String)>,
}

impl Configured {
    /// The file that gave a flag, if one did.
    pub(crate) fn file_of(&self, flag: &str) -> Option<String> {
        let (given, file) = self.from_file.as_ref()?;
        given.iter().any(|one| one == flag).then(|| file.clone())
    }
}

/// Adds what the file of `--config` says to a command line. An error is said in one line.
pub(crate) fn configured(args: Vec<OsString>, command: &Command) -> Result<Configured, String> {
    let node = args
        .get(1)
        .and_then(|name| command.find_subcommand(name.to_str()?));
    let node = node.filter(|node| NODES.contains(&node.get_name()));
    let path = value_of(&args, "--config").or_else(|| std::env::var_os(ENV_CONFIG));
    let (Some(node), Some(path)) = (node, path.filter(|path| !path.is_empty())) else {
        return Ok(Configured {
            args,
            from_file: None,
        });
    };
    let name = Path::new(&path).display().to_string();
    let table = read(Path::new(&path)).map_err(|why| format!("cannot read {name}: {why}"))?;
    let mut words = Vec::new();
    let mut given = Vec::new();
    for (flag, value) in &table {
        let arg = node
            .get_arguments()
            .find(|arg| arg.get_long() == Some(flag) && !OF_CONFIG.contains(&&**flag));
        let arg = arg.ok_or_else(|| {
            let node = node.get_name();
            format!("{name}: `pykv {node}` has no flag {flag:?}; `pykv help {node}` lists them")
        })?;
        let is_set = |variable: &std::ffi::OsStr| std::env::var_os(variable).is_some();
        if is_given(&args, &format!("--{flag}")) || arg.get_env().is_some_and(is_set) {
            continue;
        }
        words.extend(words_of(arg, flag, value).map_err(|why| format!("{name}: {flag} {why}"))?);
        given.push(flag.clone());
    }
    let mut args = args;
    args.splice(2..2, words);
    Ok(Configured {
        args,
        from_file: Some((given, name)),
    })
}

fn read(path: &Path) -> Result<Table, String> {
    let bytes = fs::metadata(path).map_err(|error| system::words(&error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!(
            "it has {bytes} bytes, and a configuration at most {FILE_BYTES_MAX}"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| system::words(&error))?;
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            text[..span.start.min(text.len())].lines().count().max(1)
        });
        format!("line {line}: {}", error.message().replace('\n', ", "))
    })
}

/// What a value of a file is on the command line.
fn words_of(arg: &Arg, flag: &str, value: &Value) -> Result<Vec<OsString>, &'static str> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match value {
            Value::Boolean(true) => Ok(vec![format!("--{flag}").into()]),
            Value::Boolean(false) => Ok(Vec::new()),
            _ => Err("is true or false"),
        };
    }
    let values = match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    values
        .iter()
        .map(|value| match value {
            Value::String(text) => Ok(format!("--{flag}={text}").into()),
            Value::Integer(number) => Ok(format!("--{flag}={number}").into()),
            Value::Float(number) => Ok(format!("--{flag}={number}").into()),
            _ => Err("is a text, a number, or a list of them"),
        })
        .collect()
}

/// Whether a flag stands on a command line.
fn is_given(args: &[OsString], flag: &str) -> bool {
    args.iter().any(|word| {
        let word = word.to_string_lossy();
        word.strip_prefix(flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// The value that a flag has on a command line.
fn value_of(args: &[OsString], flag: &str) -> Option<OsString> {
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.to_str()?.strip_prefix(flag) {
            Some("") => return words.next().cloned(),
            Some(rest) if rest.starts_with('=') => return Some(rest[1..].into()),
            _ => {}
        }
    }
    None
}

/// Refuses the first flag that a gateway was given and that is about entries of its own. What the environment says may be
/// meant for other nodes, and does not count.
pub(crate) fn check_gateway(matches: &ArgMatches, command: &Command) -> Result<(), String> {
    let Some(("serve", matches)) = matches.subcommand() else {
        return Ok(());
    };
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    if matches.value_source("engine").is_none() {
        return Ok(());
    }
    let mut flags = command
        .find_subcommand("serve")
        .into_iter()
        .flat_map(Command::get_arguments);
    let refused = flags.find(|arg| {
        let is_of_node =
            arg.get_help_heading() == Some(LOG_HEADING) || OF_STORE.contains(&arg.get_id().as_str());
        is_of_node && is_given(arg.get_id().as_str())
    });
    match refused.and_then(Arg::get_long) {
        None => Ok(()),
        Some(flag) => Err(format!(
            "--{flag} is for a node that holds its entries itself, and a gateway holds none; leave out one of --{flag} and \
             --engine"
        )),
    }
}

/// The default that the help of a flag says in words: one that depends on others, or on the machine.
fn default_in_words(arg: &Arg) -> String {
    let help = arg.get_help().map(|help| help.to_string()).unwrap_or_default();
    let words = help
        .split_once("[default: ")
        .and_then(|(_, rest)| rest.split_once(']'));
    words.map_or(String::new(), |(words, _)| format!(": {words}"))
}

/// What `--print-config` prints, where it was given: each flag with its value and where that is from. The text is a file
/// for `--config`.
pub(crate) fn printed(matches: &ArgMatches, command: &Command, configured: &Configured) -> Option<String> {
    let (name, matches) = matches.subcommand()?;
    let node = command
        .find_subcommand(name)
        .filter(|_| NODES.contains(&name) && matches.get_flag("print_config"))?;
    let mut text = String::new();
    for arg in node.get_arguments() {
        let Some(flag) = arg.get_long().filter(|flag| !OF_CONFIG.contains(flag)) else {
            continue;
        };
        let id = arg.get_id().as_str();
        let Some(values) = matches.get_raw(id) else {
            let _ = writeln!(text, "# {flag} is not set{}", default_in_words(arg));
            continue;
        };
        let mut values: Vec<String> = values
            .map(|value| match arg.get_action() {
                ArgAction::SetTrue => matches.get_flag(id).to_string(),
                _ => Value::from(&*value.to_string_lossy()).to_string(),
            })
            .collect();
        let value = match arg.get_action() {
            ArgAction::Append => format!("[{}]", values.join(", ")),
            _ => values.pop().unwrap_or_default(),
        };
        let from = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => configured
                .file_of(flag)
                .unwrap_or_else(|| "command line".to_owned()),
            Some(ValueSource::EnvVariable) => {
                let variable = arg.get_env().unwrap_or_default();
                variable.to_string_lossy().into_owned()
            }
            // Not as a setting: a default may ask for nothing beside it, where a setting does.
            _ => {
                let _ = writeln!(text, "# {flag} = {value}  # default");
                continue;
            }
        };
        let _ = writeln!(text, "{flag} = {value}  # {from}");
    }
    Some(text)
}
