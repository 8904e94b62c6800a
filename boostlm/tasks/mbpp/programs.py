"""Finds the program in what a person or another model wrote for an MBPP prompt.

Nothing is run here. A program is a run of lines that Python can parse and that defines a function
which the prompt's asserts call. It may be in a fence, between tags such as [PYTHON], after
thoughts, or in prose.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Sequence

from boostlm.engine.outside_text import unwrapped
from boostlm.tasks.mbpp.asserts import defined_names, parse_code

_LONGEST = 20_000  # characters; parsing takes long where the text is hostile
_MOST_STARTS = 20  # per piece of text
_TAGS = (
    r"\[/?(?:BEGIN|PYTHON|CODE|ANSWER|SOLUTION)\]|</?(?:python|code|answer|solution|pre)"
    r"(?: [^<>\n]{0,80})?>"
)
_FENCES = re.compile(rf"(?i)(?:`{{3,}}|~~~+)(?:[ {{.]*(?:python|py)[\d.]*\}}?)?|{_TAGS}")
_TICKS = re.compile("`+")
_START = re.compile(
    r"[ \t]*(?:(?:async )?def \w|class \w|import \w|from [\w.]+ import\b|@\w"
    r"|[A-Za-z_][\w, ]*=[^=]|(?:try|if|for|while|with)\b.*:$)"
)
_CALLED = re.compile(r"[A-Za-z_]\w*(?= ?\()")
# What word processors and web pages put in place of a program's own characters.
_TYPED = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\xa0": " ", "\u200b": None})


def program_of(text: str, prompt: str, few_shot: str, stop: str) -> str | None:
    """The program in `text`, or None if no program in it defines what the asserts call.

    The last such program counts, since a first draft comes first. If it uses names that earlier
    blocks define or import, these blocks are put before it.

    Args:
      text: what someone wrote.
      prompt: the prompt without few-shot examples.
      few_shot: the few-shot examples; "" for none.
      stop: the string that ends a response. What follows it counts only if nothing else does.
    """
    names = set(_CALLED.findall(prompt.partition("\nassert ")[2])) - set(dir(builtins))
    text = unwrapped(text, (few_shot + prompt, prompt))[:_LONGEST]
    for part in dict.fromkeys((text.partition(stop)[0], text)):
        for version in dict.fromkeys((part, part.translate(_TYPED))):
            version = version.replace(stop, "\n")
            if _is_program(version) and _defines(version, names):
                return version
            for marks in (_FENCES, _TICKS):
                if program := _in_pieces(marks.split(version), names):
                    return program
    return None


def _in_pieces(pieces: Sequence[str], names: set[str]) -> str | None:
    for place in reversed(range(len(pieces))):
        program = next((p for p in _programs(pieces[place]) if _defines(p, names)), None)
        if program is not None:
            earlier = (next(_programs(piece), "") for piece in pieces[:place])
            return _with_needed(program, [source for source in earlier if source])
    return None


def _programs(piece: str) -> Iterator[str]:
    """Sources that can be parsed, one for each line of `piece` that a program may start with."""
    lines, end = piece.split("\n"), 0
    starts = [i for i, line in enumerate(lines) if _START.match(line)]
    for start in starts[:_MOST_STARTS]:
        if start < end:
            continue  # it is part of the last source
        indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
        block = [line.removeprefix(indent) for line in lines[start:]]
        if source := _longest_program(block):
            end = start + source.count("\n") + 1
            yield source


def _is_program(text: str) -> bool:
    try:
        return not any(map(_is_prose, parse_code(text).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _longest_program(lines: Sequence[str]) -> str | None:
    """The first lines up to the one that is not Python, without prose and comments at their end."""
    count = len(lines)
    while count > 0:
        try:
            tree = parse_code("\n".join(lines[:count]))
        except SyntaxError as error:
            count = min(error.lineno or 1, count) - 1
            continue
        except (ValueError, RecursionError, MemoryError):
            return None
        while tree.body and _is_prose(tree.body[-1]):
            tree.body.pop()
        return "\n".join(lines[: tree.body[-1].end_lineno]) if tree.body else None
    return None


def _is_prose(node: ast.stmt) -> bool:
    """Whether a statement does nothing, such as "Done" and "Note: done" when read as Python."""
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    return isinstance(node, ast.Expr) and not isinstance(
        node.value, ast.Call | ast.Constant | ast.Await | ast.Yield | ast.YieldFrom
    )


def _defines(program: str, names: set[str]) -> bool:
    """Whether a program defines one of `names`, or anything if there are none."""
    found = defined_names(program)
    return bool(found & names if names else found)


def _with_needed(program: str, earlier: Sequence[str]) -> str:
    """The program after those of the earlier sources that bind a name which it lacks."""
    for source in reversed(earlier):
        read, bound = _names(program)
        if (read - bound - set(dir(builtins))) & _names(source)[1]:
            program = f"{source}\n\n{program}"
    return program


def _names(program: str) -> tuple[set[str], set[str]]:
    """The names that a program reads, and those that it binds anywhere."""
    read, bound = set(), set()
    for node in ast.walk(parse_code(program)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif name := getattr(node, "name", None):  # of a function, a class or an exception
            bound.add(name)
    return read, bound
