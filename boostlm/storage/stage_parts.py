"""Arrays over prompts on disk: each host writes those of its own prompts, in a file of their own.

The file of all prompts is `samples.npz`, that of the prompts 12 to 23 of 40 is
`samples.12-24-of-40.npz`. A stage has committed when its files hold all prompts. So another number
of hosts, whose ranges are others, reads them too.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from boostlm.numerics import AnyArray
from boostlm.storage import durable_files

_PART = re.compile(r"(.+)\.(\d+)-(\d+)-of-(\d+)(\.npz)")


class Part(NamedTuple):
    """A range of the prompts.

    Attributes:
      start: the first one.
      stop: the one after the last.
      of: how many there are in all.
    """

    start: int
    stop: int
    of: int

    def path(self, stage: epath.Path) -> epath.Path:
        """The file of this part of a stage."""
        if (self.start, self.stop) == (0, self.of):
            return stage
        return stage.parent / f"{stage.stem}.{self.start}-{self.stop}-of-{self.of}{stage.suffix}"


def stage_name(name: str) -> str:
    """The file name of all prompts, from that of a part or of all."""
    return "".join(found.group(1, 5)) if (found := _PART.fullmatch(name)) else name


def save_part(stage: epath.Path, part: Part, **arrays: AnyArray) -> None:
    """Commits the arrays of a part, whose first axis are its prompts; nothing if it has none."""
    if part.stop > part.start:
        durable_files.save_arrays(part.path(stage), **arrays)


def load_part(
    stage: epath.Path, names: Sequence[str], part: Part | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    """What the files of a stage hold of a part's prompts; None if there is no file.

    A torn file, and one that lacks an array of `names`, counts as missing and causes a warning.

    Args:
      stage: the file of all prompts, which need not exist.
      names: of the arrays.
      part: which prompts; None for all that there are.

    Returns:
      {name: rows of these prompts}, and bool, which of them are there; the others' rows are 0.
    """
    found: dict[str, np.ndarray] = {}
    there = np.zeros(0, bool)
    for path, file in part_files(stage):
        if part and file and not _overlap(part, file) and (found or part.start < part.stop):
            continue  # a part without prompts takes its shapes from any file
        arrays = durable_files.load_arrays(path, names)
        if arrays is None:
            continue
        rows = len(arrays[names[0]])
        file = file or Part(0, rows, rows)
        part = part or Part(0, file.of, file.of)
        if file[:2] == part[:2]:
            return arrays, np.ones(rows, bool)
        size = part.stop - part.start
        if not found:
            there = np.zeros(size, bool)
            found = {name: np.zeros((size, *x.shape[1:]), x.dtype) for name, x in arrays.items()}
        low, high = max(file.start, part.start), min(file.stop, part.stop)
        if low < high:
            for name, x in arrays.items():
                found[name][low - part.start : high - part.start] = x[low - file.start :][
                    : high - low
                ]
            there[low - part.start : high - part.start] = True
    return (found, there) if found else None


def _overlap(a: Part, b: Part) -> bool:
    return max(a.start, b.start) < min(a.stop, b.stop)


def load_all(stage: epath.Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The arrays of all prompts, or None if the stage has not committed."""
    found = load_part(stage, names)
    return found[0] if found is not None and found[1].all() else None


def part_files(stage: epath.Path) -> list[tuple[epath.Path, Part | None]]:
    """The files that hold parts of a stage, and which; the one of all prompts (None) first."""
    if not stage.parent.exists():
        return []
    found: list[tuple[epath.Path, Part | None]] = [(stage, None)] if stage.exists() else []
    for path in sorted(stage.parent.glob(f"{stage.stem}.*-of-*{stage.suffix}")):
        if named := _PART.fullmatch(path.name):
            found.append((path, Part(*map(int, named.group(2, 3, 4)))))
    return found
