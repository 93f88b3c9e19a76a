"""A numpyro whose submodules are all in their place.

ArviZ, imported first, leaves a numpyro that is loaded when it is first touched. What touches it then may be numpyro itself, half-loaded, and some submodules
are not entered as attributes of their packages, as `import` does it otherwise: numpyro would miss them when it samples.
"""

import sys

from numpyro import distributions as _distributions  # noqa: F401 - else its submodules would be loaded twice, as two sets of classes

for _name, _module in list(sys.modules.items()):
    _package, _, _attribute = _name.rpartition(".")
    if _name.startswith("numpyro.") and not hasattr(sys.modules[_package], _attribute):
        setattr(sys.modules[_package], _attribute, _module)
