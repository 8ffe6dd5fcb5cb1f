"""Figures, medians, ratios, and the table they are printed in."""

from dataclasses import dataclass, field
from statistics import median


def figure(value: float) -> str:
    """A number with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class Target:
    """What is asked of a figure."""

    what: str
    value: float
    bound: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of the bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def line(self) -> str:
        """As a line of the table."""
        sign = "at least" if self.at_least else "at most"
        verdict = "ok" if self.met else "MISSED"
        return f"    {self.what:<44} {figure(self.value):>12}   {sign} {figure(self.bound):<10} {verdict}"


@dataclass
class Section:
    """One measurement: what each contestant did, and the targets."""

    title: str
    unit: str
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def add(self, name: str, values: list[float], note: str = "") -> float:
        """Adds a contestant's median and returns it. The note gets the spread of the rounds before it."""
        middle = median(values)
        spread = f"{figure(min(values))} to {figure(max(values))}" if len(values) > 1 else ""
        self.rows.append((name, middle, "  ".join(part for part in (spread, note) if part)))
        return middle

    def ratio(self, what: str, ours: float, theirs: float, bound: float) -> None:
        """A target that is a ratio to a peer."""
        self.targets.append(Target(what, ours / theirs if theirs else 0.0, bound))

    def print(self) -> None:
        """Prints the section."""
        print(f"\n{self.title}  [{self.unit}]")
        for name, value, note in self.rows:
            print(f"    {name:<44} {figure(value):>12}   {note}".rstrip())
        for target in self.targets:
            print(target.line())
