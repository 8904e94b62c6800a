"""Fills the generated parts into pages, and reads the docstrings' Markdown as reStructuredText."""

import re

from generated import fill_in


def fill_page(app, name: str, content: list[str]) -> None:
    """Sphinx' `source-read` event."""
    content[0] = fill_in(content[0])


def as_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Sphinx' `autodoc-process-docstring` event, before Napoleon's.

    Docstrings write code in single backticks and powers as e**x; an example stays as it is.
    """
    in_example = False
    for i, line in enumerate(lines):
        if line.startswith("Example:"):
            in_example = True
        elif line and not line[0].isspace():
            in_example = False
        if in_example:
            continue
        spans = re.split(r"(`[^`]+`)", line)
        lines[i] = "".join(
            f"`{span}`" if span.startswith("`") else _escaped(span) for span in spans
        )


def _escaped(text: str) -> str:
    text = re.sub(r"([*|])", r"\\\1", text)
    text = re.sub(r"(?<=: )([A-Z])(?=\.)", r"\\\1", text)  # "R." alone would begin a list
    return re.sub(r"(?<=\w)_(?!\w|:)", r"\\_", text)


def setup(app):
    """Connects both."""
    app.connect("source-read", fill_page)
    app.connect("autodoc-process-docstring", as_rst, priority=400)
    return {"parallel_read_safe": True}
