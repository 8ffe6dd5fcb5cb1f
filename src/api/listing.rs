//! The JSON of listings that say more of a key than its name.

use serde::{Deserialize, Serialize};

/// A key of a listing, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// The key.
    pub key: String,
    /// Its version.
    pub version: u64,
    /// Size of its value, in bytes.
    pub value_bytes: u64,
    /// When it expires, in ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// The keys that share what stands before a delimiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folder {
    /// What they share, the delimiter included.
    pub prefix: String,
    /// How many there are.
    pub keys: u64,
}

/// A page of a listing in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Level {
    /// Keys with a delimiter, together.
    pub folders: Vec<Folder>,
    /// Keys without one.
    pub items: Vec<Item>,
    /// All keys with the prefix, on this page or not.
    pub keys_total: u64,
    /// The last name of the page, to be given as `after`; none where nothing follows.
    pub next: Option<String>,
}
