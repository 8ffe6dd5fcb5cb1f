//! `GET /`: the web page of the node, and its files. They are part of the binary, so a node needs nothing
//! beside it and shows the page of its own version.
//!
//! The page is a client like any other: what it shows it asks of the API, with the token of whoever uses it.
//! Its files hold nothing of the node's data, so they need no token.
//!
//! # What must hold
//! - Keys and values are bytes of strangers. The page puts them in as text, never as HTML; and were it ever
//!   to fail in that, the policy below lets nothing run, load or be sent but what is of this node.
//! - All files together stay below 220 kB, and below 70 kB as they are sent; a test holds them to it.

use crate::http::response::Media;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::OnceLock;

/// What the page may do: run its own scripts, use its own style, and ask the node that it came from.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Most bytes of all files together: the page must be there at once.
#[cfg(test)]
const PAGE_BYTES_MAX: usize = 220_000;

/// The same, compressed.
#[cfg(test)]
const PAGE_GZIP_BYTES_MAX: usize = 70_000;

/// Whether a line of a script is a comment and nothing else. The scripts of the page have no such line in a text.
fn is_comment(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    [&b"//"[..], b"/**", b"* ", b"*/"]
        .iter()
        .any(|start| line.starts_with(start))
}

/// One file of the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    path: &'static str,
    media: Media,
    bytes: &'static [u8],
    /// The same in gzip, made when it is first asked for.
    gzip: OnceLock<Vec<u8>>,
}

macro_rules! files {
    ($all:ident: $($path:literal $media:ident $name:literal;)*) => {
        static $all: [File; [$($path),*].len()] =
            [$(File { path: $path, media: Media::$media, bytes: include_bytes!($name), gzip: OnceLock::new() }),*];
    };
}

files! { FILES:
    "/" Html "index.html";
    "/page/style.css" Css "style.css";
    "/page/icon.svg" Svg "icon.svg";
    "/page/api.js" Script "api.js";
    "/page/app.js" Script "app.js";
    "/page/banner.js" Script "banner.js";
    "/page/batch.js" Script "batch.js";
    "/page/bytes.js" Script "bytes.js";
    "/page/changes.js" Script "changes.js";
    "/page/chart.js" Script "chart.js";
    "/page/cluster.js" Script "cluster.js";
    "/page/console.js" Script "console.js";
    "/page/curl.js" Script "curl.js";
    "/page/curve.js" Script "curve.js";
    "/page/dashboard.js" Script "dashboard.js";
    "/page/deadline.js" Script "deadline.js";
    "/page/diverged.js" Script "diverged.js";
    "/page/drafts.js" Script "drafts.js";
    "/page/editor.js" Script "editor.js";
    "/page/engine.js" Script "engine.js";
    "/page/entry.js" Script "entry.js";
    "/page/explorer.js" Script "explorer.js";
    "/page/figures.js" Script "figures.js";
    "/page/follow.js" Script "follow.js";
    "/page/format.js" Script "format.js";
    "/page/json.js" Script "json.js";
    "/page/keys.js" Script "keys.js";
    "/page/picture.js" Script "picture.js";
    "/page/read.js" Script "read.js";
    "/page/requests.js" Script "requests.js";
    "/page/slow.js" Script "slow.js";
    "/page/source.js" Script "source.js";
    "/page/state.js" Script "state.js";
    "/page/transfer.js" Script "transfer.js";
    "/page/ui.js" Script "ui.js";
    "/page/welcome.js" Script "welcome.js";
}

impl File {
    pub(crate) fn media(&self) -> Media {
        self.media
    }

    pub(crate) fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// The file in gzip; a script without the lines that are comments.
    pub(crate) fn gzip(&self) -> &[u8] {
        self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let is_sent = |line: &&[u8]| self.media != Media::Script || !is_comment(line);
            let mut lines = self.bytes.split_inclusive(|&byte| byte == b'\n').filter(is_sent);
            lines
                .try_for_each(|line| encoder.write_all(line))
                .and_then(|()| encoder.finish())
                .expect("a vector takes all that is written")
        })
    }
}

// The description of the API, and what shows it to people. No part of the page.
files! { DESCRIPTION:
    "/openapi.json" Json "openapi.json";
    "/docs" Html "docs.html";
    "/page/docs.js" Script "docs.js";
    "/page/docs.css" Css "docs.css";
}

/// The file that a path names.
pub(crate) fn file(path: &str) -> Option<&'static File> {
    let mut files = FILES.iter().chain(&DESCRIPTION);
    files.find(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_light() {
        let bytes: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(bytes < PAGE_BYTES_MAX, "{bytes} bytes");
        let bytes: usize = FILES.iter().map(|file| file.gzip().len()).sum();
        assert!(bytes < PAGE_GZIP_BYTES_MAX, "{bytes} bytes in gzip");
    }

    /// What the policy would not run must not be there either, nor what comes from elsewhere.
    #[test]
    fn nothing_is_inline_and_nothing_is_of_others() {
        for file in FILES.iter().chain(&DESCRIPTION) {
            let text = std::str::from_utf8(file.bytes).unwrap();
            for wrong in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                " style=\"",
                " onclick=",
                "<style",
                "<script>",
                "https://",
                "//cdn",
            ] {
                assert!(!text.contains(wrong), "{}: {wrong}", file.path);
            }
        }
    }

    #[test]
    fn comments_stay_out_of_what_is_compressed() {
        for (line, is) in [
            ("// The frame.\n", true),
            ("  /** One. */\n", true),
            (" * more\n", true),
            (" */\n", true),
            ("const a = 1; // one\n", false),
            ("\n", false),
            ("  *, ::before {\n", false),
        ] {
            assert_eq!(is_comment(line.as_bytes()), is, "{line:?}");
        }
    }

    /// A module that is imported and not served would leave the page dead.
    #[test]
    fn what_the_files_ask_for_is_served() {
        for file in FILES.iter().chain(&DESCRIPTION) {
            let text = std::str::from_utf8(file.bytes).unwrap();
            let imports = text.split(" from \"./").skip(1).map(|rest| ("/page/", rest));
            let links = text.split("=\"page/").skip(1).map(|rest| ("/page/", rest));
            for (under, rest) in imports.chain(links) {
                let name = rest.split('"').next().unwrap();
                assert!(
                    super::file(&format!("{under}{name}")).is_some(),
                    "{}: {name}",
                    file.path
                );
            }
        }
    }
}
