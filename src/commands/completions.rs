//! `pykv completions`

use super::{Error, print};
use crate::cli::{self, CompletionShell, Completions};
use clap_complete::{Shell, generate};

pub(super) fn run(args: &Completions) -> Result<(), Error> {
    let shell = match args.shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut cli::command(), "pykv", &mut script);
    print(&script)
}
