//! `pykv check`

use super::{Error, of_file, print, print_json, print_text};
use crate::cli::Check;
use crate::wal::{self, Damage, Mismatch, Report};
use serde_json::{Value, json};
use std::fmt::Write;

pub(super) fn run(args: &Check) -> Result<(), Error> {
    let (file, dir) = match &args.file {
        Some(dir) if dir.is_dir() => (None, dir),
        file => (file.as_ref(), &args.dir),
    };
    if let Some(file) = file {
        if args.repair && file.exists() {
            return Err(Error::Usage(format!(
                "{} is a file, and --repair is for a data directory; of a backup that is damaged, take another one",
                file.display()
            )));
        }
        let whole = wal::verify(file).map_err(|error| of_file(error, file))?;
        let (entries, offset, digest) = (whole.entries, whole.offset, whole.digest);
        if args.json {
            let answer = json!({"entries": entries, "offset": offset, "digest": digest.to_string()});
            return print_json(answer.to_string().into_bytes());
        }
        return print(
            format!("{entries} entries, as of offset {offset}, digest {digest}\nintact\n").as_bytes(),
        );
    }
    let report = if args.repair {
        wal::repair(dir)?
    } else {
        wal::check(dir)?
    };
    match args.json {
        true => print_json(json(&report, args.repair).to_string().into_bytes())?,
        false => print_text(&text(&report, args.repair))?,
    }
    if args.repair || report.is_whole() {
        Ok(())
    } else {
        Err(Error::Damaged { dir: dir.clone() })
    }
}

/// For programs.
fn json(report: &Report, repaired: bool) -> Value {
    let files = report.files.iter().map(|file| {
        json!({
            "path": file.path.display().to_string(),
            "kind": file.kind,
            "records": file.records,
            "first_offset": file.first_offset,
            "end_offset": file.end_offset,
        })
    });
    let damage = report.damage.iter().map(|damage| {
        json!({
            "path": damage.path.display().to_string(),
            "file_position": damage.file_position,
            "offset": damage.offset,
            "bytes": damage.bytes,
            "why": damage.why,
            "torn_tail": damage.torn_tail,
            "lost": {
                "keys": damage.lost.keys,
                "more": damage.lost.more,
                "has_unread": damage.lost.has_unread,
            },
            "saved_to": damage.saved_to.as_ref().map(|path| path.display().to_string()),
        })
    });
    let mismatches = report.mismatches.iter().map(|mismatch| {
        json!({
            "offset": mismatch.offset,
            "expected": mismatch.expected.to_string(),
            "found": mismatch.found.to_string(),
        })
    });
    json!({
        "intact": report.is_whole(),
        "repaired": repaired,
        "files": files.collect::<Vec<_>>(),
        "damage": damage.collect::<Vec<_>>(),
        "mismatches": mismatches.collect::<Vec<_>>(),
        "missing": report.missing,
        "digest": report.digest.to_string(),
    })
}

/// For people.
fn text(report: &Report, repaired: bool) -> String {
    let mut text = String::new();
    for file in &report.files {
        line(
            &mut text,
            format_args!(
                "{}: {}, {} records, offsets {} to {}",
                file.path.display(),
                file.kind,
                file.records,
                file.first_offset,
                file.end_offset
            ),
        );
    }
    for damage in &report.damage {
        tell_damage(&mut text, damage, repaired);
    }
    for Mismatch {
        offset,
        expected,
        found,
    } in &report.mismatches
    {
        line(
            &mut text,
            format_args!(
                "the digest at offset {offset} should be {expected} and is {found}: the records do not add up"
            ),
        );
    }
    if let Some(why) = &report.missing {
        let what = if repaired {
            ": what was there is lost, and nothing misses it any more"
        } else {
            ": what was there is missing"
        };
        line(&mut text, format_args!("{why}{what}"));
    }
    line(&mut text, format_args!("digest {}", report.digest));
    let is_sound = report.damage.is_empty() && report.mismatches.is_empty() && report.missing.is_none();
    let end = match (is_sound, repaired) {
        (true, _) => "intact",
        (false, true) => "repaired",
        (false, false) if report.is_whole() => "intact, with a torn tail",
        (false, false) => "damaged",
    };
    line(&mut text, format_args!("{end}"));
    text
}

fn tell_damage(text: &mut String, damage: &Damage, repaired: bool) {
    let Damage {
        path,
        file_position,
        offset,
        bytes,
        why,
        ..
    } = damage;
    let what = if damage.torn_tail { "torn tail" } else { "damage" };
    let bytes = match bytes {
        0 => String::new(),
        1 => ", 1 byte".to_owned(),
        _ => format!(", {bytes} bytes"),
    };
    line(
        text,
        format_args!(
            "{}: {what} at byte {file_position} (offset {offset}){bytes}: {why}",
            path.display()
        ),
    );
    if let Some(lost) = lost(damage, repaired) {
        line(text, format_args!("  {lost}"));
    }
    match &damage.saved_to {
        Some(copy) => line(text, format_args!("  set aside; a copy is in {}", copy.display())),
        None if damage.torn_tail && !repaired => {
            line(
                text,
                format_args!("  what a crash leaves; the next start cuts it off"),
            );
        }
        None => {}
    }
}

/// Which keys the damaged bytes said something of; none for a torn tail, which was never acknowledged.
fn lost(damage: &Damage, repaired: bool) -> Option<String> {
    let lost = &damage.lost;
    if damage.torn_tail || (lost.keys.is_empty() && !lost.has_unread) {
        return None;
    }
    let verb = if repaired { "lost" } else { "a repair loses" };
    let mut keys: Vec<String> = lost.keys.iter().map(|key| format!("{key:?}")).collect();
    if lost.more > 0 {
        keys.push(format!("{} more", lost.more));
    }
    let changes = match lost.keys.len() as u64 + lost.more {
        0 => None,
        1 => Some(format!("a change of the key {}", keys[0])),
        number => Some(format!("changes of {number} keys: {}", keys.join(", "))),
    };
    Some(match (changes, lost.has_unread) {
        (None, _) if damage.bytes == 0 => format!("{verb}: all that followed in this file"),
        (None, _) => format!("{verb}: all that these bytes said; no key in them can be read"),
        (Some(changes), false) => format!("{verb}: {changes}"),
        (Some(changes), true) => format!("{verb}: {changes}; perhaps others, which cannot be read"),
    })
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Lost;
    use std::path::PathBuf;

    fn report(torn_tail: bool) -> Report {
        Report {
            damage: vec![Damage {
                path: PathBuf::from("d/log-0.pykv"),
                file_position: 164,
                offset: 100,
                bytes: 7,
                why: "the checksum does not match".to_owned(),
                torn_tail,
                lost: Lost {
                    keys: vec!["k".to_owned()],
                    ..Lost::default()
                },
                saved_to: None,
            }],
            ..Report::default()
        }
    }

    #[test]
    fn damage_is_named_by_file_and_place() {
        assert_eq!(
            text(&report(false), false),
            "d/log-0.pykv: damage at byte 164 (offset 100), 7 bytes: the checksum does not match\n  \
             a repair loses: a change of the key \"k\"\n\
             digest 0000000000000000\ndamaged\n"
        );
        assert!(text(&report(true), false).ends_with("intact, with a torn tail\n"));
    }
}
