"""Makes the tutorial's pictures of the report again, in a light and a dark version.

    boostlm run --name tutorial --seeds 2 --rounds 3
    python docs/images/remake.py runs/tutorial

The first command takes six to eight minutes on two cores. The second needs Chromium, on PATH as
`chromium` or where $CHROMIUM says.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from boostlm.cli.main import main

FOLDER = Path(__file__).parent
# Picture -> the heading that it begins at ("" for the top of the page) and the one that ends it.
PICTURES = {
    "top": ("", "Prompt by prompt"),
    "accuracy": ("Accuracy", "Who gained where"),
    "groups": ("Who gained where", "One try or several"),
    "labels": ("Where boosting pointed its labels", "What an audit finds"),
    "theory": ("Theory and measurement", "Details"),
}
WIDTH, HEIGHT, MARGIN = 1120, 2400, 16  # pixels


def part_of(page: str, first: str, end: str) -> str:
    """The report with one part of its body only."""
    head, _, body = page.partition("<main>")
    begin = body.index(f"<h2>{first}</h2>") if first else 0
    part = body[begin : body.index(f"<h2>{end}</h2>")]
    return f"{head}<main style='padding:0 24px'>{part}</main>"


def photograph(html: str, image: Path, *, dark: bool) -> None:
    """Renders a page, and cuts the empty space around it off."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        page.write_text(html)
        command = [os.environ.get("CHROMIUM", "chromium"), "--headless", "--no-sandbox"]
        command += ["--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"]
        command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
        command += [f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        with Image.open(shot) as opened:
            picture = opened.convert("RGB")
    paper = Image.new("RGB", picture.size, picture.getpixel((0, picture.height - 1)))
    left, top, right, bottom = ImageChops.difference(picture, paper).getbbox()
    edges = (left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN)
    picture = picture.crop((max(edges[0], 0), max(edges[1], 0), min(edges[2], WIDTH), edges[3]))
    picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(image, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as out:
        if main(["report", sys.argv[1], "--out", out]):
            sys.exit(1)
        report = (Path(out) / "report.html").read_text()
    for name, (first, end) in PICTURES.items():
        for theme in ("light", "dark"):
            image = FOLDER / f"report_{name}_{theme}.png"
            photograph(part_of(report, first, end), image, dark=theme == "dark")
            print(image)
