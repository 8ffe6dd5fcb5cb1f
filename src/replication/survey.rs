//! Asks other nodes how they are, all at once, for people who look at the cluster. Nothing is decided by it.

use super::dial;
use super::link::{Request, TEXT_BYTES_MAX};
use crate::api;
use crate::node::Node;
use serde_json::Value;
use std::thread::Builder;
use std::time::Duration;

/// How long connecting may take, and how long the answer.
const TIME_MAX: Duration = Duration::from_secs(1);

/// What each of these nodes says of itself.
pub(crate) fn ask_nodes(node: &Node, addresses: &[String]) -> Vec<api::OtherNode> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = addresses
            .iter()
            .map(|address| {
                let thread = Builder::new().name("survey".to_owned());
                thread.spawn_scoped(scope, move || one(node, address))
            })
            .collect();
        let answers = threads.into_iter().zip(addresses).map(|(thread, address)| {
            let answer = thread.ok().and_then(|thread| thread.join().ok());
            answer.unwrap_or_else(|| failed(address, "it could not be asked".to_owned()))
        });
        answers.collect()
    })
}

fn failed(address: &str, error: String) -> api::OtherNode {
    api::OtherNode {
        address: address.to_owned(),
        error: Some(error),
        ..api::OtherNode::default()
    }
}

fn one(node: &Node, address: &str) -> api::OtherNode {
    let asked = dial(node, address, TIME_MAX).and_then(|mut link| {
        let answer = link.ask(&Request::get(api::PATH_STATUS), TIME_MAX)?;
        let body = link.body(&answer, TEXT_BYTES_MAX, TIME_MAX, || ())?;
        Ok((answer.status, body))
    });
    match asked {
        Ok((200, body)) => match serde_json::from_slice(&body) {
            Ok(status) => read(address, &status),
            Err(_) => failed(address, "its answer is no JSON".to_owned()),
        },
        Ok((status, _)) => failed(address, format!("it answers with status {status}")),
        Err(error) => failed(address, error.to_string()),
    }
}

/// Of another node's status what is there: it may be of another version.
fn read(address: &str, status: &Value) -> api::OtherNode {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let replication = &status["replication"];
    api::OtherNode {
        address: address.to_owned(),
        error: None,
        role: text(&status["role"]),
        health: text(&status["health"]),
        ready: status["ready"].as_bool(),
        version: text(&status["version"]),
        term: status["log"]["term"].as_u64(),
        offset: status["log"]["offset"].as_u64(),
        primary: text(&replication["primary"]),
        lag_bytes: replication["lag_bytes"].as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_node_of_another_version_leaves_out_is_left_out() {
        let status = json!({"role": "replica", "health": "ok", "log": {"offset": 7}, "new": [1]});
        let node = read("a:1", &status);
        assert_eq!(
            (node.role.as_deref(), node.health.as_deref()),
            (Some("replica"), Some("ok"))
        );
        assert_eq!((node.offset, node.term, node.ready), (Some(7), None, None));
        assert_eq!(read("a:1", &json!([])).role, None);
    }
}
