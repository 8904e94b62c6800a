"""The report of `boostlm compile` for people."""

_COLUMNS = (
    "program", "peak GiB", "arguments", "results", "temporary", "code", "beside",
    "GFLOP", "HBM GB", "sent GB", "ms", "bound", "tokens/s",
)  # fmt: skip


def table(report: dict) -> str:
    """The report as text."""
    chip, prompts = report["chip"], report["prompts"]
    lines = [
        f"{report['topology']}: {report['chips']} chips, each {_gib(chip['memory'])} GiB, "
        f"{chip['flops'] / 1e12:g} TFLOP/s, HBM {chip['bandwidth'] / 1e9:g} GB/s, "
        f"network {chip['network'] / 1e9:.0f} GB/s",
        f"{report['model']['parameters'] / 1e6:,.0f}M parameters; prompts of {prompts['prefix']} "
        f"tokens in common and up to {prompts['longest']} of their own ({prompts['source']})",
        "",
        *_programs(report["programs"]),
        "",
        "Of each chip; GiB are binary and memory at its peak. Times are at the roofline, the least",
        "that they can be; tokens/s are over all chips. beside: the models that a run keeps.",
    ]
    for program in report["programs"]:
        sent = program.get("collectives")
        if sent:
            parts = (f"{of['times']:g} {kind}, {_gb(of['bytes'])} GB" for kind, of in sent.items())
            lines.append(f"{program['name']} sends: {'; '.join(parts)}")
    if report["work"]:
        lines += ["", *_work(report)]
    if report["advice"]:
        lines += ["", f"with {' '.join(report['advice'])}:", *_programs(report["with_advice"])]
    return "\n".join(lines)


def _programs(programs: list[dict]) -> list[str]:
    rows = [_COLUMNS]
    for program in programs:
        needs = _gib(program["needs"])
        if "cost" not in program:
            rows.append((program["name"], f"> {needs}", *["-"] * 9, "does not fit", ""))
            continue
        memory, cost = program["memory"], program["cost"]
        parts = ("arguments", "results", "temporaries", "code", "beside")
        rows.append(
            (
                program["name"],
                needs + " !" * (not program["fits"]),
                *(_gib(memory[part]) for part in parts),
                f"{cost['flops'] / 1e9:,.0f}",
                _gb(cost["hbm"]),
                _gb(cost["sent"]),
                f"{1e3 * cost['seconds']:.1f}",
                cost["bound"] if program["fits"] else "does not fit",
                f"{program['tokens'] / cost['seconds']:,.0f}",
            )
        )
    return _aligned(rows)


def _work(report: dict) -> list[str]:
    rows = [("whole run", "hours", "tokens/s")]
    rows += [
        (part["name"], f"{part['hours']:.2f}", f"{part['tokens_per_second']:,.0f}")
        for part in report["work"]
    ]
    rows.append(("in all", f"{report['hours']:.2f}", ""))
    lines = _aligned(rows)
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


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}"


def _gb(size: float) -> str:
    return f"{size / 1e9:,.3f}" if size < 1e9 else f"{size / 1e9:,.1f}"
