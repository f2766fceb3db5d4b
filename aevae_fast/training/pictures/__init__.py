"""Pictures of trained models, drawn without a display."""

from .canvas import save_figure
from .codebook import code_colours, draw_code_curves, draw_code_maps, draw_codebook_curves, draw_usage
from .factors import draw_information
from .grids import draw_grid, draw_reconstructions, draw_rows, tile
from .health import draw_stage_health, draw_stage_usage
from .latent import draw_likelihood_curves
from .photographs import draw_photographs
from .sound import draw_codec_curves, draw_signal_to_noise, draw_spectrograms, draw_waveforms

__all__ = [
    "code_colours",
    "draw_code_curves",
    "draw_code_maps",
    "draw_codebook_curves",
    "draw_codec_curves",
    "draw_grid",
    "draw_information",
    "draw_likelihood_curves",
    "draw_photographs",
    "draw_reconstructions",
    "draw_rows",
    "draw_signal_to_noise",
    "draw_spectrograms",
    "draw_stage_health",
    "draw_stage_usage",
    "draw_usage",
    "draw_waveforms",
    "save_figure",
    "tile",
]
