//! `pykv batch`: operations as JSON lines, sent as one batch.
//!
//! The node reads the operations strictly; here they are only put together, and its errors, which count
//! operations, are told in lines.

use super::lines::{self, Line, Lines};
use super::{Error, connect, print};
use crate::api::{BATCH_OPERATIONS_MAX, Problem};
use crate::cli;
use crate::client;
use crate::record::VALUE_BYTES_MAX;
use serde::de::IgnoredAny;
use std::io::BufRead;

/// The longest batch, in bytes: room for the largest value, each byte of it written in six. Nodes take less.
const BATCH_BYTES_MAX: usize = 6 * VALUE_BYTES_MAX;

pub(super) fn run(args: &cli::Batch) -> Result<(), Error> {
    let (input, _) = lines::open(&args.file)?;
    let batch = read(Lines::new(input, BATCH_BYTES_MAX), lines::broken(&args.file))?;
    if batch.numbers.is_empty() {
        return Err(Error::Usage("there are no operations to do".to_owned()));
    }
    let batched = connect(&args.connection)?
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
    mut lines: Lines<impl BufRead>,
    broken: impl FnOnce(std::io::Error) -> Error,
) -> Result<Batch, Error> {
    let mut body = br#"{"operations":["#.to_vec();
    let mut numbers = Vec::new();
    loop {
        let (number, line) = match lines.next() {
            Ok(None) => break,
            Ok(Some((_, Line::Text(line)))) if line.trim_ascii().is_empty() => continue,
            Ok(Some((number, Line::Text(line)))) if body.len() + line.len() <= BATCH_BYTES_MAX => {
                (number, line.trim_ascii())
            }
            Ok(Some(_)) => {
                return Err(Error::Usage(format!(
                    "the operations are larger than any node takes: {BATCH_BYTES_MAX} bytes"
                )));
            }
            Err(error) => return Err(broken(error)),
        };
        if numbers.len() == BATCH_OPERATIONS_MAX {
            return Err(Error::Usage(format!(
                "there are more operations than any node does as one batch: {BATCH_OPERATIONS_MAX}"
            )));
        }
        serde_json::from_slice::<IgnoredAny>(line).map_err(|error| {
            Error::Usage(format!(
                "line {number} is not JSON: {}",
                lines::json_error(&error)
            ))
        })?;
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
        (Some(line), _) => format!("nothing was done, for line {line}"),
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
        read(Lines::new(text.as_bytes(), 1000), |error| {
            Error::Usage(error.to_string())
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn lines_become_one_body() {
        let batch = read_text("{\"op\":1}\r\n\n  {\"op\":2}").unwrap();
        assert_eq!(batch.body, br#"{"operations":[{"op":1},{"op":2}]}"#);
        assert_eq!(batch.numbers, [1, 3]);
        for (text, said) in [
            ("{}\n{", "line 2 is not JSON"),
            ("{},{}", "line 1 is not JSON"),
            ("]}", "line 1 is not JSON"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("at line 1"), "{error}");
        }
        let many = "{}\n".repeat(BATCH_OPERATIONS_MAX + 1);
        assert!(read_text(&many).unwrap_err().contains("10000"));
    }
}
