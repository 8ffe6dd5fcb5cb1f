//! `pykv completions`: what clap makes of the definitions, and keys of the node beside.

use super::{Error, print};
use crate::cli::{self, CompletionShell, Completions};
use clap::{Args, Command};
use clap_complete::{Shell, generate};

pub(super) fn run(args: &Completions) -> Result<(), Error> {
    print(script(args.shell).as_bytes())
}

fn script(shell: CompletionShell) -> String {
    let made_by = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(made_by, &mut definitions(), "pykv", &mut script);
    let script = String::from_utf8(script).expect("the definitions are text");
    match shell {
        CompletionShell::Bash => script + include_str!("completions/keys.bash"),
        CompletionShell::Fish => script + include_str!("completions/keys.fish"),
        CompletionShell::Zsh => with_keys_in_zsh(&script),
    }
}

/// The definitions, with the flags that may stand before the command.
fn definitions() -> Command {
    let command = cli::command();
    let flags = cli::Connection::augment_args(Command::new("connection"));
    let flags: Vec<_> = flags.get_arguments().cloned().collect();
    command.args(flags)
}

/// The script for zsh, whose arguments that are keys or prefixes are completed by functions of ours. These stand before
/// what runs when the script is loaded. What came before the command is kept for them.
fn with_keys_in_zsh(script: &str) -> String {
    let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
    let mut all = format!("{first}\n\n{}", include_str!("completions/keys.zsh"));
    let mut is_before = true;
    for line in rest.lines() {
        let completed_by = ZSH_ARGUMENTS.iter().find(|(begin, _)| line.starts_with(begin));
        match completed_by {
            Some((_, function)) => all.push_str(&line.replace(":_default'", &format!(":{function}'"))),
            None if is_before && line.trim_start() == "case $state in" => {
                all.push_str("    local -A _pykv_before=(\"${(@kv)opt_args}\")\n");
                all.push_str(line);
                is_before = false;
            }
            None => all.push_str(line),
        }
        all.push('\n');
    }
    all
}

/// How the lines for zsh begin that are about keys and prefixes, and what completes them.
const ZSH_ARGUMENTS: [(&str, &str); 5] = [
    ("':key ", "_pykv_keys"),
    ("'*::keys ", "_pykv_keys"),
    ("'::prefix ", "_pykv_prefixes"),
    ("'(--if-version)--prefix=", "_pykv_prefixes"),
    ("'--prefix=", "_pykv_prefixes"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_completed_wherever_one_is_taken() {
        let zsh = script(CompletionShell::Zsh);
        // get, exists, incr, set, put, del, rm, ttl, expire, persist.
        assert_eq!(zsh.matches(":_pykv_keys'").count(), 10);
        // list, ls, keys and watch; del, rm, export and mirror by --prefix.
        assert_eq!(zsh.matches(":_pykv_prefixes'").count(), 8);
        assert!(script(CompletionShell::Bash).contains("complete -F _pykv_with_keys"));
        assert!(script(CompletionShell::Fish).contains("-a \"(__fish_pykv_keys)\""));
    }
}
