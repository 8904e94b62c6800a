"""Which programs are compiled."""

import contextlib

import jax
import pytest


@contextlib.contextmanager
def counting_compilations():
    """Collects the names of the programs that are compiled, or read from the cache, inside."""
    names, real = [], jax._src.compiler.compile_or_get_cached

    def counted(backend, computation, *rest, **options):
        names.append(str(computation.operation.attributes["sym_name"]).strip('"'))
        return real(backend, computation, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax._src.compiler, "compile_or_get_cached", counted)
        yield names
