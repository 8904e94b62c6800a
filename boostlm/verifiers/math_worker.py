"""A process that compares LaTeX answers with math-verify: one JSON line in, one out.

It runs apart because SymPy can take forever, or all memory: `math_answer` ends it then.

    python -m boostlm.verifiers.math_worker
    > ready
    < ["the reference", "the response"]
    > true, or false, or null where the reference cannot be read
"""

import json
import logging
import re
import resource
import sys

# LaTeX without dollar signs, and not a sentence
_BARE = re.compile(
    r"(?=[^$]*[\d\\^+=({\[])(?!.*\\boxed|.*(?<![\\{])\b[A-Za-z]{2,}\b)[^$]{1,300}", re.DOTALL
)
_MOST_BYTES = 4 * 2**30  # of address space


def compare_lines() -> None:
    """Answers lines until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    logging.disable(logging.CRITICAL)
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    out, sys.stdout = sys.stdout, sys.stderr  # what packages print is no answer
    kinds = (LatexExtractionConfig(), ExprExtractionConfig())

    def read(text: str) -> list:
        bare = f"${text}$" if _BARE.fullmatch(text) else ""
        found = parse(bare, extraction_config=kinds, parsing_timeout=0)
        found = found or parse(text, extraction_config=kinds, parsing_timeout=0)
        return found

    print("ready", file=out, flush=True)
    for line in sys.stdin:
        reference, response = json.loads(line)
        verdict = None
        if gold := read(reference):
            try:
                verdict = bool(verify(gold, read(response), timeout_seconds=None))
            except Exception:  # SymPy raises many kinds
                verdict = False
        print(json.dumps(verdict), file=out, flush=True)


if __name__ == "__main__":
    compare_lines()
