"""Muon changes convolutions in all directions alike, and all else as Adam does."""

import copy

import pytest
import torch
from torch import nn

from napari_ppn2v.core.networks import UNet, UNetConfig
from napari_ppn2v.core.optimizers import Muon, make_optimizer, orthogonalised


def small_network(seed=0):
    torch.manual_seed(seed)
    return UNet(UNetConfig(n_levels=2, n_filters=4))


def give_gradients(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def take_steps(network, optimizer, first, last):
    for number in range(first, last):
        give_gradients(network, seed=number)
        optimizer.step()


@pytest.mark.parametrize("shape", [(16, 144), (64, 9), (32, 32), (2, 300)])
def test_an_orthogonalised_matrix_keeps_its_directions_and_evens_their_strength(shape):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    left, strength, right = torch.linalg.svd(matrix, full_matrices=False)
    # three decades between the strongest and the weakest direction
    strength = torch.logspace(0, -3, len(strength), dtype=torch.float64)
    evened = orthogonalised([left * strength @ right])[0]
    inside = left.T @ evened @ right.T
    assert inside.diag().max() < 1.3
    assert inside.diag()[strength > 0.02].min() > 0.5
    off_diagonal = inside - torch.diag(inside.diag())
    assert off_diagonal.abs().max() < 1e-10


def test_an_orthogonalised_matrix_of_zeros_is_zero_and_its_scale_does_not_matter():
    assert orthogonalised([torch.zeros(3, 5)])[0].eq(0).all()
    matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    faint, strong = orthogonalised([1e-12 * matrix, 1e6 * matrix])
    assert torch.allclose(faint, strong, atol=1e-4)


def test_matrices_of_any_sizes_are_orthogonalised_together_as_alone():
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 9), (16, 4), (4, 30), (16, 16), (1, 3)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    together = orthogonalised(matrices)
    assert [tuple(m.shape) for m in together] == shapes
    for matrix, evened in zip(matrices, together, strict=True):
        assert torch.allclose(orthogonalised([matrix])[0], evened, atol=1e-5)


def test_biases_and_first_layers_change_as_by_adam():
    one, other = small_network(), small_network()
    muon, adam = Muon(one), make_optimizer("adam", other)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["lr"] = 0.01
    take_steps(one, muon, 0, 3)
    take_steps(other, adam, 0, 3)
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    by_adam = [name for name, p in mine.items() if p.ndim == 1 or p.shape[1] == 1]
    assert len(by_adam) == 8  # seven biases, one first convolution
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]) == (name in by_adam), name


def test_the_change_of_a_convolution_is_nearly_orthogonal_and_as_long_as_its_rate():
    network = small_network()
    before = copy.deepcopy(network.state_dict())
    optimizer = Muon(network, matrix_rate=2.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    take_steps(network, optimizer, 0, 1)
    name = "up.0.0.weight"  # 4 x 4 channels of 3 x 3
    change = (before[name] - network.state_dict()[name]).reshape(4, -1)
    strength = torch.linalg.svdvals(change) / (0.01 * 2.0)
    assert strength.min() > 0.6
    assert strength.max() < 1.3


def test_a_restored_optimizer_goes_on_with_the_same_bits():
    whole, halves = small_network(), small_network()
    optimizer = Muon(whole)
    take_steps(whole, optimizer, 0, 6)
    first = Muon(halves)
    take_steps(halves, first, 0, 3)
    state = copy.deepcopy(first.state_dict())
    second = Muon(halves)
    second.load_state_dict(state)
    take_steps(halves, second, 3, 6)
    for one, other in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_network_without_matrices_is_trained_too():
    network = nn.Conv2d(1, 3, 3)
    before = network.weight.detach().clone()
    optimizer = Muon(network)
    give_gradients(network)
    optimizer.step()
    assert not torch.equal(network.weight, before)
