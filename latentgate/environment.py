"""What numbers may depend on besides data and model: versions, precision, devices; and which optional extras are installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

from latentgate import __version__

_PACKAGES = ("jax", "jaxlib", "numpyro", "equinox", "optax", "numpy", "scipy", "matplotlib")
# {extra of the package: what it is for, and the modules that it brings}
_EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "pymc": ("a model's likelihood inside a PyMC model", ("pymc", "nutpie")),
    "dynamax": ("parameters from and to dynamax", ("dynamax",)),
    "pynapple": ("results as pynapple objects", ("pynapple",)),
    "nwb": ("NWB files", ("pynwb",)),
    "nlb": ("files of the Neural Latents Benchmark", ("h5py",)),
    "enumeration": ("discrete sites in numpyro guides of your own", ("funsor",)),
    "cluster": ("studies on a cluster", ("distributed",)),
}


def versions() -> dict[str, str]:
    """Versions of latentgate, Python and the packages that numbers may depend on."""
    return {"latentgate": __version__, "python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def precision() -> str:
    """The floating-point type that JAX uses in this process, "float64" or "float32"."""
    import jax

    return "float64" if jax.config.read("jax_enable_x64") else "float32"


def devices() -> list[str]:
    """Devices that JAX computes on, as "cpu: cpu" or "gpu: NVIDIA ..."."""
    import jax

    return [f"{device.platform}: {device.device_kind}" for device in jax.devices()]


def machine() -> str:
    """System, processor, cores, devices and precision, in one line."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; JAX devices: {', '.join(devices())}; {precision()}"


def extras() -> dict[str, dict[str, Any]]:
    """Optional extras: {name: {"for": what, "installed": whether all of it is here, "command": what installs it}}."""
    return {
        name: {
            "for": purpose,
            "installed": all(importlib.util.find_spec(module) is not None for module in modules),
            "command": f"pip install 'latentgate[{name}]'",
        }
        for name, (purpose, modules) in _EXTRAS.items()
    }
