//! What a record says.

/// What a record says became of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// A new key.
    Set = 1,
    /// A new value of a key that was there.
    Update = 2,
    /// Deleted by a client.
    Delete = 3,
    /// Dropped to stay within the store's bounds.
    Evict = 4,
    /// Dropped because its deadline passed.
    Expire = 5,
    /// A node became primary; the value is the term.
    Term = 6,
    /// Bytes that were damaged and are skipped.
    Gap = 7,
    /// The end of a base.
    End = 8,
    /// The offsets from here to the one named are passed over.
    Skip = 9,
    /// The node was stopped in order.
    Close = 10,
}

impl Operation {
    pub(super) fn from_byte(byte: u8) -> Option<Operation> {
        Some(match byte {
            1 => Operation::Set,
            2 => Operation::Update,
            3 => Operation::Delete,
            4 => Operation::Evict,
            5 => Operation::Expire,
            6 => Operation::Term,
            7 => Operation::Gap,
            8 => Operation::End,
            9 => Operation::Skip,
            10 => Operation::Close,
            _ => return None,
        })
    }

    /// The name that `pykv log` prints.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Set => "SET",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Evict => "EVICT",
            Operation::Expire => "EXPIRE",
            Operation::Term => "TERM",
            Operation::Gap => "GAP",
            Operation::End => "END",
            Operation::Skip => "SKIP",
            Operation::Close => "CLOSE",
        }
    }

    /// Whether it gives a key a value.
    pub(crate) fn is_put(self) -> bool {
        matches!(self, Operation::Set | Operation::Update)
    }

    /// Whether it tells of a key, and not of the log itself.
    pub fn has_key(self) -> bool {
        (self as u8) <= Operation::Expire as u8
    }
}
