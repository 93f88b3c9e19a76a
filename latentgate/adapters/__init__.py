"""Bridges to other libraries, one submodule each: `pymc`, `dynamax`, `sklearn`, `pynapple`, `nwb`. Each is imported with its submodule only."""

from __future__ import annotations


def requirement(adapter: str, package: str, extra: str) -> ImportError:
    """The error of an adapter whose library is not installed."""
    return ImportError(f"latentgate.adapters.{adapter}: found no package {package!r}, which it needs; install it with pip install 'latentgate[{extra}]'.")
