"""How the measurements are to be made: what the command line said, and what follows from it."""

from dataclasses import dataclass
from pathlib import Path

# Room for all there is, and a log that is not rewritten while something else is measured.
CAPACITY = ("--max-capacity", "20000000", "--max-memory", "8GiB", "--compact-ratio", "0")


@dataclass(frozen=True)
class Setup:
    """Given to every measurement."""

    binary: Path
    environment: Path  # Of the FastAPI baseline.
    bare: Path  # The program of `bare.rs`.
    load_at_rate: Path  # The program of `rate.rs`.
    rounds: int
    seconds: float
    scale: float  # Of the loads: 1 unless a quick run is asked for.
    json: bool  # GET answers as JSON rather than the value's bytes alone.

    def count(self, whole: int) -> int:
        """A load of `whole` requests, at the scale asked for."""
        return max(10_000, int(whole * self.scale))
