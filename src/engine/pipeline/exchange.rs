//! What a leader does: requests in one piece, and their answers.

use super::{BATCH_MAX, BYTES_MAX, Item, Pipeline, Waiting, bytes_of};
use crate::engine::error::words;
use crate::engine::pending::{Answer, Missed};
use crate::engine::pool::Link;
use crate::engine::upsert::{self, Upsert};
use redis::{RedisResult, ServerErrorKind, Value};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Most values that one call of the script sets: it holds up all other requests of the server.
const TOGETHER_MAX: usize = 64;

/// Once it has kept so much of answers to reads, in bytes, a leader keeps no more of them: short ones all have room.
const KEPT_BYTES_MAX: usize = BATCH_MAX * BYTES_MAX;

/// Whose answer comes next.
enum Next {
    Of(usize),
    OfRead(usize),
    OfAll(Vec<usize>),
}

impl Pipeline {
    /// Sends requests, and gives as many answers.
    pub(super) fn exchange(&self, waiting: &VecDeque<Waiting>) -> Vec<Answer> {
        let limit = self.server.timeout();
        let mut link = match self.server.link(Instant::now() + limit, &self.resolver) {
            Ok(link) => link,
            Err(why) => {
                return waiting
                    .iter()
                    .map(|_| Err(Missed::NotSent(why.clone())))
                    .collect();
            }
        };
        let (packed, order) = self.pack(waiting);
        let mut answers: Vec<Option<Answer>> = waiting.iter().map(|_| None).collect();
        let why = match self.receive_all(&mut link, &packed, &order, &mut answers) {
            Ok(()) => {
                link.give_back();
                String::new()
            }
            Err(error) => {
                self.server.purge();
                words(&error)
            }
        };
        let unanswered = || Err(Missed::Broken(why.clone()));
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(unanswered))
            .collect()
    }

    /// Requests in one piece, and whose answers come in which order.
    fn pack(&self, waiting: &VecDeque<Waiting>) -> (Vec<u8>, Vec<Next>) {
        let mut packed = Vec::new();
        let mut order = Vec::with_capacity(waiting.len());
        let mut upserts = Vec::new();
        for (place, one) in waiting.iter().enumerate() {
            match &one.item {
                Item::Command(command) => {
                    packed.extend_from_slice(command);
                    order.push(Next::Of(place));
                }
                Item::Read(command) => {
                    packed.extend_from_slice(command);
                    order.push(Next::OfRead(place));
                }
                Item::Upsert(upsert) => upserts.push((place, upsert)),
            }
        }
        let most = match self.sets_together.load(Ordering::Relaxed) {
            true => TOGETHER_MAX,
            false => 1,
        };
        for some in upserts.chunks(most) {
            let (places, some): (Vec<usize>, Vec<&Upsert<Vec<u8>>>) = some.iter().copied().unzip();
            packed.extend_from_slice(&upsert::together(&some));
            order.push(match places[..] {
                [place] => Next::Of(place),
                _ => Next::OfAll(places),
            });
        }
        (packed, order)
    }

    fn receive_all(
        &self,
        link: &mut Link<'_>,
        packed: &[u8],
        order: &[Next],
        answers: &mut [Option<Answer>],
    ) -> RedisResult<()> {
        let limit = self.server.timeout();
        let begun = Instant::now();
        let mut kept_bytes = 0;
        let mut give = |place: usize, answer| {
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        };
        link.send(packed, limit)?;
        for next in order {
            // Each read has its own limit, and there may be many.
            if begun.elapsed() > limit {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            match (next, link.receive()?) {
                (Next::Of(place), answer) => give(*place, Ok(answer)),
                (Next::OfRead(place), answer) => {
                    self.note_read(&answer);
                    let has_room = kept_bytes < KEPT_BYTES_MAX;
                    kept_bytes += bytes_of(&answer);
                    give(*place, if has_room { Ok(answer) } else { Err(Missed::Long) });
                }
                (Next::OfAll(places), Value::Array(each)) => {
                    places
                        .iter()
                        .zip(each)
                        .for_each(|(place, answer)| give(*place, Ok(answer)));
                }
                // It says of itself that it is no cluster, and takes keys of one slot alone.
                (Next::OfAll(places), Value::ServerError(error))
                    if error.kind() == Some(ServerErrorKind::CrossSlot) =>
                {
                    self.sets_together.store(false, Ordering::Relaxed);
                    let refused = || Err(Missed::NotSent("its keys are in several slots".to_owned()));
                    places.iter().for_each(|place| give(*place, refused()));
                }
                (Next::OfAll(places), of_all) => {
                    places.iter().for_each(|place| give(*place, Ok(of_all.clone())));
                }
            }
        }
        Ok(())
    }
}
