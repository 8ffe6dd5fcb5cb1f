//! A server with one thread a connection and nothing else: what a thread a connection can give on a machine, for
//! `benches/run --only get` to hold pykv against.
//!
//! It parses requests with pykv's parser, and answers every one with the same 200: no store, no log, no limits and no
//! time limits. It writes the port that it listens on to standard output, and reads the answer's body and header fields
//! from its arguments: BODY FIELD...

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Bytes read at once, as pykv reads them.
const READ_BYTES: usize = 16 * 1024;

/// Header fields of a request.
const FIELDS_MAX: usize = 64;

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1).filter(|one| one != "--bench");
    let Some(body) = arguments.next() else {
        // `cargo bench` runs it without any.
        eprintln!("bare: run by benches/run --only get");
        return Ok(());
    };
    let fields: String = arguments.map(|field| field + "\r\n").collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let (stream, answer) = (stream?, answer.clone().into_bytes());
        // A client that goes away ends its thread.
        thread::spawn(move || serve(stream, &answer));
    }
    Ok(())
}

/// Answers the requests of a connection, those that came together in one write.
fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut piece = [0; READ_BYTES];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            bytes => input.extend_from_slice(&piece[..bytes]),
        }
        let mut start = 0;
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            match httparse::Request::new(&mut fields).parse(&input[start..]) {
                Ok(httparse::Status::Complete(bytes)) => start += bytes,
                Ok(httparse::Status::Partial) => break,
                Err(error) => return Err(io::Error::other(error)),
            }
            output.extend_from_slice(answer);
        }
        input.drain(..start);
        stream.write_all(&output)?;
        output.clear();
    }
}
