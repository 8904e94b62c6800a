"""The look of the report's figures: colours, fonts, a frameless figure, and saving it.

Lengths are in points. Colours are the light theme's; the page swaps them by name (`THEME`).
"""

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from boostlm.config import FOUR_ARMS
from boostlm.curation.arms import ARMS

# name -> (light, dark). The first four arms differ in lightness too, for eyes that confuse hues.
THEME = {
    "ink": ("#1d2733", "#e8ebef"),
    "muted": ("#5d6875", "#a3adb9"),
    "grid": ("#e4e8ec", "#323a44"),
    "paper": ("#ffffff", "#14181d"),
    "bar": ("#c3cad2", "#4b5561"),
    "do_nothing": ("#868c95", "#98a0ab"),
    "filter_only": ("#1769b0", "#62b0ee"),
    "uniform": ("#c28500", "#e6b440"),
    "boosting": ("#00795a", "#36c596"),
    "red": ("#b3312c", "#ff8a80"),
    "purple": ("#7a3fb0", "#c49bf0"),
    "teal": ("#00788a", "#4cc3d6"),
    "orange": ("#a34a00", "#f0a060"),
    "magenta": ("#b0277f", "#f08ac8"),
    "olive": ("#4d6b00", "#a8cc4a"),
    "indigo": ("#3f51b5", "#9aa8f5"),
    "brown": ("#5d4037", "#c7a79a"),
}
INK, MUTED, GRID, PAPER, BAR = (light for light, _ in list(THEME.values())[:5])
HUES = list(THEME)[9:]  # of the arms that have no colour of their own
# The shapes of arms: for matplotlib, and for HTML.
SHAPES = {
    "o": "\N{BLACK CIRCLE}",
    "s": "\N{BLACK SQUARE}",
    "^": "\N{BLACK UP-POINTING TRIANGLE}",
    "D": "\N{BLACK DIAMOND}",
    "v": "\N{BLACK DOWN-POINTING TRIANGLE}",
    "*": "\N{BLACK STAR}",
    "<": "\N{BLACK LEFT-POINTING TRIANGLE}",
    ">": "\N{BLACK RIGHT-POINTING TRIANGLE}",
    "p": "\N{BLACK PENTAGON}",
    "h": "\N{BLACK HEXAGON}",
}
LEFT, RIGHT = 36.0, 106.0  # margins for numbers, and for names with numbers
SMALL = 8.5  # font size inside dense figures
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,  # a name may hold dollar signs
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "svg.fonttype": "none",
    "svg.hashsalt": "boostlm",
}


@contextmanager
def figure_style(size: float = 9.0) -> Iterator[None]:
    """Within the block, matplotlib uses the fonts and colours of the report."""
    with matplotlib.rc_context({**STYLE, "font.size": size}), warnings.catch_warnings():
        # Names may be in any script; the browser has the glyphs that the measuring font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(
    height: float, left: float, right: float, width: float = 360.0, bottom: float = 32.0
) -> tuple[Figure, Axes]:
    """A figure with one axes that is `height` high; the margins are fixed, so labels have room."""
    total = height + 8 + bottom
    figure = Figure(figsize=(width / 72, total / 72), dpi=72)
    figure.patch.set_visible(False)
    box = (left / width, bottom / total, (width - left - right) / width, height / total)
    return figure, bare(figure.add_axes(box))


def bare(ax: Axes, grid: Literal["both", "x", "y"] = "y") -> Axes:
    """No frame, no ticks: a thin grid behind the data."""
    ax.patch.set_visible(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(left=False, bottom=False)
    ax.set_axisbelow(True)
    ax.grid(visible=False)
    ax.grid(axis=grid, color=GRID, linewidth=0.8)
    return ax


def save_figure(figure: Figure, kind: str) -> bytes:
    """The bytes of an "svg" or "png" file; the same figure gives the same bytes."""
    for artist in figure.findobj():
        artist.set_clip_on(False)  # a marker on the axes' edge shows whole
    out = io.BytesIO()
    if kind == "svg":
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(out, metadata=metadata)
    else:
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def svg_of(figure: Figure) -> str:
    """The figure as SVG text."""
    return save_figure(figure, "svg").decode()


def colour_name(arm: str) -> str:
    """The name in THEME of an arm's colour, the same in every run."""
    return arm if arm in FOUR_ARMS else HUES[_number(arm) % len(HUES)]


def colour_of(arm: str) -> str:
    """An arm's colour in the light theme."""
    return THEME[colour_name(arm)][0]


def marker_of(arm: str) -> str:
    """An arm's shape, one of SHAPES. Arms with the same colour differ in it, with luck."""
    if arm in FOUR_ARMS:
        return list(SHAPES)[FOUR_ARMS.index(arm)]
    return list(SHAPES)[_number(arm) * 3 % len(SHAPES)]


def _number(arm: str) -> int:
    """A preset's place among the presets; a number made of any other name."""
    presets = list(ARMS)
    return presets.index(arm) if arm in presets else zlib.crc32(arm.encode())
