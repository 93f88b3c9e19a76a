"""Bad structure and bad data: each ends in an error that says what is wrong, before anything is compiled."""

from __future__ import annotations

import warnings

import numpy as np
import numpyro.distributions as dist
import pytest

import latentgate as lg

emissions = lg.emissions


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: emissions.Gaussian(0), "num_features: found 0, expected an integer of at least 1"),
        (lambda: emissions.Gaussian(2.0), "num_features: found 2.0"),
        (lambda: emissions.Gaussian(True), "num_features: found True"),
        (lambda: emissions.Gaussian(2, "spherical"), "covariance: found 'spherical', expected one of 'full', 'diagonal', 'tied'"),
        (lambda: emissions.Gaussian(2, scale=0.0), "scale: found 0.0, expected a positive number"),
        (lambda: emissions.Gaussian(2, mean_prior=3.0), "mean_prior: found 3.0, expected a distribution of numpyro"),
        (lambda: emissions.NegativeBinomial(-1), "num_neurons: found -1"),
        (lambda: emissions.Bernoulli("two"), "num_features: found 'two'"),
        (lambda: emissions.Categorical(1), "num_categories: found 1, expected an integer of at least 2"),
        (lambda: emissions.LinearRegression(1, 0), "num_inputs: found 0"),
        (lambda: emissions.BernoulliGLM(0), "num_inputs: found 0"),
        (lambda: emissions.CategoricalGLM(3, 1, weight_prior="wide"), "weight_prior: found 'wide'"),
        (lambda: emissions.KnownState(0), "num_states: found 0, expected an integer of at least 1"),
        (lambda: emissions.KnownState(3, censored={2: (0, 1)}), "censored: found the code 2, expected at least 3, since smaller numbers are states"),
        (lambda: emissions.KnownState(3, censored={2**24: (0, 1)}), "censored: found the code 16777216, .* and below 16777216"),
        (lambda: emissions.KnownState(3, censored={9: ()}), r"censored\[9\]: found no states, expected at least one"),
        (lambda: emissions.KnownState(3, censored={9: (0, 3)}), r"censored\[9\]: found the state 3, expected 0 to 2"),
        (lambda: emissions.KnownState(3, censored={9: (0, 0.5)}), r"censored\[9\]: found 0.5, expected integers"),
        (lambda: emissions.KnownState(3).priors(2), "num_states: found 3 for KnownState, expected 2 as the model has"),
        (lambda: emissions.Misclassified(1), "allowed: found 1, expected an integer of at least 2"),
        (lambda: emissions.Misclassified([[0.9, 0.1], [0.0, 1.0]]), "allowed: found float64 of shape .*, expected a matrix of booleans"),
        (lambda: emissions.Misclassified([[True, True], [False, False]]), "allowed: found no True in row 1"),
        (lambda: emissions.Misclassified([[True], [True]]), "allowed: found 1 labels, expected at least 2"),
        (lambda: emissions.Misclassified({0: (0, 1), 2: (1,)}), r"allowed: found the states \[0, 2\], expected every state"),
        (lambda: emissions.Misclassified({0: (0, -1), 1: (1,)}), r"allowed\[0\]: found -1"),
        (lambda: emissions.Misclassified(3).priors(2), "allowed: found 3 rows, expected 2"),
        (lambda: emissions.Misclassified(2, weight_prior=dist.Normal(0.0, 1.0)), "weight_prior: found Normal, expected None, since there are no inputs"),
        (lambda: emissions.Misclassified(2, prior=dist.Dirichlet(np.ones(3))), "prior: found Dirichlet .*, expected a Dirichlet over 2 labels"),
        (lambda: emissions.Misclassified(2, prior=dist.Beta(1.0, 1.0)), "prior: found Beta .*, expected a Dirichlet over 2 labels"),
        (lambda: emissions.Gaussian(2, covariance_prior=dist.InverseGamma(2.0, 1.0)), "expected a distribution of a 2 x 2 matrix, such as InverseWishart"),
        (lambda: emissions.Gaussian(2, "diagonal", covariance_prior=dist.InverseWishart(5.0, np.eye(2))), "expected a distribution of one number"),
        (lambda: emissions.Gaussian(2, covariance_prior=dist.InverseWishart(5.0, np.eye(3))).priors(2), "prior of covariances: found event shape"),
        (lambda: emissions.BernoulliGLM(2, weight_prior=dist.Normal(np.zeros(3), 1.0)).priors(2), "prior of weights: found batch shape"),
    ],
)
def test_structure(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def sequences(values, inputs=None):
    return lg.Sequences.from_arrays([np.asarray(values, float)], inputs=None if inputs is None else [np.asarray(inputs, float)])


@pytest.mark.parametrize(
    ("emission", "data", "message"),
    [
        (emissions.Gaussian(3), sequences([[1.0, 2.0], [2.0, 1.0]]), "found 2 features, expected 3 for Gaussian"),
        (emissions.NegativeBinomial(1), sequences([[1.0], [-1.0]]), "found -1 in sequence 0, step 1, feature 0, expected counts"),
        (emissions.NegativeBinomial(1), sequences([[0.5]]), "found 0.5 in sequence 0, step 0"),
        (emissions.Bernoulli(2), sequences([[0.0, 1.0], [1.0, 2.0]]), "found 2 in sequence 0, step 1, feature 1, expected 0 or 1 for Bernoulli"),
        (emissions.Bernoulli(1), sequences([[0.5]]), "found 0.5"),
        (emissions.Categorical(3), sequences([[0.0], [3.0]]), "found 3 in sequence 0, step 1, feature 0, expected integers 0 to 2 for Categorical"),
        (emissions.Categorical(3), sequences([[-1.0]]), "found -1"),
        (emissions.Categorical(3), sequences([[1.5]]), "found 1.5"),
        (emissions.Categorical(3), sequences([[1.0, 1.0]]), "found 2 features, expected 1 for Categorical"),
        (emissions.LinearRegression(1, 2), sequences([[1.0]]), "found the sets none, expected 'inputs' for LinearRegression"),
        (emissions.LinearRegression(1, 2), sequences([[1.0]], [[1.0]]), "found 1 columns, expected 2 for LinearRegression"),
        (emissions.BernoulliGLM(1, inputs="task"), sequences([[1.0]], [[1.0]]), "found the sets 'inputs', expected 'task' for BernoulliGLM"),
        (emissions.BernoulliGLM(1), sequences([[2.0]], [[1.0]]), "found 2 in sequence 0, step 0, feature 0, expected 0 or 1 for BernoulliGLM"),
        (emissions.CategoricalGLM(3, 1), sequences([[3.0]], [[1.0]]), "expected integers 0 to 2 for CategoricalGLM"),
        (emissions.KnownState(2), sequences([[1.0, 0.0]]), "found 2 features, expected 1 for KnownState"),
        (emissions.KnownState(2), sequences([[1.0], [2.0]]), "found 2 in sequence 0, step 1, expected a state 0 to 1, and no codes, since"),
        (emissions.KnownState(2, {9: (0, 1)}), sequences([[9.0], [8.0]]), "found 8 in sequence 0, step 1, expected a state 0 to 1, 9; recode"),
        (emissions.KnownState(2), sequences([[0.5]]), "found 0.5 in sequence 0, step 0"),
        (emissions.Misclassified(2), sequences([[2.0]]), "found 2 in sequence 0, step 0, feature 0, expected 0 or 1 for Misclassified"),
        (emissions.Misclassified({0: (0,), 1: (0, 2)}), sequences([[0.0], [1.0]]), "found label 1 in sequence 0, step 1, expected one that some state allows"),
        (emissions.Misclassified(2, num_inputs=1), sequences([[1.0]]), "found the sets none, expected 'inputs' for Misclassified"),
    ],
)
def test_data(emission, data, message):
    with pytest.raises(ValueError, match=message):
        lg.HMM(2, emission).check(data)


def test_the_sequence_of_a_wrong_state_is_named_as_its_owner_knows_it():
    data = lg.Sequences.from_arrays([[0.0], [3.0]], groups=["left", "right"], labels={"patient": [17, 18]})
    with pytest.raises(ValueError, match=r"state: data: found 3 in sequence 1 \(group right, patient 18\), step 0"):
        emissions.Product(state=emissions.KnownState(2)).check(data)


def test_missing_entries_are_never_wrong_values():
    emissions.Categorical(3).check(sequences([[np.nan], [2.0]]))
    emissions.Bernoulli(1).check(sequences([[np.nan], [1.0]]))
    emissions.KnownState(2).check(sequences([[np.nan], [1.0]]))
    emissions.Misclassified({0: (1,), 1: (1, 2)}).check(sequences([[np.nan], [1.0]]))


def test_units_far_from_the_scale_of_default_priors_are_questioned():
    small = sequences(1e-4 * np.random.default_rng(0).normal(size=(20, 2)))
    with pytest.warns(UserWarning, match="scale: found 1 and a standard deviation of .* in feature 0"):
        emissions.Gaussian(2).check(small)
    with pytest.warns(UserWarning, match="for the default priors of LinearRegression"):
        emissions.LinearRegression(2, 1).check(sequences(small.values[0], np.ones((20, 1))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        emissions.Gaussian(2, scale=1e-4).check(small)
        emissions.Gaussian(2, mean_prior=dist.Normal(0.0, 1.0), covariance_prior=dist.InverseWishart(4.0, 1e-8 * np.eye(2))).check(small)
        emissions.Gaussian(1).check(sequences([[1.0], [1.0], [np.nan]]))
