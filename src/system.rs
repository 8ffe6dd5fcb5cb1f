//! What the system says, as people read it.

use std::io;

/// What the system says of an error, without the number that std puts behind it.
pub(crate) fn words(error: &io::Error) -> String {
    let said = error.to_string();
    match error.raw_os_error() {
        Some(code) => said
            .strip_suffix(&format!(" (os error {code})"))
            .unwrap_or(&said)
            .to_owned(),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_speaks_without_its_numbers() {
        assert_eq!(words(&io::Error::from_raw_os_error(111)), "Connection refused");
        assert_eq!(words(&io::Error::other("why")), "why");
    }
}
