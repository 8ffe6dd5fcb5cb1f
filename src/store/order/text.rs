//! A text that is short as a rule: it then takes no memory of its own, and nothing must be fetched to compare it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;

/// Bytes of a text that stand in the text itself.
const SHORT_BYTES: usize = 22;

#[derive(Clone, Debug)]
pub(super) enum Text {
    Short { bytes: [u8; SHORT_BYTES], length: u8 },
    Long(Box<[u8]>),
}

const _: () = assert!(size_of::<Text>() == 24, "a leaf of the order has two of them");

impl Text {
    pub(super) fn new(text: &[u8]) -> Text {
        let mut bytes = [0; SHORT_BYTES];
        match bytes.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text);
                let length = text.len() as u8;
                Text::Short { bytes, length }
            }
            None => Text::Long(text.into()),
        }
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Short { bytes, length } => &bytes[..usize::from(*length)],
            Text::Long(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> Ordering {
        (**self).cmp(&**other)
    }
}
