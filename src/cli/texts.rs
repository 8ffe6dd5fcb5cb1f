//! Texts of the help that are about no flag.

pub(super) const EXAMPLES: &str = "\
Examples:
  pykv serve                       start a node on 127.0.0.1:7958, its data in ./pykv-data
  pykv set greeting 'hello world'  store a value
  pykv get greeting                print it
  pykv list                        print all keys
  pykv del greeting                delete it
  pykv set --ttl 90s code 4711     store a value for a while
  pykv shell                       give commands one after the other
  curl http://127.0.0.1:7958/kv/greeting

--server, --token-file, --timeout and the flags of TLS may stand before the command as well.
`pykv help COMMAND` explains a command in full.";

pub(super) const EXIT_STATUS: &str = "\
Exit status:
  0    done
  1    the key was not found, or the node that forget names
  2    the command line, the key or the value is not valid
  3    the node cannot be reached, did not answer in time, or the connection broke
  4    the key exists, does not exist, or has another version than you asked for; the file or
       the store to write exists already; the node is the primary already, or in no cluster of
       etcd; `pykv reapply` left keys alone, or `pykv mirror --verify` found a difference
  5    not allowed: no token, a wrong one, or one that does not allow this
  6    the node, or a proxy before it, cannot do it now: its disk is full or
       failing, it is too busy, it knows no primary, or its log no longer has the changes that
       a watch or a mirror asks for
  7    the data is damaged
  8    anything else: a file, a port or standard output failed, or what answers is no pykv node
  130  Ctrl-C ended the command, as it ends `pykv watch`; or a second one ended a node at once,
       as a crash would
  143  SIGTERM ended the command";
