"""Arrays and numbers → Plotly figures. Nothing here knows of Streamlit."""

from csegsynth_core.figures.centiles import VolumeRow, centile_figure, centile_words
from csegsynth_core.figures.film import FILM_AT, Frame, film_slices, morph_figure, strip_figure
from csegsynth_core.figures.slices import (
    CENTRE,
    MODES,
    PLANES,
    Display,
    Plane,
    View,
    Voxel,
    difference_limit,
    difference_rgb,
    picked_from_event,
    picked_voxel,
    planes_figure,
    slice_figure,
    slice_rgb,
    view,
)
from csegsynth_core.figures.trajectory import Line, Reference, trajectory_figure

__all__ = [
    "CENTRE",
    "FILM_AT",
    "MODES",
    "PLANES",
    "Display",
    "Frame",
    "Line",
    "Plane",
    "Reference",
    "View",
    "VolumeRow",
    "Voxel",
    "centile_figure",
    "centile_words",
    "difference_limit",
    "difference_rgb",
    "film_slices",
    "morph_figure",
    "picked_from_event",
    "picked_voxel",
    "planes_figure",
    "slice_figure",
    "slice_rgb",
    "strip_figure",
    "trajectory_figure",
    "view",
]
