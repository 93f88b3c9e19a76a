"""Which recordings there are by name: their files, addresses, checksums and licences."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How a file is made by hand from a source that cannot be read, or cannot be downloaded, as it is.

    Attributes:
        instructions: what to do, a sentence.
        sha256: SHA-256 of the file, checked whenever it is used; of what is in it where its name ends in .gz (compressed bytes differ between programs).
    """

    instructions: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class RecordingFile:
    """A file of a recording.

    Attributes:
        file: its name.
        url: address to download from.
        sha256: SHA-256 of the downloaded file, checked whenever it is used.
        conversion: how it is made where it has no address; None for a file that is downloaded, or ships with latentgate.
    """

    file: str
    url: str | None = None
    sha256: str | None = None
    conversion: Conversion | None = None


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that `load` knows by name.

    Attributes:
        file: name of its file (of its first, where it has several).
        description: one sentence.
        licence: its licence.
        source: where it comes from.
        reader: "module:function" that makes `Sequences` of the paths of its files, in their order, and options; imported when used.
        url: address to download from; None for a recording that ships with latentgate, or has a conversion.
        sha256: SHA-256 of the downloaded file, checked whenever it is used.
        companions: its further files.
        conversion: how its (first) file is made by hand where it has no address.
    """

    file: str
    description: str
    licence: str
    source: str
    reader: str
    url: str | None = None
    sha256: str | None = None
    companions: tuple[RecordingFile, ...] = ()
    conversion: Conversion | None = None

    @property
    def files(self) -> tuple[RecordingFile, ...]:
        """All its files, in the order in which the reader takes them."""
        return (RecordingFile(self.file, self.url, self.sha256, self.conversion), *self.companions)


RECORDINGS: dict[str, Recording] = {
    "rat_insula": Recording(
        file="rat_insula.mat",
        description="96 units of rat insula, 46 rewarded and 26 unrewarded lever trials",
        licence="MIT",
        source="github AamnaLawrence/GLM-HMM-Neuronal-Encoding, Data/Insula/insula.mat at f067393",
        reader="latentgate.data.rat_insula:read_matlab",
        url="https://raw.githubusercontent.com/AamnaLawrence/GLM-HMM-Neuronal-Encoding/f067393/Data/Insula/insula.mat",
        sha256="3aaff067de6a80224b4493611ad5f6838b6fe5f37701ff8016f196fb3faf3c9f",
    ),
    "simulated_insula": Recording(
        file="simulated_insula.npz",
        description="simulated: 15 neurons in 24 lever trials, from a one-hot HMM-GLM with three states",
        licence="MIT",
        source="made by python -m latentgate.data.bundled",
        reader="latentgate.data.storage:read",
    ),
    "rat_linear_track": Recording(
        file="rat_linear_track_spikes.mat",
        description="31 hippocampal units of a rat on 45 running laps of a linear track",
        licence="MIT",
        source="github nelpy/example-data, linear-track at 099548c",
        reader="latentgate.data.rat_linear_track:read_track",
        url="https://raw.githubusercontent.com/nelpy/example-data/099548c/linear-track/spikes.mat",
        sha256="615b05a9228a5eaea7f99d5fc5b11848a4d94fc154104612410c887875b65bc7",
        companions=(
            RecordingFile(
                file="rat_linear_track.videoPositionTracking",
                url="https://raw.githubusercontent.com/nelpy/example-data/099548c/linear-track/trajectory.videoPositionTracking",
                sha256="10a883302c50e26d5f659ac4ee08d8901f7881c71f6800cd56d999a620b31cb5",
            ),
        ),
    ),
    "monkey_reach_flint": Recording(
        file="monkey_reach_flint_neural.csv",
        description="10 principal components of monkey motor cortex and hand velocity while reaching, 7 792 bins of 100 ms",
        licence="MIT",
        source="github burkh4rt/DKF-implementations, data/x.csv and data/z.csv at 2f19111",
        reader="latentgate.data.monkey_reach_flint:read_csv",
        url="https://raw.githubusercontent.com/burkh4rt/DKF-implementations/2f19111/data/x.csv",
        sha256="9bd0d05589750cbfdaaacb0f848b4ed73ff42e2cf1aa17671e49a22d9ce5006d",
        companions=(
            RecordingFile(
                file="monkey_reach_flint_velocity.csv",
                url="https://raw.githubusercontent.com/burkh4rt/DKF-implementations/2f19111/data/z.csv",
                sha256="dc93cd54f4188b731e4323307505a2004fcf7347c67561624af04f3a1ce4518f",
            ),
        ),
    ),
    "monkey_pmd_decisions": Recording(
        file="monkey_pmd_decisions.npz",
        description="14 neurons of monkey dorsal premotor cortex in 1 056 perceptual decisions, from stimulus to reaction",
        licence="MIT",
        source="converted from github engellab/neuralflow, examples/2024_the_dynamics_and_geometry at 508cf7b",
        reader="latentgate.data.monkey_pmd_decisions:read_npz",
        conversion=Conversion(
            instructions="From github engellab/neuralflow, examples/2024_the_dynamics_and_geometry at 508cf7b (whose data are pickled), write the arrays "
            "with numpy.savez_compressed: num_trials, num_neurons, stimulus_onset, reaction_time (after onset), chosen_right, correct_right, hard [trial], "
            "spike_times (s from the start of the trial, float32, laid one after the other), offsets [1 + trial * neuron]: where those of each trial and "
            "neuron begin.",
            sha256="29087a0da7b6a632b50d7f3ab191f5d04bf3b311b862a81eb94c6295f296d831",
        ),
    ),
    "lorenz_spikes": Recording(
        file="lorenz_spikes.h5",
        description="simulated: 60 neurons driven by a Lorenz attractor in 640 training and 160 validation trials, with the true rates and latents",
        licence="MIT",
        source="github felixp8/lfads-nlb-tutorials, data/lfads_lorenz.h5 at 1c50908",
        reader="latentgate.data.lorenz_spikes:read_hdf5",
        url="https://raw.githubusercontent.com/felixp8/lfads-nlb-tutorials/1c50908/data/lfads_lorenz.h5",
        sha256="c55b9b38d38054c2f43909a195058d1d242dc291f607a2d45fab4d85977ab54d",
    ),
    "psor": Recording(
        file="psor.csv",
        description="psoriatic arthritis of 305 patients, in 4 stages by the number of damaged joints, with two covariates",
        licence="GPL >= 2",
        source="R package msm 1.7, data set psor",
        reader="latentgate.data.jump_recordings:read_psor",
        conversion=Conversion(
            instructions='In R, with the package msm: write.csv(msm::psor, "psor.csv", row.names = FALSE).',
            sha256="8ca21835f181ae1cd3202a742979870f63883be34675761f9c9e5ea3ef40355e",
        ),
    ),
    "fev": Recording(
        file="fev.csv",
        description="lung function of 203 patients after a transplantation, until death or the end of the study",
        licence="GPL >= 2",
        source="R package msm 1.7, data set fev",
        reader="latentgate.data.jump_recordings:read_fev",
        conversion=Conversion(
            instructions='In R, with the package msm: write.csv(msm::fev, "fev.csv", row.names = FALSE).',
            sha256="1d7e8b1cce0e522dec0455febafd71ae8bdd59bc65bb43f861ecc03339dfda24",
        ),
    ),
    "tonedata": Recording(
        file="tonedata.csv",
        description="150 adjustments of a musician, who tuned a tone to the octave of a fundamental with stretched overtones",
        licence="GPL >= 2",
        source="R package mixtools 2.0, data set tonedata",
        reader="latentgate.data.tonedata:read_tones",
        conversion=Conversion(
            instructions='In R, with the package mixtools: data(tonedata, package = "mixtools"); '
            'write.csv(tonedata, "tonedata.csv", row.names = FALSE, quote = FALSE).',
            sha256="26836b79ef5047b00bd17fdbe707a4c63a599e8b578a97d04abf15e8797432f9",
        ),
    ),
    "flashing_ratchet": Recording(
        file="flashing_ratchet.csv.gz",
        description="simulated: 10 000 paths of the discrete flashing ratchet (six states, V = r = b = 1) at 100 regular times on [0, 2.5]",
        licence="MIT",
        source="converted from github FIM4Science/OpenFIM, 6_st_DFR_V=1 at cee2bb5",
        reader="latentgate.data.jump_recordings:read_flashing_ratchet",
        conversion=Conversion(
            instructions="From github FIM4Science/OpenFIM, 6_st_DFR_V=1 at cee2bb5, write the states 0 to 5 of each path as one row of 100 integers, "
            "separated by commas without spaces, and compress the file with gzip.",
            sha256="4a15d5ab52400a472a7fc22bc7079d1b45fd4f814ba65322442d7d85a549f569",
        ),
    ),
}
