"""VQVAE: shapes, the way through the indices, gradients, errors."""

import pytest
import torch
from torch import nn

from aevae_fast.models import VQVAE, ConvolutionalDecoder, ConvolutionalEncoder
from aevae_fast.quantizers import VectorQuantize


def small(in_channels=1, image_size=28, **options):
    torch.manual_seed(0)
    options = {"channels": 8, "codebook_size": 16, "codebook_dim": 4} | options
    return VQVAE(in_channels, image_size, **options)


@pytest.mark.parametrize(
    ("in_channels", "size", "factor", "batch"),
    [
        pytest.param(1, 28, 4, 3, id="mnist"),
        pytest.param(3, 64, 8, 2, id="colour-64"),
        pytest.param(3, 256, 16, 1, id="colour-256"),
        pytest.param(1, (32, 48), 2, 2, id="not-square"),
        pytest.param(3, 28, 1, 2, id="no-downsampling"),
        pytest.param(1, 28, 4, 0, id="empty-batch"),
    ],
)
def test_shapes(in_channels, size, factor, batch):
    height, width = (size, size) if isinstance(size, int) else size
    model = small(in_channels, size, downsampling_factor=factor).eval()
    x = torch.rand(batch, in_channels, height, width)
    output = model(x)
    grid = (height // factor, width // factor)
    assert output.reconstruction.shape == x.shape
    assert output.indices.shape == (batch, *grid)
    assert output.indices.dtype == torch.int64
    assert model.code_grid == grid
    assert model.bits_per_image == grid[0] * grid[1] * 4
    assert all(value.ndim == 0 for value in (output.loss, output.reconstruction_loss, output.quantizer_loss))


def test_another_size_that_divides_works():
    model = small().eval()
    assert model.encode(torch.rand(1, 1, 40, 56)).shape == (1, 10, 14)


def test_decoding_the_indices_is_the_reconstruction():
    model = small().eval()
    x = torch.rand(3, 1, 28, 28)
    output = model(x)
    indices = model.encode(x)
    assert torch.equal(indices, output.indices)
    torch.testing.assert_close(model.decode(indices), output.reconstruction.clamp(0, 1))
    assert torch.equal(model.reconstruct(x), model.decode(indices))


def test_indices_to_codes_to_indices_is_the_identity():
    model = small().eval()
    indices = torch.randint(16, (2, 7, 7))
    codes = model.quantizer.get_codes_from_indices(indices)
    assert torch.equal(model.quantizer(codes)[1], indices)


def test_the_loss_is_the_objective_written_out():
    model = small(commitment_weight=0.5, data_variance=0.1).eval()
    x = torch.rand(3, 1, 28, 28)
    output, z = model(x), model.encoder(x)
    codes = model.quantizer.get_codes_from_indices(output.indices)
    expected = (output.reconstruction - x).square().mean() / 0.1 + 0.5 * (z - codes).square().mean()
    torch.testing.assert_close(output.loss, expected)


def test_every_weight_gets_a_gradient():
    model = small()
    model(torch.rand(2, 1, 28, 28)).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_encoding_in_training_mode_changes_nothing():
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reconstruct(torch.rand(2, 1, 28, 28))
    assert model.training
    assert model.quantizer.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_own_parts_are_used():
    parts = {
        "encoder": ConvolutionalEncoder(1, 8, 4, 2, 1),
        "decoder": ConvolutionalDecoder(1, 8, 4, 2, 1),
        "quantizer": VectorQuantize(dim=4, codebook_size=32, codebook_dim=2, accept_image_fmap=True),
    }
    model = VQVAE(**parts)
    assert all(getattr(model, name) is part for name, part in parts.items())
    assert model.codebook_size == 32
    assert model.reconstruct(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


HALF = [pytest.param(torch.bfloat16, id="bf16"), pytest.param(torch.float16, id="fp16")]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("options", [{}, {"codebook_dim": 2}], ids=["plain", "projected"])
def test_a_half_precision_model_encodes_and_decodes(dtype, options):
    quantizer = VectorQuantize(dim=4, codebook_size=16, accept_image_fmap=True, **options)
    model = small(quantizer=quantizer).to(dtype).eval()
    x = torch.rand(2, 1, 28, 28, dtype=dtype)
    output = model(x)
    decoded = model.decode(model.encode(x))
    assert model.codebook.dtype == torch.float32
    assert decoded.dtype == output.reconstruction.dtype == dtype
    torch.testing.assert_close(decoded, output.reconstruction.clamp(0, 1), rtol=0, atol=torch.finfo(dtype).eps)
    assert torch.equal(model.reconstruct(x), decoded)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=["of-fp32", "of-bf16"])
def test_autocast_encodes_and_decodes(dtype, weights):
    model = small().to(weights).eval()
    x = torch.rand(2, 1, 28, 28, dtype=weights)
    with torch.autocast("cpu", dtype):
        output = model(x)
        decoded = model.decode(model.encode(x))
        assert torch.equal(model.reconstruct(x), decoded)
    assert decoded.dtype == dtype
    torch.testing.assert_close(decoded, output.reconstruction.clamp(0, 1), rtol=0, atol=torch.finfo(dtype).eps)


def test_a_decoder_without_weights_gets_the_codes_as_they_are():
    assert small(decoder=nn.Upsample(scale_factor=4)).decode(torch.zeros(1, 7, 7).long()).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda state: state.pop("decoder.0.bias"), "Missing key", id="missing-key"),
        pytest.param(lambda state: state.update(colour=torch.ones(1)), "Unexpected key.*colour", id="unknown-key"),
        pytest.param(
            lambda state: state.update({"quantizer._codebook.embed": torch.ones(1, 17, 4)}), "17, 4", id="codebook-size"
        ),
    ],
)
def test_a_state_that_does_not_fit_leaves_the_model_as_it_was(change, message):
    model, other = small(), VQVAE(channels=8, codebook_size=16, codebook_dim=4).state_dict()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    change(other)
    with pytest.raises(RuntimeError, match=f"(?s){message}"):
        model.load_state_dict(other)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_quantizer_options_reach_the_quantizer():
    assert small(quantizer_options={"use_cosine_sim": True}).quantizer.use_cosine_sim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, r"in_channels: .*got 0"),
        ({"image_size": 30}, r"image_size: .*downsampling_factor=4, got 30x30"),
        ({"image_size": (28, 30)}, r"image_size: .*got 28x30"),
        ({"image_size": 0}, r"image_size: .*got 0"),
        ({"downsampling_factor": 3}, r"downsampling_factor: .*power of two.*got 3"),
        ({"codebook_size": 0}, r"codebook_size: .*got 0"),
        ({"codebook_dim": -1}, r"codebook_dim: .*got -1"),
        ({"channels": 0}, r"channels: .*got 0"),
        ({"residual_blocks": -1}, r"residual_blocks: .*got -1"),
        ({"data_variance": 0.0}, r"data_variance: .*got 0.0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        VQVAE(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codebook_size": "16"}, r"codebook_size: expected a whole number, got '16'"),
        ({"channels": 8.5}, r"channels: expected a whole number, got 8.5"),
        ({"downsampling_factor": 2.0}, r"downsampling_factor: .*got 2.0"),
        ({"image_size": None}, r"image_size: .*got None"),
        ({"decay": "much"}, r"decay: expected a number, 0 or more, got 'much'"),
        ({"data_variance": "1"}, r"data_variance: expected a positive number, got '1'"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(arguments, message):
    with pytest.raises(TypeError, match=message):
        VQVAE(**arguments)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        pytest.param(torch.rand(2, 3, 28, 28), ValueError, r"x: .*in_channels=1.*\[2, 3, 28, 28\]", id="channels"),
        pytest.param(torch.rand(1, 28, 28), ValueError, r"x: .*\[1, 28, 28\]", id="no-batch"),
        pytest.param(torch.rand(2, 1, 28, 30), ValueError, r"x: .*downsampling_factor=4, got 28x30", id="size"),
        pytest.param(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), TypeError, r"x: .*uint8", id="dtype"),
    ],
)
def test_wrong_images_are_named(images, error, message):
    with pytest.raises(error, match=message):
        small()(images)


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        pytest.param(torch.zeros(2, 7, 7), TypeError, "indices: .*float32", id="dtype"),
        pytest.param(torch.zeros(7, 7, dtype=torch.int64), ValueError, r"indices: .*\[7, 7\]", id="shape"),
        pytest.param(torch.full((1, 7, 7), 16), ValueError, r"indices: .*\[0, 16\).*\[16, 16\]", id="range"),
    ],
)
def test_wrong_indices_are_named(indices, error, message):
    with pytest.raises(error, match=message):
        small().decode(indices)


def test_parts_are_modules_one_can_print():
    assert "codes=7x7 of 16" in repr(small())
    assert isinstance(small().encoder, nn.Sequential)
