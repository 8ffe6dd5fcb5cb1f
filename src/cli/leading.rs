//! Flags of the connection before the command, `pykv --server HOST get KEY`, as other clients take them.
//!
//! They are put behind the command, where clap knows them: a command that has no such flag refuses it there.

use std::ffi::OsString;

/// The flags, each with a value.
const FLAGS: [&str; 7] = [
    "-s",
    "--server",
    "--token-file",
    "--timeout",
    "--tls-ca",
    "--tls-client-cert",
    "--tls-client-key",
];

/// The words of a command line, with leading flags behind the command. Other lines stay as they are.
pub(crate) fn behind_the_command(args: Vec<OsString>) -> Vec<OsString> {
    let mut command = 1;
    while let Some(word) = args.get(command).and_then(|word| word.to_str()) {
        let (name, has_value) = match word.split_once('=') {
            _ if word.starts_with("-s") && word != "-s" => ("-s", true),
            Some((name, _)) => (name, true),
            None => (word, false),
        };
        command += match FLAGS.contains(&name) {
            true if has_value => 1,
            true => 2,
            false => break,
        };
    }
    if command == 1 || command >= args.len() {
        return args;
    }
    let mut args = args;
    args[1..=command].rotate_right(1);
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_flags_come_behind_the_command() {
        for (before, after) in [
            ("pykv get k", "pykv get k"),
            ("pykv -s a get k", "pykv get -s a k"),
            (
                "pykv --server=a --timeout 5s get k",
                "pykv get --server=a --timeout 5s k",
            ),
            ("pykv get --server a k", "pykv get --server a k"),
            ("pykv -sa get k", "pykv get -sa k"),
            ("pykv -s=a get k", "pykv get -s=a k"),
            ("pykv --help", "pykv --help"),
            ("pykv --server", "pykv --server"),
            ("pykv --server a", "pykv --server a"),
            ("pykv -s a --version", "pykv --version -s a"),
            ("pykv", "pykv"),
        ] {
            let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(behind_the_command(words(before)), words(after), "{before}");
        }
    }
}
