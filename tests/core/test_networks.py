"""Feature networks keep their promises about stride and halo."""

import pytest
import torch

from napari_ppn2v.core.networks import NETWORKS, UNet, UNetConfig
from napari_ppn2v.errors import BadSetting

CONFIGS = [
    pytest.param(UNetConfig(n_filters=4), id="default"),
    pytest.param(UNetConfig(n_filters=4, n_levels=2, kernel_size=5), id="kernel 5"),
    pytest.param(
        UNetConfig(n_filters=4, batch_norm=True, merge="concatenate"), id="noise2void"
    ),
    pytest.param(UNetConfig(n_filters=2, n_levels=4), id="four levels"),
    pytest.param(UNetConfig(n_filters=4, n_levels=1), id="no pooling"),
    pytest.param(UNetConfig(n_filters=4, activation="relu"), id="relu"),
]


def network(config):
    torch.manual_seed(0)
    return UNet(config).eval()


@pytest.mark.parametrize("config", CONFIGS)
def test_features_have_the_size_of_the_image(config):
    net = network(config)
    image = torch.randn(2, 1, 4 * net.stride, 6 * net.stride)
    assert net(image).shape == (2, net.n_features, *image.shape[2:])


@pytest.mark.parametrize("config", CONFIGS)
def test_no_pixel_beyond_the_halo_changes_the_output(config):
    net = network(config).double()
    side = 2 * net.halo + 4 * net.stride
    image = torch.randn(1, 1, side, side, dtype=torch.float64)
    middle = side // 2
    for place in range(middle, middle + net.stride):
        seen = image.clone().requires_grad_()
        net(seen)[0, :, place, place].sum().backward()
        rows = seen.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
        assert rows.min() >= place - net.halo
        assert rows.max() <= place + net.halo


@pytest.mark.parametrize("config", CONFIGS)
def test_images_of_a_batch_do_not_influence_each_other(config):
    net = network(config)
    images = torch.randn(3, 1, 4 * net.stride, 4 * net.stride)
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]), atol=1e-5, rtol=1e-4)


def test_equal_seeds_give_equal_networks():
    one, other = network(UNetConfig()), network(UNetConfig())
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], atol=0, rtol=0)


def test_the_paper_network_has_its_published_widths():
    net = UNet(UNetConfig(n_levels=3, n_filters=64))
    widths = [block[0].out_channels for block in net.down]
    assert widths == [64, 128, 256]


def darkened(activation):
    """A network whose features are all far below zero."""
    net = network(UNetConfig(n_filters=4, n_levels=2, activation=activation))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.bias -= 5.0
    return net


def test_where_all_features_are_below_zero_the_image_is_still_seen_and_learnt():
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    net = darkened("leaky")
    features = net(image)
    assert features.max() < 0
    assert len(features.unique()) > 0.9 * features.numel()
    features.sum().backward()
    assert all(weights.grad.abs().max() > 0 for weights in net.parameters())


def test_as_published_nothing_is_left_there():
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert darkened("relu")(image).unique().tolist() == [0.0]


def test_an_even_kernel_is_refused_with_a_reason():
    with pytest.raises(BadSetting, match="odd"):
        UNetConfig(kernel_size=4)


def test_every_network_in_the_registry_comes_with_its_settings():
    for build, config in NETWORKS.values():
        assert build(config()).n_features > 0
