//! What people type who know another store, or a shell alone: words, flags and orders that pykv has not, and what
//! serves in their place. clap guesses by letters, and cannot know that `flushall` is `del --all`.

/// Words that other stores have for commands, and the command that is meant.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("delete", "del"),
    ("remove", "del"),
    ("unset", "del"),
    ("unlink", "del"),
    ("drop", "del"),
    ("flushall", "del --all"),
    ("flushdb", "del --all"),
    ("clear", "del --all"),
    ("truncate", "del --all"),
    ("add", "set"),
    ("write", "set"),
    ("store", "set"),
    ("insert", "set"),
    ("update", "set"),
    ("create", "set"),
    ("setex", "set"),
    ("psetex", "set"),
    ("setnx", "set"),
    ("scan", "list"),
    ("tables", "list"),
    ("find", "list --match"),
    ("search", "list --match"),
    ("grep", "list --match"),
    ("dbsize", "status"),
    ("memory", "status"),
    ("endpoint", "status"),
    ("cat", "get"),
    ("read", "get"),
    ("mget", "get"),
    ("gte", "get"),
    ("pttl", "ttl"),
    ("pexpire", "expire"),
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
    ("agent", "serve"),
    ("daemon", "serve"),
    ("run", "serve"),
    ("snapshot", "backup"),
    ("compaction", "compact"),
    ("defrag", "compact"),
    ("vacuum", "compact"),
    ("verify", "check"),
    ("fsck", "check"),
    ("repair", "check --repair"),
    ("logs", "log"),
    ("tail", "log --follow"),
    ("txn", "batch"),
    ("replicaof", "replica"),
    ("slaveof", "replica"),
    ("join", "replica"),
    ("migrate", "mirror"),
    ("copy", "mirror"),
    ("move-leader", "switchover"),
    ("cli", "shell"),
];

/// What other stores have and pykv has not, and what serves in its place.
const NOT_HERE: &[(&str, &str)] = &[
    ("decr", "`pykv incr KEY -1` does that"),
    ("decrby", "`pykv incr KEY -N` does that"),
    ("append", "`pykv batch` appends to values"),
    ("strlen", "`pykv get KEY | wc -c` counts the bytes of a value"),
    ("count", "`pykv status` shows how many entries there are"),
    ("version", "`pykv --version` prints it"),
    ("stop", STOPS),
    ("shutdown", STOPS),
    ("restart", STOPS),
    ("leave", STOPS),
    ("reload", "SIGHUP makes a node read its files again"),
    ("auth", SHOWS_TOKEN),
    ("login", SHOWS_TOKEN),
    ("user", DRAWS_TOKEN),
    ("role", DRAWS_TOKEN),
    ("acl", DRAWS_TOKEN),
    ("config", "`pykv serve --print-config` prints the flags of a node"),
    (
        "select",
        "a node has one set of keys; give those of a program a prefix",
    ),
    ("kv", "commands stand alone, as in `pykv get KEY`"),
    ("member", MEMBERS),
    ("members", MEMBERS),
    ("nodes", MEMBERS),
    ("lease", EXPIRES),
    ("monitor", "`pykv watch` prints changes"),
    ("subscribe", "`pykv watch` prints changes"),
    ("psubscribe", "`pykv watch` prints changes"),
    (
        "slowlog",
        "GET /slow has the slow requests, and so has the node's log",
    ),
    ("rename", "`pykv batch` sets and deletes in one step"),
    ("mset", SEVERAL),
    ("multi", SEVERAL),
    ("exec", SEVERAL),
    ("save", "`pykv backup` makes a copy"),
    ("bgsave", "`pykv backup` makes a copy"),
    ("bgrewriteaof", "`pykv compact` does that"),
    ("quit", LEAVES),
    ("exit", LEAVES),
    ("q", LEAVES),
    ("type", KEYS_AND_VALUES),
    ("lpush", KEYS_AND_VALUES),
    ("rpush", KEYS_AND_VALUES),
    ("lrange", KEYS_AND_VALUES),
    ("sadd", KEYS_AND_VALUES),
    ("smembers", KEYS_AND_VALUES),
    ("hset", KEYS_AND_VALUES),
    ("hget", KEYS_AND_VALUES),
    ("hgetall", KEYS_AND_VALUES),
    ("zadd", KEYS_AND_VALUES),
    ("publish", KEYS_AND_VALUES),
];

const KEYS_AND_VALUES: &str = "pykv has keys and values only";
const STOPS: &str = "Ctrl-C or SIGTERM stops a node";
const SHOWS_TOKEN: &str = "PYKV_TOKEN holds a token, and --token-file names a file with one";
const DRAWS_TOKEN: &str = "`pykv token` draws a token for each client, with what it may do";
const MEMBERS: &str = "`pykv status` names the other nodes, and `pykv cluster` those of an etcd";
const SEVERAL: &str = "`pykv batch` changes several keys in one step";
const LEAVES: &str = "there is nothing to leave, since a command ends by itself";
const NAMES_NODE: &str = "`-s HOST:PORT` names the node";
const TWO_NODES: &str = "`--from A --to B` names the two nodes";
const LISTENS: &str = "`--listen IP:PORT` says where to listen";
const DATA_IS: &str = "`--dir DIR` says where the data is";
const SETTINGS: &str = "`--config FILE` names a file of flags";
const EXPIRES: &str = "`--ttl 90s` makes a key expire";
const IF_ABSENT: &str = "`--if-absent` stores only what is new";
const PREFIX_ALONE: &str = "the prefix stands alone, as in `pykv list user:`";
const FILE_ALONE: &str = "the file stands alone, as in `pykv export FILE`";
const PRINTS_JSON: &str = "`--json` prints JSON";

const NODES: &[&str] = &["serve", "replica"];
const FILES: &[&str] = &["export", "import", "backup", "restore", "batch", "check"];
const PREFIXES: &[&str] = &["list", "watch"];

/// Arguments that other stores take, in lower case, and the flag that is meant: of some commands, or of all.
/// The first line that fits counts.
const OTHER_ARGUMENTS: &[(&[&str], &[&str], &str)] = &[
    (
        NODES,
        &["-p", "--port", "--host", "--bind", "--addr", "--address"],
        LISTENS,
    ),
    (NODES, &["-d", "--data", "--data-dir", "--datadir"], DATA_IS),
    (NODES, &["-c", "-f", "--conf"], SETTINGS),
    (NODES, &["-v", "--verbose"], "`--log-level debug` says more"),
    (
        NODES,
        &["--token", "--password", "--requirepass", "--auth"],
        "`--token-file FILE` names the tokens that clients must show",
    ),
    (
        &["serve"],
        &["--replicaof", "--slaveof", "--join", "--follow"],
        "`pykv replica --from HOST:PORT` follows a node",
    ),
    (
        &["mirror"],
        &["-s", "--server", "--source", "--target", "--src", "--dst"],
        TWO_NODES,
    ),
    (
        &["mirror"],
        &["--token-file"],
        "`--from-token-file` and `--to-token-file` name the tokens of the two nodes",
    ),
    (
        &["get"],
        &["--prefix", "-r"],
        "`pykv list --values PREFIX` prints all entries with a prefix",
    ),
    (
        &["get"],
        &["--keys-only", "--from-key", "--limit"],
        "`pykv list` prints keys",
    ),
    (
        &["get"],
        &["--file", "-o", "--output"],
        "`pykv get KEY > FILE` writes to a file",
    ),
    (
        &["del"],
        &["-r", "--recursive", "--recurse"],
        "`--prefix P` deletes all keys with a prefix",
    ),
    (PREFIXES, &["--prefix", "-p"], PREFIX_ALONE),
    (
        &["set"],
        &["-f"],
        "`--file FILE` takes the value from a file, and `-` from standard input",
    ),
    (FILES, &["-f", "--file", "-o", "--out", "--output"], FILE_ALONE),
    (&[""], &["-v"], "`pykv --version` prints the version"),
    (
        &[],
        &["ex", "px", "--ex", "--px", "--lease", "--expire", "--expires"],
        EXPIRES,
    ),
    (&[], &["nx", "--nx"], IF_ABSENT),
    (
        &[],
        &["--by"],
        "the number follows the key, as in `pykv incr KEY 5`",
    ),
    (
        &[],
        &[
            "-p",
            "--port",
            "-h",
            "--host",
            "--hostname",
            "--addr",
            "--address",
            "--http-addr",
            "--endpoint",
            "--endpoints",
            "-u",
            "--url",
            "--uri",
            "--node",
        ],
        NAMES_NODE,
    ),
    (&[], &["-a", "--token", "--password"], SHOWS_TOKEN),
    (&[], &["-w", "-o", "--output", "--format"], PRINTS_JSON),
];

/// Words that a command does not take, and the flag that does.
const SURPLUS_WORDS: &[(&[&str], &str)] = &[
    (
        &["set", "incr", "ttl", "expire", "persist", "list", "watch"],
        "put a key or a value with blanks in quotes",
    ),
    (
        &["serve"],
        "`--listen IP:PORT` says where to listen, and `--dir DIR` where the data is",
    ),
    (&["replica"], "`--from HOST:PORT` names the node to follow"),
    (
        &["restore", "compact", "check"],
        "`--dir DIR` names the data directory",
    ),
    (
        &["switchover", "failover"],
        "`--to NODE` names the node that becomes primary",
    ),
    (&["mirror"], TWO_NODES),
    (
        &["status", "ping", "promote", "cluster", "pause", "resume", "shell"],
        NAMES_NODE,
    ),
];

/// What serves in place of a command of another store.
pub(crate) enum Elsewhere {
    /// A command, perhaps with a flag.
    Command(&'static str),
    /// What says so.
    Advice(&'static str),
}

/// What is meant by a command that other stores have. (Those of sqlite3 begin with a dot, those of psql with `\`.)
pub(crate) fn elsewhere(name: &str) -> Option<Elsewhere> {
    let name = name.strip_prefix(['.', '\\']).unwrap_or(name);
    let find = |table: &[(&str, &'static str)]| {
        let found = table.iter().find(|(other, _)| name.eq_ignore_ascii_case(other));
        found.map(|(_, meant)| *meant)
    };
    let command = find(OTHER_NAMES).map(Elsewhere::Command);
    command.or_else(|| find(NOT_HERE).map(Elsewhere::Advice))
}

/// The flag that is meant by an argument of another store. `command` is empty where there is none.
pub(super) fn other_argument(command: &str, argument: &str) -> Option<&'static str> {
    let is_of = |commands: &[&str]| commands.is_empty() || commands.contains(&command);
    let mut all = OTHER_ARGUMENTS.iter();
    let found = all.find(|(commands, others, _)| {
        is_of(commands) && others.iter().any(|other| argument.eq_ignore_ascii_case(other))
    });
    found.map(|(_, _, meant)| *meant)
}

/// What takes a word that is one too many for a command.
pub(super) fn surplus_word(command: &str) -> Option<&'static str> {
    let found = SURPLUS_WORDS
        .iter()
        .find(|(commands, _)| commands.contains(&command));
    found.map(|(_, meant)| *meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_in_place_of_another_word_is_there() {
        let command = super::super::command();
        for (other, meant) in OTHER_NAMES {
            let mut words = meant.split(' ');
            let found = words.next().and_then(|name| command.find_subcommand(name));
            let found = found.unwrap_or_else(|| panic!("{other}: {meant}"));
            for flag in words {
                let mut all = found.get_arguments();
                assert!(
                    all.any(|arg| Some(flag) == arg.get_long().map(|long| format!("--{long}")).as_deref())
                );
            }
        }
        for (commands, ..) in OTHER_ARGUMENTS {
            assert!(
                commands
                    .iter()
                    .all(|name| name.is_empty() || command.find_subcommand(name).is_some())
            );
        }
        for (commands, _) in SURPLUS_WORDS {
            assert!(
                commands
                    .iter()
                    .all(|name| command.find_subcommand(name).is_some())
            );
        }
    }

    #[test]
    fn no_word_of_another_store_is_one_of_pykv() {
        let command = super::super::command();
        for (other, _) in OTHER_NAMES.iter().chain(NOT_HERE) {
            assert!(command.find_subcommand(other).is_none(), "{other}");
        }
    }
}
