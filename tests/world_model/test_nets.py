"""Layers against their dense or composed forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from world_model.nets import MLP, NORM_EPS, BlockLinear, ChannelNorm, Linear, RMSNorm, init_truncated_


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TestBlockLinear:
    @pytest.mark.parametrize(("inputs", "outputs", "blocks"), [(12, 8, 4), (6, 18, 2), (5, 5, 1), (8, 8, 8)])
    def test_equals_dense_with_zeros_and_has_its_gradients(self, inputs, outputs, blocks):
        torch.manual_seed(0)
        layer = BlockLinear(inputs, outputs, blocks).double()
        torch.nn.init.normal_(layer.bias)
        dense = torch.zeros(outputs, inputs, dtype=torch.float64)
        rows, columns = outputs // blocks, inputs // blocks
        for g in range(blocks):
            for i in range(columns):
                for o in range(rows):
                    dense[g * rows + o, g * columns + i] = layer.weight.detach()[g, i, o]
        dense.requires_grad_()
        x = torch.randn(7, inputs, dtype=torch.float64, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        found, expected = layer(x), F.linear(y, dense, layer.bias.detach())
        torch.testing.assert_close(found, expected)
        weights = torch.randn(7, outputs, dtype=torch.float64)
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
        torch.testing.assert_close(
            torch.block_diag(*layer.weight.grad.transpose(1, 2)),
            dense.grad * (dense.detach() != 0),
        )

    def test_refuses_widths_that_do_not_split(self):
        with pytest.raises(ValueError, match="do not split into 3 blocks"):
            BlockLinear(10, 9, 3)


class TestNorms:
    def test_rms_norm_by_hand(self):
        norm = RMSNorm(4)
        norm.weight.data = torch.tensor([1.0, 2.0, -1.0, 0.5])
        x = torch.tensor([[3.0, -4.0, 0.0, 5.0]])
        root = math.sqrt(50 / 4 + NORM_EPS)
        expected = torch.tensor([[3 / root, -8 / root, 0.0, 2.5 / root]])
        torch.testing.assert_close(norm(x), expected)

    def test_eps_stands_under_the_root(self):
        # Of 1e-2 alone, the mean square equals eps: the norm shrinks by the root of two.
        x = torch.full((1, 8), NORM_EPS**0.5)
        torch.testing.assert_close(RMSNorm(8)(x), torch.full((1, 8), 0.5**0.5))

    def test_a_layer_is_linear_then_norm_then_silu(self):
        torch.manual_seed(0)
        layer, x = MLP(4, 6, 1), torch.randn(3, 5, 4)
        torch.nn.init.normal_(layer[1].weight)
        torch.nn.init.normal_(layer[0].bias)
        y = x @ layer[0].weight.T + layer[0].bias
        y = y / (y.square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * layer[1].weight
        torch.testing.assert_close(layer(x), y * torch.sigmoid(y))

    @pytest.mark.parametrize("scale", [1.0, 1e-2, 30.0])
    @pytest.mark.parametrize("channels_last", [True, False])
    def test_channel_norm_equals_the_composed_form(self, scale, channels_last):
        layer = ChannelNorm(5)
        layer.weight.data = torch.randn(5, generator=generator())
        x = scale * torch.randn(4, 5, 6, 3, generator=generator(1))
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        weights = torch.randn(4, 5, 6, 3, generator=generator(2))
        x.requires_grad_()
        found = layer(x)
        found_gradients = torch.autograd.grad((found * weights).sum(), (x, layer.weight))
        # the composed form in double
        x2 = x.detach().double().requires_grad_()
        w2 = layer.weight.detach().double().requires_grad_()
        y2 = x2.movedim(1, -1)
        expected = (y2 / (y2.square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * w2).movedim(-1, 1)
        expected_gradients = torch.autograd.grad((expected * weights).sum(), (x2, w2))
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
        for one, two in zip(found_gradients, expected_gradients, strict=True):
            torch.testing.assert_close(one.double(), two, rtol=1e-4, atol=1e-5 * float(two.abs().max()))

    def test_channel_norm_passes_gradcheck(self):
        layer = ChannelNorm(3).double()
        x = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=generator(), requires_grad=True)
        assert torch.autograd.gradcheck(layer, (x,))

    def test_channel_norm_of_many_networks_at_once_equals_each(self):
        layers = [ChannelNorm(3) for _ in range(2)]
        weights = torch.rand(2, 3, generator=generator()).requires_grad_()
        x = torch.randn(2, 4, 3, 2, 2, generator=generator(1), requires_grad=True)
        call = torch.func.functional_call
        batched = torch.func.vmap(lambda w, x: call(layers[0], {"weight": w}, (x,)))(weights, x)
        each = torch.stack([call(layers[i], {"weight": weights[i]}, (x[i].double(),)) for i in range(2)])
        torch.testing.assert_close(batched.double(), each, rtol=1e-5, atol=1e-6)
        cotangent = torch.randn(each.shape, generator=generator(2))
        found = torch.autograd.grad((batched * cotangent).sum(), (weights, x))
        expected = torch.autograd.grad((each * cotangent).sum(), (weights, x))
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


class TestInit:
    def test_deviation_and_truncation(self):
        torch.manual_seed(0)
        weight = init_truncated_(torch.empty(400, 500), 500)
        assert weight.std().item() == pytest.approx(500**-0.5, rel=0.01)
        assert weight.abs().max().item() <= 2 / 0.8796 * 500**-0.5 * 1.0001

    def test_scale_zero_is_zero(self):
        assert (Linear(3, 4, scale=0.0).weight == 0).all()

    def test_mlp_head_of_zero_outputs_zero(self):
        assert (MLP(3, 8, 2, outputs=5, outscale=0.0)(torch.randn(2, 3)) == 0).all()

    def test_mlp_layers(self):
        torch.manual_seed(0)
        mlp = MLP(3, 8, 2, outputs=5)
        x = torch.randn(4, 3)
        h = x
        for k in (0, 3):
            h = F.linear(h, mlp[k].weight, mlp[k].bias)
            h = F.silu(F.rms_norm(h, (8,), mlp[k + 1].weight, NORM_EPS))
        torch.testing.assert_close(mlp(x), F.linear(h, mlp[6].weight, mlp[6].bias))
