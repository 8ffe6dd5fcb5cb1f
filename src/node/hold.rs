//! Why writers wait.

/// Why a primary holds its writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It asks the others first whether one of them took over.
    Inquiry,
    /// The replica that is this process is about to take over.
    Handover(u64),
}
