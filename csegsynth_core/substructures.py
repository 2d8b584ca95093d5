"""Parts of a brain: their names, and what anatomical labels they hold.

Every tissue is divided into parcels, so that parcels add up to their tissue; regions that people ask for are sums
of parcels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

PARCELS: Final[dict[str, str]] = {
    "cerebral_wm": "wm",
    "cerebellar_wm": "wm",
    "brainstem": "wm",
    "frontal_gm": "gm",
    "parietal_gm": "gm",
    "temporal_gm": "gm",
    "occipital_gm": "gm",
    "limbic_insular_gm": "gm",
    "hippocampus_amygdala": "gm",
    "basal_gm": "gm",
    "cerebellar_gm": "gm",
    "ventricles": "csf",
    "outer_csf": "csf",
}
"""Parcel → its tissue, in the order of the parcellation network's channels."""


@dataclass(frozen=True)
class RegionOfInterest:
    """A part of the brain that has a volume."""

    name: str
    title: str
    """For people."""
    parcels: tuple[str, ...]
    tissue: str
    """The tissue whose colour it is drawn in."""


_CORTEX: Final = ("frontal_gm", "parietal_gm", "temporal_gm", "occipital_gm", "limbic_insular_gm")

REGIONS: Final[tuple[RegionOfInterest, ...]] = (
    RegionOfInterest("ventricles", "Ventricles", ("ventricles",), "csf"),
    RegionOfInterest("cortical_gm", "Cortical GM", _CORTEX, "gm"),
    RegionOfInterest("deep_gm", "Deep GM", ("basal_gm", "hippocampus_amygdala"), "gm"),
    RegionOfInterest("cerebellum", "Cerebellum", ("cerebellar_gm", "cerebellar_wm"), "gm"),
    RegionOfInterest("brainstem", "Brainstem", ("brainstem",), "wm"),
    RegionOfInterest("frontal_gm", "Frontal GM", ("frontal_gm",), "gm"),
    RegionOfInterest("parietal_gm", "Parietal GM", ("parietal_gm",), "gm"),
    RegionOfInterest("temporal_gm", "Temporal GM", ("temporal_gm",), "gm"),
    RegionOfInterest("occipital_gm", "Occipital GM", ("occipital_gm",), "gm"),
    RegionOfInterest("hippocampus_amygdala", "Hippocampus and amygdala", ("hippocampus_amygdala",), "gm"),
)
"""Regions with volumes; the first five divide the brain, the others are parts of them."""

_PATTERNS: Final[tuple[tuple[str, str], ...]] = (
    ("ventricles", r"ventricle"),
    ("outer_csf", r"csf"),
    ("brainstem", r"brain ?stem"),
    ("cerebellar_wm", r"cerebell\w*_wm"),
    ("cerebellar_gm", r"cerebell"),
    ("hippocampus_amygdala", r"hippocamp(?!al)|^hippocampus|amygdala"),
    ("basal_gm", r"accumbens|caudate|putamen|pallidum|thalamus|ventraldc|basalforebrain"),
    ("limbic_insular_gm", r"cingul|insula|subcallosal"),
    ("occipital_gm", r"occipital(?!_wm)|calcarine|cuneus(?<!precuneus)|lingual"),
    ("parietal_gm", r"(?<!tri)angular|postcentral|precuneus|parietal(?!_wm)|supramarginal"),
    (
        "temporal_gm",
        r"entorhinal|fusiform|temporal(?!_wm)|parahippocampal|planumpolare|planumtemporale",
    ),
    ("frontal_gm", r"orbital|frontal(?!_wm)|centraloperculum|rectus|precentral|motor"),
)


def parcel_of(label: str, tissue: str) -> str | None:
    """Parcel that an anatomical label belongs to, by its name (DLMUSE, MUSE and FreeSurfer-like names).

    Args:
        label: as in `dseg.tsv`.
        tissue: `wm`, `gm` or `csf`; others belong to no parcel.

    Returns:
        None when the name tells nothing. White matter that is neither cerebellum nor brainstem is cerebral.
    """
    name = label.casefold()
    for parcel, pattern in _PATTERNS:
        if PARCELS[parcel] == tissue and re.search(pattern, name):
            return parcel
    return "cerebral_wm" if tissue == "wm" else None
