//! `pykv token`: draws a token, which is kept nowhere.

use super::{Error, print_json, print_text, terminal};
use crate::auth::{self, Scope, Tokens};
use crate::cli::{Token, TokenScope};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use std::io;

/// Random bytes in a token: as many as no one can try.
const TOKEN_BYTES: usize = 32;

#[derive(Serialize)]
struct Drawn {
    /// For the file of tokens.
    line: String,
    /// For the client.
    token: String,
}

pub(super) fn run(args: &Token) -> Result<(), Error> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(|error| Error::Io {
        doing: "cannot draw a token".to_owned(),
        source: io::Error::from(error),
    })?;
    let token = URL_SAFE_NO_PAD.encode(random);
    let scope = match args.scope {
        TokenScope::Read => Scope::Read,
        TokenScope::Write => Scope::Write,
        TokenScope::Admin => Scope::Admin,
    };
    let name = args.name.as_deref();
    let line = auth::line(scope, &token, !args.plain, &args.prefix, name, args.expires);
    // What a node would not take is not handed out: a token for admin that has prefixes, for one.
    Tokens::parse(&line).map_err(|_| {
        Error::Usage("a token for admin is about the node itself: it can have no --prefix".to_owned())
    })?;
    if args.json {
        return print_json(
            serde_json::to_vec(&Drawn { line, token }).expect("plain data has a form in JSON"),
        );
    }
    // Whoever sees them is shown which is which; a file, or a program, gets the two lines alone.
    print_text(&match terminal::is_seen() {
        true => {
            format!("line for the node's --token-file:  {line}\ntoken for the client:              {token}\n")
        }
        false => format!("{line}\n{token}\n"),
    })
}
