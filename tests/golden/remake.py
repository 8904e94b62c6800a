"""Remakes the stored results: python -m tests.golden.remake, from the repository's root."""

import json
import tempfile
from pathlib import Path

import tests.conftest  # noqa: F401  (sets how JAX compiles; before JAX is imported)
from tests.golden import tiny_runs


def main() -> None:
    for devices in (1, 8):
        with tempfile.TemporaryDirectory() as folder:
            made = tiny_runs.run(Path(folder), devices)
        text = json.dumps({"facts": tiny_runs.facts(), **made}, indent=1, sort_keys=True) + "\n"
        (tiny_runs.HERE / f"results_{devices}.json").write_text(text)
        print(f"results_{devices}.json")


if __name__ == "__main__":
    main()
