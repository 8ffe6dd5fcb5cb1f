//! A line of the shell: the command that its words come to.

use super::super::Error;
use super::help;
use super::words::words;
use crate::cli::{self, Elsewhere};
use crate::client::Condition;
use std::borrow::Cow;
use std::time::Duration;

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Get(Vec<String>),
    Incr(String, i64),
    Exists(Vec<String>),
    Ping,
    Set {
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        condition: Condition,
    },
    Del(Vec<String>),
    DelPrefix {
        prefix: String,
        dry_run: bool,
    },
    List {
        prefix: String,
        pattern: Option<String>,
        limit: Option<u64>,
        with_values: bool,
    },
    Ttl(String),
    Expire(String, Duration),
    Persist(String),
    Status,
    Stats,
    Help(Option<&'static help::Topic>),
    Exit,
}

/// There is no such command here; perhaps one of another name does that.
fn unknown(name: &str) -> Error {
    let instead = match cli::elsewhere(name) {
        Some(Elsewhere::Command("del --all")) => ": DELPREFIX '' ALL does that".to_owned(),
        Some(Elsewhere::Command("list --match")) => ": LIST MATCH PATTERN does that".to_owned(),
        Some(Elsewhere::Command(meant)) => match help::find(meant) {
            Some(topic) => format!(": {} does that", topic.name),
            None => format!(": `pykv {meant}` does that"),
        },
        Some(Elsewhere::Advice(advice)) => format!(": {}", typed_here(advice)),
        None => "; HELP alone lists them".to_owned(),
    };
    Error::Usage(format!("there is no command {name:?}{instead}"))
}

/// Advice that begins with a command of the program, with the shell's own where it has that.
fn typed_here(advice: &str) -> Cow<'_, str> {
    let typed = advice
        .strip_prefix("`pykv ")
        .and_then(|rest| rest.split_once('`'));
    let Some((command, rest)) = typed.filter(|(command, _)| !command.contains('|')) else {
        return Cow::Borrowed(advice);
    };
    let (name, arguments) = command.split_once(' ').unwrap_or((command, ""));
    match help::find(name) {
        Some(topic) => Cow::Owned(format!("{} {arguments}", topic.name).trim_end().to_owned() + rest),
        None => Cow::Borrowed(advice),
    }
}

/// The command of a line; none where there is nothing on it, or a comment.
pub(super) fn command(line: &[u8]) -> Result<Option<Command>, Error> {
    if line.trim_ascii_start().starts_with(b"#") {
        return Ok(None);
    }
    let mut words = Words {
        rest: words(line)?.into_iter(),
        topic: None,
    };
    let Some(name) = words.rest.next() else {
        return Ok(None);
    };
    let name = String::from_utf8_lossy(&name).into_owned();
    let topic = help::find(&name).ok_or_else(|| unknown(&name))?;
    words.topic = Some(topic);
    let command = words.command(topic.name)?;
    if words.rest.len() > 0 {
        return Err(words.wrong());
    }
    Ok(Some(command))
}

/// The words behind a command's name.
struct Words {
    rest: std::vec::IntoIter<Vec<u8>>,
    topic: Option<&'static help::Topic>,
}

impl Words {
    fn command(&mut self, name: &str) -> Result<Command, Error> {
        Ok(match name {
            "GET" => Command::Get(self.keys()?),
            "EXISTS" => Command::Exists(self.keys()?),
            "INCR" => {
                let key = self.key()?;
                let by = match self.rest.len() {
                    0 => 1,
                    _ => cli::by(&self.text()?).map_err(|why| Error::Usage(why.to_owned()))?,
                };
                Command::Incr(key, by)
            }
            "PING" => Command::Ping,
            "SET" => self.set()?,
            "DEL" => Command::Del(self.keys()?),
            "DELPREFIX" => self.delete_prefix()?,
            "LIST" | "VALUES" => self.list(name == "VALUES")?,
            "TTL" => Command::Ttl(self.key()?),
            "EXPIRE" => Command::Expire(self.key()?, self.ttl()?),
            "PERSIST" => Command::Persist(self.key()?),
            "STATUS" => Command::Status,
            "STATS" => Command::Stats,
            "HELP" => Command::Help(match self.option()? {
                None => None,
                Some(name) => Some(help::find(&name).ok_or_else(|| unknown(&name))?),
            }),
            _ => Command::Exit,
        })
    }

    fn delete_prefix(&mut self) -> Result<Command, Error> {
        let prefix = self.text()?;
        let (mut dry_run, mut all) = (false, false);
        while let Some(option) = self.option()? {
            match option.as_str() {
                "DRYRUN" if !dry_run => dry_run = true,
                "ALL" if !all => all = true,
                _ => return Err(self.wrong()),
            }
        }
        if prefix.is_empty() && !all && !dry_run {
            return Err(Error::Usage(
                "an empty prefix means every key: use DELPREFIX '' ALL to delete all keys".to_owned(),
            ));
        }
        if all && !prefix.is_empty() {
            return Err(Error::Usage("ALL goes with an empty prefix only".to_owned()));
        }
        Ok(Command::DelPrefix { prefix, dry_run })
    }

    fn set(&mut self) -> Result<Command, Error> {
        let key = self.key()?;
        let value = self.rest.next().ok_or_else(|| self.wrong())?;
        let (mut ttl, mut condition) = (None, Condition::None);
        while let Some(option) = self.option()? {
            match option.as_str() {
                "TTL" if ttl.is_none() => ttl = Some(self.ttl()?),
                "IFABSENT" if condition == Condition::None => condition = Condition::Absent,
                "IFVERSION" if condition == Condition::None => {
                    let version = cli::version(&self.text()?).map_err(|why| Error::Usage(why.to_owned()))?;
                    condition = Condition::Version(version);
                }
                // As redis-cli has them.
                "EX" | "PX" | "EXAT" | "PXAT" => {
                    return Err(Error::Usage(format!(
                        "there is no {option}: TTL 10s makes a key expire"
                    )));
                }
                "NX" => {
                    return Err(Error::Usage(
                        "there is no NX: IFABSENT stores only what is new".to_owned(),
                    ));
                }
                _ => return Err(self.wrong()),
            }
        }
        Ok(Command::Set {
            key,
            value,
            ttl,
            condition,
        })
    }

    fn list(&mut self, with_values: bool) -> Result<Command, Error> {
        let is_option = |word: &[u8]| {
            let options: [&[u8]; 2] = [b"LIMIT", b"MATCH"];
            options.iter().any(|option| word.eq_ignore_ascii_case(option))
        };
        // An option stands first only where its value follows, in pairs: it may be a prefix as well.
        let prefix = match self.rest.as_slice() {
            [] => String::new(),
            [first, _] | [first, _, _, _] if is_option(first) => String::new(),
            _ => self.text()?,
        };
        let (mut pattern, mut limit) = (None, None);
        while let Some(option) = self.option()? {
            match option.as_str() {
                "MATCH" if pattern.is_none() => pattern = Some(self.text()?),
                "LIMIT" if limit.is_none() => {
                    let number = cli::limit(&self.text()?)
                        .map_err(|why| Error::Usage(format!("LIMIT is not understood: {why}")))?;
                    limit = Some(number.get());
                }
                _ => return Err(self.wrong()),
            }
        }
        Ok(Command::List {
            prefix,
            pattern,
            limit,
            with_values,
        })
    }

    fn text(&mut self) -> Result<String, Error> {
        let word = self.rest.next().ok_or_else(|| self.wrong())?;
        String::from_utf8(word).map_err(|_| Error::Usage("what is no value must be UTF-8".to_owned()))
    }

    /// All words that are left, of which there is one at least.
    fn keys(&mut self) -> Result<Vec<String>, Error> {
        let mut keys = vec![self.key()?];
        while self.rest.len() > 0 {
            keys.push(self.key()?);
        }
        Ok(keys)
    }

    fn key(&mut self) -> Result<String, Error> {
        cli::key(&self.text()?).map_err(|error| Error::Usage(error.to_string()))
    }

    fn ttl(&mut self) -> Result<Duration, Error> {
        cli::ttl(&self.text()?).map(|span| span.0).map_err(Error::Usage)
    }

    /// The next word, if there is one, in upper case.
    fn option(&mut self) -> Result<Option<String>, Error> {
        if self.rest.len() == 0 {
            return Ok(None);
        }
        self.text().map(|word| Some(word.to_ascii_uppercase()))
    }

    /// That the words are not those that the command takes.
    fn wrong(&self) -> Error {
        let usage = self.topic.map(help::Topic::usage).unwrap_or_default();
        Error::Usage(format!("it is {usage}"))
    }
}

#[cfg(test)]
mod tests;
