"""Training states: what fits no training is refused, and nothing is unpacked."""

from __future__ import annotations

import pytest
import torch

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.pipeline.config import TrainingConfig
from napari_ppn2v.pipeline.training import finished_training

from .mutations import unzipped, zipped
from .readers import write_checkpoint

STATES = {
    "a list": [1, 2],
    "a tensor": torch.zeros(3),
    "a number": 3,
    "empty": {},
    "steps of text": {"step": "five", "best_weights": {}},
    "weights of another kind": {"step": 5, "best_weights": [1]},
    "weights of another network": {"step": 5, "best_weights": {"a": torch.zeros(2)}},
}


def network():
    return PriorNetwork(
        UNetConfig(n_levels=1, n_filters=2), "free", 1, Normalisation(200.0, 50.0)
    )


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_another_kind_is_refused(tmp_path, name):
    torch.save(STATES[name], tmp_path / "checkpoint.pt")
    kept = FileCheckpoint(tmp_path / "checkpoint.pt", is_resumed=True)
    with pytest.raises(BadFile, match="without resuming"):
        finished_training(network(), TrainingConfig(n_steps=5), kept)


def test_a_state_that_unpacks_is_refused_before_it_does(tmp_path):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path)
    members = unzipped(path.read_bytes())
    members["archive/data/0"] = bytes(3_000_000)
    path.write_bytes(zipped(members, method=8))
    with pytest.raises(BadFile, match="without resuming"):
        FileCheckpoint(path, is_resumed=True).load()


def test_a_state_of_the_old_format_of_torch_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(BadFile, match="without resuming"):
        FileCheckpoint(path, is_resumed=True).load()
