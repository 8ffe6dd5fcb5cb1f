//! `pykv cluster`

use super::{Error, connect, print_json, print_text};
use crate::api::{ClusterMember, ClusterView};
use crate::cli::ShowCluster;

const HEADINGS: [&str; 7] = ["NODE", "ROLE", "TERM", "OFFSET", "LAG", "LEASE", "MAY TAKE OVER"];

pub(super) fn run(args: &ShowCluster) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let view = client
        .cluster()
        .map_err(Error::client("cannot ask for the cluster"))?;
    if args.json {
        return print_json(serde_json::to_vec(&view).expect("its numbers are finite"));
    }
    print_text(&text(&view))
}

/// For people: what they ask first stands first.
fn text(view: &ClusterView) -> String {
    let mut text = match (&view.primary, view.term) {
        (Some(primary), Some(term)) => {
            format!("cluster {}: {primary} is primary in term {term}\n", view.cluster)
        }
        _ => format!("cluster {}: there is no primary\n", view.cluster),
    };
    if view.paused {
        text.push_str("takeovers are paused; `pykv resume` ends that\n");
    }
    if let Some(why) = &view.etcd_error {
        text.push_str(&format!("{} does not reach etcd: {why}\n", view.node));
    }
    if view.failsafe {
        text.push_str(&format!(
            "{} is primary without etcd, since all other nodes confirm it\n",
            view.node
        ));
    }
    let rows: Vec<[String; 7]> = view.members.iter().map(row).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or(0).max(HEADINGS[at].len())
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    for row in [HEADINGS.map(str::to_owned)].iter().chain(&rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(member: &ClusterMember) -> [String; 7] {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let is_primary = member.role.as_deref() == Some("primary");
    let may = match &member.obstacle {
        Some(why) => format!("no: {why}"),
        None if is_primary => "-".to_owned(),
        None if member.standby => "yes, it has every write".to_owned(),
        None => "yes".to_owned(),
    };
    [
        member.node.clone(),
        member.role.clone().unwrap_or_else(|| "-".to_owned()),
        number(member.term),
        number(member.offset),
        match member.lag_bytes.filter(|_| !is_primary) {
            Some(bytes) => format!("{bytes} bytes"),
            None => "-".to_owned(),
        },
        member
            .lease_left_seconds
            .map_or("-".to_owned(), |left| format!("{left:.1} s")),
        // A node is another machine's word: nothing of it may act on the terminal.
        may.replace(char::is_control, " "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_says_why_it_may_not_take_over() {
        let member = |node: &str, role: Option<&str>, obstacle: Option<&str>| ClusterMember {
            node: node.to_owned(),
            role: role.map(str::to_owned),
            term: role.map(|_| 3),
            offset: role.map(|_| 4711),
            lag_bytes: role.map(|_| 0),
            standby: obstacle.is_none(),
            lease_left_seconds: role.filter(|role| *role == "primary").map(|_| 4.25),
            obstacle: obstacle.map(str::to_owned),
        };
        let view = ClusterView {
            cluster: "shop".to_owned(),
            node: "a:1".to_owned(),
            primary: Some("a:1".to_owned()),
            term: Some(3),
            read_ms: Some(5),
            etcd_error: None,
            failsafe: false,
            paused: true,
            members: vec![
                member("a:1", Some("primary"), None),
                member("b:1", Some("replica"), None),
                member("c:1", None, Some("it does not answer")),
            ],
        };
        let text = text(&view);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "cluster shop: a:1 is primary in term 3");
        assert!(lines[1].contains("pykv resume"));
        assert_eq!(
            lines[2],
            "NODE  ROLE     TERM  OFFSET  LAG      LEASE  MAY TAKE OVER"
        );
        assert_eq!(lines[3], "a:1   primary  3     4711    -        4.2 s  -");
        assert_eq!(
            lines[4],
            "b:1   replica  3     4711    0 bytes  -      yes, it has every write"
        );
        assert_eq!(
            lines[5],
            "c:1   -        -     -       -        -      no: it does not answer"
        );
    }
}
