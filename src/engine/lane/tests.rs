//! The lane against engines that tests speak for.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
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

/// An engine that a test speaks for. It ends with the lane, whose connections it reads.
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

fn lane(address: &str, timeout: Duration) -> Lane {
    let dial = Dial {
        user: None,
        password: None,
        tls: None,
        connections_max: 4,
        timeout,
    };
    Lane::new(address, &dial).unwrap()
}

fn get(key: &str) -> Item {
    let mut command = redis::cmd("GET");
    command.arg(key);
    Item::Command(command.get_packed_command())
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
fn behind(lane: &Lane, held: (&Receiver<()>, &Sender<()>), items: Vec<Item>) -> (Answer, Vec<Answer>) {
    let (has_come, go) = held;
    let resolver = &Resolver::default();
    thread::scope(|scope| {
        let first = scope.spawn(|| lane.ask(get("hold"), resolver));
        has_come.recv_timeout(PATIENCE).unwrap();
        let mut others = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            others.push(scope.spawn(|| lane.ask(item, resolver)));
            // One after the other, so that their order is known.
            while lane.lock().queue.len() <= place {
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
    let (lane, resolver) = (lane(&address, PATIENCE), Resolver::default());
    thread::scope(|scope| {
        for number in 0..16 {
            let (lane, resolver) = (&lane, &resolver);
            scope.spawn(move || {
                for round in 0..200 {
                    let key = format!("{number}-{round}");
                    assert_eq!(lane.ask(get(&key), resolver), value(&key));
                }
            });
        }
    });
    let inner = lane.lock();
    assert!(inner.queue.is_empty() && !inner.is_led);
}

#[test]
fn an_error_of_the_engine_is_the_answer_of_one() {
    let (address, has_come, go) = held_engine(|command| match command[1].as_str() {
        "bad" => Reply::Send("-WRONGTYPE it is a list\r\n".to_owned()),
        key => Reply::Send(bulk(key)),
    });
    let lane = lane(&address, PATIENCE);
    let items = ["a", "bad", "b"].map(get).into();
    let (first, others) = behind(&lane, (&has_come, &go), items);
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
    let lane = lane(&address, PATIENCE);
    let items = ["a", "b", "c", "d"].map(get).into();
    let (_, others) = behind(&lane, (&has_come, &go), items);
    assert_eq!(others[..2], [value("a"), value("b")]);
    assert!(
        others[2..]
            .iter()
            .all(|one| matches!(one, Err(Missed::Broken(_)))),
        "{others:?}"
    );
    assert_eq!(*seen.lock().unwrap(), ["hold", "a", "b", "c"]);
    // The next one has another connection.
    assert_eq!(lane.ask(get("e"), &Resolver::default()), value("e"));
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
    let (lane, resolver) = (lane(&address, limit), Resolver::default());
    let begun = Instant::now();
    let (first, others) = thread::scope(|scope| {
        let first = scope.spawn(|| lane.ask(get("first"), &resolver));
        has_come.recv_timeout(PATIENCE).unwrap();
        let others = ["a", "b", "c"].map(|key| scope.spawn(|| lane.ask(get(key), &resolver)));
        (first.join().unwrap(), others.map(|one| one.join().unwrap()))
    });
    let is_unknown = |one: &Answer| matches!(one, Err(Missed::Broken(_)));
    assert!(is_unknown(&first), "{first:?}");
    // Each was sent or was not: which of them, the clock decides.
    let sent = others.iter().filter(|one| is_unknown(one)).count();
    assert_eq!(has_come.try_iter().count(), sent, "{others:?}");
    assert!(others.iter().all(Result::is_err), "{others:?}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let inner = lane.lock();
    assert!(inner.queue.is_empty() && !inner.is_led);
}

#[test]
fn who_has_waited_for_too_long_leaves_the_queue_or_the_leader() {
    let (address, has_come, go) = held_engine(|command| Reply::Send(bulk(&command[1])));
    let slow = lane(&address, PATIENCE);
    let resolver = Resolver::default();
    thread::scope(|scope| {
        let first = scope.spawn(|| slow.ask(get("hold"), &resolver));
        has_come.recv_timeout(PATIENCE).unwrap();
        // Their time is over already.
        let seat = Arc::new(Seat::default());
        slow.lock().queue.push_back(Waiting {
            item: get("late"),
            seat: Arc::clone(&seat),
        });
        let left = slow.wait(&seat, Instant::now()).unwrap();
        assert!(matches!(left, Err(Missed::NotSent(_))), "{left:?}");
        assert!(slow.lock().queue.is_empty());
        let taken = Arc::new(Seat::default());
        let left = slow.wait(&taken, Instant::now()).unwrap();
        assert!(matches!(left, Err(Missed::Broken(_))), "{left:?}");
        // It has come in the last moment.
        let answered = Arc::new(Seat::default());
        answered.give(value("late"));
        assert_eq!(slow.wait(&answered, Instant::now()), Some(value("late")));
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
    let lane = lane(&address, PATIENCE);
    let answer = lane.ask(get("a"), &Resolver::default());
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
    let lane = lane(&address, PATIENCE);
    let held = (&has_come, &go);
    let (_, answers) = behind(
        &lane,
        held,
        vec![upsert("1"), get("between"), upsert("2"), upsert("3")],
    );
    let int = |number| Ok(Value::Int(number));
    assert_eq!(answers, [int(1), value("between"), int(2), int(3)]);
    let (_, answers) = behind(&lane, held, ["7", "8"].map(upsert).into());
    assert!(
        answers.iter().all(|one| matches!(one, Err(Missed::NotSent(_)))),
        "{answers:?}"
    );
    let (_, answers) = behind(&lane, held, ["7", "8"].map(upsert).into());
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
    let lane = lane("127.0.0.1:1", PATIENCE);
    lane.note_read(&Value::BulkString(vec![0; BYTES_MAX]));
    assert!(lane.takes_reads());
    lane.note_read(&Value::Array(vec![Value::BulkString(vec![0; BYTES_MAX + 1])]));
    assert!((0..PAST_AFTER_LONG).all(|_| !lane.takes_reads()));
    assert!(lane.takes_reads());
}

/// A leader that ends without answers, as after a panic, leaves nobody behind.
#[test]
fn the_end_of_a_leader_is_the_end_of_the_waiting() {
    let lane = lane("127.0.0.1:1", PATIENCE);
    let seats: [Arc<Seat>; 2] = std::array::from_fn(|_| Arc::new(Seat::default()));
    let waiting = |seat: &Arc<Seat>| Waiting {
        item: get("a"),
        seat: Arc::clone(seat),
    };
    {
        let mut inner = lane.lock();
        inner.is_led = true;
        inner.queue.push_back(waiting(&seats[1]));
    }
    drop(Taken {
        lane: &lane,
        waiting: VecDeque::from([waiting(&seats[0])]),
        has_resigned: false,
    });
    assert!(matches!(*seats[0].lock(), State::Has(Err(Missed::Broken(_)))));
    assert!(matches!(*seats[1].lock(), State::Leads));
}
