//! What a node says on standard error: a time in UTC, the level, the message.
//!
//! Every line goes through [`Guard`], whoever writes it: what a stranger sent and a message names must not act on the
//! terminal or the log that it ends up in.

use crate::cli::LogLevel;
use crate::{escape, wall};
use log::{Log, Metadata, Record};
use simplelog::{
    ColorChoice, Config, ConfigBuilder, LevelPadding, SharedLogger, TermLogger, TerminalMode, WriteLogger,
};
use std::io::{self, IsTerminal, LineWriter, Write};

/// Starts the log; once in the life of the process.
pub(super) fn start(level: LogLevel) {
    let level = level.filter();
    let inner: Box<dyn SharedLogger> = if io::stderr().is_terminal() {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = if no_color {
            ColorChoice::Never
        } else {
            ColorChoice::Auto
        };
        TermLogger::new(level, config(), TerminalMode::Stderr, color)
    } else {
        // A line at a time: others may write to the same pipe or file.
        WriteLogger::new(level, config(), LineWriter::new(io::stderr()))
    };
    log::set_max_level(level);
    log::set_boxed_logger(Box::new(Guard(inner)))
        .expect("logging is started once in the life of the process");
}

fn config() -> Config {
    ConfigBuilder::new()
        .set_time_format_custom(simplelog::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
        .set_thread_level(log::LevelFilter::Debug)
        .set_target_level(log::LevelFilter::Debug)
        .set_location_level(log::LevelFilter::Off)
        .set_level_padding(LevelPadding::Right)
        .build()
}

/// A logger that gets nothing that acts on a terminal, and no time that it cannot write.
struct Guard(Box<dyn SharedLogger>);

impl Log for Guard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let text = escape::line(&text);
        if wall::is_sound() {
            self.0.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .module_path(record.module_path())
                    .file(record.file())
                    .line(record.line())
                    .args(format_args!("{text}"))
                    .build(),
            );
        } else {
            // The logger asks the clock by itself, and panics at what this one says.
            let time = humantime::format_rfc3339_millis(wall::now());
            let _ = writeln!(io::stderr(), "{time} [{}] {text}", record.level());
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}
