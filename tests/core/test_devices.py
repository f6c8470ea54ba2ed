"""Devices are chosen by name, and what is not there is said in words."""

import pytest
import torch

from napari_ppn2v.core.devices import (
    choose_device,
    choose_devices,
    describe_devices,
)
from napari_ppn2v.errors import BadSetting


def cuda(*numbers):
    return tuple(torch.device("cuda", number) for number in numbers)


@pytest.fixture
def cards(monkeypatch):
    """Let torch find so many graphics cards; they can be named, not used."""

    def there_are(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return there_are


def test_the_processor_is_always_there():
    assert choose_devices("cpu") == (torch.device("cpu"),)
    assert choose_device("cpu") == torch.device("cpu")


def test_automatic_is_one_device_however_many_cards_there_are(cards):
    cards(4)
    assert choose_devices("auto") == (torch.device("cuda"),)
    assert choose_devices() == (torch.device("cuda"),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cuda", (torch.device("cuda"),)),
        ("cuda:2", cuda(2)),
        ("cuda:0,cuda:2", cuda(0, 2)),
        ("cuda:2, cuda:0", cuda(2, 0)),
        ("cuda,cuda:1", cuda(0, 1)),
        ("cuda:all", cuda(0, 1, 2)),
    ],
)
def test_graphics_cards_are_chosen_by_number(cards, name, expected):
    cards(3)
    assert choose_devices(name) == expected
    assert choose_device(name) == expected[0]


def test_all_cards_can_be_one(cards):
    cards(1)
    assert choose_devices("cuda:all") == cuda(0)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:0,cuda:2", "cuda:x", "cuda:-1"])
def test_a_card_that_is_not_there_is_told_how_many_there_are(cards, name):
    cards(2)
    with pytest.raises(BadSetting, match=r"cards here is 2: 'cuda:0' to 'cuda:1'"):
        choose_devices(name)


def test_of_a_single_card_its_name_is_told(cards):
    cards(1)
    with pytest.raises(BadSetting, match=r"no device 'cuda:1'.*here is 1: 'cuda:0'\."):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["cuda", "cuda:all", "cuda:0,cuda:1", "tpu", ""])
def test_kinds_of_devices_that_are_not_there_are_told_those_that_are(cards, name):
    cards(0)
    with pytest.raises(BadSetting, match=r"not available here\. Available: .*cpu"):
        choose_devices(name)


def test_a_processor_with_a_number_is_refused(cards):
    with pytest.raises(BadSetting, match=r"no device .cpu:1.\..*processors here is 1"):
        choose_devices("cpu:1")


@pytest.mark.parametrize("name", ["cuda:0,cpu", "cpu,cpu", "auto,cuda:1", "cuda:0,"])
def test_only_graphics_cards_share_a_training(cards, name):
    cards(2)
    with pytest.raises(BadSetting, match="are not all CUDA graphics cards"):
        choose_devices(name)


@pytest.mark.parametrize("name", ["cuda:1,cuda:1", "cuda,cuda:0"])
def test_a_card_named_twice_is_refused(cards, name):
    cards(2)
    with pytest.raises(BadSetting, match="name a graphics card twice"):
        choose_devices(name)


def test_equal_devices_are_described_once_with_their_number():
    one = describe_devices([torch.device("cpu")])
    assert one.startswith("CPU, ")
    assert describe_devices([torch.device("cpu")] * 3) == f"3 x {one}"
