//! A key and its value as one piece of memory: what the store holds and what the log is handed.
//!
//! A deadline, where there is one, stands behind the value in the same memory, so that it costs an entry
//! without one nothing.
//!
//! A pair is made by the connection's thread before it takes any lock, and freed after it has let go of
//! it, so that the allocator is never waited for under the lock. Small pairs are copied where two owners
//! are needed (the store and the log); large ones are shared, so that neither a read nor a write of a
//! megabyte copies it under the lock.

use std::fmt;
use std::sync::Arc;

/// Longest key, in bytes of UTF-8. An entry keeps a key's length in 10 bits; see [`crate::store`].
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// From this size on (key and value together, in bytes) a pair is shared rather than copied: a copy then
/// costs more than the second allocation and the atomic count that sharing needs.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The bytes of a pair: the key, then the value, then the deadline if there is one.
///
/// Two words: the null that `Owned` can never be marks `Shared`. An entry of the store relies on it.
#[derive(Clone)]
pub(crate) enum Bytes {
    Owned(Box<[u8]>),
    Shared(Arc<Box<[u8]>>),
}

const _: () = assert!(
    size_of::<Bytes>() == 16,
    "an entry of the store has room for two words"
);

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }

    /// What the allocator hands out for these bytes, in bytes: the size class of jemalloc (multiples of
    /// 16 up to 128, then four classes to each doubling), which is also close to what others do.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let size_class = |bytes: usize| match bytes {
            0 => 0,
            1..=128 => bytes.next_multiple_of(16),
            _ => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
        };
        match self {
            Bytes::Owned(bytes) => size_class(bytes.len()),
            // The count and the inner pointer of the Arc take one small allocation more.
            Bytes::Shared(bytes) => size_class(bytes.len()) + 32,
        }
    }
}

/// Bytes that a deadline takes behind a value.
const DEADLINE_BYTES: usize = size_of::<u64>();

/// The value in the bytes of a pair.
pub(crate) fn value_in(bytes: &[u8], key_bytes: usize, has_deadline: bool) -> &[u8] {
    let end = bytes.len() - if has_deadline { DEADLINE_BYTES } else { 0 };
    &bytes[key_bytes..end]
}

/// The deadline in the bytes of a pair that has one.
pub(crate) fn deadline_in(bytes: &[u8], has_deadline: bool) -> Option<u64> {
    let deadline = bytes.last_chunk().filter(|_| has_deadline)?;
    Some(u64::from_le_bytes(*deadline))
}

/// A key, its value, and perhaps a deadline.
#[derive(Clone)]
pub struct Pair {
    bytes: Bytes,
    key_bytes: u16,
    has_deadline: bool,
}

impl Pair {
    /// Copies a key and a value into one allocation.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`]: whoever takes keys from outside checks them first.
    pub fn new(key: &[u8], value: &[u8]) -> Pair {
        Pair::with_deadline(key, value, None)
    }

    /// As [`Pair::new`], with a deadline in ms since the Unix epoch.
    pub fn with_deadline(key: &[u8], value: &[u8], deadline_ms: Option<u64>) -> Pair {
        assert!(key.len() <= KEY_BYTES_MAX, "keys are checked where they come in");
        let deadline_bytes = deadline_ms.map_or(0, |_| DEADLINE_BYTES);
        let mut bytes = Vec::with_capacity(key.len() + value.len() + deadline_bytes);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        if let Some(deadline_ms) = deadline_ms {
            bytes.extend_from_slice(&deadline_ms.to_le_bytes());
        }
        let bytes = bytes.into_boxed_slice();
        let bytes = if bytes.len() >= SHARED_BYTES_MIN {
            Bytes::Shared(Arc::new(bytes))
        } else {
            Bytes::Owned(bytes)
        };
        Pair {
            bytes,
            key_bytes: key.len() as u16,
            has_deadline: deadline_ms.is_some(),
        }
    }

    /// A pair of a key alone, for records that carry no value.
    pub fn of_key(key: &[u8]) -> Pair {
        Pair::new(key, &[])
    }

    pub(crate) fn from_parts(bytes: Bytes, key_bytes: usize, has_deadline: bool) -> Pair {
        Pair {
            bytes,
            key_bytes: key_bytes as u16,
            has_deadline,
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.bytes.as_slice()[..self.key_bytes as usize]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        value_in(self.bytes.as_slice(), self.key_bytes as usize, self.has_deadline)
    }

    /// The key and the value, one behind the other.
    pub(crate) fn key_and_value(&self) -> &[u8] {
        value_in(self.bytes.as_slice(), 0, self.has_deadline)
    }

    /// When the key expires, in ms since the Unix epoch.
    pub fn deadline_ms(&self) -> Option<u64> {
        deadline_in(self.bytes.as_slice(), self.has_deadline)
    }

    /// Whether a clone shares the bytes rather than copying them.
    pub fn is_shared(&self) -> bool {
        matches!(self.bytes, Bytes::Shared(_))
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Pair({:?}, {} bytes)",
            String::from_utf8_lossy(self.key()),
            self.value().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pairs_are_copied_and_large_ones_shared() {
        let small = Pair::new(b"key", b"value");
        assert_eq!(
            (small.key(), small.value(), small.is_shared()),
            (&b"key"[..], &b"value"[..], false)
        );
        let large = Pair::new(b"key", &vec![7; SHARED_BYTES_MIN]);
        let other = large.clone();
        assert!(large.is_shared());
        assert_eq!(large.value().as_ptr(), other.value().as_ptr());
    }

    #[test]
    fn a_deadline_is_no_part_of_the_value() {
        let pair = Pair::with_deadline(b"key", b"value", Some(7));
        assert_eq!(
            (pair.key(), pair.value(), pair.deadline_ms()),
            (&b"key"[..], &b"value"[..], Some(7))
        );
        assert_eq!(Pair::new(b"key", b"12345678").deadline_ms(), None);
    }

    #[test]
    fn allocations_are_counted_as_jemalloc_makes_them() {
        // The classes as jemalloc's manual lists them for 64-bit systems with 16-byte quantum.
        for (bytes, class) in [
            (1, 16),
            (48, 48),
            (49, 64),
            (128, 128),
            (129, 160),
            (257, 320),
            (1025, 1280),
            (16384, 16384),
            (16385, 20480),
        ] {
            assert_eq!(
                Bytes::Owned(vec![0; bytes].into()).allocated_bytes(),
                class,
                "{bytes} bytes"
            );
        }
    }
}
