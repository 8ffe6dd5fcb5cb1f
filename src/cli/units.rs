//! Sizes and durations as people type them.

use std::fmt;
use std::time::Duration;

/// The units of a size, the larger first, so that a size is shown in the largest that fits.
const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// A number of bytes. Read from and shown as `1048576`, `1MiB`, `1.5GiB` or `1MB`.
///
/// `KiB`, `MiB`, `GiB` and `TiB` are powers of 1,024; `KB`, `MB`, `GB` and `TB` are powers of 1,000. Upper
/// and lower case are the same. A bare `K`, `M` or `G` is refused: people disagree on which it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub u64);

/// Why a text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeError {
    /// It does not begin with a number.
    NoNumber,
    /// What follows the number is no unit.
    Unit,
    /// A fraction of a byte.
    Fraction,
    /// More than 2^64 - 1 bytes.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SizeError::NoNumber => "a size begins with a number, as in 64MiB",
            SizeError::Unit => {
                "the unit of a size is one of KiB, MiB, GiB, TiB, KB, MB, GB, TB, or none for bytes"
            }
            SizeError::Fraction => "it must be a whole number of bytes",
            SizeError::TooLarge => "a size must be below 16777216TiB",
        })
    }
}

impl std::error::Error for SizeError {}

impl std::str::FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let text = text.trim();
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (whole, rest) = text.split_at(digits(text));
        let (fraction, unit) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        if whole.is_empty() || (fraction.is_empty() && rest.starts_with('.')) {
            return Err(SizeError::NoNumber);
        }
        let unit = unit.trim_start();
        let unit_bytes = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some(&(_, bytes)) => bytes,
            None if unit.is_empty() || unit.eq_ignore_ascii_case("B") => 1,
            None => return Err(SizeError::Unit),
        };
        // In integers throughout: a float would round sizes, and nobody would see it.
        let whole: u64 = whole.parse().map_err(|_| SizeError::TooLarge)?;
        let whole_bytes = whole.checked_mul(unit_bytes).ok_or(SizeError::TooLarge)?;
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            return Ok(Size(whole_bytes));
        }
        // Over 18 digits no unit is divided evenly.
        let scale = 10u128
            .checked_pow(fraction.len() as u32)
            .filter(|_| fraction.len() <= 18);
        let scale = scale.ok_or(SizeError::Fraction)?;
        let numerator = fraction.parse::<u128>().map_err(|_| SizeError::Fraction)? * u128::from(unit_bytes);
        if numerator % scale != 0 {
            return Err(SizeError::Fraction);
        }
        let fraction_bytes = (numerator / scale) as u64; // Below `unit_bytes`.
        whole_bytes
            .checked_add(fraction_bytes)
            .map(Size)
            .ok_or(SizeError::TooLarge)
    }
}

impl Size {
    /// The next whole KiB, for people to type.
    pub(super) fn rounded_up(self) -> Size {
        Size(self.0.next_multiple_of(1024))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only where it is exact: a default that is shown must be one that can be typed.
        match UNITS
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes))
        {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The longest duration: longer than anybody waits, shorter than what added to the time of now overflows.
const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration that is not nothing, up to a year. Read from and shown as `500ms`, `30s`, `5m` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Err("a duration must be longer than 0".to_owned()),
            Ok(duration) if duration > SPAN_MAX => Err("a duration must be at most 365 days".to_owned()),
            Ok(duration) => Ok(Span(duration)),
            Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(format!("{text} has no unit: write {text}s, {text}ms or {text}m"))
            }
            Err(_) => Err("a duration is written as 500ms, 30s, 5m or 1h 30m".to_owned()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("1KiB", 1024),
            ("1kib", 1024),
            ("1 KB", 1000),
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("2TB", 2_000_000_000_000),
            ("1.5GiB", 3 << 29),
            ("0.001KB", 1),
            ("1.50 MB", 1_500_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn no_sizes() {
        for (text, error) in [
            ("", SizeError::NoNumber),
            ("MiB", SizeError::NoNumber),
            ("-1", SizeError::NoNumber),
            ("+1", SizeError::NoNumber),
            ("1.", SizeError::NoNumber),
            (".5KiB", SizeError::NoNumber),
            ("1M", SizeError::Unit),
            ("1MiB2", SizeError::Unit),
            ("1e6", SizeError::Unit),
            ("0x10", SizeError::Unit),
            ("0.5", SizeError::Fraction),
            ("0.0001KB", SizeError::Fraction),
            (
                "1.00000000000000000000000000000000000000001GiB",
                SizeError::Fraction,
            ),
            ("18446744073709551616", SizeError::TooLarge),
            ("16777216TiB", SizeError::TooLarge),
        ] {
            assert_eq!(text.parse::<Size>(), Err(error), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("1h 30m".parse(), Ok(Span(Duration::from_secs(5400))));
        assert_eq!(Span(Duration::from_secs(30)).to_string(), "30s");
        for text in ["", "5", "0s", "-1s", "soon", "366days"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_is_shown_as_it_can_be_typed(bytes: u64, shift in 0..64u32) {
            let size = Size(bytes >> shift << shift.min(40));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "[0-9.]{0,30}[A-Za-z ]{0,4}") {
            let _ = text.parse::<Size>();
            let _ = text.parse::<Span>();
        }
    }
}
