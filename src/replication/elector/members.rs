//! Asks other members how they are, or whether they confirm this node as their primary: all at once.

use super::super::dial;
use super::super::link::{Request, TEXT_BYTES_MAX};
use crate::api;
use crate::election::{Answer, Ask, Question, Sealed};
use crate::node::Node;
use std::thread::Builder;
use std::time::Duration;

/// The answers of those that answer in time.
pub(crate) fn ask(node: &Node, cluster: &str, ask: &Ask) -> Vec<Answer> {
    let question = Sealed::new(Question {
        cluster: cluster.to_owned(),
        confirm: ask.confirm.clone(),
    });
    let body = serde_json::to_vec(&question).expect("plain data has a form in JSON");
    // Connecting takes a part of it, and the answer the other.
    let time_max = Duration::from_nanos(ask.time_max) / 2;
    std::thread::scope(|scope| {
        let threads: Vec<_> = ask
            .addresses
            .iter()
            .map(|address| {
                let body = &body;
                let one = move || one(node, address, body, time_max);
                Builder::new().name("member".to_owned()).spawn_scoped(scope, one)
            })
            .collect();
        let answers = threads.into_iter().flatten().map(|thread| thread.join().ok());
        answers.flatten().flatten().collect()
    })
}

fn one(node: &Node, address: &str, body: &[u8], time_max: Duration) -> Option<Answer> {
    let asked = dial(node, address, time_max).and_then(|mut link| {
        let request = Request {
            method: "POST",
            target: api::PATH_REPLICATION_ELECTION,
            body,
            until_close: false,
        };
        let answer = link.ask(&request, time_max)?;
        let body = link.body(&answer, TEXT_BYTES_MAX, time_max, || ())?;
        Ok((answer.status, body))
    });
    match asked {
        Ok((200, body)) => serde_json::from_slice::<Sealed<Answer>>(&body).ok()?.open(),
        Ok((status, _)) => {
            log::debug!("{address} answers a question of the election with status {status}");
            None
        }
        Err(error) => {
            log::debug!("{address}: {error}");
            None
        }
    }
}
