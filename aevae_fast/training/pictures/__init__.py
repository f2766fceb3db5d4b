"""Pictures of trained models, drawn without a display."""

from .canvas import save_figure
from .codebook import code_colours, draw_code_curves, draw_code_maps, draw_codebook_curves, draw_usage
from .factors import draw_information
from .grids import draw_grid, draw_reconstructions, draw_rows, tile
from .latent import draw_likelihood_curves

__all__ = [
    "code_colours",
    "draw_code_curves",
    "draw_code_maps",
    "draw_codebook_curves",
    "draw_grid",
    "draw_information",
    "draw_likelihood_curves",
    "draw_reconstructions",
    "draw_rows",
    "draw_usage",
    "save_figure",
    "tile",
]
