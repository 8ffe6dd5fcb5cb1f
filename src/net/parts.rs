//! How the memory for requests and answers in flight is parted among four kinds of them.
//!
//! Each kind has a part of its own that no other takes: a quarter for large ones, a sixteenth for small ones. The rest
//! is for all.
//!
//! # What must hold
//! - What all kinds hold, each counted with its own part at least, never exceeds the whole. The exception is a body that
//!   is the only large one: it may take the part of large answers too.

/// Charges up to so many bytes are small ones, in a small budget those up to a small kind's own part. The description of
/// the API is one, and is the longest answer of those that a node must always be able to give.
const SMALL_BYTES: usize = 192 * 1024;

/// What a charge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A request, and what is made of it.
    Request,
    /// An answer, until its client has taken it.
    Answer,
}

/// What a charge is counted among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    SmallRequest,
    SmallAnswer,
    LargeRequest,
    LargeAnswer,
}

const KINDS: [Kind; 4] = [
    Kind::SmallRequest,
    Kind::SmallAnswer,
    Kind::LargeRequest,
    Kind::LargeAnswer,
];

impl Kind {
    pub(crate) fn is_large(self) -> bool {
        matches!(self, Kind::LargeRequest | Kind::LargeAnswer)
    }
}

/// What a connection holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) kind: Kind,
    pub(crate) bytes: usize,
}

impl Default for Held {
    fn default() -> Held {
        Held {
            kind: Kind::SmallAnswer,
            bytes: 0,
        }
    }
}

/// What each kind holds, in bytes.
pub(crate) type UsedBytes = [usize; KINDS.len()];

/// The whole, and how it is parted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) bytes_max: usize,
}

impl Parts {
    /// What a kind has for itself.
    pub(crate) fn own_bytes(&self, kind: Kind) -> usize {
        self.bytes_max / if kind.is_large() { 4 } else { 16 }
    }

    /// What a charge is counted among.
    pub(crate) fn kind(&self, usage: Use, bytes: usize) -> Kind {
        let is_small = bytes <= SMALL_BYTES.min(self.own_bytes(Kind::SmallAnswer));
        match (usage, is_small) {
            (Use::Request, true) => Kind::SmallRequest,
            (Use::Request, false) => Kind::LargeRequest,
            (Use::Answer, true) => Kind::SmallAnswer,
            (Use::Answer, false) => Kind::LargeAnswer,
        }
    }

    /// The most that one charge takes, however much it is for.
    pub(crate) fn charge_bytes_max(&self, usage: Use) -> usize {
        let small_bytes = self.own_bytes(Kind::SmallRequest) + self.own_bytes(Kind::SmallAnswer);
        match usage {
            Use::Request => self.bytes_max - small_bytes,
            Use::Answer => self.bytes_max - small_bytes - self.own_bytes(Kind::LargeRequest),
        }
    }

    /// Whether there is room for one thing in place of another.
    pub(crate) fn fit(&self, mut used_bytes: UsedBytes, from: Held, to: Held) -> bool {
        used_bytes[from.kind as usize] -= from.bytes;
        used_bytes[to.kind as usize] += to.bytes;
        let bodies_bytes = used_bytes[Kind::LargeRequest as usize];
        let is_regular =
            bodies_bytes + self.own_bytes(Kind::LargeAnswer) <= self.charge_bytes_max(Use::Request);
        let is_second = to.kind == Kind::LargeRequest && bodies_bytes > to.bytes;
        let own_bytes = |kind| match kind == Kind::LargeAnswer && !is_regular && !is_second {
            true => 0,
            false => self.own_bytes(kind),
        };
        let counted: usize = KINDS
            .iter()
            .map(|&kind| used_bytes[kind as usize].max(own_bytes(kind)))
            .sum();
        counted <= self.bytes_max
    }

    /// Whether there would be room for a request, were all answers gone.
    pub(crate) fn may_fit(&self, mut used_bytes: UsedBytes, from: Held, to: Held) -> bool {
        for kind in [Kind::SmallAnswer, Kind::LargeAnswer] {
            used_bytes[kind as usize] = if from.kind == kind { from.bytes } else { 0 };
        }
        self.fit(used_bytes, from, to)
    }
}
