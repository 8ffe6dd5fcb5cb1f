//! Another process at this node's address: what is known of it.

use super::registers::Member;

/// Another process that etcd names at this node's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Occupant {
    pub(super) member: Member,
    pub(super) found: Found,
    /// When it was first seen.
    pub(super) since: u64,
    /// When the address is to be asked again.
    pub(super) ask_at: u64,
    pub(super) is_reported: bool,
}

/// Who answers at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Found {
    Nobody,
    /// This process: the key is what a former run has left.
    Own,
    Another,
}
