"""Quantizers by name, alone and in a VQ-VAE."""

import math

import pytest
import torch
from torch import nn

from aevae_fast.models import VQVAE, load_model, save_model
from aevae_fast.models.discrete import QUANTIZERS, decode_indices, has_stages, make_quantizer, quantize, stage_sizes

CODES = {"vq": (1, (256,)), "residual": (3, (256,) * 3), "fsq": (1, (240,)), "lfq": (1, (256,))}


def small(name, **options):
    torch.manual_seed(0)
    return VQVAE(3, 16, channels=8, codebook_size=256, codebook_dim=4, stages=CODES[name][0], quantizer=name, **options)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_indices_lead_back_to_what_was_quantized(name):
    torch.manual_seed(0)
    stages, sizes = CODES[name]
    quantizer = make_quantizer(name, 4, 256, stages, {}).eval()
    x = torch.randn(2, 4, 3, 5)
    quantized, indices, loss = quantize(quantizer, x)
    assert stage_sizes(quantizer) == sizes
    assert has_stages(quantizer) == (name == "residual")
    assert indices.shape == ((2, 3, 5, 3) if stages > 1 else (2, 3, 5))
    assert (loss.shape, quantized.shape) == ((), x.shape)
    torch.testing.assert_close(decode_indices(quantizer, indices), quantized)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_model_with_it_learns_and_comes_back(name, tmp_path):
    model, x = small(name), torch.rand(4, 3, 16, 16)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        output = model(x)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.reconstruction_loss.item())
    assert losses[-1] < 0.8 * losses[0]
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded.reconstruct(x), model.reconstruct(x))
    assert model.codebook.shape[0] == model.codebook_size == CODES[name][1][0]
    assert model.bits_per_image == 16 * sum(math.log2(size) for size in CODES[name][1])


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_training_step_is_one_graph(name):
    model, x = small(name), torch.rand(2, 3, 16, 16)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    loss = compiled(x).loss
    torch.testing.assert_close(loss, model(x).loss)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_first_stages_of_an_image_decode():
    model, x = small("residual").eval(), torch.rand(2, 3, 16, 16)
    indices = model.encode(x)
    codes = model.quantizer.get_codes_from_indices(indices)
    expected = model.decoder(codes[:2].sum(0).movedim(-1, 1)).clamp(0, 1)
    torch.testing.assert_close(model.decode(indices[..., :2]), expected)
    with pytest.raises(ValueError, match=r"indices: expected shape \[B, h, w, 1 to 3\], got \[2, 4, 4\]"):
        model.decode(indices[..., 0])


def test_a_config_from_before_there_were_names_still_loads(tmp_path):
    model = small("vq")
    del model.config["quantizer"], model.config["stages"]
    save_model(model, tmp_path)
    assert torch.equal(load_model(tmp_path).codebook, model.codebook)


def test_no_prior_over_several_codes_a_position():
    model = small("residual")
    with pytest.raises(ValueError, match="expected one code a position for a prior over them, got 3 stages"):
        model.check_one_code()
    small("fsq").check_one_code()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tree", 4, 256, 1, {}), "quantizer: expected one of vq, residual, fsq, lfq, or a module, got 'tree'"),
        (("vq", 4, 256, 2, {}), "stages: expected 1 for vq, got 2; residual takes more"),
        (("fsq", 4, 512, 1, {}), "codebook_size: expected one of 256, 1024, .* for fsq, got 512"),
        (("lfq", 4, 100, 1, {}), "codebook_size: expected a power of two for lfq, got 100"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_quantizer(*arguments)


def test_what_is_neither_a_name_nor_a_module_is_named():
    with pytest.raises(TypeError, match="quantizer: expected a name or a module, got None"):
        VQVAE(quantizer=None)


def test_a_quantizer_without_a_way_back_is_named():
    with pytest.raises(TypeError, match="expected a method get_codes_from_indices, Identity has none"):
        decode_indices(nn.Identity(), torch.zeros(1, dtype=torch.int64))
