"""JAX's persistent compilation cache: programs that were compiled once are found again by the next process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Programs that compile faster are not worth a file each: without a limit the first call of a GLM-HMM takes the same processor time from a full cache.
MINIMUM_SECONDS = 0.5
_FOLDER = "compiled_programs"
_SUFFIX = "-cache"


def compilation_cache(folder: str | os.PathLike[str] | None = None) -> Path:
    """Turns on JAX's persistent compilation cache for this process, so that the same fit of data of the same shapes need not be compiled a second time.

    Importing latentgate never does this; call it once, at the start of a script or notebook. The command `latentgate` does so by itself. What is kept depends
    on the program, on the versions of JAX and XLA, on the options of the compiler and on the features of the processor: where one differs, the program is
    compiled anew, and nothing wrong is run. Tracing is not kept, so a first call still takes longer than a second one.

    The files are machine code that later processes run: whoever can write into the folder can make you run anything. A folder that is made here is yours alone.
    It grows without bound, a few megabytes a model; it can be deleted at any time.

    Args:
        folder: where to keep compiled programs. None: the folder that JAX already has (the environment variable JAX_COMPILATION_CACHE_DIR names one), else
            "compiled_programs" in the folder of downloaded recordings (the one that LATENTGATE_CACHE names, or the user's cache folder).

    Returns:
        the folder.

    Raises:
        OSError: if the folder can neither be found nor made, or not be written to.

    Source: https://docs.jax.dev/en/latest/persistent_compilation_cache.html

    Example:
        >>> import tempfile, latentgate.compilation
        >>> latentgate.compilation.compilation_cache(tempfile.mkdtemp()).is_dir()
        True
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache as jax_cache

    configured = jax.config.jax_compilation_cache_dir
    chosen = Path(folder) if folder is not None else Path(configured) if configured else default_folder()
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(chosen, os.W_OK):
        raise PermissionError(f"folder: found {str(chosen)!r}, which cannot be written to; expected a folder of your own.")
    if str(chosen) != configured:
        jax.config.update("jax_compilation_cache_dir", str(chosen))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", MINIMUM_SECONDS)
        # JAX looks for the folder at its first compilation only, which may lie behind us.
        jax_cache.reset_cache()
    return chosen


def default_folder() -> Path:
    """Where compiled programs are kept unless told otherwise; it need not be there."""
    folder = os.environ.get("LATENTGATE_CACHE")
    if not folder:
        import pooch

        folder = pooch.os_cache("latentgate")
    return Path(folder) / _FOLDER


def cache_state(folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """What the cache holds.

    Args:
        folder: of the cache; None for the one that `compilation_cache` would choose.

    Returns:
        {"folder": its path, "on": whether JAX uses it in this process, "entries": number of programs, "megabytes": their size}.
    """
    import jax

    configured = jax.config.jax_compilation_cache_dir
    chosen = Path(folder) if folder is not None else Path(configured) if configured else default_folder()
    sizes = [path.stat().st_size for path in chosen.glob(f"*{_SUFFIX}")]
    on = bool(configured) and Path(configured) == chosen and bool(jax.config.jax_enable_compilation_cache)
    return {"folder": str(chosen), "on": on, "entries": len(sizes), "megabytes": round(sum(sizes) / 1e6, 2)}
