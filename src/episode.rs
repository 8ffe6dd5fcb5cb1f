//! What is logged once an episode: a failure that is met at every attempt until it is over.

/// Whether an episode runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Episode {
    is_running: bool,
}

impl Episode {
    pub(crate) fn is_running(self) -> bool {
        self.is_running
    }

    /// Notes a failure. Returns whether it is the first of its episode.
    pub(crate) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.is_running, true)
    }

    /// Notes a success. Returns whether it ends an episode.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::take(&mut self.is_running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_begins_once_and_ends_once() {
        let mut episode = Episode::default();
        assert!(!episode.end());
        for _ in 0..2 {
            assert!(episode.begin());
            assert!(episode.is_running() && !episode.begin());
            assert!(episode.end());
            assert!(!episode.is_running() && !episode.end());
        }
    }
}
