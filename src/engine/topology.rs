//! Which servers the engine has, and which of them serves which slot: as `CLUSTER NODES` says it.

use super::error::words;
use super::slots::{SLOTS, Slot, SlotSet};
use redis::{RedisError, Value};

/// A server of the engine, as another or it itself describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// The engine's own name for it.
    pub(crate) id: String,
    /// `HOST:PORT`
    pub(crate) address: String,
    pub(crate) is_master: bool,
    /// Whether it is the one that was asked.
    pub(crate) is_myself: bool,
    /// Whether the others hold it for gone.
    pub(crate) has_failed: bool,
    pub(crate) slots: SlotSet,
    /// Slots that move away from it, and the server that they move to; known of the one that was asked alone.
    pub(crate) migrating: Vec<(Slot, String)>,
}

impl Described {
    /// The slots that move away from it.
    pub(crate) fn moving(&self) -> SlotSet {
        let mut moving = SlotSet::default();
        self.migrating.iter().for_each(|(slot, _)| moving.insert(*slot));
        moving
    }
}

/// Reads `CLUSTER NODES`. `asked`: the address of the server that answered, which may not know it. `by_name`: whether
/// servers are called by their host names, where they have some.
pub(crate) fn parse(text: &str, asked: &str, by_name: bool) -> Vec<Described> {
    text.lines()
        .filter_map(|line| parse_line(line, asked, by_name))
        .collect()
}

fn parse_line(line: &str, asked: &str, by_name: bool) -> Option<Described> {
    let mut fields = line.split(' ');
    let id = fields.next()?.to_owned();
    let place = fields.next()?;
    let flags = fields.next()?;
    let has_flag = |flag| flags.split(',').any(|one| one == flag);
    if has_flag("noaddr") || has_flag("handshake") {
        return None;
    }
    let is_myself = has_flag("myself");
    // HOST:PORT@BUS,NAME,…
    let (host_and_port, names) = place.split_once('@').unwrap_or((place, ""));
    let (host, port) = host_and_port.rsplit_once(':')?;
    let name = names
        .split(',')
        .nth(1)
        .filter(|name| by_name && !name.is_empty() && *name != "?");
    let asked_host = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    let host = match (name, host) {
        (Some(name), _) => name,
        // A server that was never met by its address does not know it.
        (None, "" | "?") if is_myself => asked_host,
        (None, "" | "?") => return None,
        (None, host) => host,
    };
    let address = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut described = Described {
        id,
        address,
        is_master: has_flag("master"),
        is_myself,
        has_failed: has_flag("fail"),
        slots: SlotSet::default(),
        migrating: Vec::new(),
    };
    for range in fields.skip(5) {
        match range.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            None => described.slots.add(&SlotSet::parse(range)?),
            Some(moving) => {
                let leaving = moving.split_once("->-");
                described
                    .migrating
                    .extend(leaving.and_then(|(slot, to)| Some((slot.parse().ok()?, to.to_owned()))));
            }
        }
    }
    Some(described)
}

/// What a server has said of the engine.
pub(super) struct Description {
    pub(super) servers: Vec<Described>,
    /// Whether it is one of several that share slots.
    pub(super) is_cluster: bool,
    /// Which run of the server it is: another each time that it starts.
    pub(super) run: String,
}

impl Description {
    /// Reads the answers to `INFO`, and to `CLUSTER NODES` where there is one.
    pub(super) fn read(
        info: &str,
        nodes: Option<&Value>,
        address: &str,
        by_name: bool,
    ) -> Result<Description, String> {
        let run = field(info, "run_id").unwrap_or_default().to_owned();
        if let Some(nodes) = nodes {
            let nodes = text(nodes, address)?;
            let servers = parse(&nodes, address, by_name);
            return match servers.is_empty() {
                true => Err(format!("{address}: it knows no server of its cluster")),
                false => Ok(Description {
                    servers,
                    is_cluster: true,
                    run,
                }),
            };
        }
        match field(info, "role") {
            Some("master") => Ok(Description {
                servers: vec![Described {
                    id: address.to_owned(),
                    address: address.to_owned(),
                    is_master: true,
                    is_myself: true,
                    has_failed: false,
                    slots: SlotSet::all(),
                    migrating: Vec::new(),
                }],
                is_cluster: false,
                run,
            }),
            _ => Err(format!("{address}: it is a replica, which takes no writes")),
        }
    }
}

/// A field of `INFO`.
pub(super) fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Whether a server is of a cluster, as its `INFO` says.
pub(super) fn is_of_cluster(info: &str) -> bool {
    field(info, "cluster_enabled") == Some("1")
}

/// The text of an answer, or what is wrong with it.
pub(super) fn text(answer: &Value, address: &str) -> Result<String, String> {
    match answer {
        Value::ServerError(error) => Err(format!("{address}: {}", words(&RedisError::from(error.clone())))),
        answer => text_of(answer).ok_or_else(|| format!("{address}: it answers something else")),
    }
}

/// A text that the engine has answered.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// The slots that nobody serves.
pub(crate) fn uncovered(servers: &[Described]) -> usize {
    let mut covered = SlotSet::default();
    servers
        .iter()
        .filter(|server| server.is_master && !server.has_failed)
        .for_each(|server| covered.add(&server.slots));
    SLOTS - covered.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of <https://redis.io/docs/latest/commands/cluster-nodes/>.
    #[test]
    fn a_cluster_is_read_from_what_it_says_of_itself() {
        let text = "\
            aa :30001@31001 myself,master - 0 0 1 connected 0-5460 [93->-bb] [94-<-cc]\n\
            bb 127.0.0.1:30002@31002,host-b master - 0 1426238316232 2 connected 5461-10922\n\
            cc ::1:30003@31003 master,fail - 0 1426238318243 3 disconnected 10923-16383\n\
            dd 127.0.0.1:30004@31004 slave bb 0 1426238317239 4 connected\n\
            ee :0@0 master,noaddr - 0 0 0 disconnected\n";
        let servers = parse(text, "10.0.0.1:30001", false);
        let addresses: Vec<_> = servers.iter().map(|server| server.address.as_str()).collect();
        assert_eq!(
            addresses,
            [
                "10.0.0.1:30001",
                "127.0.0.1:30002",
                "[::1]:30003",
                "127.0.0.1:30004"
            ]
        );
        assert_eq!(servers[0].migrating, [(93, "bb".to_owned())]);
        assert!(servers[0].is_myself && servers[0].slots.contains(5460) && !servers[3].is_master);
        assert_eq!(
            uncovered(&servers),
            16_384 - 10_923,
            "a failed master serves nothing"
        );
        assert_eq!(parse(text, "x:1", true)[1].address, "host-b:30002");
    }
}
