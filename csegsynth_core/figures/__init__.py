"""Arrays and numbers → Plotly figures. Nothing here knows of Streamlit."""

from csegsynth_core.figures.centiles import VolumeRow, centile_figure, centile_words
from csegsynth_core.figures.cohort import (
    age_sex_figure,
    along_age_figure,
    correlation_figure,
    distribution_figure,
    levels_figure,
    volumes_by_age_figure,
)
from csegsynth_core.figures.film import FILM_AT, Frame, film_slices, morph_figure, strip_figure
from csegsynth_core.figures.influence import InfluenceBar, influence_figure
from csegsynth_core.figures.measured import methods_figure
from csegsynth_core.figures.montage import groups_figure, montage_figure, picture_url, three_planes
from csegsynth_core.figures.scenarios import scenario_symbol, scenarios_figure
from csegsynth_core.figures.slices import (
    CENTRE,
    CONTOURS,
    MODES,
    PLANES,
    Display,
    Plane,
    View,
    Voxel,
    difference_key,
    difference_limit,
    difference_rgb,
    pair_figure,
    picked_from_event,
    picked_voxel,
    planes_figure,
    shared_limit,
    slice_figure,
    slice_rgb,
    view,
)
from csegsynth_core.figures.style import SUM_COLOUR
from csegsynth_core.figures.surface import CAMERAS, VENTRICLES, Side, surface_figure
from csegsynth_core.figures.trajectory import ACROSS, Line, Reference, trajectory_figure

__all__ = [
    "ACROSS",
    "CAMERAS",
    "CENTRE",
    "CONTOURS",
    "FILM_AT",
    "MODES",
    "PLANES",
    "SUM_COLOUR",
    "VENTRICLES",
    "Display",
    "Frame",
    "InfluenceBar",
    "Line",
    "Plane",
    "Reference",
    "Side",
    "View",
    "VolumeRow",
    "Voxel",
    "age_sex_figure",
    "along_age_figure",
    "centile_figure",
    "centile_words",
    "correlation_figure",
    "difference_key",
    "difference_limit",
    "difference_rgb",
    "distribution_figure",
    "film_slices",
    "groups_figure",
    "influence_figure",
    "levels_figure",
    "methods_figure",
    "montage_figure",
    "morph_figure",
    "pair_figure",
    "picked_from_event",
    "picked_voxel",
    "picture_url",
    "planes_figure",
    "scenario_symbol",
    "scenarios_figure",
    "shared_limit",
    "slice_figure",
    "slice_rgb",
    "strip_figure",
    "surface_figure",
    "three_planes",
    "trajectory_figure",
    "view",
    "volumes_by_age_figure",
]
