//! `pykv completions`: what clap makes of the definitions, and keys of the node beside.

use super::{Error, print};
use crate::cli::{self, CompletionShell, Completions};
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
    generate(made_by, &mut cli::command(), "pykv", &mut script);
    let script = String::from_utf8(script).expect("the definitions are text");
    match shell {
        CompletionShell::Bash => script + include_str!("completions/keys.bash"),
        CompletionShell::Fish => script + include_str!("completions/keys.fish"),
        CompletionShell::Zsh => with_keys_in_zsh(&script),
    }
}

/// The script for zsh, whose arguments that are keys are completed by a function of ours. It stands before what runs when
/// the script is loaded.
fn with_keys_in_zsh(script: &str) -> String {
    let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
    let mut whole = format!("{first}\n\n{}", include_str!("completions/keys.zsh"));
    for line in rest.lines() {
        let is_key = line.starts_with("':key ") || line.starts_with("'*::keys ");
        match is_key {
            true => whole.push_str(&line.replace(":_default'", ":_pykv_keys'")),
            false => whole.push_str(line),
        }
        whole.push('\n');
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_completed_wherever_one_is_taken() {
        let zsh = script(CompletionShell::Zsh);
        // get, exists, incr, set, put, del, rm, ttl, expire, persist.
        assert_eq!(zsh.matches(":_pykv_keys'").count(), 10);
        assert!(script(CompletionShell::Bash).contains("complete -F _pykv_with_keys"));
        assert!(script(CompletionShell::Fish).contains("-a \"(__fish_pykv_keys)\""));
    }
}
