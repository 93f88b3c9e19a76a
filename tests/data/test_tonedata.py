"""The recording "tonedata": published facts on the real file, and the reader on made-up ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from latentgate.data import RECORDINGS, load
from latentgate.data.tonedata import read_tones
from tests.oracles.mixture_of_experts import Parameters, hessian, softmax_mixture, value_and_gradient


@pytest.fixture(scope="module")
def tones():
    folder = os.environ.get("LATENTGATE_DATA")
    if not folder or not (Path(folder) / RECORDINGS["tonedata"].file).is_file():
        pytest.skip("tonedata.csv is not in the folder that LATENTGATE_DATA names")
    return load("tonedata", download=False)


def test_facts(tones):
    assert tones.values.shape == (1, 150, 1)
    assert tones.names == ("tuned",)
    assert tones.input_names == {"inputs": ("stretchratio",)}
    assert tones.observed.all()
    assert tones.values[0, :3, 0].tolist() == [1.461, 1.407, 1.452]
    assert tones.inputs["inputs"][0, :3, 0].tolist() == [1.35, 1.4, 1.45]
    ratios, counts = np.unique(tones.inputs["inputs"], return_counts=True)
    assert (len(ratios), ratios[0], ratios[-1]) == (30, 1.35, 3.0)
    assert dict(zip(ratios[counts != 5].tolist(), counts[counts != 5].tolist(), strict=True)) == {2.03: 6, 2.05: 4}


@pytest.mark.parametrize(
    ("vector", "log_likelihood"),
    [
        # Gate (weight, bias), two experts (weight, bias), log scales.
        ([-0.7918277387, 2.6779707285, 0.0436870609, 1.9132202483, 0.9956682341, -0.0294911815, -3.0555037788, -1.9857352262], 142.848014),
        ([-0.2558772581, 0.0318294996, 0.9988614201, 0.0031862078, 0.2175523990, 1.5608714732, -5.3949035967, -1.5267676068], 145.650315),
    ],
)
def test_the_likelihood_has_two_maxima(tones, vector, log_likelihood):
    """Both interior, found with SciPy. The higher has an expert with a standard deviation of 0.0045, a tenth of that of the published one."""
    inputs, outputs = tones.inputs["inputs"][0], tones.values[0, :, 0]
    parameters = Parameters.from_vector(np.array(vector), 2)
    log_density, responsibilities = softmax_mixture(parameters, inputs, outputs)
    assert abs(log_density.sum() - log_likelihood) < 1e-6
    assert responsibilities.mean(0).min() > 0.25
    _, gradient = value_and_gradient(parameters.vector(), 2, inputs, outputs)
    curvature = hessian(parameters.vector(), 2, inputs, outputs)
    assert np.linalg.eigvalsh(curvature).max() < 0
    assert gradient @ np.linalg.solve(-curvature, gradient) < 1e-9


def test_reader(tmp_path):
    path = tmp_path / "tones.csv"
    path.write_text('"stretchratio","tuned"\n1.5,2.01\n3,2.9\n')
    data = read_tones(path)
    assert data.to_list()[0][:, 0].tolist() == [2.01, 2.9]
    assert data.inputs["inputs"][0, :, 0].tolist() == [1.5, 3.0]
    path.write_text("tuned,stretchratio\n2.01,1.5\n")
    with pytest.raises(ValueError, match=r"columns 'tuned', 'stretchratio'; expected 'stretchratio', 'tuned'"):
        read_tones(path)
    path.write_text("stretchratio,tuned\n1.5,high\n")
    with pytest.raises(ValueError, match="rows of two numbers"):
        read_tones(path)
