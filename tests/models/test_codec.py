"""The audio codec: shapes, the way through the indices of the first stages, bits, files, errors."""

import math

import pytest
import torch

from aevae_fast.losses import multi_resolution_stft_loss
from aevae_fast.models import AudioCodec, load_model, save_model


def small(**options):
    torch.manual_seed(0)
    options = {"strides": (4, 2), "channels": 4, "latent_dim": 6, "stages": 3, "codebook_size": 8} | options
    return AudioCodec(8000, **options)


def sound(batch=2, length=1000):
    return torch.rand(batch, 1, length, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.mark.parametrize(
    "length", [pytest.param(1000, id="whole-frames"), pytest.param(1003, id="last-frame-not-full")]
)
def test_shapes(length):
    model, x = small().eval(), sound(length=length)
    output = model(x)
    frames = math.ceil(length / 8)
    assert output.reconstruction.shape == x.shape
    assert output.indices.shape == (2, frames, 3)
    assert output.indices.dtype == torch.int64
    assert model.decode(output.indices).shape == (2, 1, 8 * frames)
    assert model.reconstruct(x, 1).shape == x.shape


def test_bits_are_counted_frame_by_frame():
    model = small()
    assert (model.frame_length, model.frame_rate, model.codebook_sizes) == (8, 1000.0, (8, 8, 8))
    assert [model.bitrate(1), model.bitrate(2), model.bitrate()] == [3000.0, 6000.0, 9000.0]
    indices = model.encode(sound(1, 8000))  # a second
    assert indices.shape[1] * 3 * math.log2(8) == model.bitrate()


def test_decoding_the_indices_is_the_reconstruction():
    model, x = small().eval(), sound()
    output = model(x)
    assert torch.equal(model.encode(x), output.indices)
    torch.testing.assert_close(model.decode(output.indices), output.reconstruction.clamp(-1, 1))
    assert torch.equal(model.reconstruct(x), model.decode(model.encode(x)))


def test_the_first_stages_alone_decode():
    model, x = small().eval(), sound()
    indices = model.encode(x)
    codes = model.quantizer.get_codes_from_indices(indices)  # [Q, B, frames, D]
    for count in (1, 2, 3):
        expected = model.decoder(codes[:count].sum(0).movedim(-1, 1)).clamp(-1, 1)
        torch.testing.assert_close(model.decode(indices[..., :count]), expected)


def test_the_loss_is_the_objective_written_out():
    model, x = small(commitment_weight=0.5, data_variance=0.1, spectral_weight=0.3).eval(), sound()
    output = model(x)
    z, codes = model.encoder(x), model.quantizer.get_codes_from_indices(output.indices).movedim(-1, 2)
    residuals = [z - codes[:count].sum(0) for count in (1, 2, 3)]
    expected = (output.reconstruction - x).square().mean() / 0.1
    expected = expected + 0.3 * multi_resolution_stft_loss(output.reconstruction, x)
    expected = expected + 0.5 * sum(residual.square().mean() for residual in residuals)
    torch.testing.assert_close(output.loss, expected)


def test_every_weight_gets_a_gradient_and_dropped_stages_are_marked():
    model = small()
    seen = set()
    for _ in range(20):
        output = model(sound())
        used = (output.indices >= 0).flatten(0, 1)
        assert (used == used[0]).all()
        seen.add(int(used[0].sum()))
    assert seen == {1, 2, 3}
    output.loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_encoding_in_training_mode_changes_nothing():
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert (model.encode(sound()) >= 0).all()
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_training_step_is_one_graph():
    model, x = small(), sound()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.manual_seed(3)
    expected = model(x).loss
    torch.manual_seed(3)
    loss = compiled(x).loss
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_what_is_saved_comes_back(tmp_path):
    model = small(quantizer_options={"kmeans_init": True})
    model(sound()).loss.backward()
    torch.optim.Adam(model.parameters()).step()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert (type(loaded), loaded.config, loaded.training) == (AudioCodec, model.config, False)
    assert torch.equal(loaded.reconstruct(sound()), model.reconstruct(sound()))


def test_the_codebooks_stay_float32_in_a_half_precision_model():
    model = small().bfloat16()
    assert model.quantizer.layers[0].codebook.dtype == torch.float32
    assert model.reconstruct(sound().bfloat16()).isfinite().all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stages": 0}, ValueError, "stages: .*got 0"),
        ({"strides": (4, 3)}, ValueError, r"strides: .*even.*\(4, 3\)"),
        ({"strides": ()}, ValueError, "strides: .*one or more"),
        ({"channels": 1.5}, TypeError, "channels: .*got 1.5"),
        ({"spectral_weight": -1}, ValueError, "spectral_weight: .*got -1"),
        ({"quantizer_options": {"colour": 1}}, TypeError, "colour"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("method", "value", "error", "message"),
    [
        ("encode", torch.zeros(2, 100), ValueError, r"x: expected sound \[B, 1, T\], got \[2, 100\]"),
        ("encode", torch.zeros(2, 1, 100, dtype=torch.int16), TypeError, "x: .*int16"),
        ("decode", torch.zeros(2, 5), TypeError, "indices: .*float32"),
        ("decode", torch.zeros(2, 5, dtype=torch.int64), ValueError, r"indices: .*\[B, frames, 1 to 3\], got \[2, 5\]"),
        ("decode", torch.zeros(2, 5, 4, dtype=torch.int64), ValueError, r"indices: .*got \[2, 5, 4\]"),
        ("decode", torch.tensor([[[0, 9, 0]]]), ValueError, r"indices: .*\[0, 8\).*of stage 2, got \[9, 9\]"),
        ("decode", torch.tensor([[[0, 0, -1]]]), ValueError, r"indices: .*of stage 3, got \[-1, -1\]"),
    ],
)
def test_wrong_input_is_named(method, value, error, message):
    with pytest.raises(error, match=message):
        getattr(small(), method)(value)
