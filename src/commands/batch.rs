//! `pykv batch`: operations as JSON lines, sent as one batch.
//!
//! The node reads the operations strictly; here they are only put together. Its errors count operations, and this names
//! lines instead.

use super::lines::{self, Form, Line, Lines};
use super::{Error, connect, print};
use crate::api::{Problem, StatusLimits};
use crate::cli;
use crate::client;
use crate::json;
use serde::de::IgnoredAny;
use std::io::BufRead;

pub(super) fn run(args: &cli::Batch) -> Result<(), Error> {
    let input = lines::open(&args.file, Form::JsonLines)?;
    let client = connect(&args.connection)?;
    let about = client
        .about()
        .map_err(Error::client("cannot ask for the limits"))?;
    let limits = about.limits().clone();
    // What the node would refuse is not held: an endless line comes to an end here.
    let batch = read(input.reader, &limits, lines::broken(&args.file))?;
    if batch.numbers.is_empty() {
        return Err(Error::Usage("there are no operations to do".to_owned()));
    }
    let batched = client
        .batch(&batch.body)
        .map_err(|error| refused(error, &batch.numbers))?;
    let mut out = Vec::new();
    for result in &batched.results {
        serde_json::to_writer(&mut out, result)
            .expect("plain data has a form in JSON, and a vector takes it");
        out.push(b'\n');
    }
    print(&out)
}

/// A batch, and where its operations stood.
#[derive(Debug)]
struct Batch {
    body: Vec<u8>,
    /// Of each operation, the number of its line.
    numbers: Vec<u64>,
}

fn read(
    input: impl BufRead,
    limits: &StatusLimits,
    broken: impl FnOnce(std::io::Error) -> Error,
) -> Result<Batch, Error> {
    let bytes_max = usize::try_from(limits.batch_bytes_max).unwrap_or(usize::MAX);
    let mut lines = Lines::new(input, bytes_max);
    let mut body = br#"{"operations":["#.to_vec();
    let mut numbers = Vec::new();
    loop {
        let (number, line) = match lines.next() {
            Ok(None) => break,
            Ok(Some((_, Line::Text(line)))) if line.trim_ascii().is_empty() => continue,
            Ok(Some((number, Line::Text(line)))) if body.len() + line.len() <= bytes_max => {
                (number, line.trim_ascii())
            }
            Ok(Some(_)) => {
                return Err(Error::Usage(format!(
                    "the operations have more bytes than the node takes in one batch: {bytes_max}"
                )));
            }
            Err(error) => return Err(broken(error)),
        };
        if numbers.len() as u64 == limits.batch_operations_max {
            return Err(Error::Usage(format!(
                "there are more operations than the node does as one batch: {}; --max-batch of `pykv serve` sets that",
                limits.batch_operations_max
            )));
        }
        serde_json::from_slice::<IgnoredAny>(line)
            .map_err(|error| Error::Usage(format!("line {number}: {}", json::why(&error, false))))?;
        if !numbers.is_empty() {
            body.push(b',');
        }
        body.extend_from_slice(line);
        numbers.push(number);
    }
    body.extend_from_slice(b"]}");
    Ok(Batch { body, numbers })
}

/// What the node refused, with the line where the node counts operations.
fn refused(error: client::Error, numbers: &[u64]) -> Error {
    let line = match &error {
        client::Error::Refused(problem) => operation_at_fault(problem).and_then(|index| numbers.get(index)),
        _ => None,
    };
    let doing = match (line, &error) {
        (Some(line), _) => format!("nothing was done: line {line}"),
        (None, client::Error::Refused(_)) => "nothing was done".to_owned(),
        (None, _) => "cannot do the batch".to_owned(),
    };
    Error::client(doing)(error)
}

/// Which operation of a batch a problem is about, counted from 0.
pub(super) fn operation_at_fault(problem: &Problem) -> Option<usize> {
    if let Some(index) = problem.index {
        return usize::try_from(index).ok();
    }
    let field = problem.field.as_deref()?;
    let (index, _) = field.strip_prefix("operations[")?.split_once(']')?;
    index.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Batch, String> {
        let limits = StatusLimits {
            entries_max: None,
            bytes_max: None,
            key_bytes_max: 1024,
            value_bytes_max: 1000,
            batch_operations_max: 50,
            batch_bytes_max: 1000,
        };
        read(text.as_bytes(), &limits, |error| Error::Usage(error.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn lines_become_one_body() {
        let batch = read_text("{\"op\":1}\r\n\n  {\"op\":2}").unwrap();
        assert_eq!(batch.body, br#"{"operations":[{"op":1},{"op":2}]}"#);
        assert_eq!(batch.numbers, [1, 3]);
        for (text, said) in [
            ("{}\n{", "line 2: the JSON is cut short"),
            ("{},{}", "line 1: something follows"),
            ("]}", "line 1: this is not JSON"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("at line 1"), "{error}");
        }
        assert!(read_text(&"{}\n".repeat(51)).unwrap_err().contains("--max-batch"));
        let endless = format!("{{\"op\":\"{}", "x".repeat(5000));
        assert!(read_text(&endless).unwrap_err().contains("1000"));
    }
}
