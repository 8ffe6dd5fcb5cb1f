//! What the system says, as people read it.

use std::io;

/// What std puts before what the system's resolver says.
const LOOK_UP: &str = "failed to lookup address information: ";

/// What the system says of an error, without the number that std puts behind it.
pub(crate) fn words(error: &io::Error) -> String {
    let said = error.to_string();
    if let Some(why) = said.strip_prefix(LOOK_UP) {
        return format!("the name of the host cannot be resolved: {why}");
    }
    match error.raw_os_error() {
        Some(code) => said
            .strip_suffix(&format!(" (os error {code})"))
            .unwrap_or(&said)
            .to_owned(),
        None => said,
    }
}

/// Whether the system's resolver has found no address.
pub(crate) fn is_look_up(error: &io::Error) -> bool {
    error.to_string().starts_with(LOOK_UP)
}

/// Whether only an attempt to connect ends with such an error: nothing was sent then.
pub(crate) fn is_of_connecting(kind: io::ErrorKind) -> bool {
    use io::ErrorKind;
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::NotFound
            | ErrorKind::InvalidInput
            | ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_found_is_said_to_be_so() {
        let error = io::Error::other("failed to lookup address information: Name or service not known");
        assert!(is_look_up(&error) && !is_look_up(&io::Error::other("why")));
        assert_eq!(
            words(&error),
            "the name of the host cannot be resolved: Name or service not known"
        );
    }

    #[test]
    fn the_system_speaks_without_its_numbers() {
        assert_eq!(words(&io::Error::from_raw_os_error(111)), "Connection refused");
        assert_eq!(words(&io::Error::other("why")), "why");
    }
}
