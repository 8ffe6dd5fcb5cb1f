//! The client that a command's flags and environment describe: which node, whom it trusts, which token it shows.

use super::error::Error;
use super::text;
use crate::cli::{self, Connection, TlsClient};
use crate::client::{Client, Flags, Token};
use crate::tls::Trust;
use std::fmt::Display;
use std::path::Path;

/// Longest file of tokens that is read, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 1 << 20;

/// What a certificate or a key begins with. It would be shown to the node as a token, up to its first blank.
const PEM: &str = "-----BEGIN ";

/// The client that a command's flags and environment describe.
pub(super) fn connect(connection: &Connection) -> Result<Client, Error> {
    let token = token(connection)?;
    let trust = connection
        .server
        .is_tls()
        .then(|| trust(&connection.tls))
        .transpose()?;
    Ok(Client::new(
        connection.server.clone(),
        token,
        trust,
        connection.timeout.0,
        Flags {
            server: "--server",
            token: "--token-file or PYKV_TOKEN",
        },
    ))
}

/// Whom flags and environment say to trust.
pub(super) fn trust(flags: &TlsClient) -> Result<Trust, Error> {
    Trust::load(flags.tls_ca.as_deref(), flags.identity()).map_err(|error| Error::Usage(error.to_string()))
}

/// The token to show: of --token-file, else PYKV_TOKEN, else the file that PYKV_TOKEN_FILE names.
fn token(connection: &Connection) -> Result<Option<Token>, Error> {
    token_of_file_or_environment(connection.token_file.as_deref())
}

/// The token to show: of a file, or else as the environment says.
pub(super) fn token_of_file_or_environment(path: Option<&Path>) -> Result<Option<Token>, Error> {
    if let Some(path) = path {
        return token_of_file(path, path.display().to_string()).map(Some);
    }
    if let Some(text) = std::env::var_os(cli::ENV_TOKEN).filter(|text| !text.is_empty()) {
        let token = text.to_str().and_then(|text| Token::new(text, cli::ENV_TOKEN));
        return token.map(Some).ok_or_else(|| no_token(cli::ENV_TOKEN));
    }
    match std::env::var_os(cli::ENV_TOKEN_FILE) {
        Some(path) if path.is_empty() => Err(Error::Usage(format!(
            "{} is empty: it names a file, or is not set",
            cli::ENV_TOKEN_FILE
        ))),
        Some(path) => {
            let path = Path::new(&path);
            let source = format!("{}, which {} names", path.display(), cli::ENV_TOKEN_FILE);
            token_of_file(path, source).map(Some)
        }
        None => Ok(None),
    }
}

fn token_of_file(path: &Path, source: String) -> Result<Token, Error> {
    Token::new(&token_text_of_file(path)?, source).ok_or_else(|| no_token(path.display()))
}

/// Of a file or a variable. What it holds is not shown: it may be a token, and a mistake beside it.
fn no_token(place: impl Display) -> Error {
    Error::Usage(format!(
        "what {place} holds is no token: a token is one word of ASCII, such as the last line that `pykv token` prints"
    ))
}

/// The token that a file holds, as text.
pub(super) fn token_text_of_file(path: &Path) -> Result<String, Error> {
    let text = token_file(path)?;
    if text.trim_start().starts_with(PEM) {
        return Err(Error::Usage(format!(
            "{} holds a certificate or a key, and no token",
            path.display()
        )));
    }
    let token = text.lines().find_map(token_of_line);
    let token = token.ok_or_else(|| Error::Usage(format!("there is no token in {}", path.display())))?;
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    is_token
        .then(|| token.to_owned())
        .ok_or_else(|| no_token(path.display()))
}

/// A file of tokens, a node's or a client's.
pub(super) fn token_file(path: &Path) -> Result<String, Error> {
    text::read_file("a token file", path, TOKEN_FILE_BYTES_MAX)
}

/// The token in a line that is not empty and no comment. In a node's own file a scope may stand before it, and prefixes
/// behind it. A digest is no token that could be shown.
pub(super) fn token_of_line(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some("read" | "write" | "admin"), Some(token)) => Some(token),
        (first, _) => first,
    }
    .filter(|token| !token.starts_with("sha256:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_line() {
        assert_eq!(token_of_line("secret"), Some("secret"));
        assert_eq!(token_of_line("  admin   secret \r"), Some("secret"));
        assert_eq!(token_of_line("# secret"), None);
        assert_eq!(token_of_line("   "), None);
    }
}
