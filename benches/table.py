"""The figures of docs/performance.md: a table that is made from sections, a row each."""

from pathlib import Path

from report import Section, figure

BEGIN = "<!-- figures: made by benches/run --write -->"
END = "<!-- end of the figures -->"
HEAD = ("| what | pykv | for comparison | measured |", "| --- | --- | --- | --- |")


def write(path: Path, sections: list[Section], stamp: str) -> None:
    """Puts the rows of these sections into a file, in place of those of the same name, and leaves the others."""
    before, _, rest = path.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"{path} has no place for figures, which is between {BEGIN} and {END}")
    rows = dict(_named(line) for line in table.splitlines() if line.startswith("| ") and line not in HEAD)
    rows |= dict(_named(_row(section, stamp)) for section in sections)
    lines = [BEGIN, "", *HEAD, *rows.values(), "", END]
    path.write_text(before + "\n".join(lines) + after)


def _named(line: str) -> tuple[str, str]:
    return line.split(" | ", 1)[0], line


def _row(section: Section, stamp: str) -> str:
    """A section as a row: what is pykv's, and what is not."""
    is_of_all = not any(name.startswith("pykv") for name, _, _ in section.rows)
    ours = [row for row in section.rows if is_of_all or row[0].startswith("pykv")]
    theirs = [row for row in section.rows if row not in ours]
    cells = ["<br>".join(_cell(row, row[0] == "pykv") for row in rows) for rows in (ours, theirs)]
    return f"| {section.title} ({section.unit}) | {cells[0]} | {cells[1]} | {stamp} |"


def _cell(row: tuple[str, float, str], is_plain: bool) -> str:
    name, value, note = row
    name = name.removeprefix("pykv: ")
    note = "" if not note else f" ({', '.join(part for part in note.split('  ') if part)})"
    return figure(value) + note if is_plain else f"{name}: {figure(value)}{note}"
