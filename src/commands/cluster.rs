//! `pykv cluster`

use super::{Error, connect, print_json, print_text};
use crate::api::{ClusterMember, ClusterView};
use crate::cli::ShowCluster;
use std::time::Duration;

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
    let mut text = format!("cluster {}: {}\n", view.cluster, primary(view));
    if view.paused {
        text.push_str("takeovers are paused; `pykv resume` ends that\n");
    }
    if let Some(why) = &view.etcd_error {
        let time = Duration::from_secs(view.etcd_silent_seconds.unwrap_or(0.0) as u64);
        text.push_str(&format!(
            "etcd has not answered {} for {}: {why}\n",
            view.node,
            humantime::format_duration(time)
        ));
        text.push_str(match view.failsafe {
            true => "the primary stays primary while every other node confirms it; only etcd can make another one primary\n",
            false => "no node becomes primary before etcd answers\n",
        });
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

fn primary(view: &ClusterView) -> String {
    let (Some(node), Some(term)) = (&view.primary, view.term) else {
        return "there is no primary".to_owned();
    };
    let member = view.members.iter().find(|member| member.node == *node);
    match member.map(|member| member.role.as_deref()) {
        Some(Some("replica")) => format!("{node} is taking over as the primary of term {term}"),
        Some(None) => format!("{node} holds the lease of term {term}, but does not answer"),
        _ => format!("{node} is primary in term {term}"),
    }
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
            gone_seconds: None,
            obstacle: obstacle.map(str::to_owned),
        };
        let view = ClusterView {
            cluster: "shop".to_owned(),
            node: "a:1".to_owned(),
            primary: Some("a:1".to_owned()),
            term: Some(3),
            read_ms: Some(5),
            etcd_error: None,
            etcd_silent_seconds: None,
            failsafe: false,
            paused: true,
            members: vec![
                member("a:1", Some("primary"), None),
                member("b:1", Some("replica"), None),
                member("c:1", None, Some("it does not answer")),
            ],
        };
        let mut gone = view.clone();
        gone.primary = Some("c:1".to_owned());
        gone.etcd_error = Some("no endpoint answers".to_owned());
        gone.etcd_silent_seconds = Some(61.5);
        gone.failsafe = true;
        let gone = text(&gone);
        assert!(gone.starts_with("cluster shop: c:1 holds the lease of term 3, but does not answer\n"));
        assert!(gone.contains("etcd has not answered a:1 for 1m 1s: no endpoint answers\n"));
        assert!(gone.contains("while every other node confirms it"));
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
