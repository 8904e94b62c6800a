"""A process that dies at one of its commits, as SIGKILL would have it."""

from boostlm.storage import checkpoint, durable_files
from support.lives import files_below


class Killed(BaseException):
    """Stands in for SIGKILL: nothing may catch it."""


class Crashes:
    """Raises Killed at the `at`-th commit (0, 1, ...) of a life: half-way through it or after it."""

    def __init__(self, patch, at, how):
        self.at, self.how, self.seen = at, how, []
        for module, name, half in (
            (durable_files, "write_atomically", self.half_a_temporary_file),
            (durable_files, "append_durably", self.half_a_line),
            (checkpoint, "_write", self.half_a_checkpoint),
            (checkpoint, "_remove", self.half_removed),
        ):
            patch.setattr(module, name, self.wrap(getattr(module, name), half))

    def wrap(self, real, half):
        def call(path, *data):
            if real is checkpoint_remove and not path.exists():
                return real(path)
            return self.commit(path, lambda: real(path, *data), lambda: half(path, *data))

        return call

    def commit(self, path, real, half):
        self.seen.append(str(path))
        if len(self.seen) - 1 != self.at:
            return real()
        half() if self.how == "half" else real()
        raise Killed(path)

    def half_a_temporary_file(self, path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / f"{path.name}.0123abcd.tmp").write_bytes(data[: len(data) // 2])

    def half_a_line(self, path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(data[: len(data) * 3 // 5])

    def half_a_checkpoint(self, path, tree):
        for folder in (path, path.parent / f"{path.name}.orbax-checkpoint-tmp"):
            (folder / "d").mkdir(parents=True, exist_ok=True)
            (folder / "d" / "0123").write_bytes(b"torn")

    def half_removed(self, path):
        (path.parent / f"{path.name}.manifest.json").unlink()
        next(iter(files_below(path))).unlink()


checkpoint_remove = checkpoint._remove
