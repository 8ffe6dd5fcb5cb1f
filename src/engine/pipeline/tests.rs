//! The pipeline against engines that tests speak for.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long a test's engine may take at most, where nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an engine does about a command.
enum Reply {
    Send(String),
    /// Reads on, and answers nothing.
    Keep,
    /// Closes the connection.
    Cut,
}

/// An engine that a test speaks for. It ends with the pipeline, whose connections it reads.
fn engine(answer: impl Fn(&[String]) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve(&stream.unwrap(), &*answer));
        }
    });
    address
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&[String]) -> Reply) {
    let mut commands = BufReader::new(stream);
    while let Some(command) = read_command(&mut commands) {
        match answer(&command) {
            Reply::Send(text) => (&*stream).write_all(text.as_bytes()).unwrap(),
            Reply::Keep => {}
            Reply::Cut => return,
        }
    }
}

fn read_command(from: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |from: &mut dyn BufRead| -> Option<usize> {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        line.get(1..)?.trim().parse().ok()
    };
    let words = number(from)?;
    (0..words)
        .map(|_| {
            let mut word = vec![0; number(from)? + 2];
            from.read_exact(&mut word).ok()?;
            word.truncate(word.len() - 2);
            Some(String::from_utf8_lossy(&word).into_owned())
        })
        .collect()
}

/// A pipeline whose thread ends with the test.
struct Ended(Arc<Pipeline>);

impl Deref for Ended {
    type Target = Arc<Pipeline>;

    fn deref(&self) -> &Arc<Pipeline> {
        &self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn pipeline(address: &str, timeout: Duration) -> Ended {
    let dial = Dial {
        user: None,
        password: None,
        tls: None,
        connections_max: 4,
        timeout,
    };
    Ended(Arc::new(
        Pipeline::new(address, &dial, Resolver::default()).unwrap(),
    ))
}

fn get(key: &str) -> Item {
    let mut command = redis::cmd("GET");
    command.arg(key);
    Item::Read(command.get_packed_command())
}

fn upsert(key: &str) -> Item {
    Item::Upsert(Upsert {
        key: key.into(),
        value: b"v".to_vec(),
        floor: 0,
    })
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn value(text: &str) -> Answer {
    Ok(Value::BulkString(text.into()))
}

/// The answer to a request that does not go past the pipeline.
fn asked(pipeline: &Arc<Pipeline>, item: Item) -> Answer {
    pipeline.ask(item).unwrap()
}

/// An engine that answers a key with itself, once the test lets it go on from the key `hold`.
fn held_engine(
    answer: impl Fn(&[String]) -> Reply + Send + Sync + 'static,
) -> (String, Receiver<()>, Sender<()>) {
    let (came, has_come) = channel();
    let (go, may_go) = channel();
    let may_go = Mutex::new(may_go);
    let address = engine(move |command| {
        if command.last().is_some_and(|key| key == "hold") {
            came.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
        }
        answer(command)
    });
    (address, has_come, go)
}

/// Sends `hold`, and then the others in one piece: all wait while it is answered. Gives their answers in their order.
fn behind(
    pipeline: &Arc<Pipeline>,
    held: (&Receiver<()>, &Sender<()>),
    items: Vec<Item>,
) -> (Answer, Vec<Answer>) {
    let (has_come, go) = held;
    thread::scope(|scope| {
        let first = scope.spawn(|| asked(pipeline, get("hold")));
        has_come.recv_timeout(PATIENCE).unwrap();
        let mut others = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            others.push(scope.spawn(|| asked(pipeline, item)));
            // One after the other, so that their order is known.
            while pipeline.lock().queue.len() <= place {
                thread::yield_now();
            }
        }
        go.send(()).unwrap();
        let others = others.into_iter().map(|one| one.join().unwrap());
        (first.join().unwrap(), others.collect())
    })
}

#[test]
fn many_threads_get_each_its_own_answer() {
    let address = engine(|command| Reply::Send(bulk(&command[1])));
    let pipeline = pipeline(&address, PATIENCE);
    thread::scope(|scope| {
        for number in 0..16 {
            let pipeline = &pipeline;
            scope.spawn(move || {
                for round in 0..200 {
                    let key = format!("{number}-{round}");
                    assert_eq!(asked(pipeline, get(&key)), value(&key));
                }
            });
        }
    });
    let inner = pipeline.lock();
    assert!(inner.queue.is_empty() && !inner.is_led);
}

#[test]
fn an_error_of_the_engine_is_the_answer_of_one() {
    let (address, has_come, go) = held_engine(|command| match command[1].as_str() {
        "bad" => Reply::Send("-WRONGTYPE it is a list\r\n".to_owned()),
        key => Reply::Send(bulk(key)),
    });
    let pipeline = pipeline(&address, PATIENCE);
    let items = ["a", "bad", "b"].map(get).into();
    let (first, others) = behind(&pipeline, (&has_come, &go), items);
    assert_eq!(
        (first, &others[0], &others[2]),
        (value("hold"), &value("a"), &value("b"))
    );
    assert!(matches!(others[1], Ok(Value::ServerError(_))), "{others:?}");
}

/// What was answered before the cut is known, and nothing is sent twice.
#[test]
fn a_cut_in_the_middle_leaves_the_rest_unknown() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let its_seen = Arc::clone(&seen);
    let (address, has_come, go) = held_engine(move |command| {
        its_seen.lock().unwrap().push(command[1].clone());
        match command[1].as_str() {
            "c" => Reply::Cut,
            key => Reply::Send(bulk(key)),
        }
    });
    let pipeline = pipeline(&address, PATIENCE);
    let items = ["a", "b", "c", "d"].map(get).into();
    let (_, others) = behind(&pipeline, (&has_come, &go), items);
    assert_eq!(others[..2], [value("a"), value("b")]);
    assert!(
        others[2..]
            .iter()
            .all(|one| matches!(one, Err(Missed::Broken(_)))),
        "{others:?}"
    );
    assert_eq!(*seen.lock().unwrap(), ["hold", "a", "b", "c"]);
    // The next one has another connection.
    assert_eq!(asked(&pipeline, get("e")), value("e"));
}

/// A leader whose answer does not come ends in time, and so does everybody behind it.
#[test]
fn an_engine_that_is_silent_holds_nobody_for_longer_than_the_limit() {
    let (came, has_come) = channel();
    let address = engine(move |command| {
        came.send(command[1].clone()).unwrap();
        Reply::Keep
    });
    let limit = Duration::from_millis(200);
    let pipeline = pipeline(&address, limit);
    let begun = Instant::now();
    let (first, others) = thread::scope(|scope| {
        let first = scope.spawn(|| asked(&pipeline, get("first")));
        has_come.recv_timeout(PATIENCE).unwrap();
        let others = ["a", "b", "c"].map(|key| scope.spawn(|| asked(&pipeline, get(key))));
        (first.join().unwrap(), others.map(|one| one.join().unwrap()))
    });
    let is_unknown = |one: &Answer| matches!(one, Err(Missed::Broken(_)));
    assert!(is_unknown(&first), "{first:?}");
    // Each was sent, was to be sent, or was not: which of them, the clock decides.
    let sent = others.iter().filter(|one| is_unknown(one)).count();
    pipeline.end();
    assert!(has_come.try_iter().count() <= sent, "{others:?}");
    assert!(others.iter().all(Result::is_err), "{others:?}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let inner = pipeline.lock();
    assert!(inner.queue.is_empty() && !inner.is_led);
}

#[test]
fn who_has_waited_for_too_long_leaves_the_queue_or_the_leader() {
    let (address, has_come, go) = held_engine(|command| Reply::Send(bulk(&command[1])));
    let slow = pipeline(&address, PATIENCE);
    thread::scope(|scope| {
        let first = scope.spawn(|| asked(&slow, get("hold")));
        has_come.recv_timeout(PATIENCE).unwrap();
        // Their time is over already.
        let pending = Arc::new(Pending::new(None));
        slow.lock().queue.push_back(Waiting {
            item: get("late"),
            pending: Arc::clone(&pending),
        });
        let left = slow.wait(&pending, Instant::now());
        let not_sent = |left: &Outcome| matches!(left, Outcome::Answer(Err(Missed::NotSent(_))));
        assert!(not_sent(&left), "{left:?}");
        assert!(slow.lock().queue.is_empty());
        let left = slow.wait(&Arc::new(Pending::new(None)), Instant::now());
        let is_unknown = |left: &Outcome| matches!(left, Outcome::Answer(Err(Missed::Broken(_))));
        assert!(is_unknown(&left), "{left:?}");
        // It has come in the last moment.
        let answered = Arc::new(Pending::new(None));
        answered.give(value("late"));
        assert_eq!(
            slow.wait(&answered, Instant::now()),
            Outcome::Answer(value("late"))
        );
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap(), value("hold"));
    });
}

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let pipeline = pipeline(&address, PATIENCE);
    let answer = asked(&pipeline, get("a"));
    assert!(matches!(answer, Err(Missed::NotSent(_))), "{answer:?}");
}

/// Values are set in one call, and each has its own answer; until the engine says that it takes one slot alone.
#[test]
fn values_are_set_together() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let its_calls = Arc::clone(&calls);
    let (address, has_come, go) = held_engine(move |command| {
        if command[0] == "GET" {
            return Reply::Send(bulk(&command[1]));
        }
        let keys = command[2].parse().unwrap();
        let keys: Vec<String> = command.iter().skip(3).take(keys).cloned().collect();
        its_calls.lock().unwrap().push(keys.clone());
        let answers = keys.iter().map(|key| format!(":{key}\r\n"));
        Reply::Send(match &keys[..] {
            [_] => answers.collect(),
            [first, ..] if first == "7" => "-CROSSSLOT Keys hash to several slots\r\n".to_owned(),
            _ => format!("*{}\r\n{}", keys.len(), answers.collect::<String>()),
        })
    });
    let pipeline = pipeline(&address, PATIENCE);
    let held = (&has_come, &go);
    let (_, answers) = behind(
        &pipeline,
        held,
        vec![upsert("1"), get("between"), upsert("2"), upsert("3")],
    );
    let int = |number| Ok(Value::Int(number));
    assert_eq!(answers, [int(1), value("between"), int(2), int(3)]);
    let (_, answers) = behind(&pipeline, held, ["7", "8"].map(upsert).into());
    assert!(
        answers.iter().all(|one| matches!(one, Err(Missed::NotSent(_)))),
        "{answers:?}"
    );
    let (_, answers) = behind(&pipeline, held, ["7", "8"].map(upsert).into());
    assert_eq!(answers, [int(7), int(8)]);
    let calls = calls.lock().unwrap();
    let calls: Vec<Vec<&str>> = calls
        .iter()
        .map(|keys| keys.iter().map(String::as_str).collect())
        .collect();
    assert_eq!(calls, [vec!["1", "2", "3"], vec!["7", "8"], vec!["7"], vec!["8"]]);
}

#[test]
fn reads_go_past_the_lane_for_a_while_after_a_long_answer() {
    let pipeline = pipeline("127.0.0.1:1", PATIENCE);
    pipeline.note_read(&Value::BulkString(vec![0; BYTES_MAX]));
    assert!(pipeline.takes_reads());
    pipeline.note_read(&Value::Array(vec![Value::BulkString(vec![0; BYTES_MAX + 1])]));
    assert!((0..PAST_AFTER_LONG).all(|_| !pipeline.takes_reads()));
    assert!(pipeline.takes_reads());
}

/// Many long values that are read at once do not fill the memory; what a change has answered is kept, however long.
#[test]
fn a_leader_keeps_few_long_answers() {
    const LONG: usize = 1 << 20;
    let (address, has_come, go) = held_engine(|command| {
        Reply::Send(match &*command[0] {
            "GET" if command[1] == "hold" => bulk("hold"),
            _ => bulk(&"l".repeat(LONG)),
        })
    });
    let pipeline = pipeline(&address, PATIENCE);
    let mut change = redis::cmd("APPEND");
    change.arg("a").arg("more");
    let mut items: Vec<Item> = (0..8).map(|_| get("long")).collect();
    items.push(Item::Command(change.get_packed_command()));
    let (first, answers) = behind(&pipeline, (&has_come, &go), items);
    assert_eq!(first, value("hold"));
    let (change, reads) = answers.split_last().unwrap();
    let is_long = |answer: &Answer| matches!(answer, Ok(Value::BulkString(bytes)) if bytes.len() == LONG);
    assert!(is_long(change));
    let (kept, left) = reads.split_at(2);
    assert!(kept.iter().all(is_long), "2 MiB is what 256 short answers take");
    assert!(left.iter().all(|answer| *answer == Err(Missed::Long)));
    assert!(!pipeline.takes_reads());
}

/// What an answer is sent on to, and what was.
fn sender(expected: &'static str) -> (SendOn, Receiver<Value>) {
    let (sent, was_sent) = channel();
    let send_on = move |answer: &Value| {
        let is_expected = *answer == Value::BulkString(expected.into());
        if is_expected {
            sent.send(answer.clone()).unwrap();
        }
        is_expected
    };
    (Box::new(send_on), was_sent)
}

/// What goes out behind another request is sent on without a thread that waits; what else comes is kept for who asked.
#[test]
fn an_answer_is_sent_on_as_soon_as_it_comes() {
    let (address, has_come, go) = held_engine(|command| Reply::Send(bulk(&command[1])));
    let pipeline = pipeline(&address, PATIENCE);
    assert!(!pipeline.is_led());
    let (send_on, was_sent) = sender("a");
    let (other, was_sent_other) = sender("nothing");
    thread::scope(|scope| {
        let first = scope.spawn(|| asked(&pipeline, get("hold")));
        has_come.recv_timeout(PATIENCE).unwrap();
        assert!(pipeline.is_led());
        let relayed = pipeline.relay(get("a"), send_on).unwrap();
        let kept = pipeline.relay(get("b"), other).unwrap();
        go.send(()).unwrap();
        assert_eq!(was_sent.recv_timeout(PATIENCE), Ok(Value::BulkString("a".into())));
        assert_eq!(relayed.wait(), Outcome::SentOn);
        assert_eq!(kept.wait(), Outcome::Answer(value("b")));
        assert_eq!(first.join().unwrap(), value("hold"));
    });
    assert!(was_sent_other.try_recv().is_err());
    // Nobody need be at work.
    let (send_on, was_sent) = sender("alone");
    let relayed = pipeline.relay(get("alone"), send_on).unwrap();
    assert_eq!(relayed.wait(), Outcome::SentOn);
    assert_eq!(was_sent.try_iter().count(), 1);
}

/// Whoever has given up is sent nothing afterwards.
#[test]
fn an_answer_that_comes_too_late_is_sent_to_nobody() {
    let (address, has_come, go) = held_engine(|command| Reply::Send(bulk(&command[1])));
    let pipeline = pipeline(&address, PATIENCE);
    let (send_on, was_sent) = sender("hold");
    let mut relayed = pipeline.relay(get("hold"), send_on).unwrap();
    has_come.recv_timeout(PATIENCE).unwrap();
    relayed.deadline = Instant::now();
    let left = relayed.wait();
    assert!(
        matches!(left, Outcome::Answer(Err(Missed::Broken(_)))),
        "{left:?}"
    );
    go.send(()).unwrap();
    assert_eq!(asked(&pipeline, get("next")), value("next"));
    assert!(was_sent.try_recv().is_err());
}

#[test]
fn a_bug_in_what_sends_on_costs_nobody_else_an_answer() {
    let (address, has_come, go) = held_engine(|command| Reply::Send(bulk(&command[1])));
    let pipeline = pipeline(&address, PATIENCE);
    let (send_on, was_sent) = sender("b");
    let hold = pipeline
        .relay(get("hold"), Box::new(|_| panic!("a bug")))
        .unwrap();
    has_come.recv_timeout(PATIENCE).unwrap();
    let relayed = pipeline.relay(get("b"), send_on).unwrap();
    go.send(()).unwrap();
    assert_eq!(relayed.wait(), Outcome::SentOn);
    assert_eq!(was_sent.try_iter().count(), 1);
    assert!(catch_unwind(AssertUnwindSafe(|| hold.wait())).is_err());
}

/// A leader that ends without answers, as after a panic, leaves nobody behind.
#[test]
fn the_end_of_a_leader_is_the_end_of_the_waiting() {
    let pipeline = pipeline("127.0.0.1:1", PATIENCE);
    let two: [Arc<Pending>; 2] = std::array::from_fn(|_| Arc::new(Pending::new(None)));
    let waiting = |pending: &Arc<Pending>| Waiting {
        item: get("a"),
        pending: Arc::clone(pending),
    };
    assert!(pipeline.has_thread());
    {
        let mut inner = pipeline.lock();
        inner.is_led = true;
        inner.queue.push_back(waiting(&two[1]));
    }
    drop(Taken {
        pipeline: &pipeline,
        waiting: VecDeque::from([waiting(&two[0])]),
        has_resigned: false,
    });
    let soon = || Instant::now() + PATIENCE;
    let is_missed = |pending: &Arc<Pending>| matches!(pending.wait(soon()), Some(Outcome::Answer(Err(_))));
    assert!(is_missed(&two[0]));
    // The pipeline's thread has led it, and found no server.
    assert!(is_missed(&two[1]));
}
