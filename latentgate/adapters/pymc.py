"""Any latentgate model inside a PyMC model: its log-likelihood with gradient as a PyTensor operation, its priors as random variables.

Whatever samples the PyMC model (PyMC's own NUTS, nutpie on numba or JAX, numpyro, blackjax), the latent states are integrated out exactly by latentgate.

Precision: the operation computes in 64 bits whenever PyTensor calls it, and its result has the type of `pytensor.config.floatX`, whatever the precision of
JAX in the rest of the program. Where PyTensor compiles a whole model to JAX (numpyro, blackjax, `backend="jax"`), PyTensor itself turns on JAX's 64-bit
types for the whole process if floatX is float64; if someone has turned them off again, the operation refuses rather than lose digits.

Processes: a program that has used JAX must not be forked. PyMC's own NUTS forks where it may use several cores; this is refused, with what to do instead.
nutpie and numpyro use threads and need no care.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# ArviZ, which PyMC imports, leaves numpyro half loaded, and `import numpyro.distributions` would then load its distributions twice; this form does not.
from numpyro import distributions as dist

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models import distributions as mended

from . import requirement

try:
    import pymc as pm
    import pytensor.tensor as pt
    from pytensor.configdefaults import config
    from pytensor.gradient import DisconnectedType
    from pytensor.link.jax.ops import JAXOp
    from pytensor.tensor.type import TensorType
    from pytensor.tensor.variable import TensorVariable
except ImportError as error:
    raise requirement("pymc", "pymc", "pymc") from error


def log_likelihood(model: StateSpaceModel, data: Sequences, params: Mapping[str, Any], *, pointwise: bool = False) -> TensorVariable:
    """Log-likelihood of a latentgate model as a PyTensor variable, latents integrated out, differentiable in the parameters.

    NaN where the scaled recursion underflows; build the model with `semiring="log"` there.

    Args:
        model: any latentgate model.
        data: sequences.
        params: {dotted name: PyTensor variable or array} for every parameter of the model, in natural space.
        pointwise: one value for each sequence instead of their sum.

    Returns:
        scalar, or [sequence], of type `pytensor.config.floatX`. Put the scalar in a `pm.Potential`.

    Raises:
        TypeError: for a model or data of another library.
        ValueError: if the data do not belong to the model, if parameters are absent, unknown or have a wrong number of dimensions.

    Example:
        >>> import numpy as np, pymc as pm, latentgate as lg
        >>> from latentgate.adapters.pymc import log_likelihood
        >>> data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(2.0, (30, 1)).astype(float)])
        >>> with pm.Model() as hierarchy:
        ...     population = pm.Gamma("population", 2.0, 1.0)
        ...     params = {
        ...         "initial.probs": np.full(2, 0.5),
        ...         "transition.probs": pm.Dirichlet("transition.probs", np.ones((2, 2))),
        ...         "emission.rates": pm.Exponential("emission.rates", 1 / population, shape=(2, 1)),
        ...     }
        ...     _ = pm.Potential("log_likelihood", log_likelihood(lg.HMM(2, lg.emissions.Poisson(1)), data, params))
        >>> bool(np.isfinite(hierarchy.compile_logp()(hierarchy.initial_point())))
        True
    """
    if not isinstance(model, StateSpaceModel):
        raise TypeError(f"model: found {type(model).__name__}, expected a latentgate model such as lg.HMM(3, lg.emissions.Poisson(20)).")
    model.check(data)
    names = list(model.dims())
    variables = _checked(model, params)
    with jax.enable_x64(True):
        # As NumPy arrays they take the precision of whatever program they enter.
        prepared = jax.tree.map(np.asarray, model.prepare(data))

    def evaluate(data: Sequences, *values: Any) -> jax.Array:
        natural = {name: jnp.asarray(value, dtype=float) for name, value in zip(names, values, strict=True)}
        values_of_sequences = model.potentials(natural, data).log_normaliser()
        return values_of_sequences if pointwise else values_of_sequences.sum()

    operation = _Pointwise if pointwise else _Total
    return operation.of(evaluate, prepared, variables, (data.num_sequences,) if pointwise else ())


def _checked(model: StateSpaceModel, params: Mapping[str, Any]) -> list[TensorVariable]:
    """The parameters in the order of the model's names, as variables of PyTensor's float type."""
    dims = model.dims()
    if not isinstance(params, Mapping):
        raise TypeError(f"params: found {type(params).__name__}, expected {{name: variable}} for {', '.join(dims)}.")
    absent, unknown = [name for name in dims if name not in params], [name for name in params if name not in dims]
    if absent or unknown:
        found = f"no {absent[0]!r}" if absent else f"an unknown name {unknown[0]!r}"
        raise ValueError(f"params: found {found}, expected exactly the parameters of the model: {', '.join(dims)}.")
    variables = []
    for name, axes in dims.items():
        variable = pt.as_tensor_variable(params[name])
        if variable.ndim != len(axes):
            raise ValueError(f"params[{name!r}]: found {variable.ndim} dimensions, expected {len(axes)}: [{', '.join(axes)}].")
        variables.append(variable.astype(config.floatX))
    return variables


class _Double(JAXOp):
    """A JAX function as a PyTensor operation that computes in 64 bits; as a subclass of PyTensor's, it is known to PyTensor's JAX linker."""

    def __init__(self, input_types: Any, output_types: Any, jax_function: Callable, name: str):
        super().__init__(input_types, output_types, jax_function, name=name)
        self.process = os.getpid()

    def __str__(self) -> str:
        return str(self.name)

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        if os.getpid() != self.process:
            raise RuntimeError(
                'pm.sample: found that PyMC has forked this process, in which JAX would hang, expected one process; pass cores=1, or mp_ctx="forkserver" in '
                'a script whose work stands under if __name__ == "__main__", or nuts_sampler="nutpie".'
            )
        # Samplers call from threads of their own, and this switch holds for the thread that sets it.
        with jax.enable_x64(True):
            super().perform(node, inputs, outputs)

    def perform_jax(self, *inputs: Any) -> Any:
        wanted = {output.dtype for output in self.output_types}
        if "float64" in wanted and jnp.result_type(float) != np.float64:
            raise ValueError(
                "jax_enable_x64: found False while PyTensor's floatX is float64, expected True, which PyTensor sets when it first compiles to JAX; "
                'call jax.config.update("jax_enable_x64", True), or set pytensor.config.floatX = "float32" before building the model.'
            )
        results = self.jax_func(*inputs)
        cast: tuple[Any, ...] = tuple(result.astype(output.dtype) for result, output in zip(results, self.output_types, strict=True))
        return cast[0] if len(self.output_types) == 1 else cast

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list:
        found = super().pullback(inputs, outputs, output_gradients)
        node: Any = next(gradient.owner for gradient in found if not isinstance(gradient.type, DisconnectedType))
        operation = _Double(node.op.input_types, node.op.output_types, node.op.jax_func, name=node.op.name)
        ours: Any = operation(*node.inputs, return_list=True)
        replaced: dict[Any, Any] = dict(zip(node.outputs, ours, strict=True))
        return [replaced.get(gradient, gradient) for gradient in found]

    def __reduce__(self) -> tuple:
        # Compiled programs cannot be sent to another process.
        return type(self), (self.input_types, self.output_types, self.jax_func, self.name)


class _OfData(_Double):
    """A function of data and parameters; the data are an argument of the compiled program, which would hold large constants otherwise."""

    def __init__(self, input_types: Any, output_types: Any, evaluate: Callable, data: Sequences):
        super().__init__(input_types, output_types, lambda *values: evaluate(data, *values), name="latentgate_log_likelihood")
        self.evaluate, self.data = evaluate, data
        with jax.enable_x64(True):
            self.jitted_func = functools.partial(jax.jit(evaluate), jax.device_put(data))

    def __reduce__(self) -> tuple:
        return type(self), (self.input_types, self.output_types, self.evaluate, self.data)


class _Pointwise(_OfData):
    """One value a sequence."""

    @classmethod
    def of(cls, evaluate: Callable, data: Sequences, variables: Sequence[TensorVariable], shape: tuple[int, ...]) -> TensorVariable:
        """The operation applied to variables."""
        output = TensorType(config.floatX, shape=shape)
        operation: Any = cls([variable.type for variable in variables], [output], lambda data, *values: (evaluate(data, *values),), data)
        return operation(*variables)


class _Total(_OfData):
    """A scalar and its gradient together: a sampler wants both, and PyTensor computes the outputs of one node once."""

    @classmethod
    def of(cls, evaluate: Callable, data: Sequences, variables: Sequence[TensorVariable], shape: tuple[int, ...]) -> TensorVariable:
        """The operation applied to variables."""
        types = [variable.type for variable in variables]
        positions = tuple(range(1, len(types) + 1))

        def both(data: Sequences, *values: Any) -> tuple:
            value, gradients = jax.value_and_grad(evaluate, argnums=positions)(data, *values)
            return (value, *gradients)

        operation: Any = cls(types, [TensorType(config.floatX, shape=shape), *types], both, data)
        return operation(*variables, return_list=True)[0]

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list:
        of_value, *of_gradients = output_gradients
        if all(isinstance(gradient.type, DisconnectedType) for gradient in of_gradients):
            return [of_value * gradient for gradient in outputs[1:]]
        return super().pullback(inputs, outputs, output_gradients)


# {numpyro's distribution: (PyMC's, {PyMC's argument: numpyro's})}.
_KNOWN: dict[type, tuple[Any, dict[str, str]]] = {
    dist.Beta: (pm.Beta, {"alpha": "concentration1", "beta": "concentration0"}),
    dist.Cauchy: (pm.Cauchy, {"alpha": "loc", "beta": "scale"}),
    dist.Dirichlet: (pm.Dirichlet, {"a": "concentration"}),
    dist.Exponential: (pm.Exponential, {"lam": "rate"}),
    dist.Gamma: (pm.Gamma, {"alpha": "concentration", "beta": "rate"}),
    dist.Gumbel: (pm.Gumbel, {"mu": "loc", "beta": "scale"}),
    dist.HalfCauchy: (pm.HalfCauchy, {"beta": "scale"}),
    dist.HalfNormal: (pm.HalfNormal, {"sigma": "scale"}),
    dist.InverseGamma: (pm.InverseGamma, {"alpha": "concentration", "beta": "rate"}),
    dist.Laplace: (pm.Laplace, {"mu": "loc", "b": "scale"}),
    dist.Logistic: (pm.Logistic, {"mu": "loc", "s": "scale"}),
    dist.LogNormal: (pm.LogNormal, {"mu": "loc", "sigma": "scale"}),
    dist.Normal: (pm.Normal, {"mu": "loc", "sigma": "scale"}),
    dist.StudentT: (pm.StudentT, {"nu": "df", "mu": "loc", "sigma": "scale"}),
    dist.Uniform: (pm.Uniform, {"lower": "low", "upper": "high"}),
    dist.Weibull: (pm.Weibull, {"alpha": "concentration", "beta": "scale"}),
}
_KNOWN |= {mended.Beta: _KNOWN[dist.Beta], mended.Dirichlet: _KNOWN[dist.Dirichlet], mended.Gamma: _KNOWN[dist.Gamma]}


def random_variables(
    model: StateSpaceModel,
    given: Mapping[str, Any] | None = None,
    *,
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A PyMC random variable for every prior of a latentgate model, under its dotted name, in the PyMC model that is being built.

    To use a latentgate model several times in one PyMC model, build each use inside `with pm.Model(name="animal_1"):`, which prefixes the names.

    Args:
        model: any latentgate model.
        given: {dotted name: PyTensor variable or array} of parameters that the larger model supplies; these get no variable of their own.
        start: {dotted name: array} where the sampler starts, for example `lg.fit(model, data, seed=0).params`. States are alike a priori, and a start at which
            they differ saves the chains from sorting them out each in its own way.

    Returns:
        {dotted name: variable} of all parameters, those given included, as `log_likelihood` takes them.

    Raises:
        TypeError: for a prior that PyMC does not know, naming the parameter; supply that one in `given`.
        ValueError: for an unknown name in `given` or `start`, or a start outside the support of its prior or on its boundary.

    Example:
        >>> import pymc as pm, latentgate as lg
        >>> from latentgate.adapters.pymc import random_variables
        >>> with pm.Model() as posterior:
        ...     _ = random_variables(lg.HMM(2, lg.emissions.Poisson(3)))
        >>> [variable.name for variable in posterior.free_RVs]
        ['initial.probs', 'transition.probs', 'emission.rates']
    """
    if not isinstance(model, StateSpaceModel):
        raise TypeError(f"model: found {type(model).__name__}, expected a latentgate model such as lg.HMM(3, lg.emissions.Poisson(20)).")
    given, start, priors = dict(given or {}), dict(start or {}), model.priors()
    for argument, names in (("given", given), ("start", start)):
        unknown = [name for name in names if name not in priors]
        if unknown:
            raise ValueError(f"{argument}: found the name {unknown[0]!r}, expected some of {', '.join(priors)}.")
    return {name: given[name] if name in given else _random_variable(name, prior, start.get(name)) for name, prior in priors.items()}


def pymc_model(model: StateSpaceModel, data: Sequences, *, start: Mapping[str, Any] | None = None) -> pm.Model:
    """A latentgate model with its priors and data as a PyMC model: the posterior that `lg.NUTS` samples, for PyMC's samplers and tools.

    Args:
        model: any latentgate model.
        data: sequences.
        start: as in `random_variables`.

    Raises:
        TypeError, ValueError: as `random_variables` and `log_likelihood`.

    Example:
        >>> import numpy as np, pymc as pm, latentgate as lg
        >>> from latentgate.adapters.pymc import pymc_model
        >>> data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(2.0, (20, 1)).astype(float)])
        >>> with pymc_model(lg.HMM(1, lg.emissions.Poisson(1)), data):
        ...     draws = pm.sample(draws=5, tune=5, chains=1, cores=1, nuts_sampler="pymc", progressbar=False, random_seed=0, compute_convergence_checks=False)
        >>> draws.posterior["emission.rates"].shape
        (1, 5, 1, 1)
    """
    with pm.Model() as built:
        params = random_variables(model, start=start)
        pm.Potential("log_likelihood", log_likelihood(model, data, params))
    return built


def _random_variable(name: str, prior: Any, start: Any) -> Any:
    if not isinstance(prior, dist.Distribution):
        raise TypeError(
            f"prior of {name!r}: found a function of other parameters, expected a distribution; build this level of the hierarchy in PyMC and pass the "
            f"variable in given={{{name!r}: ...}}."
        )
    base = prior
    while isinstance(base, dist.Independent | dist.ExpandedDistribution):
        base = base.base_dist
    if type(base) not in _KNOWN:
        known = ", ".join(sorted({kind.__name__ for kind in _KNOWN}))
        raise TypeError(
            f"prior of {name!r}: found {type(base).__name__}, expected one that PyMC has too ({known}); give the parameter another prior, or make its variable "
            f"in PyMC and pass it in given={{{name!r}: ...}}."
        )
    distribution, arguments = _KNOWN[type(base)]
    shape = prior.shape()
    values = {theirs: np.broadcast_to(np.asarray(getattr(base, ours), float), shape) for theirs, ours in arguments.items()}
    return distribution(name, **values, shape=shape, initval=None if start is None else _checked_start(name, prior, start))


def _checked_start(name: str, prior: dist.Distribution, start: Any) -> np.ndarray:
    value = np.asarray(start, float)
    if value.shape != prior.shape():
        raise ValueError(f"start[{name!r}]: found shape {value.shape}, expected {prior.shape()}.")
    with jax.enable_x64(True):
        inside = np.isfinite(np.asarray(dist.biject_to(prior.support).inv(value))).all()
    if not inside:
        raise ValueError(f"start[{name!r}]: found values outside the support of its prior or on its boundary, expected values inside it.")
    return value
