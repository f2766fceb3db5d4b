"""Images to train on: bundled sets, photographs, sprites with known factors, folders, and batches of them; sounds."""

from .batches import TrainingBatches, collate_images, evaluation_batches
from .bundled import digits, mnist
from .image_folder import ImageFiles, folder
from .images import Chosen, ImageDataset, ImageSplits, ImageTensor, image_of, labels_of, spread
from .photo_patches import PhotoPatches, photos, whole_photos
from .sounds import Clips, SoundSplits, synthesised_sounds, write_wav
from .sources import SOURCES, load_images
from .splits import random_split, stratified_split
from .sprites_grid import Sprites
from .sprites_sources import DSprites, FactorImages, dsprites, sprites

__all__ = [
    "SOURCES",
    "Chosen",
    "Clips",
    "DSprites",
    "FactorImages",
    "ImageDataset",
    "ImageFiles",
    "ImageSplits",
    "ImageTensor",
    "PhotoPatches",
    "SoundSplits",
    "Sprites",
    "TrainingBatches",
    "collate_images",
    "digits",
    "dsprites",
    "evaluation_batches",
    "folder",
    "image_of",
    "labels_of",
    "load_images",
    "mnist",
    "photos",
    "random_split",
    "spread",
    "sprites",
    "stratified_split",
    "synthesised_sounds",
    "whole_photos",
    "write_wav",
]
