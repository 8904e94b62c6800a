"""Finds the installed packages that programs in the sandbox may import besides Python's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

from boostlm.errors import BoostError

INSIDE = "/packages"  # their folder inside the sandbox


@dataclass(frozen=True)
class Packages:
    """What the sandbox takes from site-packages.

    Attributes:
      paths: pairs of a path outside and its path inside.
      modules: names to import.
    """

    paths: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()


def locate(names: Sequence[str]) -> Packages:
    """The files of packages, by the names that pip knows. It takes no dependencies.

    Raises:
      BoostError: a package is not installed, or its files are elsewhere (an editable install).
    """
    paths, modules = {}, []
    for name in names:
        try:
            package = distribution(name)
        except (PackageNotFoundError, ValueError):
            raise BoostError(
                f"sandbox packages: {name!r} is not installed; `pip install` it or leave it out"
            ) from None
        files = [file for file in package.files or [] if ".." not in file.parts]
        found = [
            file.parts[0].removesuffix(".py")
            for file in files
            if file.parts[1:] == ("__init__.py",) or (file.suffix == ".py" and len(file.parts) == 1)
        ]
        if not found:
            raise BoostError(
                f"sandbox packages: {name!r} has no module of its own in site-packages; install it "
                "without --editable, or leave it out"
            )
        modules += found
        for file in files:
            top = file.parts[0]
            if not top.endswith((".dist-info", "__pycache__")):
                paths[str(package.locate_file(top))] = f"{INSIDE}/{top}"
    return Packages(tuple(paths.items()), tuple(modules))
