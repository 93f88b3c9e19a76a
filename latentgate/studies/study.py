"""The result of a study: losses by truth, estimator, sample size and replication, and what is read from them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from latentgate.files import read_netcdf, replaced_in_one_step

from .slopes import fit_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = "latentgate study 1"
# What every estimator reports besides its losses.
REPORTED = ("log_likelihood", "iterations", "converged")


class Study:
    """Losses of estimators over sample sizes and replications.

    Attributes:
        results: Dataset with dimensions truth, estimator, size, replication: all losses, `log_likelihood`, `iterations` and `converged`, and the coordinate
            `start` [estimator], the start each estimator was given. A loss that an estimator does not have, or an estimate without one, is NaN.
        window: smallest and largest size that slopes are fitted over, fixed before anything was computed.

    Example:
        >>> import numpy as np, xarray as xr
        >>> from latentgate.studies import Study
        >>> noise = np.random.default_rng(0).uniform(0.9, 1.1, (1, 1, 3, 40))
        >>> losses = np.array([1.0, 0.1, 0.01])[:, None] * noise
        >>> dims = ("truth", "estimator", "size", "replication")
        >>> coords = {"truth": ["t"], "estimator": ["e"], "size": [100, 10_000, 1_000_000], "start": ("estimator", [""])}
        >>> study = Study(xr.Dataset({"error": (dims, losses)}, coords), window=(100, 1_000_000))
        >>> round(float(study.slopes().slope.squeeze()), 2)
        -0.5
    """

    def __init__(self, results: xr.Dataset, window: tuple[int, int]):
        self.results, self.window = results, (int(window[0]), int(window[1]))

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses."""
        return tuple(str(name) for name in self.results.data_vars if name not in REPORTED)

    def slopes(
        self, loss: str | None = None, *, statistic: str = "mean", level: float = 0.95, draws: int = 2000, seed: int = 0, with_local: bool = True
    ) -> xr.Dataset:
        """Slopes of log loss on log n by least squares over the window, with bootstrap intervals over replications.

        Args:
            loss: one loss; all of them if None.
            statistic: of replications: "mean" and "median" before the logarithm, or the "mean-log".
            level: of the percentile intervals.
            draws: of the bootstrap, which draws replications anew within every size.
            seed: of the bootstrap.
            with_local: whether slopes between consecutive sizes are reported too.

        Returns:
            Dataset with dimensions loss, truth, estimator: `slope`, `slope_interval` [..., bound], `prefactor` (its power law is prefactor · n^slope),
            `prefactor_interval`, `curvature` (p-value of an F-test that the relation is not straight: small where one slope does not describe it),
            `missing` (number of replications without the loss) and, by interval of sizes, `local_slope` and `local_slope_interval`. NaN where a statistic is
            not positive at some size, so that it has no logarithm.

        Raises:
            ValueError: for an unknown loss or statistic, a level outside 0 to 1, or less than one draw.
        """
        names = self.losses if loss is None else (self._checked(loss),)
        if not 0 < level < 1:
            raise ValueError(f"level: found {level!r}, expected a number between 0 and 1.")
        if draws < 1:
            raise ValueError(f"draws: found {draws!r}, expected at least 1.")
        inside = self._inside()
        sizes = inside["size"].values
        shape = (len(names), inside.sizes["truth"], inside.sizes["estimator"])
        lines = {}
        for index in np.ndindex(shape):
            values = inside[names[index[0]]].transpose("truth", "estimator", "size", "replication").values[index[1:]]
            lines[index] = (fit_line(sizes, values, statistic, level=level, draws=draws, seed=seed), int(np.isnan(values).sum()))

        def gathered(read) -> np.ndarray:
            first = np.asarray(read(*lines[(0,) * 3]))
            return np.array([read(*lines[index]) for index in np.ndindex(shape)]).reshape(*shape, *first.shape)

        dims = ("loss", "truth", "estimator")
        variables: dict[str, Any] = {
            "slope": (dims, gathered(lambda line, _: line.slope)),
            "slope_interval": ((*dims, "bound"), gathered(lambda line, _: line.interval)),
            "prefactor": (dims, gathered(lambda line, _: line.prefactor)),
            "prefactor_interval": ((*dims, "bound"), gathered(lambda line, _: line.prefactor_interval)),
            "curvature": (dims, gathered(lambda line, _: line.curvature)),
            "missing": (dims, gathered(lambda _, missing: missing)),
        }
        coords: dict[str, Any] = {
            "loss": list(names),
            "truth": inside["truth"].values,
            "estimator": inside["estimator"].values,
            "bound": ["lower", "upper"],
        }
        if with_local:
            variables["local_slope"] = ((*dims, "between"), gathered(lambda line, _: line.local))
            variables["local_slope_interval"] = ((*dims, "between", "bound"), gathered(lambda line, _: line.local_interval))
            # Geometric means: the middle of an interval on the scale of the figure.
            coords["between"] = np.sqrt(sizes[:-1].astype(float) * sizes[1:])
        if "start" in inside.coords:
            coords["start"] = ("estimator", inside["start"].values)
        return xr.Dataset(variables, coords, attrs={"statistic": statistic, "level": level, "draws": draws, "window": list(self.window)})

    def plot(self, loss: str | None = None, *, statistic: str = "mean", ax: Axes | None = None) -> Axes:
        """Loss against sample size on logarithmic scales: see `latentgate.plotting.convergence_rates`.

        Args:
            loss: which; the first if None.
            statistic: drawn and fitted, see `slopes`.
            ax: axes to draw into; None makes a figure.
        """
        from latentgate.plotting import convergence_rates

        return convergence_rates(self, loss, statistic=statistic, ax=ax)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the results to a netCDF file."""
        path = Path(path)
        stored = self.results.assign_attrs(format=FORMAT, window=json.dumps(self.window))
        with replaced_in_one_step(path) as partial:
            stored.to_netcdf(partial, engine="netcdf4")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Study:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a study, or is damaged.
        """
        stored = read_netcdf(Path(path), "study", "Study.save", FORMAT)
        attributes = {name: value for name, value in stored.attrs.items() if name not in ("format", "window")}
        low, high = json.loads(stored.attrs["window"])
        stored.attrs = attributes
        return cls(stored, (low, high))

    def _inside(self) -> xr.Dataset:
        size = self.results["size"]
        return self.results.isel(size=np.flatnonzero((size.values >= self.window[0]) & (size.values <= self.window[1])))

    def _checked(self, loss: str) -> str:
        if loss not in self.losses:
            raise ValueError(f"loss: found {loss!r}, expected one of {', '.join(map(repr, self.losses))}.")
        return loss

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in self.results.sizes.items())
        return f"Study({counts}; losses: {', '.join(self.losses)})"
