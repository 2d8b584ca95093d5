"""The 198 features of virtual people, each with one structural equation.

Every variable v, latent or not, has a score: the weighted sum of its standardised parents plus its own normal
noise. The score becomes a value by v's shape: a rounded number, a level, or a rule. Margins and weights are our
own choices, made to resemble tables of population studies such as CamCAN (Shafto et al. 2014, BMC Neurology 14);
no person's data were used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from csegsynth_core.data.feature import Feature, FeatureGroup, FeatureKind, ZeroUnless
from csegsynth_core.data.simulate.labels import label_of

Numbers = NDArray[np.float64]
Values = Mapping[str, Numbers]
Form = Literal["latent", "normal", "skewed", "ordered", "choice", "rule"]


@dataclass(frozen=True)
class Equation:
    """How one variable comes about.

    Scores: sum of `parents`' weights times standardised parents, plus `noise` times a normal number.
    """

    name: str
    form: Form
    parents: dict[str, float] = field(default_factory=dict)
    """Parent → weight. `employment_status=retired` is 1 where that level is taken, else 0."""
    noise: float = 1.0
    feature: Feature | None = None
    """None for latent variables."""
    mean: float = 0.0
    """normal: mean of the value; skewed: its median."""
    sd: float = 1.0
    """normal: standard deviation of the value; skewed: that of its logarithm."""
    step: float = 1.0
    """Values are multiples of this."""
    low: float = -np.inf
    high: float = np.inf
    zero: float = 0.0
    """skewed: what is taken off before cutting at `low`, so that some people have none."""
    shares: tuple[float, ...] = ()
    """ordered: share of people at each level, from the lowest score."""
    odds: dict[str, tuple[float, dict[str, float]]] = field(default_factory=dict)
    """choice: level → log-odds at the mean, and weights of parents."""
    only: tuple[str, tuple[str, ...]] | None = None
    """(parent, levels): elsewhere the value is 0."""
    rule: Callable[[Values, Numbers], Numbers] | None = None
    """rule: (values so far, score) → value."""
    text: str = ""
    """rule: the equation in words."""
    block: str = ""
    """Features of one block are missing together when a test or a part of the interview was left out."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Keys of the levels, in order; empty for numbers."""
        return tuple(self.feature.levels) if self.feature is not None else ()

    def sources(self) -> set[str]:
        """Names of all variables that the equation reads directly."""
        names = set(self.parents) | {p for _, weights in self.odds.values() for p in weights}
        if self.only:
            names.add(self.only[0])
        return {n.split("=")[0] for n in names} | set(_READS.get(self.name, ()))

    def value(self, values: Values, normal: Numbers) -> Numbers:
        """The variable for every person, from its parents' values and its noise, each (n,)."""
        score = self.noise * normal
        for parent, weight in self.parents.items():
            score = score + weight * standardised(values, parent)
        if self.form == "latent":
            return score
        if self.form == "choice":
            return self._choice(values, normal)
        if self.form == "ordered":
            cuts = ndtri(np.clip(np.cumsum(self.shares)[:-1], 1e-9, 1 - 1e-9))
            out = np.searchsorted(cuts, score).astype(float)
        elif self.rule is not None:
            out = self._rounded(self.rule(values, score))
        elif self.form == "skewed":
            out = self._rounded(self.mean * np.exp(self.sd * score) - self.zero)
        else:
            out = self._rounded(self.mean + self.sd * score)
        if self.only is not None:
            levels = BY_NAME[self.only[0]].levels
            allowed = [levels.index(level) for level in self.only[1]]
            out = np.where(np.isin(values[self.only[0]], allowed), out, 0.0)
        return out

    def _rounded(self, numbers: Numbers) -> Numbers:
        cut = np.clip(numbers, self.low, self.high)
        # Divided, not multiplied, by powers of ten: the result is the double that the table's text means.
        inverse = round(1.0 / self.step) if self.step < 1 else 0
        out = np.rint(cut * inverse) / inverse if inverse else np.rint(cut / self.step) * self.step
        return out + 0.0  # no negative zero

    def _choice(self, values: Values, normal: Numbers) -> Numbers:
        logits = np.zeros((len(self.odds), len(normal)))
        for row, (start, weights) in enumerate(self.odds.values()):
            logits[row] = start + sum(w * standardised(values, p) for p, w in weights.items())
        shares = np.exp(logits - logits.max(axis=0))
        cumulative = np.cumsum(shares / shares.sum(axis=0), axis=0)[:-1]
        return (ndtr(normal)[None] > cumulative).sum(axis=0).astype(float)


def standardised(values: Values, parent: str) -> Numbers:
    """A parent as equations see it: about mean 0 and deviation 1, or 0/1 for `name=level`."""
    name, _, level = parent.partition("=")
    one = BY_NAME[name]
    x = values[name]
    if level:
        return (x == one.levels.index(level)).astype(float)
    if one.form == "latent":
        return x
    if one.form == "ordered":
        place = np.arange(len(one.shares))
        mean = float(np.dot(place, one.shares))
        return (x - mean) / max(float(np.sqrt(np.dot((place - mean) ** 2, one.shares))), 1e-9)
    if one.form == "skewed":
        return (np.log1p(np.maximum(x, 0)) - np.log1p(one.mean)) / max(one.sd, 0.5)
    return (x - one.mean) / one.sd


# ------------------------------------------------------------------ writing equations shortly

_ALL: Final[list[Equation]] = []
_READS: Final[dict[str, tuple[str, ...]]] = {}
_FREQUENCY: Final = ("never", "less than monthly", "monthly", "weekly", "daily")
_AGREE: Final = ("not at all", "a little", "fairly", "very much")


def _spent(parents: dict[str, float]) -> float:
    """Variance of the score that comes from parents, roughly: they are taken to be independent."""
    return sum(w * w / (4.0 if "=" in p else 1.0) for p, w in parents.items())


def _feature(name: str, kind: FeatureKind, group: FeatureGroup, about: str, **more: Any) -> Feature:
    label = label_of(name)
    return Feature(name=name, kind=kind, group=group, description=f"{about} (simulated)", label=label, **more)


def _latent(name: str, noise: float, **parents: float) -> None:
    _ALL.append(Equation(name, "latent", parents, noise))


def _number(
    name: str,
    group: FeatureGroup,
    about: str,
    units: str,
    mean: float,
    sd: float,
    limits: tuple[float, float],
    parents: dict[str, float],
    *,
    step: float = 1.0,
    form: Form = "normal",
    zero: float = 0.0,
    noise: float | None = None,
    only: tuple[str, tuple[str, ...]] | None = None,
    **more: Any,
) -> None:
    own = float(np.sqrt(max(1 - _spent(parents), 0.15))) if noise is None else noise
    about_it: dict[str, Any] = {"units": units, "plausible": limits, "integer": step >= 1}
    feature = _feature(
        name, "numeric", group, about, **about_it, zero_unless=None if only is None else ZeroUnless(*only)
    )
    low, high = limits
    _ALL.append(
        Equation(
            name, form, parents, own, feature, mean, sd, step, low, high, zero,
            only=only, **more,
        )
    )  # fmt: skip


def _ordered(
    name: str,
    group: FeatureGroup,
    about: str,
    levels: tuple[str, ...],
    shares: tuple[float, ...],
    parents: dict[str, float],
    **more: Any,
) -> None:
    total = float(sum(shares))
    kind: FeatureKind = "binary" if len(levels) == 2 else "ordinal"
    keys = {str(i): label for i, label in enumerate(levels)}
    spent = _spent(parents)
    noise = float(np.sqrt(max(1 - spent, 0.15)))
    feature = _feature(name, kind, group, about, levels=keys)
    part = tuple(s / total for s in shares)
    _ALL.append(Equation(name, "ordered", parents, noise, feature, shares=part, **more))


def _choice(
    name: str,
    group: FeatureGroup,
    about: str,
    odds: dict[str, tuple[str, float, dict[str, float]]],
    **more: Any,
) -> None:
    feature = _feature(
        name,
        "binary" if len(odds) == 2 else "nominal",
        group,
        about,
        levels={key: label for key, (label, _, _) in odds.items()},
    )
    table = {key: (start, weights) for key, (_, start, weights) in odds.items()}
    _ALL.append(Equation(name, "choice", {}, 1.0, feature, odds=table, **more))


def _yes(
    name: str, group: FeatureGroup, about: str, share: float, parents: dict[str, float], **more: Any
) -> None:
    _ordered(name, group, about, ("no", "yes"), (1 - share, share), parents, **more)


def _rule(
    name: str,
    group: FeatureGroup,
    about: str,
    units: str,
    limits: tuple[float, float],
    reads: tuple[str, ...],
    text: str,
    rule: Callable[[Values, Numbers], Numbers],
    *,
    parents: dict[str, float] | None = None,
    noise: float = 0.0,
    step: float = 1.0,
    mean: float = 0.0,
    sd: float = 1.0,
    levels: dict[str, str] | None = None,
    zero_unless: ZeroUnless | None = None,
    block: str = "",
) -> None:
    kind: FeatureKind = "binary" if levels else "numeric"
    more: dict[str, Any] = (
        {"levels": levels} if levels else {"units": units, "plausible": limits, "integer": step >= 1}
    )
    feature = _feature(name, kind, group, about, **more, zero_unless=zero_unless)
    low, high = limits
    _READS[name] = reads
    _ALL.append(
        Equation(
            name, "rule", parents or {}, noise, feature, mean, sd, step, low, high, rule=rule, text=text, block=block
        )
    )  # fmt: skip


def _level(values: Values, name: str, *keys: str) -> NDArray[np.bool_]:
    levels = BY_NAME[name].levels
    return np.isin(values[name], [levels.index(k) for k in keys])


# ------------------------------------------------------------------ the equations, causes before effects

D: Final[FeatureGroup] = "demographic"
I: Final[FeatureGroup] = "interview"  # noqa: E741
C: Final[FeatureGroup] = "cognitive"
L: Final[FeatureGroup] = "lifestyle"

_latent("reserve", 1.0)
_latent("vascular", 1.0)
_latent("sociability", 1.0)
_latent("distress", 1.0)

_SMOKER: Final = ZeroUnless("smoking_status", ("former", "current"))

# Demographic -------------------------------------------------------------------------------------
_rule(
    "age", D, "age at the visit", "years", (18.0, 100.0), (), "uniform between 18 and 88 years",
    lambda _, score: 18.0 + 70.0 * ndtr(score), noise=1.0, step=0.1, mean=53.0, sd=20.2,
)  # fmt: skip
_choice("sex", D, "sex", {"F": ("female", 0.0, {}), "M": ("male", 0.0, {})})
_ordered(
    "mother_education", D, "highest education of the mother",
    ("none", "school to 14", "school to 16", "school to 18", "university"), (8, 34, 33, 14, 11),
    {"age": -0.5, "reserve": 0.15},
)  # fmt: skip
_ordered(
    "father_education", D, "highest education of the father",
    ("none", "school to 14", "school to 16", "school to 18", "university"), (8, 31, 29, 14, 18),
    {"age": -0.4, "reserve": 0.15, "mother_education": 0.5},
)  # fmt: skip
_number(
    "height", D, "standing height", "cm", 163.0, 6.6, (130.0, 220.0),
    {"sex=M": 2.0, "age": -0.2, "father_education": 0.08}, step=0.1, noise=0.95,
)  # fmt: skip
_number(
    "education_years", D, "years of full-time education", "years", 14.0, 3.0, (7.0, 26.0),
    {"reserve": 0.4, "age": -0.35, "mother_education": 0.15, "father_education": 0.15},
)  # fmt: skip
_ordered(
    "qualification", D, "highest qualification",
    ("none", "GCSE or equivalent", "A level or equivalent", "degree", "higher degree"), (9, 15, 21, 37, 18),
    {"education_years": 0.85, "reserve": 0.1},
)  # fmt: skip
_ordered("first_language_english", D, "English is the first language", ("no", "yes"), (5, 95), {"age": 0.1})
_yes("born_abroad", D, "born in another country", 0.12, {"first_language_english": -0.5})
_number("handedness", D, "Edinburgh handedness inventory, −100 left to 100 right", "points", 78.0, 45.0,
        (-100.0, 100.0), {}, step=5.0)  # fmt: skip
_number("siblings", D, "brothers and sisters", "people", 2.2, 0.6, (0.0, 15.0), {"age": 0.2}, form="skewed",
        zero=0.6)  # fmt: skip
_ordered("glasses", D, "wears glasses or lenses", ("no", "reading only", "always"), (30, 30, 40),
         {"age": 0.55, "education_years": 0.1})  # fmt: skip
_ordered("hearing", D, "difficulty hearing in noise", ("none", "some", "much", "hearing aid"), (58, 26, 11, 5),
         {"age": 0.5, "sex=M": 0.25})  # fmt: skip
_yes("first_born", D, "first child of the mother", 0.42, {"siblings": -0.35})

# Health and habits that other things depend on --------------------------------------------------------
_choice(
    "smoking_status", L, "smoking",
    {
        "never": ("never smoked", 0.0, {}),
        "former": ("gave up", -0.35, {"age": 0.45, "sex=M": 0.25, "education_years": -0.1}),
        "current": ("smokes", -1.5, {"age": -0.35, "education_years": -0.4, "distress": 0.25}),
    },
    block="smoking",
)  # fmt: skip
_rule(
    "smoking_years", L, "years of smoking", "years", (0.0, 80.0), ("smoking_status", "age"),
    "a share of the years since 17 drawn per person; all of them for those who still smoke most of the time",
    lambda v, s: np.where(
        _level(v, "smoking_status", "never"), 0.0,
        np.maximum(v["age"] - 17.0, 0.5) * np.where(
            _level(v, "smoking_status", "current"), 0.8 + 0.2 * ndtr(s), 0.05 + 0.6 * ndtr(s)
        ),
    ),
    noise=1.0, mean=8.0, sd=13.0, block="smoking", zero_unless=_SMOKER,
)  # fmt: skip
_number("cigarettes_per_day", L, "cigarettes a day now or when smoking", "cigarettes", 10.0, 0.6, (0.0, 80.0),
        {"sex=M": 0.2, "distress": 0.2, "smoking_years": 0.3}, form="skewed",
        only=(_SMOKER.feature, _SMOKER.levels), block="smoking")  # fmt: skip
_rule(
    "pack_years", L, "packs of 20 a day times years", "pack-years", (0.0, 150.0),
    ("smoking_years", "cigarettes_per_day"), "cigarettes_per_day / 20 × smoking_years",
    lambda v, _: v["cigarettes_per_day"] / 20.0 * v["smoking_years"], step=0.1, mean=6.0, sd=12.0,
    block="smoking", zero_unless=_SMOKER,
)  # fmt: skip
_rule(
    "years_since_quit", L, "years since giving up smoking, 0 for all others", "years", (0.0, 80.0),
    ("smoking_status", "age", "smoking_years"), "age − 17 − smoking_years for those who gave up",
    lambda v, _: np.where(_level(v, "smoking_status", "former"), v["age"] - 17.0 - v["smoking_years"], 0.0),
    mean=6.0, sd=11.0, block="smoking", zero_unless=ZeroUnless("smoking_status", ("former",)),
)  # fmt: skip
_number("second_hand_smoke_hours", L, "hours a week among smokers", "hours", 1.2, 1.1, (0.0, 80.0),
        {"smoking_status=current": 1.2, "education_years": -0.2}, form="skewed", zero=1.0)  # fmt: skip

_latent("drinking", 0.85, sociability=0.2, distress=0.1)
_number("alcohol_units_week", L, "alcohol a week, units of 8 g", "units", 8.0, 0.95, (0.0, 120.0),
        {"drinking": 0.75, "sex=M": 0.4, "education_years": 0.1}, form="skewed", zero=3.0, step=0.5,
        block="drinking")  # fmt: skip
_number("drinking_days_week", L, "days a week with a drink", "days", 2.2, 1.6, (0.0, 7.0),
        {"alcohol_units_week": 0.75, "age": 0.2}, block="drinking")  # fmt: skip
_number("drinks_per_session", L, "drinks on a day with any", "drinks", 2.2, 0.5, (0.0, 20.0),
        {"alcohol_units_week": 0.6, "age": -0.4}, form="skewed", block="drinking")  # fmt: skip
for _name, _about, _weights in (
    ("beer_units_week", "beer and cider a week", {"sex=M": 0.7, "age": -0.15}),
    ("wine_units_week", "wine a week", {"sex=M": -0.3, "education_years": 0.3}),
    ("spirits_units_week", "spirits a week", {"sex=M": 0.2}),
):
    _number(_name, L, _about, "units", 2.5, 0.9, (0.0, 100.0), {"alcohol_units_week": 0.6, **_weights},
            form="skewed", zero=1.5, step=0.5, block="drinking")  # fmt: skip
for _name, _about in (
    ("audit_binge", "six or more units on one occasion"),
    ("audit_cannot_stop", "unable to stop once started"),
    ("audit_failed_expected", "failed to do what was expected because of drinking"),
    ("audit_morning_drink", "drink in the morning"),
    ("audit_guilt", "guilt after drinking"),
    ("audit_memory", "unable to remember the night before"),
):
    _binge = (30, 34, 20, 14, 2) if _name == "audit_binge" else (78, 14, 5, 2, 1)
    _ordered(_name, L, f"AUDIT: {_about}", _FREQUENCY, _binge,
             {"alcohol_units_week": 0.5, "distress": 0.2, "age": -0.2}, block="drinking")  # fmt: skip

_latent("activity", 0.8, age=-0.3, sociability=0.1, reserve=0.15, distress=-0.15)
_number("vigorous_minutes_week", L, "vigorous exercise", "minutes a week", 60.0, 0.8, (0.0, 900.0),
        {"activity": 0.75, "sex=M": 0.25}, form="skewed", zero=28.0, step=5.0)  # fmt: skip
_number("moderate_minutes_week", L, "moderate exercise", "minutes a week", 130.0, 0.7, (0.0, 1500.0),
        {"activity": 0.65}, form="skewed", zero=30.0, step=5.0)  # fmt: skip
_number("walking_minutes_day", L, "walking", "minutes a day", 38.0, 0.55, (0.0, 300.0), {"activity": 0.5},
        form="skewed", step=5.0)  # fmt: skip
_ordered("sport_sessions", L, "sport", _FREQUENCY, (30, 16, 14, 32, 8), {"activity": 0.7})
_rule(
    "weight", D, "weight", "kg", (35.0, 200.0),
    ("height",), "BMI × height²; BMI is 25.5 + 4.2 × score, cut at 16 and 50 kg/m²",
    lambda v, s: np.clip(25.5 + 4.2 * s, 16.0, 50.0) * (v["height"] / 100.0) ** 2,
    parents={"age": 0.22, "activity": -0.25, "vascular": 0.25, "sex=M": 0.15, "education_years": -0.1},
    noise=0.9, step=0.1, mean=74.0, sd=14.5,
)  # fmt: skip
_yes("hypertension", L, "high blood pressure told by a doctor", 0.24,
     {"age": 0.55, "vascular": 0.4, "weight": 0.2, "alcohol_units_week": 0.08})  # fmt: skip
_yes("diabetes", L, "diabetes told by a doctor", 0.06, {"age": 0.3, "vascular": 0.4, "weight": 0.35})
_yes("high_cholesterol", L, "high cholesterol told by a doctor", 0.22, {"age": 0.5, "vascular": 0.35})
_yes("heart_disease", L, "heart disease told by a doctor", 0.07,
     {"age": 0.5, "vascular": 0.35, "hypertension": 0.15, "pack_years": 0.1})  # fmt: skip
_number("medications", L, "medicines taken every day", "medicines", 1.1, 0.9, (0.0, 20.0),
        {"age": 0.5, "hypertension": 0.25, "diabetes": 0.25, "heart_disease": 0.2}, form="skewed",
        zero=0.8)  # fmt: skip
_number("sleep_hours", L, "sleep a night", "hours", 7.0, 1.0, (3.0, 12.0), {"age": -0.1, "distress": -0.2},
        step=0.5, block="sleep")  # fmt: skip
_number("sleep_latency", L, "time to fall asleep", "minutes", 17.0, 0.7, (0.0, 180.0),
        {"distress": 0.35, "sleep_hours": -0.3}, form="skewed", step=5.0, block="sleep")  # fmt: skip
_ordered("sleep_quality", L, "sleep quality", ("very bad", "fairly bad", "fairly good", "very good"),
         (5, 20, 52, 23), {"sleep_hours": 0.45, "distress": -0.35, "sleep_latency": -0.2},
         block="sleep")  # fmt: skip
_ordered("night_waking", L, "waking at night", _FREQUENCY, (12, 17, 16, 33, 22),
         {"age": 0.4, "sleep_quality": -0.3}, block="sleep")  # fmt: skip
_ordered("naps", L, "sleep by day", _FREQUENCY, (46, 22, 12, 14, 6), {"age": 0.35, "sleep_quality": -0.1},
         block="sleep")  # fmt: skip
_number("coffee_cups_day", L, "coffee and tea", "cups a day", 4.2, 2.2, (0.0, 20.0), {"age": 0.15})
_number("fruit_vegetables_day", L, "fruit and vegetables", "portions a day", 4.0, 1.7, (0.0, 15.0),
        {"education_years": 0.25, "activity": 0.2, "sex=M": -0.25})  # fmt: skip
_ordered("self_rated_health", I, "health as the person rates it", ("poor", "fair", "good", "excellent"),
         (4, 14, 52, 30), {"age": -0.2, "medications": -0.35, "activity": 0.25, "distress": -0.25})  # fmt: skip
_ordered("pain", I, "pain in the last four weeks", ("none", "mild", "moderate", "severe"), (46, 30, 18, 6),
         {"age": 0.25, "self_rated_health": -0.4})  # fmt: skip
_number("falls_last_year", I, "falls in the last year", "falls", 0.5, 1.0, (0.0, 20.0),
        {"age": 0.25, "medications": 0.2}, form="skewed", zero=0.6)  # fmt: skip

# Work -------------------------------------------------------------------------------------------------
_choice(
    "employment_status", I, "employment",
    {
        "full_time": ("works full-time", 1.2, {"age": -0.6, "sex=M": 0.4}),
        "part_time": ("works part-time", 0.0, {"age": -0.2}),
        "retired": ("retired", -1.9, {"age": 3.9}),
        "home": ("looks after home or family", -1.6, {"sex=M": -1.0}),
        "unemployed": ("out of work", -2.2, {"age": -0.6, "distress": 0.3}),
        "student": ("student", -4.6, {"age": -2.9}),
    },
    block="work",
)  # fmt: skip
_number("hours_worked", I, "paid work", "hours a week", 33.0, 9.5, (0.0, 90.0),
        {"employment_status=full_time": 0.9, "employment_status=part_time": -1.3, "sex=M": 0.2},
        only=("employment_status", ("full_time", "part_time")), block="work")  # fmt: skip
_rule("retired", I, "retired", "", (0.0, 1.0), ("employment_status",), "1 where employment_status is retired",
      lambda v, _: _level(v, "employment_status", "retired").astype(float), levels={"0": "no", "1": "yes"},
      mean=0.3, sd=0.46, block="work")  # fmt: skip
_rule(
    "years_retired", I, "years since retirement, 0 for all others", "years", (0.0, 60.0), ("retired", "age"),
    "age − a person's own retirement age (61 ± 4), where retired",
    lambda v, s: np.where(v["retired"] > 0, np.maximum(v["age"] - 61.0 - 4.0 * s, 0.0), 0.0), noise=1.0,
    mean=3.0, sd=6.5, block="work", zero_unless=ZeroUnless("retired", ("1",)),
)  # fmt: skip
_ordered("occupation_class", I, "occupation, present or last",
         ("elementary", "skilled manual", "clerical", "intermediate", "professional"), (10, 18, 20, 24, 28),
         {"education_years": 0.55, "reserve": 0.15}, block="work")  # fmt: skip
_ordered("job_complexity", I, "how much the longest-held job asked of the mind",
         ("very little", "little", "some", "much", "very much"), (7, 17, 30, 29, 17),
         {"occupation_class": 0.6, "reserve": 0.15}, block="work")  # fmt: skip
_ordered("job_physical_demand", I, "bodily effort in the longest-held job", ("none", "light", "medium", "heavy"),
         (34, 34, 22, 10), {"occupation_class": -0.5, "sex=M": 0.3}, block="work")  # fmt: skip
_yes("shift_work", I, "ever worked nights or shifts", 0.24, {"occupation_class": -0.25}, block="work")
_number("years_longest_job", I, "years in the longest-held job", "years", 11.0, 0.7, (0.0, 60.0), {"age": 0.6},
        form="skewed", zero=2.0, block="work")  # fmt: skip
_yes("supervises_staff", I, "ever led other people at work", 0.46, {"occupation_class": 0.4, "sex=M": 0.25},
     block="work")  # fmt: skip
_ordered("job_contact", I, "dealing with people in the longest-held job", ("little", "some", "much"), (22, 38, 40),
         {"sociability": 0.25, "job_complexity": 0.2}, block="work")  # fmt: skip
_number("job_courses", I, "courses for work in the last five years", "courses", 1.6, 0.9, (0.0, 40.0),
        {"retired": -0.5, "occupation_class": 0.3}, form="skewed", zero=1.0, block="work")  # fmt: skip
_ordered("job_satisfaction", I, "satisfied with work, present or last", _AGREE, (8, 20, 44, 28),
         {"distress": -0.35, "job_complexity": 0.2}, block="work")  # fmt: skip
_number("commute_minutes", I, "way to work", "minutes", 22.0, 0.7, (0.0, 180.0), {}, form="skewed", step=5.0,
        only=("employment_status", ("full_time", "part_time")), block="work")  # fmt: skip

# Home and family --------------------------------------------------------------------------------------
_choice(
    "marital_status", I, "marital status",
    {
        "single": ("single", -0.7, {"age": -1.6}),
        "married": ("married", 1.3, {"age": 0.25, "sociability": 0.1}),
        "cohabiting": ("lives with a partner", -0.8, {"age": -0.9}),
        "divorced": ("separated or divorced", -0.9, {"age": 0.2, "distress": 0.2}),
        "widowed": ("widowed", -3.2, {"age": 2.1, "sex=M": -0.8}),
    },
    block="home",
)  # fmt: skip
_number("children", I, "children", "people", 1.9, 0.5, (0.0, 12.0),
        {"age": 0.35, "marital_status=single": -1.6}, form="skewed", zero=0.2, block="home")  # fmt: skip
_rule(
    "grandchildren", I, "grandchildren", "people", (0.0, 40.0), ("children", "age"),
    "children × 1.6 × logistic((age − 64) / 6), times a person's own factor",
    lambda v, s: v["children"] * 1.6 / (1 + np.exp(-(v["age"] - 64.0) / 6.0)) * np.exp(0.4 * s), noise=1.0,
    mean=1.2, sd=2.0, block="home", zero_unless=ZeroUnless("children"),
)  # fmt: skip
_rule(
    "household_size", I, "people in the household", "people", (1.0, 12.0), ("marital_status", "children", "age"),
    "1, one more with a partner, and children who still live at home",
    lambda v, s: 1.0 + _level(v, "marital_status", "married", "cohabiting")
    + v["children"] / (1 + np.exp(np.abs(v["age"] - 41.0) / 4.0 - 3.0)) + np.maximum(0.5 * s, 0.0),
    noise=1.0, mean=2.2, sd=1.1, block="home",
)  # fmt: skip
_rule("lives_alone", I, "lives alone", "", (0.0, 1.0), ("household_size",), "1 where household_size is 1",
      lambda v, _: (v["household_size"] <= 1).astype(float), levels={"0": "no", "1": "yes"}, mean=0.25, sd=0.43,
      block="home")  # fmt: skip
_rule(
    "years_with_partner", I, "years with the present partner, 0 without", "years", (0.0, 70.0),
    ("marital_status", "age"), "a share of the years since 20 drawn per person, where there is a partner",
    lambda v, s: np.where(_level(v, "marital_status", "married", "cohabiting"),
                          np.maximum(v["age"] - 20.0, 0.5) * ndtr(0.6 + 0.8 * s), 0.0),
    noise=1.0, mean=15.0, sd=17.0, block="home", zero_unless=ZeroUnless("marital_status", ("married", "cohabiting")),
)  # fmt: skip
_number("caring_hours", I, "care for relatives", "hours a week", 1.5, 1.3, (0.0, 120.0),
        {"age": 0.2, "sex=M": -0.25}, form="skewed", zero=2.0, block="home")  # fmt: skip
_number("homes_lived_in", I, "homes since the age of 18", "homes", 5.0, 0.5, (1.0, 60.0),
        {"age": 0.25, "education_years": 0.2}, form="skewed", block="home")  # fmt: skip
_yes("pets", I, "keeps a pet", 0.44, {"household_size": 0.2})
_choice(
    "housing", I, "home",
    {
        "owned": ("owned", 0.9, {"age": 0.8, "education_years": 0.2}),
        "rented": ("rented", 0.0, {}),
        "family": ("with parents or family", -1.8, {"age": -1.6}),
    },
)  # fmt: skip
_ordered("income_band", I, "household income", ("below 18 k£", "18–31 k£", "31–52 k£", "52–100 k£", "above 100 k£"),
         (17, 25, 27, 23, 8),
         {"occupation_class": 0.4, "hours_worked": 0.3, "lives_alone": -0.25, "retired": -0.15})  # fmt: skip
_ordered("financial_worry", I, "worries about money", ("never", "sometimes", "often", "always"), (40, 38, 16, 6),
         {"income_band": -0.4, "distress": 0.35})  # fmt: skip
_yes("drives", I, "drives a car", 0.84, {"income_band": 0.25, "age": -0.1})
_ordered("urban", I, "where the home is", ("village", "small town", "town", "city"), (26, 24, 26, 24),
         {"age": -0.2})  # fmt: skip

# Other people -----------------------------------------------------------------------------------------
for _name, _about, _units, _mean, _weights in (
    ("friends_seen_week", "friends met", "people a week", 3.0, {"age": -0.15, "sociability": 0.6}),
    ("family_seen_week", "relatives met", "people a week", 2.0, {"children": 0.25, "sociability": 0.3}),
    ("neighbours_seen_week", "neighbours talked to", "people a week", 2.0, {"age": 0.3, "sociability": 0.35}),
    ("calls_week", "telephone calls to friends and family", "calls a week", 5.0,
     {"sociability": 0.4, "sex=M": -0.4}),
    ("online_contacts_week", "friends and family met online", "people a week", 4.0,
     {"sociability": 0.3, "age": -0.45}),
    ("confidants", "people to confide in", "people", 3.5, {"sociability": 0.5, "distress": -0.2}),
):  # fmt: skip
    _number(
        _name, I, _about, _units, _mean, 0.6, (0.0, 60.0), _weights, form="skewed", zero=0.8, block="social"
    )
for _name, _about in (
    ("lonely_companionship", "lacks companionship"),
    ("lonely_left_out", "feels left out"),
    ("lonely_isolated", "feels isolated"),
):
    _ordered(_name, I, f"UCLA-3: {_about}", ("hardly ever", "sometimes", "often"), (66, 26, 8),
             {"sociability": -0.4, "distress": 0.45, "lives_alone": 0.2}, block="social")  # fmt: skip
for _name, _about in (
    ("support_listen", "somebody to listen"),
    ("support_advice", "somebody for advice"),
    ("support_help", "somebody to help when ill"),
    ("support_company", "somebody to spend time with"),
    ("support_affection", "somebody who shows affection"),
):
    _ordered(_name, I, f"support: {_about}", ("never", "seldom", "sometimes", "mostly", "always"),
             (3, 7, 17, 36, 37), {"sociability": 0.5, "confidants": 0.2, "lives_alone": -0.2},
             block="social")  # fmt: skip
_number("club_memberships", I, "clubs and societies", "clubs", 1.1, 0.8, (0.0, 15.0),
        {"sociability": 0.45, "education_years": 0.2, "age": 0.15}, form="skewed", zero=0.6,
        block="social")  # fmt: skip
_number("volunteering_hours", I, "voluntary work", "hours a month", 2.0, 1.2, (0.0, 150.0),
        {"sociability": 0.35, "retired": 0.25}, form="skewed", zero=2.0, block="social")  # fmt: skip
_ordered("religious_attendance", I, "religious services", _FREQUENCY, (54, 24, 8, 12, 2), {"age": 0.3},
         block="social")  # fmt: skip
_ordered("community_events", I, "goes to local events", _FREQUENCY, (22, 42, 25, 10, 1),
         {"sociability": 0.5, "education_years": 0.15}, block="social")  # fmt: skip

# Leisure ----------------------------------------------------------------------------------------------
for _name, _about, _shares, _weights in (
    ("reading", "reading books", (8, 16, 18, 26, 32), {"education_years": 0.35, "reserve": 0.2}),
    ("newspapers", "reading newspapers", (10, 12, 12, 30, 36), {"age": 0.4, "education_years": 0.15}),
    ("writing", "writing for pleasure", (44, 24, 14, 12, 6), {"education_years": 0.3}),
    ("crosswords", "crosswords and number puzzles", (32, 18, 14, 18, 18), {"age": 0.35, "reserve": 0.15}),
    ("board_games", "cards, chess and board games", (24, 34, 22, 16, 4), {"sociability": 0.25}),
    ("computer_games", "computer games", (46, 16, 10, 14, 14), {"age": -0.5, "sex=M": 0.3}),
    ("playing_music", "playing an instrument or singing", (58, 14, 8, 12, 8), {"education_years": 0.25}),
    ("concerts", "concerts, theatre, museums", (12, 42, 34, 11, 1), {"education_years": 0.4, "sociability": 0.2}),
    ("cinema", "cinema", (18, 46, 28, 8, 0.5), {"age": -0.3, "sociability": 0.2}),
    ("crafts", "crafts and needlework", (46, 22, 14, 12, 6), {"sex=M": -0.5, "age": 0.1}),
    ("gardening", "gardening", (22, 18, 18, 30, 12), {"age": 0.45}),
    ("home_repairs", "repairs at home", (24, 34, 24, 15, 3), {"sex=M": 0.6}),
    ("cooking", "cooking for pleasure", (14, 18, 18, 32, 18), {"sex=M": -0.35}),
    ("dancing", "dancing", (48, 28, 12, 11, 1), {"sociability": 0.3, "sex=M": -0.35, "activity": 0.2}),
    ("walking_for_pleasure", "walks for pleasure", (6, 14, 20, 38, 22), {"activity": 0.5}),
    ("cycling", "cycling", (42, 18, 12, 18, 10), {"activity": 0.5, "sex=M": 0.2}),
    ("swimming", "swimming", (40, 28, 14, 17, 1), {"activity": 0.45}),
    ("eating_out", "meals out with others", (6, 28, 42, 23, 1), {"sociability": 0.45, "income_band": 0.25}),
    ("photography", "photography", (34, 26, 18, 16, 6), {"education_years": 0.15}),
    ("pub", "pubs and cafés", (18, 30, 24, 25, 3), {"sociability": 0.4, "age": -0.2}),
    ("radio", "listening to the radio", (10, 8, 8, 22, 52), {"age": 0.3}),
    ("shopping", "shopping for pleasure", (26, 26, 26, 20, 2), {"sex=M": -0.5}),
    ("evening_classes", "courses and evening classes", (58, 20, 8, 13, 1), {"education_years": 0.3}),
):  # fmt: skip
    _ordered(f"leisure_{_name}", I, f"leisure: {_about}", _FREQUENCY, _shares, _weights, block="leisure")
_number("tv_hours_day", I, "television", "hours a day", 2.3, 1.3, (0.0, 14.0),
        {"age": 0.25, "education_years": -0.3, "retired": 0.2}, step=0.5, block="leisure")  # fmt: skip
_number("internet_hours_week", I, "internet outside work", "hours a week", 8.0, 0.9, (0.0, 90.0), {"age": -0.5},
        form="skewed", block="leisure")  # fmt: skip
_number("musical_training_years", I, "music lessons", "years", 2.5, 1.1, (0.0, 40.0),
        {"education_years": 0.25, "father_education": 0.15, "leisure_playing_music": 0.45}, form="skewed",
        zero=2.0, block="experience")  # fmt: skip
_number("languages_spoken", I, "languages beside the first", "languages", 1.0, 0.6, (0.0, 9.0),
        {"education_years": 0.35, "first_language_english": -0.25}, form="skewed", zero=0.4,
        block="experience")  # fmt: skip
_number("countries_visited", I, "countries visited", "countries", 11.0, 0.7, (0.0, 120.0),
        {"age": 0.2, "income_band": 0.35, "education_years": 0.2}, form="skewed", block="experience")  # fmt: skip

# Mood -------------------------------------------------------------------------------------------------
for _name, _about in (
    ("a_tense", "tense or wound up"),
    ("a_frightened", "frightened as if something awful were to happen"),
    ("a_worry", "worrying thoughts"),
    ("a_not_relaxed", "cannot sit at ease"),
    ("a_butterflies", "butterflies in the stomach"),
    ("a_restless", "restless"),
    ("a_panic", "sudden panic"),
    ("d_no_enjoyment", "does not enjoy what was once enjoyed"),
    ("d_no_laughter", "cannot see the funny side"),
    ("d_not_cheerful", "not cheerful"),
    ("d_slowed", "slowed down"),
    ("d_appearance", "lost interest in appearance"),
    ("d_no_looking_forward", "does not look forward to things"),
    ("d_no_pleasure", "does not enjoy books, radio or television"),
):
    _ordered(f"hads_{_name}", I, f"HADS: {_about}", _AGREE,
             (44, 38, 14, 4) if _name.startswith("a_") else (64, 26, 8, 2),
             {"distress": 0.62, "age": -0.12 if _name.startswith("a_") else 0.08,
              "sex=M": -0.2 if _name.startswith("a_") else 0.05}, block="mood")  # fmt: skip

# Cognition --------------------------------------------------------------------------------------------
_latent("fluid", 0.42, reserve=0.68, age=-0.52, education_years=0.12)
_latent("memory", 0.46, reserve=0.62, age=-0.45)
_latent("language", 0.48, reserve=0.66, education_years=0.25, age=0.05)
_latent("speed", 0.48, reserve=0.5, age=-0.58)


def _items_of(size: int) -> str:
    return "1 item" if size == 1 else f"{size} items"


for _size in (1, 2, 3, 4):
    _load = {"memory": 0.8 - 0.03 * _size}
    _number(f"vstm_precision_{_size}", C, f"VSTM colour, {_items_of(_size)}: precision of recall", "1/rad",
            10.5 - 1.3 * _size, 2.1, (0.5, 40.0), _load, step=0.01, block="vstm")  # fmt: skip
    _number(f"vstm_capacity_{_size}", C, f"VSTM colour, {_items_of(_size)}: items held", "items",
            (0.96, 1.86, 2.6, 2.9)[_size - 1], (0.03, 0.1, 0.26, 0.45)[_size - 1], (0.0, float(_size)), _load,
            step=0.01, block="vstm")  # fmt: skip
    _number(f"vstm_error_{_size}", C, f"VSTM colour, {_items_of(_size)}: mean error", "degrees", 11.0 + 6.0 * _size,
            0.28, (2.0, 110.0), {k: -w for k, w in _load.items()}, form="skewed", step=0.1, block="vstm")  # fmt: skip
    _number(f"vstm_rt_{_size}", C, f"VSTM colour, {_items_of(_size)}: median reaction time", "ms",
            1150.0 + 160.0 * _size, 0.2, (300.0, 8000.0), {"speed": -0.68, "memory": -0.1}, form="skewed",
            block="vstm")  # fmt: skip
    _number(f"vstm_rt_sd_{_size}", C, f"VSTM colour, {_items_of(_size)}: deviation of reaction times", "ms",
            380.0 + 70.0 * _size, 0.28, (30.0, 5000.0), {f"vstm_rt_{_size}": 0.5, "memory": -0.25}, form="skewed",
            block="vstm")  # fmt: skip
    _number(f"vstm_guess_rate_{_size}", C, f"VSTM colour, {_items_of(_size)}: guesses", "%", 2.0 + 4.5 * _size, 0.5,
            (0.0, 100.0), {"memory": -0.6}, form="skewed", step=0.1, block="vstm")  # fmt: skip
for _part, _items, _mean in (
    ("series", 12, 8.7),
    ("classification", 14, 8.4),
    ("matrices", 12, 8.6),
    ("conditions", 8, 5.3),
):
    _number(f"cattell_{_part}", C, f"Cattell culture fair: {_part}, items right", "items", _mean, _items * 0.16,
            (0.0, float(_items)), {"fluid": 0.8}, block="cattell")  # fmt: skip
    _number(f"cattell_{_part}_attempted", C, f"Cattell culture fair: {_part}, items tried", "items", _items * 0.88,
            _items * 0.12, (0.0, float(_items)), {f"cattell_{_part}": 0.5, "speed": 0.4},
                    block="cattell")  # fmt: skip
_CATTELL: Final = tuple(f"cattell_{p}" for p in ("series", "classification", "matrices", "conditions"))
_rule("cattell_total", C, "Cattell culture fair: total", "items", (0.0, 46.0), _CATTELL, "sum of the four subtests",
      lambda v, _: np.sum([v[n] for n in _CATTELL], axis=0), mean=31.0, sd=6.0, block="cattell")  # fmt: skip
for _part in ("series", "classification", "matrices", "conditions"):
    _number(f"cattell_{_part}_seconds", C, f"Cattell culture fair: {_part}, time taken", "s", 185.0, 35.0,
            (30.0, 300.0), {"speed": -0.45}, block="cattell")  # fmt: skip
for _size in (2, 3, 4):
    _number(f"vstm_swaps_{_size}", C, f"VSTM colour, {_items_of(_size)}: another item's colour reported", "%",
            1.5 + 1.5 * _size, 0.6, (0.0, 100.0), {"memory": -0.5}, form="skewed", step=0.1,
                    block="vstm")  # fmt: skip
_number("vstm_control_error", C, "VSTM colour, nothing to remember: mean error", "degrees", 6.0, 0.25, (1.0, 60.0),
        {"speed": -0.3}, form="skewed", step=0.1, block="vstm")  # fmt: skip
_number("vstm_control_rt", C, "VSTM colour, nothing to remember: median reaction time", "ms", 1050.0, 0.2,
        (300.0, 8000.0), {"speed": -0.7}, form="skewed", block="vstm")  # fmt: skip
for _kind, _ease in (("unambiguous", 0.0), ("dominant", 1.0), ("subordinate", 2.0)):
    _number(f"sentence_rt_{_kind}", C, f"sentence comprehension, {_kind}: reaction time", "ms",
            820.0 + 90 * _ease, 0.22,
            (200.0, 5000.0), {"speed": -0.6, "language": -0.25}, form="skewed", block="sentence")  # fmt: skip
    _number(f"sentence_rt_sd_{_kind}", C, f"sentence comprehension, {_kind}: deviation of reaction times", "ms",
            260.0 + 30 * _ease, 0.28, (20.0, 3000.0), {f"sentence_rt_{_kind}": 0.5, "language": -0.2}, form="skewed",
            block="sentence")  # fmt: skip
    _number(f"sentence_rejected_{_kind}", C, f"sentence comprehension, {_kind}: good sentences rejected", "%",
            5.0 + 9.0 * _ease, 0.5, (0.0, 100.0), {"language": -0.65}, form="skewed", step=0.1,
            block="sentence")  # fmt: skip
    _number(f"sentence_dprime_{_kind}", C, f"sentence comprehension, {_kind}: sensitivity d′", "d′",
            3.0 - 0.4 * _ease,
            0.6, (-1.0, 6.0), {"language": 0.75}, step=0.01, block="sentence")  # fmt: skip
for _n, _saying in enumerate(
    ("Rome was not built in a day", "still waters run deep", "a rolling stone gathers no moss"), 1
):
    _ordered(f"proverb_{_n}", C, f"proverb {_n} explained ({_saying})", ("not", "concretely", "abstractly"),
             (20, 28, 52), {"language": 0.7}, block="proverbs")  # fmt: skip
_rule("proverb_total", C, "points for the three proverbs", "points", (0.0, 6.0), ("proverb_1",
        "proverb_2", "proverb_3"),
      "sum of the three", lambda v, _: v["proverb_1"] + v["proverb_2"] + v["proverb_3"], mean=4.0, sd=1.6,
      block="proverbs")  # fmt: skip

EQUATIONS: Final[tuple[Equation, ...]] = tuple(_ALL)
"""All variables, causes before effects."""
BY_NAME: Final[dict[str, Equation]] = {e.name: e for e in EQUATIONS}
LATENT: Final[tuple[str, ...]] = tuple(e.name for e in EQUATIONS if e.feature is None)
FEATURES: Final[tuple[Feature, ...]] = tuple(e.feature for e in EQUATIONS if e.feature is not None)
BLOCKS: Final[tuple[str, ...]] = tuple(dict.fromkeys(e.block for e in EQUATIONS if e.block))
