"""The report of `boostlm compile` for people."""

from typing import Any

_COLUMNS = (
    "program", "memory", "arguments", "results", "temporary", "code", "beside",
    "FLOP", "HBM bytes", "sent bytes", "time", "bound", "tokens/s",
)  # fmt: skip


def compile_table(report: dict[str, Any]) -> str:
    """The report as text."""
    chip, prompts = report["chip"], report["prompts"]
    lines = [
        f"{report['topology']}: {report['chips']} chips, each {binary(chip['memory'])}, "
        f"{chip['flops'] / 1e12:g} TFLOP/s, HBM {chip['bandwidth'] / 1e9:g} GB/s, "
        f"network {chip['network'] / 1e9:.0f} GB/s",
        f"{report['model']['parameters']:,} parameters; prompts of {prompts['prefix']} "
        f"tokens in common and up to {prompts['longest']} of their own ({prompts['source']})",
        "",
        *_programs(report["programs"]),
        "",
        "Per chip, for one run of each program. Memory is the peak, with the models that the run",
        "keeps beside the program. Times are at the roofline: real ones are longer. Tokens/s",
        "count all chips.",
    ]
    if report["quick"]:
        lines.append("Compiled with XLA's least effort: a run takes somewhat less memory.")
    for program in report["programs"]:
        sent = program.get("collectives")
        if sent:
            parts = (
                f"{of['times']:g} {kind}, {_decimal(of['bytes'])}" for kind, of in sent.items()
            )
            lines.append(f"{program['name']} sends, in bytes: {'; '.join(parts)}")
    if report["work"]:
        lines += ["", *_work(report)]
    if report["advice"]:
        lines += ["", f"with {' '.join(report['advice'])}:", *_programs(report["with_advice"])]
    return "\n".join(lines)


def _programs(programs: list[dict[str, Any]]) -> list[str]:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for program in programs:
        needs = binary(program["needs"])
        if "cost" not in program:
            rows.append((program["name"], f"> {needs}", *["-"] * 9, "does not fit", ""))
            continue
        memory, cost = program["memory"], program["cost"]
        parts = ("arguments", "results", "temporaries", "code", "beside")
        rows.append(
            (
                program["name"],
                needs + " !" * (not program["fits"]),
                *(binary(memory[part]) for part in parts),
                _decimal(cost["flops"]),
                _decimal(cost["hbm"]),
                _decimal(cost["sent"]),
                _time(cost["seconds"]),
                cost["bound"] if program["fits"] else "does not fit",
                f"{program['tokens'] / cost['seconds']:,.0f}",
            )
        )
    return _aligned(rows)


def _work(report: dict[str, Any]) -> list[str]:
    rows: list[tuple[str, ...]] = [("whole run", "hours", "tokens/s")]
    rows += [
        (part["name"], f"{part['hours']:.2f}", f"{part['tokens_per_second']:,.0f}")
        for part in report["work"]
    ]
    rows.append(("in all", f"{report['hours']:.2f}", ""))
    lines = [
        *_aligned(rows),
        f"The whole run at the roofline, for responses of {report['response_tokens']:g} tokens and "
        "prompts that are all as long as the longest.",
    ]
    if report["cost"] is not None:
        lines.append(f"cost: {report['cost']:,.2f}")
    return lines


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def binary(size: float) -> str:
    """Bytes of memory, such as "7.31 GiB"."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _decimal(number: float) -> str:
    """Such as "1.23 G"."""
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g} {unit}".strip()
        number /= 1000
    return f"{number:,.4g} T"


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:.3g} us" if seconds < 1e-3 else f"{1e3 * seconds:,.4g} ms"
