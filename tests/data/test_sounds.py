"""Synthesised sounds: the same for everyone, of every kind, and heard by any player."""

import wave

import numpy as np
import pytest
import torch

from aevae_fast.data import Clips, synthesised_sounds, write_wav
from aevae_fast.data.sound_synthesis import CLIP_LENGTH, KINDS, SAMPLE_RATE, Voice, draw_sound


def test_the_sounds_are_the_same_on_every_call_and_no_two_alike():
    sounds = synthesised_sounds(8, 8)
    assert sounds.train.sounds.shape == (16, 1, CLIP_LENGTH // 2)
    assert sounds.held_out.sounds.shape == (8, 1, CLIP_LENGTH)
    assert sounds.items == "clips at 16000 Hz"
    again = synthesised_sounds(4, 8)
    assert torch.equal(again.held_out.sounds, sounds.held_out.sounds)
    assert torch.equal(again.train.sounds, sounds.train.sounds[:8])
    every = torch.cat([sounds.train.sounds.reshape(8, -1), sounds.held_out.sounds[:, 0]])
    assert torch.pdist(every).min() > 1


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[kind.__name__.strip("_") for kind in KINDS])
def test_a_sound_is_loud_but_not_clipped_and_mostly_low(kind):
    for seed in range(5):
        sound = draw_sound(torch.Generator().manual_seed(seed), kind)
        assert sound.dtype == torch.float32
        assert 0.35 < sound.abs().max() < 0.95
        energy = torch.fft.rfft(sound.double()).abs().square()
        below = energy[: 3000 * CLIP_LENGTH // SAMPLE_RATE].sum() / energy.sum()
        assert below > 0.9


def test_a_voice_has_the_harmonics_it_says():
    sound = Voice(0.0, 1.0, 250.0, 250.0, brightness=1.0).render(0.3)
    middle = sound[4000:12000] * torch.hann_window(8000, dtype=torch.float64)  # 500 ms: 250 Hz is bin 125
    peaks = torch.fft.rfft(middle).abs()[125 * torch.arange(1, 9)]
    torch.testing.assert_close(peaks / peaks[0], 1 / torch.arange(1.0, 9.0).double(), rtol=1e-3, atol=0)
    assert sound[16000:].abs().max() == 0  # the voice is over


def test_a_wav_file_holds_the_samples(tmp_path):
    sound = torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0, 1.5])
    write_wav(tmp_path / "new" / "sound.wav", sound, 8000)
    with wave.open(str(tmp_path / "new" / "sound.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        samples = np.frombuffer(file.readframes(10), "<i2")
    assert samples.tolist() == [0, 16384, -16384, 32767, -32767, 32767]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Clips(torch.zeros(2, 8), 8000), r"sounds: .*\[N, 1, T\], got \[2, 8\]", id="shape"),
        pytest.param(lambda: Clips(torch.full((1, 1, 8), 2.0), 8000), r"sounds: .*size 2", id="range"),
        pytest.param(lambda: Clips(torch.full((1, 1, 8), torch.nan), 8000), r"sounds: .*size nan", id="nan"),
        pytest.param(lambda: synthesised_sounds(0, 1), "train, held_out: .*got 0 and 1", id="none"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("sound", [torch.zeros(1, 8), torch.tensor([0.0, torch.nan])], ids=["shape", "nan"])
def test_no_wav_file_of_what_is_no_sound(sound, tmp_path):
    with pytest.raises(ValueError, match="sound: expected finite samples"):
        write_wav(tmp_path / "sound.wav", sound, 8000)
    assert not list(tmp_path.iterdir())
