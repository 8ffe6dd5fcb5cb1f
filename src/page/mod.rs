//! `GET /`: the web page of the node, and its files. They are part of the binary, so a node needs nothing
//! beside it and shows the page of its own version.
//!
//! The page is a client like any other: what it shows it asks of the API, with the token of whoever uses it.
//! Its files hold nothing of the node's data, so they need no token.
//!
//! # What must hold
//! - Keys and values are bytes of strangers. The page puts them in as text, never as HTML; and were it ever
//!   to fail in that, the policy below lets nothing run, load or be sent but what is of this node.
//! - All files together stay below 150 kB; a test holds them to it.

use crate::http::response::Media;

/// What the page may do: run its own scripts, use its own style, and ask the node that it came from.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Most bytes of all files together: the page must be there at once.
#[cfg(test)]
const PAGE_BYTES_MAX: usize = 150_000;

/// One file of the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    path: &'static str,
    media: Media,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($path:literal $media:ident $name:literal;)*) => {
        &[$(File { path: $path, media: Media::$media, bytes: include_bytes!($name) }),*]
    };
}

const FILES: &[File] = files! {
    "/" Html "index.html";
    "/page/style.css" Css "style.css";
    "/page/icon.svg" Svg "icon.svg";
    "/page/app.js" Script "app.js";
    "/page/api.js" Script "api.js";
    "/page/ui.js" Script "ui.js";
    "/page/format.js" Script "format.js";
    "/page/bytes.js" Script "bytes.js";
    "/page/explorer.js" Script "explorer.js";
    "/page/keys.js" Script "keys.js";
    "/page/entry.js" Script "entry.js";
    "/page/changes.js" Script "changes.js";
    "/page/console.js" Script "console.js";
    "/page/dashboard.js" Script "dashboard.js";
    "/page/chart.js" Script "chart.js";
    "/page/curve.js" Script "curve.js";
    "/page/cluster.js" Script "cluster.js";
};

impl File {
    pub(crate) fn media(&self) -> Media {
        self.media
    }

    pub(crate) fn bytes(&self) -> &'static [u8] {
        self.bytes
    }
}

/// The description of the API, and what shows it to people. No part of the page.
const DESCRIPTION: &[File] = files! {
    "/openapi.json" Json "openapi.json";
    "/docs" Html "docs.html";
    "/page/docs.js" Script "docs.js";
};

/// The file that a path names.
pub(crate) fn file(path: &str) -> Option<&'static File> {
    let mut files = FILES.iter().chain(DESCRIPTION);
    files.find(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_light() {
        let bytes: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(bytes < PAGE_BYTES_MAX, "{bytes} bytes");
    }

    /// What the policy would not run must not be there either, nor what comes from elsewhere.
    #[test]
    fn nothing_is_inline_and_nothing_is_of_others() {
        for file in FILES.iter().chain(DESCRIPTION) {
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

    /// A module that is imported and not served would leave the page dead.
    #[test]
    fn what_the_files_ask_for_is_served() {
        for file in FILES.iter().chain(DESCRIPTION) {
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
