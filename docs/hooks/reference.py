"""A page of the reference for each public module, listing what its `__all__` names; the docstrings say the rest."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from mkdocs.structure.files import File, Files

import latentgate
import latentgate.adapters

MODELS = "latentgate.models"
# Constructors of `Sequences` whose arguments are described where the work is done.
CONSTRUCTORS = ("time_series.from_spikes", "labelled.from_xarray", "labelled.to_xarray", "tables.from_table")


def public_names(module: ModuleType) -> list[str]:
    """What a module offers, in its own order where it has an `__all__`; else what is defined in it."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [name for name, value in vars(module).items() if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__]


def entry(path: str, heading: str, level: int, **options: Any) -> str:
    """What mkdocstrings turns into the description of one object."""
    lines = [f"::: {path}", "    options:", f"      heading: {heading}", f"      heading_level: {level}"]
    return "\n".join([*lines, *(f"      {name}: {value}" for name, value in options.items())]) + "\n"


def module_page(module: ModuleType, called: str) -> str:
    """The page of a module that is called `called` in the reader's code."""
    parts = [entry(module.__name__, called, 1, members="false")]
    for name in public_names(module):
        value = getattr(module, name)
        if inspect.ismodule(value):
            parts.append(entry(value.__name__, f"{called}.{name}", 2, members="false"))
            parts.extend(entry(f"{value.__name__}.{inner}", f"{called}.{name}.{inner}", 3) for inner in public_names(value))
        else:
            parts.append(entry(f"{module.__name__}.{name}", f"{called}.{name}", 2))
    return "\n".join(parts)


def pages() -> dict[str, str]:
    """{file name: Markdown} of the whole reference."""
    modules = {name: importlib.import_module(path) for name, path in latentgate._MODULES.items()}
    homes: dict[str, list[str]] = {}
    for name, home in latentgate._HOMES.items():
        homes.setdefault(home, []).append(name)
    paged = {module.__name__: name for name, module in modules.items()}
    written = {f"{name}.md": module_page(module, f"lg.{name}") for name, module in modules.items()}
    places = {name: f"{name}.md" for name in modules}
    for home, names in homes.items():
        if home in paged:
            page = f"{paged[home]}.md"
        elif home.rpartition(".")[0] in paged:
            page = f"{paged[home.rpartition('.')[0]]}.md"
            written[page] += "".join("\n" + entry(f"{home}.{name}", f"lg.{name}", 2) for name in names)
        else:
            page = f"{home.rpartition('.')[2]}.md"
            parts = [entry(home, home, 1, members="false"), *(entry(f"{home}.{name}", f"lg.{name}", 2) for name in names)]
            if home == MODELS:
                parts.extend(entry(f"{MODELS}.base.{name}", f"{MODELS}.{name}", 2) for name in ("Model", "StateSpaceModel"))
            written[page] = "\n".join(parts)
        places.update(dict.fromkeys(names, page))
    written["data.md"] += "".join("\n" + entry(f"latentgate.data.{path}", f"latentgate.data.{path}", 2) for path in CONSTRUCTORS)
    written["adapters.md"] = entry("latentgate.adapters", "latentgate.adapters", 1, members="false")
    for found in pkgutil.iter_modules(latentgate.adapters.__path__, "latentgate.adapters."):
        written["adapters.md"] += "\n" + entry(found.name, found.name, 2)
    written["index.md"] = overview(places)
    return written


def overview(places: dict[str, str]) -> str:
    """The first page: every public name, and where it is described."""
    lines = [
        "# Reference",
        "",
        "Everything below is reached as `lg.NAME` after `import latentgate as lg`; optional neighbours are in [adapters](adapters.md).",
        "",
    ]
    lines += ["| name | what it is |", "|---|---|"]
    for name in latentgate.__all__:
        summary = (inspect.getdoc(getattr(latentgate, name)) or "").split("\n")[0].replace("|", r"\|")
        lines.append(f"| [`lg.{name}`]({places[name]}) | {summary} |")
    return "\n".join(lines) + "\n"


def on_files(files: Files, config: Any) -> Files:
    """mkdocs: the files of the book are known; the reference joins them, and the menu."""
    written = pages()
    for name, text in written.items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    for section in config["nav"]:
        if "Reference" in section:
            section["Reference"] = [f"reference/{name}" for name in sorted(written, key=lambda name: (name != "index.md", name))]
        if "Notebooks" in section:
            section["Notebooks"] = sorted(file.src_uri for file in files if file.src_uri.startswith("notebooks/") and file.src_uri.endswith(".ipynb"))
    return files
