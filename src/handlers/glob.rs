//! Patterns of keys: `*` is any text, `?` any character, `[a-z]` one of a set, `[^a-z]` one that is not, and `\` takes
//! the character after it as it is. Shells and Redis read patterns in the same way; here `/` is a character like
//! others.
//!
//! A match takes at most as many steps as pattern and key have characters, multiplied. So patterns are short, no lock is
//! held meanwhile, and a page counts its steps.

/// Longest pattern, in bytes.
pub(crate) const PATTERN_BYTES_MAX: usize = 256;

/// A pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Vec<Part>,
    /// The characters before the first part that is none.
    head: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any number of characters.
    Many,
    /// Any character.
    One,
    /// This character.
    Char(char),
    /// A character of these ranges, or of none of them.
    Set { ranges: Vec<(char, char)>, is_not: bool },
}

impl Part {
    /// Comparisons with one character.
    fn steps(&self) -> u64 {
        match self {
            Part::Set { ranges, .. } => ranges.len() as u64,
            _ => 1,
        }
    }

    fn takes(&self, c: char) -> bool {
        match self {
            Part::Many | Part::One => true,
            Part::Char(char) => *char == c,
            Part::Set { ranges, is_not } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *is_not
            }
        }
    }
}

impl Glob {
    /// Takes a pattern apart. An error says what is wrong with it.
    pub(crate) fn parse(pattern: &str) -> Result<Glob, &'static str> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err("a pattern has at most 256 bytes");
        }
        let mut chars = pattern.chars();
        let mut parts = Vec::new();
        while let Some(c) = chars.next() {
            parts.push(match c {
                // Several are as good as one, and would only cost steps.
                '*' if parts.last() == Some(&Part::Many) => continue,
                '*' => Part::Many,
                '?' => Part::One,
                '[' => set(&mut chars)?,
                '\\' => Part::Char(chars.next().ok_or("a pattern cannot end in a backslash")?),
                c => Part::Char(c),
            });
        }
        let head = parts.iter().map_while(|part| match part {
            Part::Char(c) => Some(*c),
            _ => None,
        });
        let head = head.collect();
        Ok(Glob { parts, head })
    }

    /// What every key begins with that is like the pattern.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// Whether all of a key is as the pattern says. Adds the comparisons that this takes to `steps`.
    pub(crate) fn matches(&self, key: &str, steps: &mut u64) -> bool {
        let (mut part, mut rest) = (0, key);
        // Where the last `*` stands, and what was behind the text that it took so far.
        let mut last_many: Option<(usize, &str)> = None;
        loop {
            let next = rest.chars().next();
            *steps += self.parts.get(part).map_or(1, Part::steps);
            match (self.parts.get(part), next) {
                (Some(Part::Many), _) => {
                    last_many = Some((part, rest));
                    part += 1;
                }
                (None, None) => return true,
                (Some(wanted), Some(c)) if wanted.takes(c) => {
                    part += 1;
                    rest = &rest[c.len_utf8()..];
                }
                // Another try, with one character more for the last `*`.
                _ => {
                    let Some((many, from)) = last_many else {
                        return false;
                    };
                    let Some(c) = from.chars().next() else {
                        return false;
                    };
                    rest = &from[c.len_utf8()..];
                    last_many = Some((many, rest));
                    part = many + 1;
                }
            }
        }
    }
}

/// A set, from behind its `[`.
fn set(chars: &mut std::str::Chars<'_>) -> Result<Part, &'static str> {
    const OPEN: &str = "a [ in a pattern needs a ] behind it, or a backslash before it";
    let is_not = chars.clone().next().is_some_and(|c| matches!(c, '^' | '!'));
    if is_not {
        chars.next();
    }
    let mut ranges = Vec::new();
    loop {
        let mut first = chars.next().ok_or(OPEN)?;
        match first {
            // As the first of the set, it is a character of it.
            ']' if !ranges.is_empty() => return Ok(Part::Set { ranges, is_not }),
            '\\' => first = chars.next().ok_or(OPEN)?,
            _ => {}
        }
        let mut ahead = chars.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                chars.nth(1);
                last
            }
            _ => first,
        };
        if last < first {
            return Err("a range in a pattern goes from the lower character to the higher one");
        }
        ranges.push((first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(key, &mut 0)
    }

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            (
                "user:*:profile",
                &["user:1:profile", "user::profile", "user:a:b:profile"][..],
                &["user:1", "user:1:profiles"][..],
            ),
            ("*", &["", "a", "a/b"], &[]),
            ("a?c", &["abc", "aéc"], &["ac", "abbc"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[^a-c]x", &["dx", "éx"], &["ax", "x"]),
            ("[]]", &["]"], &["["]),
            ("[a-]", &["a", "-"], &["b"]),
            (r"\*\?", &["*?"], &["ab"]),
            ("", &[""], &["a"]),
            ("*a*b*", &["ab", "xaybz"], &["ba", "a"]),
            ("a**b", &["ab", "axb"], &["a"]),
        ] {
            for key in yes {
                assert!(matches(pattern, key), "{pattern} {key}");
            }
            for key in no {
                assert!(!matches(pattern, key), "{pattern} {key}");
            }
        }
        for wrong in ["[", "[a", "a\\", "[z-a]", &"x".repeat(257)] {
            assert!(Glob::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_head_is_what_all_matches_begin_with() {
        for (pattern, head) in [
            ("user:*", "user:"),
            (r"a\*b?c", "a*b"),
            ("é[a-c]", "é"),
            ("*a", ""),
            ("", ""),
            ("abc", "abc"),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().head(), head, "{pattern}");
        }
    }

    #[test]
    fn steps_are_counted() {
        let steps = |pattern: &str, key: &str| {
            let mut steps = 0;
            Glob::parse(pattern).unwrap().matches(key, &mut steps);
            steps
        };
        assert!((3..10).contains(&steps("abc", "abc")));
        // Each place of the key is tried, and some ten characters of it looked at each time.
        assert!((900..2000).contains(&steps("*aaaaaaaaaab", &"a".repeat(100))));
        assert!((300..700).contains(&steps("*[bcdefghijk]", &"a".repeat(30))));
    }

    /// By another way: each part takes a beginning of the rest.
    fn plainly(parts: &[Part], key: &[char]) -> bool {
        match (parts, key) {
            ([], key) => key.is_empty(),
            ([Part::Many, rest @ ..], key) => (0..=key.len()).any(|at| plainly(rest, &key[at..])),
            ([_, ..], []) => false,
            ([part, rest @ ..], [c, key @ ..]) => part.takes(*c) && plainly(rest, key),
        }
    }

    proptest! {
        #[test]
        fn a_match_is_what_it_plainly_is(pattern in "[ab*?é]{0,8}", key in "[abé]{0,10}") {
            let glob = Glob::parse(&pattern).unwrap();
            let chars: Vec<char> = key.chars().collect();
            prop_assert_eq!(glob.matches(&key, &mut 0), plainly(&glob.parts, &chars));
        }
    }
}
