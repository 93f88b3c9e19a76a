"""One row of every kind of model, with tiny data: the table over which the laws and the engines run."""

import numpy as np

import latentgate as lg


def small_models() -> dict[str, tuple[lg.HMM, lg.Sequences]]:
    """{name: (model, data)}: one row of every kind of transition and emission."""
    rng = np.random.default_rng(0)
    lengths = [40, 25, 30]
    inputs = [rng.normal(size=(length, 2)) for length in lengths]
    counts = lg.Sequences.from_arrays(
        [rng.poisson(1.0 + 2.0 * (rng.random((length, 1)) > 0.5), (length, 3)).astype(float) for length in lengths], inputs=inputs
    )
    missing = []
    for array in counts.to_list():
        array[rng.random(array.shape) < 0.2] = np.nan
        missing.append(array)
    with_missing = lg.Sequences.from_arrays(missing, inputs=inputs)
    real, binary = [], []
    for length in lengths:
        signal = rng.normal(size=(length, 2)) + 3.0 * (rng.random((length, 1)) > 0.5)
        signal[rng.random(signal.shape) < 0.2] = np.nan
        real.append(signal)
        binary.append((rng.random((length, 1)) > 0.4).astype(float))
    signals = lg.Sequences.from_arrays(real, inputs=inputs)
    single = lg.Sequences.from_arrays([signal[:, :1] for signal in real], inputs=inputs)
    choices = lg.Sequences.from_arrays(binary, inputs=inputs)
    gaps = [rng.choice([0.5, 1.0, 3.0], length) for length in lengths]
    timed = lg.Sequences.from_arrays(counts.to_list(), times=[np.cumsum(gap) for gap in gaps])
    both = lg.Sequences.from_arrays([np.hstack([choice, rng.normal(size=choice.shape)]) for choice in binary], inputs=inputs)
    poisson = lg.emissions.Poisson(3)

    def glm(coupling, **options):
        return lg.emissions.PoissonGLM(3, history=lg.basis.RaisedCosine(2, window=4), coupling=coupling, **options)

    return {
        "poisson": (lg.HMM(2, poisson), counts),
        "poisson, missing": (lg.HMM(2, poisson), with_missing),
        "sticky": (lg.HMM(3, poisson, lg.transitions.Sticky(5.0)), counts),
        "gated": (lg.HMM(2, poisson, lg.transitions.Gated(2)), counts),
        "gated per origin": (lg.HMM(2, poisson, lg.transitions.Gated(2, per_origin=True)), counts),
        "ridge": (lg.HMM(2, glm(lg.priors.Ridge(0.5), link="softplus", num_inputs=2)), counts),
        "glm, missing": (lg.HMM(2, glm(lg.priors.Ridge(0.5))), with_missing),
        "l1": (lg.HMM(2, glm(lg.priors.L1(0.2), self_history="coupled")), counts),
        "tied": (lg.HMM(2, glm(lg.priors.GaussianTied(), self_history="none")), counts),
        "one-hot": (lg.HMM(2, glm(lg.priors.OneHot(), link="softplus")), counts),
        "one-hot, categorical": (lg.HMM(2, glm(lg.priors.OneHot("categorical"))), counts),
        "one-hot, dale": (lg.HMM(2, glm(lg.priors.OneHot(dale=True))), counts),
        "negative binomial glm": (lg.HMM(2, lg.emissions.NegativeBinomialGLM(3)), counts),
        "one state": (lg.HMM(1, glm(None)), counts),
        "gaussian, missing": (lg.HMM(2, lg.emissions.Gaussian(2)), signals),
        "linear regression": (lg.HMM(2, lg.emissions.LinearRegression(2, 2)), signals),
        "gates as transitions": (lg.HMM(2, poisson, lg.transitions.ByGate(lg.gates.Softmax(num_inputs=2))), counts),
        "mixture of experts": (
            lg.HMM(2, lg.emissions.MixtureOfExperts(gate=lg.gates.Softmax(num_inputs=2), experts=lg.experts.LinearGaussian(2, num_inputs=2))),
            single,
        ),
        "glm-hmm of behaviour": (lg.HMM(2, lg.emissions.BernoulliGLM(2), lg.transitions.Gated(2)), choices),
        "misclassified": (lg.HMM(2, lg.emissions.Misclassified(2)), choices),
        "jump process": (lg.MarkovJumpProcess(2, poisson, initial="free"), timed),
        "choice and time": (lg.HMM(2, lg.emissions.Product(choice=lg.emissions.BernoulliGLM(2), time=lg.emissions.Gaussian(1))), both),
    }
