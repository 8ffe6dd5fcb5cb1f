//! A key and its value as one piece of memory: what the store holds and what the log is handed.
//!
//! A pair is made by the connection's thread before it takes any lock, and freed after it has let go of
//! it, so that the allocator is never waited for under the lock. Small pairs are copied where two owners
//! are needed (the store and the log); large ones are shared, so that neither a read nor a write of a
//! megabyte copies it under the lock.

use std::fmt;
use std::sync::Arc;

/// Longest key, in bytes of UTF-8. An entry keeps a key's length in 10 bits; see [`crate::store`].
pub const KEY_BYTES_MAX: usize = 1024;

/// From this size on (key and value together, in bytes) a pair is shared rather than copied: a copy then
/// costs more than the second allocation and the atomic count that sharing needs.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The bytes of a pair: the key, then the value.
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

/// A key and its value.
#[derive(Clone)]
pub struct Pair {
    bytes: Bytes,
    key_bytes: u16,
}

impl Pair {
    /// Copies a key and a value into one allocation.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`]: whoever takes keys from outside checks them first.
    pub fn new(key: &[u8], value: &[u8]) -> Pair {
        assert!(key.len() <= KEY_BYTES_MAX, "keys are checked where they come in");
        let mut bytes = Vec::with_capacity(key.len() + value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        let bytes = bytes.into_boxed_slice();
        let bytes = if bytes.len() >= SHARED_BYTES_MIN {
            Bytes::Shared(Arc::new(bytes))
        } else {
            Bytes::Owned(bytes)
        };
        Pair {
            bytes,
            key_bytes: key.len() as u16,
        }
    }

    /// A pair of a key alone, for records that carry no value.
    pub fn of_key(key: &[u8]) -> Pair {
        Pair::new(key, &[])
    }

    pub(crate) fn from_parts(bytes: Bytes, key_bytes: usize) -> Pair {
        Pair {
            bytes,
            key_bytes: key_bytes as u16,
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
        &self.bytes.as_slice()[self.key_bytes as usize..]
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
