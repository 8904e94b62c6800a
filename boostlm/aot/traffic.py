"""Bytes that an optimized HLO program moves on each chip: to and from HBM, and between chips.

They are counted in XLA's text, because XLA counts a loop's body once, and counts data that stays
in on-chip memory as HBM traffic. The text is that of one chip, so shapes are those of its parts.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_NAME = re.compile(r"%[\w.-]+")
_BYTES = {"pred": 1, "bf16": 2, "token": 0, "opaque": 0}
_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
         "conditional", "partition-id", "replica-id", "after-all", "iota", "broadcast")  # fmt: skip


class Collective(NamedTuple):
    """Data that chips send one another.

    Attributes:
      kind: "all-gather", "all-reduce", "reduce-scatter", "all-to-all", ...
      shape: the whole array's shape, such as "bf16[1024,256]".
      bytes: the bytes of that array.
      times: how often in one execution of the program.
      source: the operation in the traced program that it comes from.
    """

    kind: str
    shape: str
    bytes: int
    times: float
    source: str

    def sent(self, chips: int) -> float:
        """Bytes that each chip sends along a ring in one execution."""
        rounds = {"all-reduce": 2.0}.get(self.kind, 1.0)
        if self.kind in ("collective-permute", "collective-broadcast"):
            return self.times * self.bytes
        return rounds * self.times * self.bytes * (chips - 1) / chips


class Traffic(NamedTuple):
    """One execution of a program, on each chip.

    Attributes:
      hbm: bytes read from and written to HBM.
      collectives: what is sent.
    """

    hbm: float
    collectives: tuple[Collective, ...]


class Instruction(NamedTuple):
    """A line of HLO text."""

    name: str
    shape: str
    operation: str
    operands: tuple[str, ...]
    text: str
    is_root: bool


Computation = dict[str, Instruction]


def traffic(text: str, loops: float = 1.0) -> Traffic:
    """The traffic of a program.

    Args:
      text: the text of a compiled program (`as_text()`).
      loops: iterations of each loop whose length is only known at run time.
    """
    computations, entry = parse_hlo(text)
    hbm, sent = 0.0, {}
    for owner, instruction, times, fused in _executed(computations, entry, loops):
        kind = instruction.operation.removesuffix("-start")
        if kind in _COLLECTIVES:
            found = _collective(owner, computations[owner], instruction, kind, times)
            # A collective that is spread over several fusions is in each of them, with one channel.
            channel = re.search(r"channel_id=(\d+)", instruction.text)
            key = (channel[1], found.kind, found.shape) if channel else instruction.name
            if key not in sent or sent[key].times < times:
                sent[key] = found
        if not fused:
            hbm += times * _moved(computations, computations[owner], instruction)
    return Traffic(hbm, tuple(sent.values()))


def parse_hlo(text: str) -> tuple[dict[str, Computation], str]:
    """The computations of a program by name, and the entry's name."""
    computations, entry, current = {}, "", {}
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?(%[\w.-]+) \(.*\{$", line)
        if head:
            current = computations[head[2]] = {}
            entry = head[2] if head[1] else entry
        elif (start := re.match(r"  (ROOT )?(%[\w.-]+) = ", line)) is not None:
            shape, rest = _split_shape(line[start.end() :])
            operation, _, arguments = rest.partition("(")
            operands = tuple(_NAME.findall(arguments[: _closing(arguments)]))
            current[start[2]] = Instruction(
                start[2], shape, operation.strip(), operands, rest, bool(start[1])
            )
    return computations, entry


def _split_shape(text: str) -> tuple[str, str]:
    if not text.startswith("("):
        shape, _, rest = text.partition(" ")
        return shape, rest
    end = _closing(text[1:]) + 2
    return text[:end], text[end:].lstrip()


def _closing(text: str) -> int:
    """The place of the parenthesis that closes the one just before `text`."""
    depth = 1
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return at
    return len(text)


def _executed(
    computations: dict[str, Computation],
    name: str,
    loops: float,
    times: float = 1.0,
    fused: bool = False,
) -> Iterator[tuple[str, Instruction, float, bool]]:
    """(computation, instruction, how often it runs, whether inside a fusion)."""
    for instruction in computations[name].values():
        yield name, instruction, times, fused
        called = dict(re.findall(r"(calls|to_apply|condition|body)=(%[\w.-]+)", instruction.text))
        branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.text)
        if instruction.operation == "while":
            inner = times * _trips(computations[called["condition"]], loops)
            yield from _executed(computations, called["body"], loops, inner, fused)
        elif instruction.operation in ("fusion", "call") or "-start" in instruction.operation:
            inside = fused or instruction.operation == "fusion"
            for part in ("calls", "to_apply"):
                if part in called and "all-reduce" not in instruction.operation:
                    yield from _executed(computations, called[part], loops, times, inside)
        elif branches:
            for branch in _NAME.findall(branches[1]):
                yield from _executed(computations, branch, loops, times, fused)


def _trips(condition: Computation, loops: float) -> float:
    """Iterations of a loop that counts from 0 to a constant; of any other loop, `loops`."""
    (root,) = (i for i in condition.values() if i.is_root)
    if root.operation == "compare" and "direction=LT" in root.text:
        bound = condition[root.operands[1]]
        constant = re.match(r"constant\((\d+)\)", bound.text)
        if constant:
            return float(constant[1])
    return loops


def arrays(shape: str) -> list[tuple[str, int, bool]]:
    """(text, bytes, whether in HBM) of each array in a shape; sizes are without padding."""
    found = []
    for kind, sizes, layout in _ARRAY.findall(shape):
        width = _BYTES[kind] if kind in _BYTES else int(re.findall(r"\d+", kind)[0]) / 8
        count = math.prod(int(n) for n in sizes.split(",") if n)
        found.append((f"{kind}[{sizes}]", int(width * count), "S(" not in layout))
    return found


def _hbm(shape: str) -> int:
    return sum(size for _, size, in_hbm in arrays(shape) if in_hbm)


def _collective(
    owner: str, computation: Computation, instruction: Instruction, kind: str, times: float
) -> Collective:
    whole = arrays(instruction.shape)
    if kind == "reduce-scatter" and instruction.operands[0] in computation:
        whole = arrays(computation[instruction.operands[0]].shape)
    if instruction.operation.endswith("-start"):
        whole = [max(whole, key=lambda part: part[1])]
    if kind == "all-reduce" and "all-reduce-scatter" in owner:
        kind = "reduce-scatter"  # a fusion with the slice that is kept
    source = re.search(r'op_name="([^"]*)"', instruction.text)
    shape = ", ".join(text for text, _, _ in whole)
    size = sum(size for _, size, _ in whole)
    return Collective(kind, shape, size, times, source[1] if source else "")


def _moved(
    computations: dict[str, Computation], computation: Computation, instruction: Instruction
) -> int:
    """Bytes that an instruction outside of fusions reads from and writes to HBM."""
    operation = instruction.operation
    if operation in _FREE or operation.endswith("-done"):
        return 0
    shapes = [computation[o].shape for o in instruction.operands if o in computation]
    if operation in ("dynamic-slice", "slice", "gather"):
        return 2 * _hbm(instruction.shape)
    if operation == "dynamic-update-slice":
        return 2 * _hbm(shapes[1])
    if operation in ("copy-start", "slice-start"):
        ends = arrays(instruction.shape)[:2]  # of the transfer; a slice names its whole source
        return min(size for _, size, _ in ends) * sum(in_hbm for _, _, in_hbm in ends)
    called = re.search(r"calls=(%[\w.-]+)", instruction.text)
    if operation == "fusion" and called:
        return _moved_by_fusion(computations[called[1]], shapes, instruction.shape)
    return _hbm(instruction.shape) + sum(_hbm(shape) for shape in shapes)


def _moved_by_fusion(inside: Computation, shapes: list[str], out: str) -> int:
    """Counts the part that is sliced, gathered or updated in place, and nothing passed through."""

    def origin(name: str) -> str:
        while inside[name].operation in ("bitcast", "get-tuple-element", "copy"):
            name = inside[name].operands[0]
        return name

    users: dict[str, list[tuple[Instruction, int]]] = {}
    for instruction in inside.values():
        for place, operand in enumerate(instruction.operands):
            if operand in inside and instruction.operation not in ("bitcast", "copy"):
                users.setdefault(origin(operand), []).append((instruction, place))
    total = 0
    for instruction in inside.values():
        if instruction.operation != "parameter":
            continue
        shape = shapes[int(re.findall(r"^parameter\((\d+)", instruction.text)[0])]
        whole, parts = _hbm(shape), 0
        for user, place in users.get(instruction.name, []):
            if user.operation in ("dynamic-slice", "slice", "gather") and place == 0:
                parts += sum(size for _, size, _ in arrays(user.shape))
            elif not (
                (user.operation == "dynamic-update-slice" and place == 0)
                or (user.operation == "tuple" and user.is_root)
            ):
                parts = whole
        total += min(whole, parts)
    (root,) = (i for i in inside.values() if i.is_root)
    results = root.operands if root.operation == "tuple" else (root.name,)
    for (_, size, in_hbm), name in zip(arrays(out), results, strict=False):
        made = inside[origin(name)]
        if made.operation == "dynamic-update-slice":
            size = sum(n for _, n, _ in arrays(inside[made.operands[1]].shape))
        total += size if in_hbm and made.operation != "parameter" else 0
    return total
