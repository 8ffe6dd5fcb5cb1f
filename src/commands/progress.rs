//! How far a long command is: a bar on a terminal, and nothing where there is none.

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// How often the bar is drawn anew.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar on standard error that says how many keys there are, how many a second, and how long it takes still.
pub(super) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    shown: Instant,
}

impl Progress {
    /// `length` is what [`Progress::show`] counts up to, where that is known.
    pub(super) fn new(length: Option<u64>) -> Progress {
        // Hidden by itself where standard error is no terminal. No colours, so NO_COLOR has nothing to say.
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        let template = match length {
            Some(_) => "[{bar:30}] {percent:>3} %  {msg}, {eta} left",
            None => "{spinner} {msg}",
        };
        let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("=> "));
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let now = Instant::now();
        Progress {
            bar,
            begun: now,
            shown: now,
        }
    }

    /// Shows how far it is, if that was not done just now; `false` where no bar is shown.
    pub(super) fn show(&mut self, position: u64, keys: u64) -> bool {
        if self.bar.is_hidden() {
            return false;
        }
        if self.shown.elapsed() < INTERVAL {
            return true;
        }
        self.shown = Instant::now();
        let rate = rate(keys, self.begun.elapsed());
        self.bar
            .set_message(format!("{} keys, {rate} a second", HumanCount(keys)));
        self.bar.set_position(position);
        self.bar.tick();
        true
    }

    /// Shows a text in place of the bar's own; `false` where no bar is shown.
    pub(super) fn say(&mut self, text: &str) -> bool {
        if self.bar.is_hidden() {
            return false;
        }
        self.bar.set_message(text.to_owned());
        self.bar.tick();
        true
    }

    /// Takes the bar away; how long it all took.
    pub(super) fn end(self) -> Duration {
        self.bar.finish_and_clear();
        self.begun.elapsed()
    }
}

/// So many keys in that time, as a rate for people.
pub(super) fn rate(keys: u64, time: Duration) -> HumanCount {
    HumanCount((keys as f64 / time.as_secs_f64().max(0.001)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate(250_000, Duration::from_secs(2)).to_string(), "125,000");
        assert_eq!(rate(5, Duration::ZERO).to_string(), "5,000");
    }
}
