//! Files that hold another one, which has to be unpacked first.

/// First bytes of files that hold another one, what they say that it is, and what to do.
const PACKED: [(&[u8], &str); 5] = [
    (
        b"\x1f\x8b",
        "is compressed by gzip: unpack it first, as with `zcat`",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed by zstd: unpack it first, as with `zstdcat`",
    ),
    (
        b"\xfd7zXZ\0",
        "is compressed by xz: unpack it first, as with `xzcat`",
    ),
    (b"BZh", "is compressed by bzip2: unpack it first, as with `bzcat`"),
    (
        b"PK\x03\x04",
        "is a zip archive: unpack it first, as with `unzip -p`",
    ),
];

/// What a file is that has to be unpacked first, by its first 8 bytes; none where it need not be.
pub(super) fn says(start: &[u8]) -> Option<&'static str> {
    let mut signatures = PACKED.iter();
    let found = signatures.find(|(signature, _)| start.starts_with(signature));
    found.map(|(_, says)| *says)
}
