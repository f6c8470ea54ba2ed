import pytest
import torch
from torch import nn

from napari_ppn2v.core.weight_average import POWER, WeightAverage


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))


def set_all(model, value):
    with torch.no_grad():
        for weights in model.state_dict().values():
            if weights.is_floating_point():
                weights.fill_(value)


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_weights_count_by_a_power_of_their_step():
    model = network()
    average, n_steps = WeightAverage(model), 200
    for step in range(1, n_steps + 1):
        set_all(model, float(step))
        average.add(step)
    expected = n_steps * (POWER + 1) / (POWER + 2)
    with average.in_use():
        assert float(model[0].weight.detach().mean()) == pytest.approx(
            expected, rel=0.01
        )
        assert float(model[1].running_var.mean()) == pytest.approx(expected, rel=0.01)


def test_the_mean_of_weights_that_stay_is_these_weights():
    model = network()
    average, before = WeightAverage(model), bits(model)
    for step in range(1, 20):
        average.add(step)
    with average.in_use():
        for name, value in model.state_dict().items():
            assert torch.allclose(value.float(), before[name].float(), rtol=1e-6)


def test_after_use_the_model_has_its_own_weights_even_after_an_error():
    model = network()
    average = WeightAverage(model)
    average.add(1)
    set_all(model, 3.0)
    own = bits(model)
    seen = []

    def fail():
        with average.in_use():
            seen.append(bits(model))
            raise ValueError("in use")

    with pytest.raises(ValueError, match="in use"):
        fail()
    assert not equal(seen[0], own)
    assert equal(bits(model), own)


def test_before_the_first_step_the_model_keeps_its_weights():
    model = network()
    own = bits(model)
    with WeightAverage(model).in_use():
        assert equal(bits(model), own)


def test_an_average_that_is_restored_goes_on_bit_for_bit():
    torch.manual_seed(1)
    model = network()
    whole = WeightAverage(model)
    for step in range(1, 9):
        set_all(model, float(torch.rand(())))
        whole.add(step)
    resumed = WeightAverage(model)
    resumed.restore(whole.state())
    for average in (whole, resumed):
        set_all(model, 0.25)
        average.add(9)
    assert equal(whole.state(), resumed.state())


def test_counters_are_those_of_the_last_step():
    model = network()
    average = WeightAverage(model)
    average.add(1)
    model[1].num_batches_tracked += 7
    with average.in_use():
        assert int(model[1].num_batches_tracked) == 7
