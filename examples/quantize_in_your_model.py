"""Put `VectorQuantize` into a model of your own and train it with a plain PyTorch loop.

python examples/quantize_in_your_model.py
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aevae_fast.data import TrainingBatches, digits
from aevae_fast.quantizers import VectorQuantize


class Tokenizer(nn.Module):
    """An 8x8 digit becomes 4x4 codes of a codebook of 64, and a digit again."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1)
        )
        self.quantizer = VectorQuantize(dim=16, codebook_size=64, accept_image_fmap=True, commitment_weight=0.25)
        self.decoder = nn.Sequential(
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantized, indices, loss = self.quantizer(self.encoder(images))
        return self.decoder(quantized), indices, loss


def main() -> None:
    torch.manual_seed(0)
    images = digits()
    model = Tokenizer()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step, batch in zip(range(600), TrainingBatches(images.train, batch_size=64), strict=False):
        decoded, _, quantizer_loss = model(batch)
        error = F.mse_loss(decoded, batch)
        optimizer.zero_grad()
        (error + quantizer_loss).backward()
        optimizer.step()  # the codebook moves here too, once
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: error {error:.4f}, perplexity {model.quantizer.perplexity:.1f} of 64")

    model.eval()
    held_out = images.held_out[0][None]
    with torch.no_grad():
        _, indices, _ = model(held_out)
    print(f"a held-out digit in 16 codes:\n{indices[0]}")


if __name__ == "__main__":
    main()
