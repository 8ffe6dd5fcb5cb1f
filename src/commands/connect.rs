//! The client that a command's flags and environment describe: which node, whom it trusts, which token it shows.

use super::error::Error;
use super::text;
use crate::cli::{self, Connection, TlsClient};
use crate::client::{Client, Token};
use crate::tls::Trust;
use std::path::Path;

/// Longest file of tokens that is read, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 1 << 20;

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
        return token_of_file(path).map(Some);
    }
    if let Some(text) = std::env::var_os(cli::ENV_TOKEN).filter(|text| !text.is_empty()) {
        let token = text.to_str().and_then(Token::new);
        return token.map(Some).ok_or_else(|| {
            Error::Usage(format!(
                "{} contains characters that cannot be in a token",
                cli::ENV_TOKEN
            ))
        });
    }
    match std::env::var_os(cli::ENV_TOKEN_FILE).filter(|path| !path.is_empty()) {
        Some(path) => token_of_file(Path::new(&path)).map(Some),
        None => Ok(None),
    }
}

fn token_of_file(path: &Path) -> Result<Token, Error> {
    Token::new(&token_text_of_file(path)?).ok_or_else(|| bad_token(path))
}

fn bad_token(path: &Path) -> Error {
    Error::Usage(format!(
        "the token in {} contains characters that cannot be in a token",
        path.display()
    ))
}

/// The token that a file holds, as text.
pub(super) fn token_text_of_file(path: &Path) -> Result<String, Error> {
    let text = token_file(path)?;
    let token = text.lines().find_map(token_of_line);
    let token = token.ok_or_else(|| Error::Usage(format!("there is no token in {}", path.display())))?;
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| token.to_owned()).ok_or_else(|| bad_token(path))
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
