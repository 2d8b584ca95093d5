"""What changes the volumes of a virtual brain: one row per effect, with its source.

The logarithm of each volume is a sum: a constant, head size, age, the effects below, the person's reserve and
noise. An effect of 0.01 is one per cent more of that tissue per unit of its term. Sources give the sign and the
order of magnitude; where `source` says "own choice", they do not give the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VOLUMES: Final = ("wm", "gm", "csf", "ventricles")
"""The volumes with an equation. `csf` holds the ventricles."""


@dataclass(frozen=True)
class Effect:
    """`size × (value − centre) / unit`, raised to `power`, and `× (age − 53) / 10` where `with_age`."""

    feature: str
    wm: float
    gm: float
    csf: float
    ventricles: float
    source: str
    unit: float = 1.0
    centre: float = 0.0
    power: int = 1
    with_age: bool = False
    level: str = ""
    """The effect is that of this level, beside all others; then `unit`, `centre`, `power` do not count."""

    def size(self, volume: str) -> float:
        """Effect on one of `VOLUMES`."""
        return float(getattr(self, volume))

    @property
    def term(self) -> str:
        """The term in words."""
        if self.level:
            text = f"{self.feature} = {self.level}"
        else:
            text = self.feature if not self.centre else f"({self.feature} − {self.centre:g})"
            text = text if self.unit == 1 else f"{text} / {self.unit:g}"
            text = text if self.power == 1 else f"[{text}]^{self.power}"
        return text + (" × (age − 53) / 10" if self.with_age else "")


AGE_CENTRE: Final = 53.0

EFFECTS: Final[tuple[Effect, ...]] = (
    Effect(
        "age", -0.0075, -0.0238, 0.0560, 0.160,
        "Walhovd 2011 (GM falls through adult life, WM inverted U, CSF and ventricles up), "
        "Raz 2005, Fjell 2013, Bethlehem 2022. Studies differ in whether GM falls straight or faster late: "
        "here straight",
        unit=10.0, centre=53.0,
    ),
    Effect(
        "age", -0.0083, 0.0, 0.0068, 0.014,
        "Walhovd 2011, Bethlehem 2022: WM peaks in midlife; CSF rises faster with age",
        unit=10.0, centre=53.0, power=2,
    ),
    Effect(
        "sex", 0.055, 0.052, 0.042, 0.08,
        "Ritchie 2018 (men's raw volumes larger, most of it with body size); this is what height leaves over",
        level="M",
    ),
    Effect(
        "sex", 0.0, -0.0015, 0.004, 0.010,
        "Walhovd 2011: sex differences in ageing small and not found everywhere; own choice of size",
        level="M", with_age=True,
    ),
    Effect(
        "height", 0.041, 0.041, 0.041, 0.041, "Ritchie 2018 for the sign; own choice of size",
        unit=10.0, centre=169.0,
    ),
    Effect(
        "weight", 0.0, -0.0050, 0.0040, 0.010,
        "Hamer & Batty 2019 (body mass and less grey matter); other studies find none after adjustment",
        unit=10.0, centre=75.0,
    ),
    Effect(
        "education_years", 0.0020, 0.0030, 0.0, -0.005,
        "Literature disagrees: associations in cross-section, none with the rate of change (Nyberg 2021); own choice",
        centre=14.0,
    ),
    Effect(
        "pack_years", -0.0035, -0.0075, 0.010, 0.020,
        "Karama 2015 (smoking and thinner cortex); own choice of size", unit=10.0,
    ),
    Effect(
        "alcohol_units_week", -0.0090, -0.0085, 0.012, 0.022,
        "Topiwala 2017, Daviet 2022 (less grey and white matter, already at moderate intake); own choice of size",
        unit=10.0, centre=10.0,
    ),
    Effect(
        "alcohol_units_week", -0.0010, -0.0015, 0.002, 0.004,
        "Daviet 2022 does not settle whether age adds to it; own choice", unit=10.0, centre=10.0, with_age=True,
    ),
    Effect(
        "vigorous_minutes_week", 0.0040, 0.0035, -0.005, -0.010,
        "Erickson 2014 (review: fitness and grey matter); trials disagree; own choice", unit=60.0, centre=90.0,
    ),
    Effect(
        "vigorous_minutes_week", 0.0010, 0.0010, -0.002, -0.004,
        "Own choice: exercise tells more later in life", unit=60.0, centre=90.0, with_age=True,
    ),
    Effect(
        "hypertension", -0.014, -0.010, 0.015, 0.050,
        "Cox 2019 (vascular risk and brain measures in UK Biobank); own choice of size", level="1",
    ),
    Effect(
        "diabetes", -0.010, -0.018, 0.020, 0.060,
        "Moran 2013 (atrophy in type 2 diabetes); own choice of size", level="1",
    ),
    Effect(
        "sleep_hours", -0.0015, -0.0020, 0.003, 0.006,
        "Fjell 2023: largest volumes at about 6.5 h across people, but no link with atrophy; a small own choice",
        centre=7.0, power=2,
    ),
    Effect(
        "lonely_isolated", -0.0030, -0.0060, 0.006, 0.012,
        "Düzel 2019 (loneliness and regional grey matter); own choice of size",
    ),
    Effect(
        "job_complexity", 0.0050, 0.0050, -0.003, -0.008,
        "Own choice, after the idea of reserve (Stern 2012)", centre=2.0,
    ),
    Effect("leisure_reading", 0.0040, 0.0030, 0.0, -0.004, "Own choice", centre=2.0),
    Effect(
        "musical_training_years", 0.0020, 0.0020, 0.0, 0.0,
        "Gaser & Schlaug 2003 (musicians: more grey matter, regionally); own choice of size", centre=3.0,
    ),
)  # fmt: skip
"""Direct effects. Every other feature, retirement and the cognitive tests among them, has none: it may go with
volumes only because both have causes in common."""

BASE_ML: Final = {"wm": 534.0, "gm": 566.0, "csf": 261.0, "ventricles": 24.5}
"""Volumes at the centres of all terms, of a woman."""
RESERVE: Final = {"wm": 0.083, "gm": 0.050, "csf": 0.030, "ventricles": 0.0}
"""Effect of one standard deviation of the latent reserve. Brain size goes with cognition at r ≈ 0.24
(Pietschnig 2015); here it is stronger, by our choice, so that features explain as much as in Wang 2025."""
HEAD: Final = {"wm": 1.0, "gm": 1.0, "csf": 1.0, "ventricles": 1.0}
"""Share of the head's own size (log, `HEAD_SD`) that each volume takes on."""
HEAD_SD: Final = 0.042
NOISE_SD: Final = {"wm": 0.052, "gm": 0.038, "csf": 0.097, "ventricles": 0.17}
"""Noise of each log volume that nothing else has part in."""
CSF_TO_VENTRICLES: Final = 1.0
"""How much of CSF's own noise the ventricles share."""

REFERENCES: Final = {
    "Bethlehem 2022": "Brain charts for the human lifespan. Nature 604: 525–533",
    "Cox 2019": "Associations between vascular risk factors and brain MRI indices in UK Biobank. "
    "Eur Heart J 40: 2290–2300",
    "Daviet 2022": "Associations between alcohol consumption and gray and white matter volumes in the UK Biobank. "
    "Nat Commun 13: 1175",
    "Düzel 2019": "Structural brain correlates of loneliness among older adults. Sci Rep 9: 13569",
    "Erickson 2014": "Physical activity, fitness, and gray matter volume. Neurobiol Aging 35 Suppl 2: S20–S28",
    "Fjell 2013": "Critical ages in the life course of the adult brain: nonlinear subcortical aging. "
    "Neurobiol Aging 34: 2239–2247",
    "Fjell 2023": "No phenotypic or genotypic evidence for a link between sleep duration and brain atrophy. "
    "Nat Hum Behav 7: 2008–2022",
    "Gaser & Schlaug 2003": "Brain structures differ between musicians and non-musicians. J Neurosci 23: 9240–9245",
    "Hamer & Batty 2019": "Association of body mass index and waist-to-hip ratio with brain structure: "
    "UK Biobank study. Neurology 92: e594–e600",
    "Karama 2015": "Cigarette smoking and thinning of the brain's cortex. Mol Psychiatry 20: 778–785",
    "Moran 2013": "Brain atrophy in type 2 diabetes: regional distribution and influence on cognition. "
    "Diabetes Care 36: 4036–4042",
    "Nyberg 2021": "Educational attainment does not influence brain aging. PNAS 118: e2101644118",
    "Pietschnig 2015": "Meta-analysis of associations between human brain volume and intelligence differences. "
    "Neurosci Biobehav Rev 57: 411–432",
    "Raz 2005": "Regional brain changes in aging healthy adults: general trends, individual differences and "
    "modifiers. Cereb Cortex 15: 1676–1689",
    "Ritchie 2018": "Sex differences in the adult human brain: evidence from 5216 UK Biobank participants. "
    "Cereb Cortex 28: 2959–2975",
    "Stern 2012": "Cognitive reserve in ageing and Alzheimer's disease. Lancet Neurol 11: 1006–1012",
    "Topiwala 2017": "Moderate alcohol consumption as risk factor for adverse brain outcomes and cognitive decline. "
    "BMJ 357: j2353",
    "Walhovd 2011": "Consistent neuroanatomical age-related volume differences across multiple samples. "
    "Neurobiol Aging 32: 916–932",
}  # fmt: skip
