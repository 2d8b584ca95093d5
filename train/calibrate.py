"""What is set on the training people after training: the compact model's texture, mean volumes and noise.

First the template's tissues are raised alike inside the brain, so that there is no **background** in depth, whatever
codes and noise do: people have none there. Then the **texture** of maps is found (`train.texture`). Another one gives
way more or less to the log-ratios that codes add; these get a factor with which volumes differ between people by what
they differed by before (**response**), and then the prior network's line and curve what it takes for features to tell
the volumes that they told, in the end as **cautiously** as ridge regression does (`_caution`). Shifts of log-ratios
give draws, place by place over 8 mm, as much of every tissue as the training people have there **on average**, and
shifts of each tissue's and of the brain's size their mean volumes; another shift gives the brain without noise those
of the mean draw.

Where draws of one person's **codes** differ more in volume than people do about what their features predict, codes
are narrowed in these directions alone; codes that do not go with volume keep their spread.

A code of a few dozen numbers gives everybody the template's folds. Real people differ in them far more than in
anything that their features tell, so a set of generated brains would be too alike. Two kinds of **noise** mend that:

* **folds**: a random velocity that slides the cortex along the brain's surface, weaker with depth and in cerebellum
  and brainstem, and on both sides as alike as people's shapes are; near the middle nothing moves sideways, for the
  falx keeps the fissure between the hemispheres straight. Its one level is such that generated brains of training
  people resemble each other as much as the same people's real maps do, by the mean structural similarity (Wang et
  al. 2004) of white matter: its blades are what folds are seen by.
* **balance**: random shifts of the tissues' log-ratios in the whole brain and of its size, the smallest with which
  volumes of one person's draws vary, and vary together, as people do about what their features predict
  (leave-one-out errors of ridge regression).

All are matches of moments, made once after training; no gradient sees them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

from csegsynth_core import grid
from csegsynth_core.models.csegsynth import Controls, CSegSynth, TemplateGenerator, mirror_image
from csegsynth_core.regions import at_4mm, parcel_shares
from csegsynth_core.side_by_side import side_by_side
from csegsynth_core.substructures import PARCELS, REGIONS
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml
from train.images import pairs_of, ssim_of_pairs
from train.principal import at_volumes, evenly, log_volumes
from train.ridge import PENALTIES
from train.texture import Texture, Unfinished, packed, texture_of

logger = logging.getLogger(__name__)

CORTEX_MM = 8.0
"""Depth below the surface down to which folds have their full amplitude."""
FADE_MM = 12.0
"""Scale of its Gaussian fall below."""
ROUNDS = 2
"""Searches of texture, each at the people's mean volumes, which the one before may have moved."""
AGAIN = 3
"""Steps of the last search, once places are set."""
FEW = 200
"""People who tell mean volumes where they are near enough."""
RESPONDING = 48
"""People who tell what features do."""
CLOSED = 2
"""Voxels by which gaps in the surface are closed: half the width of sulci."""
SURE_MM = 2.0
"""Depth below the template's surface from which background is kept out."""
SURER = 4.0
"""Rise of all tissues' log-ratios with each further mm."""
SUREST = 12.0
"""Most that log-ratios are raised."""
RIM_MM = (3.0, 6.0)
"""Depth down to which all of the background's curve counts, and from which on nothing of it does."""
FALX_MM = 10.0
"""Scale of the Gaussian fall, away from the middle, of how much is taken out of velocities from left to right."""
BELOW = 0.25
"""Amplitude in cerebellum and brainstem as a share of the cortex's: people differ little in their shape."""
MOST_MM = 4.0
"""Largest amplitude that is tried: with more, outlines become those of nobody."""
UNITS = (0.3, 0.3, 0.3, 0.02)
"""Shifts of log-ratios and of the logarithm of length that count as equally large."""
PEOPLE = 24
"""People who tell texture."""
ALIKE, PAIRS = 48, 300
"""People who tell how alike brains are, and pairs of them."""
HALVINGS, FIRST_HALVINGS = 5, 3
"""Steps towards the level of folds; the first level is found before texture is, and only has to be near."""
PLACED, PLACE_STEPS = 100, 4
"""People who tell what there is at every place on average, and steps towards that."""
AROUND = 1.0
"""Standard deviation of the Gaussian over places of 8 mm."""
LITTLE = 0.01
"""What a place is taken to leave to others at least: where that is nothing, there is nothing to shift."""
MOST_SHIFT = 1.0
"""Largest shift of a log-ratio in one of these steps, before it is damped."""
DAMPED = 0.7
"""How much of each step is taken: neighbours give way to each other."""
SHIFTS = 2
"""Newton steps towards mean volumes."""
PENALTY = 1e-3
"""Ridge penalty, as a share of the number of people, of what keeps features telling what they told."""
CAUTION = (0.5, 1.5)
"""What is told is multiplied with, at the least and at the most."""
VARIED, FIRST_VARIED, DRAWS = 32, 16, 12
"""People who tell how far draws differ in volume, in the end and before texture is found, and draws of each."""
NARROWINGS = 2
"""Steps towards codes whose volumes differ no more than people's."""
SHIFT = 0.5
SEED = 77


@torch.no_grad()
def calibrate(
    model: CSegSynth,
    maps_of: Callable[[list[int]], Float[Tensor, "n 4 i j k"]],
    rows: Sequence[int],
    features: Float[Tensor, "people width"],
    volumes: Float[Tensor, "people 3"],
    *,
    template: Float[Tensor, "3 i j k"] | None = None,
    near: Mapping[str, float] | None = None,
    keep: bool = False,
) -> dict[str, float]:
    """Set texture, mean volumes and the noise inputs' amplitudes (`TemplateGenerator.folds` and `balance`).

    Where another texture changes what features tell of volumes, the prior network's line and curve make up for it;
    at last they make it as cautious as ridge regression.

    Args:
        model: trained; a `paper` model has no noise inputs and stays as it is.
        maps_of: real maps of some rows inside the model's region, at 2 mm.
        rows: the training people; no others are looked at.
        features: encoded, of everybody.
        volumes: mL, of everybody.
        template: log-ratios before any texture, of a model that has been calibrated before.
        near: the texture that it got then, near which another is looked for (see `Texture`).
        keep: sharpness and grain are to be those.

    Returns:
        The texture found: `sharpness_wm`, …, `grain_wm`, …; `response`; `chain`, 1 where maps are mixed along
        the chain (`train.texture`); `mirrored`, how alike folds of both sides are (see
        `TemplateGenerator.mirrored`); `falx_mm` (`FALX_MM`); `folds_mm`, the folds' amplitude; `excess`, the largest
        variance of volumes over draws, before codes were narrowed, over what is wanted; `caution_wm`, … (see
        `_caution`); standard deviations of the shifts `balance_wm`, `balance_gm`, `balance_csf` and
        `balance_length`; and what they were set by, of real and generated brains: `ssim_real`, `ssim_made`,
        `mixed_real`, … (see `texture_of`).
    """
    generator = model.generator
    if not isinstance(generator, TemplateGenerator):
        return {}
    training = model.training
    model.eval()
    index = [int(r) for r in rows]
    few, responding = _some(index, FEW), _some(index, RESPONDING)
    told = _told(model, features, index)
    spread = _spread(model, features, responding)
    for name in ("folds", "balance", "steady", "grain", "curves", "edge", "rim", "chain"):
        getattr(generator, name).zero_()
    if template is not None:
        generator.template.copy_(template)
    generator.mirrored.fill_(_mirrored(generator))
    generator.held.copy_(_held(generator))
    alike = [index[k] for k in np.random.default_rng(SEED).permutation(len(index))[:ALIKE]]
    some = alike[:PEOPLE]
    shape = _where(generator)
    originals = np.concatenate([packed(maps_of([r])) for r in alike])
    real = _mean_ssim(originals)
    originals = originals[:PEOPLE]
    depth = _in_template(generator, _depth_mm(_average(generator)))
    generator.rim.copy_(_rim(depth))
    texture = Texture(
        generator,
        originals,
        lambda: _spread(model, features, responding),
        spread,
        _raised(depth),
        near,
        keep=keep,
    )

    def make() -> Unfinished:
        parts = list(side_by_side(generator.unfinished, list(_controls(model, features, some))))
        rims = [r for _, r in parts if r is not None]
        return torch.cat([p for p, _ in parts]), torch.cat(rims) if rims else None

    def rendered(people: list[int]) -> NDArray[np.uint8]:
        every = list(_controls(model, features, people))
        return np.concatenate(list(side_by_side(lambda controls: packed(generator.render(controls)), every)))

    def likeness() -> float:
        return _mean_ssim(rendered(alike))

    def set_noise(halvings: int, varied: int) -> dict[str, float]:
        level = _match(generator, shape, likeness, real, halvings)
        return {"folds_mm": level, "excess": _set_balance(model, features, volumes, index, varied)}

    set_noise(FIRST_HALVINGS, FIRST_VARIED)  # noise mixes tissues
    for _ in range(ROUNDS):
        _set_means(model, features, volumes, few)
        texture.search(make)
    _keep_told(model, features, index, told)
    report = set_noise(HALVINGS, VARIED)  # a texture changes what noise does
    placed = _some(index, PLACED)
    there, _ = _mean_places(maps_of([r]) for r in placed)
    _set_places(model, features, there, placed)
    texture.search(make, AGAIN)  # noise and places have changed it
    _set_places(model, features, there, placed)
    found = {"chain": float(generator.chain.any()), "mirrored": float(generator.mirrored), "falx_mm": FALX_MM}
    report |= texture.numbers() | found
    caution = _caution(model, features, volumes, index, told)
    _keep_told(model, features, index, told * caution)  # noise and places have changed it, too
    for _ in range(SHIFTS):
        _set_means(model, features, volumes, index)
    _set_typical(model, features, volumes, index)
    made = rendered(some)
    model.train(training)
    report |= {"ssim_real": real, "ssim_made": likeness()}
    for kind, images in (("real", originals), ("made", made)):
        report |= {f"{name}_{kind}": value for name, value in texture_of(images).items()}
    report |= {f"caution_{t}": float(c) for t, c in zip(TISSUES, caution, strict=True)}
    size = generator.balance.square().sum(dim=1).sqrt()
    report |= {f"balance_{t}": float(v) for t, v in zip((*TISSUES, "length"), size, strict=True)}
    logger.info("calibrated: %s", ", ".join(f"{k} {v:.3f}" for k, v in report.items()))
    return {k: round(v, 4) for k, v in report.items()}


def _spread(model: CSegSynth, features: Tensor, rows: list[int]) -> NDArray[np.float64]:
    """Standard deviation over people of the logarithm of what their features alone make each tissue's volume."""
    return 1e-6 + _told(model, features, rows).double().std(dim=0, correction=0).numpy()


def _told(model: CSegSynth, features: Tensor, rows: list[int]) -> Float[Tensor, "people 3"]:
    """Logarithms of the volumes that features alone tell, about their mean over people."""
    logs = log_volumes(model.generator, model.prior(features[rows]))
    return logs - logs.mean(dim=0)


def _caution(
    model: CSegSynth, features: Tensor, volumes: Tensor, rows: list[int], told: Float[Tensor, "people 3"]
) -> Float[Tensor, " 3"]:
    """What `told` is to be multiplied with, for draws to follow features as far as ridge regression does.

    Where features are many, a network that fits the training people's volumes tells too much of others'. Ridge
    regression whose penalty minimises the errors of people left out does not: the slope of people's volumes on what
    it tells of them is above 1 by as much as is right. Draws get that slope. All in logarithms.
    """
    logs = volumes[rows].double().log().numpy()
    known = told.double().numpy()
    drawn = np.log(_drawn_ml(model, features, rows))
    fitted, _ = _ridge(features[rows].double().numpy(), logs)
    right, follows, slope = _slope_on(logs, fitted), _slope_on(drawn, known), _slope_on(logs, known)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = slope / (follows * right)
    logger.info("what features tell of volumes, times %s, is as cautious as ridge regression", found.round(3))
    usable = np.where(np.isfinite(found), found, 1.0)  # features, or this model's, may tell nothing
    return torch.from_numpy(usable.clip(*CAUTION)).to(told)


def _slope_on(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope of each column on the same column of another table; NaN where that is the same for everybody."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    size = (x * x).sum(axis=0)
    return np.asarray((x * y).sum(axis=0) / np.where(size > 1e-12 * len(x), size, np.nan))


def _keep_told(model: CSegSynth, features: Tensor, rows: list[int], told: Tensor) -> None:
    """Give the prior network's line and curve what it takes for features to tell what they told.

    The nearest codes that do are found for each person, and what they differ by is regressed on features and the
    square of age, with a penalty that matters only where people are fewer than features. The noise that is left
    beside the features stays as it is: `_set_balance` sets it, and what it narrowed has to last.
    """
    prior, y = model.prior, features[rows]
    if prior.straight is None:
        return
    codes = prior(y)
    mean = log_volumes(model.generator, codes).mean(dim=0)
    change = at_volumes(model.generator, codes, (mean + told).exp()) - codes
    bent = (y @ prior.bends).square() - prior.bends.sum()  # 0 where no feature's square counts
    x = torch.cat([torch.ones(len(y), 1), y, bent[:, None]], dim=1).double()
    gram = x.T @ x + PENALTY * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    found = torch.linalg.solve(gram, x.T @ change.double()).T.float()
    prior.straight.bias += found[:, 0]
    prior.straight.weight += found[:, 1:-1]
    prior.curve += found[:, -1]
    off = _told(model, features, rows) - told
    logger.info("what features tell of volumes is off by %s %%", (100 * off.std(dim=0)).numpy().round(2))


def _set_means(model: CSegSynth, features: Tensor, volumes: Tensor, rows: list[int]) -> None:
    """Shift the tissues' log-ratios so that draws of the training people have these people's mean volumes."""
    made = _drawn_ml(model, features, rows).mean(axis=0)
    wanted = volumes[rows].numpy().astype(float).mean(axis=0)
    generator = model.generator
    assert isinstance(generator, TemplateGenerator)  # noqa: S101 - `calibrate` takes no other
    generator.shift(_smallest(model, features[rows].mean(dim=0, keepdim=True), wanted - made))
    logger.info("mean volumes, mL: people %s, draws %s", wanted.round(1), made.round(1))


def _drawn_ml(model: CSegSynth, features: Tensor, rows: list[int]) -> NDArray[np.float64]:
    """Volumes of one draw of each person, (people, tissues) mL: the mean of it and of the opposite one, which takes
    out most of its chance."""
    z = model.draw(len(rows), SEED)

    def both(k: int) -> NDArray[np.float64]:
        y = features[rows[k] : rows[k] + 1]
        return np.mean([_ml(model, y, s * z[k : k + 1]) for s in (1, -1)], axis=0)

    return np.asarray(list(side_by_side(both, range(len(rows)))))


def _set_places(
    model: CSegSynth,
    features: Tensor,
    wanted: NDArray[np.float64],
    rows: list[int],
) -> None:
    """Shift log-ratios place by place so that draws of these people have, on average, as much of every tissue as
    they have there, over 8 mm and their surroundings.

    How far is told by what a place's voxels leave to others, Σ p (1 − p).

    Args:
        wanted: mean fractions of these people, as from `_mean_places`.
    """
    generator = model.generator
    assert isinstance(generator, TemplateGenerator)  # noqa: S101 - `calibrate` takes no other
    z = model.draw(len(rows), SEED)
    ratios = generator.linear.bias.view(2, len(TISSUES), *generator.coarse)[1]

    def draw(k: int) -> Float[Tensor, "1 4 i j k"]:
        made: Tensor = model(features[rows[k] : rows[k] + 1], z[k : k + 1])
        return made

    for _ in range(PLACE_STEPS):
        made, room = _mean_places(side_by_side(draw, range(len(rows))))
        off, slope = (_smooth(t) for t in (wanted - made, room))
        step = DAMPED * np.clip(off / (slope + LITTLE), -MOST_SHIFT, MOST_SHIFT)
        ratios += torch.from_numpy(step.astype(np.float32))
        logger.info(
            "mean fractions over places were off by %s", np.sqrt((off**2).mean(axis=(1, 2, 3))).round(4)
        )


def _mean_places(
    brains: Iterable[Float[Tensor, "1 4 i j k"]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over brains, at 8 mm, of every tissue's fraction p and of p (1 − p), each (3, i4, j4, k4)."""
    total, count = torch.zeros(()), 0
    for brain in brains:
        tissues = brain[:, : len(TISSUES)]
        both = torch.cat([tissues, tissues * (1.0 - tissues)])
        total, count = total + torch.nn.functional.avg_pool3d(both, 4).double(), count + 1
    made, room = (total / count).numpy()
    return made, room


def _smooth(fields: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each field with its surroundings, over `AROUND` places."""
    return np.stack([gaussian_filter(field, AROUND) for field in fields])


def _mirrored(generator: TemplateGenerator) -> float:
    """How alike folds of both sides are: as alike as what differs between people over short distances in the velocity
    of their principal components."""
    weight = generator.linear.weight.unflatten(0, (2, 3, *generator.coarse))[0].movedim(-1, 0)
    if not weight.any():  # an untrained one's
        return 0.0
    around = torch.nn.functional.avg_pool3d(weight, 3, 1, 1, count_include_pad=False)
    rough = weight - around
    mirror = mirror_image(rough)
    even, odd = ((rough + s * mirror).square().sum().sqrt() for s in (1.0, -1.0))
    return float((1.0 - odd / even.clamp_min(1e-12)).clamp(0.0, 1.0))


def _some(rows: list[int], most: int) -> list[int]:
    """So many of the people at most, or all."""
    return [rows[k] for k in evenly(len(rows), most)]


def _set_typical(model: CSegSynth, features: Tensor, volumes: Tensor, rows: list[int]) -> None:
    """Shift the tissues' log-ratios of brains without noise so that people's have these people's mean volumes."""
    generator = model.generator
    assert isinstance(generator, TemplateGenerator)  # noqa: S101 - `calibrate` takes no other
    some = _some(rows, FEW)
    still = model.draw(1, 0)
    wanted = volumes[some].numpy().astype(float).mean(axis=0)
    for _ in range(SHIFTS):
        each = side_by_side(lambda r: _ml(model, features[r : r + 1], still), some)
        made = np.mean(list(each), axis=0)
        generator.steady += _smallest(model, features[some].mean(dim=0, keepdim=True), wanted - made)
        logger.info("volumes without noise, mL: %s, wanted %s", made.round(1), wanted.round(1))


def _raised(depth: NDArray[np.float64]) -> Float[Tensor, "i j k"]:
    """By how much the template's log-ratios are raised in depth, of all tissues alike: what they share of their sum
    stays what it is."""
    return torch.from_numpy((SURER * (depth - SURE_MM)).clip(0.0, SUREST).astype(np.float32))


def _rim(depth: NDArray[np.float64]) -> Float[Tensor, "1 i2 j2 k2"]:
    """How much of the background's curve counts at every place of the template, at 4 mm."""
    full, none = RIM_MM
    share = ((none - depth) / (none - full)).clip(0.0, 1.0)
    return torch.nn.functional.avg_pool3d(torch.from_numpy(share.astype(np.float32))[None], 2)


def _average(generator: TemplateGenerator) -> Float[Tensor, "1 4 i j k"]:
    """The brain of the mean code."""
    return generator(torch.zeros(1, generator.latent))


def _depth_mm(brain: Float[Tensor, "1 4 i j k"]) -> NDArray[np.float64]:
    """Distance of every voxel in the brain from its surface, sulci and ventricles filled, mm; 0 outside."""
    inside = np.pad(brain[0, : len(TISSUES)].sum(dim=0).numpy() > 0.5, CLOSED)
    filled = binary_fill_holes(binary_closing(inside, iterations=CLOSED))
    middle = (slice(CLOSED, -CLOSED),) * 3
    return np.asarray(distance_transform_edt(filled[middle], sampling=grid.VOXEL_MM))


def _in_template(generator: TemplateGenerator, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the brain of the mean code has at every place of the template, which it looks at from elsewhere: the mean
    of the nearest looks, by the inverse square of their distance."""
    controls = generator.controls(torch.zeros(1, generator.latent))
    looks = generator.looked_at(controls)[0].flatten(1).T.numpy()
    places = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    away, nearest = cKDTree(looks).query(places, k=8)
    weights = 1.0 / np.maximum(away, 1e-3) ** 2
    found = (values.ravel()[nearest] * weights).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(found.reshape(values.shape))


def _where(generator: TemplateGenerator) -> Tensor:
    """`folds` for an amplitude of 1 mm: how strong at each depth, and the direction across the surface."""
    typical = _average(generator)
    average = typical[0, : len(TISSUES)].sum(dim=0).numpy()
    inside = average > 0.5
    depth = distance_transform_edt(inside, sampling=grid.VOXEL_MM)
    strength = np.exp(-0.5 * (np.maximum(depth - CORTEX_MM, 0.0) / FADE_MM) ** 2)
    smooth = gaussian_filter(average, CORTEX_MM / grid.VOXEL_MM, mode="nearest")
    slope = np.stack(np.gradient(smooth))
    steepness = np.sqrt((slope**2).sum(axis=0, keepdims=True))
    across = slope / np.maximum(
        steepness, 0.25 * steepness.max()
    )  # of length 1 at the surface, less in depth
    strength = strength * (1.0 - (1.0 - BELOW) * _below(typical))
    both = torch.from_numpy(np.concatenate([strength[None], across]).astype(np.float32))
    return torch.nn.functional.avg_pool3d(both[None], 4)[0]


def _held(generator: TemplateGenerator) -> Float[Tensor, " i4"]:
    """How much of velocities from left to right is taken out, by the distance from the region's middle."""
    places = len(generator.held)
    away = (torch.arange(places) - (places - 1) / 2) * 4 * grid.VOXEL_MM
    return torch.exp(-0.5 * (away / FALX_MM).square())


def _below(brain: Float[Tensor, "1 4 i j k"]) -> NDArray[np.float64]:
    """How much of every place near a brain is cerebellum or brainstem, smooth, 0 to 1, (i, j, k)."""
    maps = at_4mm(brain)
    shares = parcel_shares(maps)
    parcels = [p for r in REGIONS if r.name in ("cerebellum", "brainstem") for p in r.parcels]
    parts = sum((maps[0, TISSUES.index(PARCELS[p])] * shares[p][0] for p in parcels), torch.zeros(()))
    soft = [gaussian_filter(t.numpy(), 1.5, mode="nearest") for t in (parts, maps[0].sum(dim=0))]
    share = np.clip(soft[0] / np.maximum(soft[1], 0.05), 0.0, 1.0)
    return np.asarray(share.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def _match(
    generator: TemplateGenerator,
    shape: Tensor,
    similarity: Callable[[], float],
    wanted: float,
    halvings: int,
) -> float:
    """The amplitude in mm at which the similarity of generated brains is the real ones', found in so many halvings of
    what is possible."""

    def at(level: float) -> float:
        generator.folds.copy_(shape)
        generator.folds[0] *= level
        return similarity()

    low, high = 0.0, MOST_MM
    found = at(0.0)
    if found <= wanted:
        return 0.0  # everybody's folds are alike in this cohort, too
    for _ in range(halvings):
        middle = (low + high) / 2
        found = at(middle)
        low, high = (middle, high) if found > wanted else (low, middle)
    level = (low + high) / 2
    at(level)
    return level


def _controls(model: CSegSynth, features: Tensor, rows: list[int]) -> Iterator[Controls]:
    """The fields of one draw of each person."""
    z = model.draw(len(rows), SEED)
    for k, r in enumerate(rows):
        yield model.generator.controls(model.condition(z[k : k + 1], features[r : r + 1]))


def _mean_ssim(images: NDArray[np.uint8]) -> float:
    """Of white matter, over pairs of brains."""
    pairs = pairs_of(len(images), PAIRS)
    return float(ssim_of_pairs(images[:, TISSUES.index("wm")], pairs).mean())


def _set_balance(model: CSegSynth, features: Tensor, volumes: Tensor, rows: list[int], varied: int) -> float:
    """Make draws vary as people do: no more by their codes, and by the smallest shifts whose volumes have the
    covariance that draws lack.

    Returns:
        The largest variance of volumes before codes were narrowed, over what is wanted.
    """
    generator = model.generator
    assert isinstance(generator, TemplateGenerator)  # noqa: S101 - `calibrate` takes no other
    _, left_out = _ridge(features[rows].double().numpy(), volumes[rows].double().numpy())
    wanted = np.cov(left_out.T)
    generator.balance.zero_()
    model.prior.set_spread(features[rows])
    chosen = _some(rows, varied)
    excess = [_narrow(model, features, chosen, wanted) for _ in range(NARROWINGS)]

    def spread() -> NDArray[np.float64]:
        return np.mean([np.cov(_pairs_ml(model, features[r : r + 1], SEED + r).T) for r in chosen], axis=0)

    without = spread()
    values, vectors = np.linalg.eigh(wanted - without)
    values = np.maximum(values, 0.0)
    missing = vectors * np.sqrt(values)
    generator.balance.copy_(_smallest(model, features[rows].mean(dim=0, keepdim=True), missing))
    # What a shift does differs between people, and is not in proportion to it.
    aimed, added = (np.trace(np.linalg.pinv(wanted) @ c) for c in (missing @ missing.T, spread() - without))
    generator.balance *= np.sqrt(np.clip(aimed / max(added, 1e-9), 0.25, 4.0))
    stds = [np.sqrt(c.diagonal()).round(1) for c in (wanted, without, spread())]
    logger.info("volumes, mL: people about ridge %s, draws by codes %s, draws %s", *stds)
    return excess[0]


def _narrow(model: CSegSynth, features: Tensor, rows: list[int], wanted: NDArray[np.float64]) -> float:
    """Take out of the codes' spread what makes volumes of one person's draws differ more than is wanted.

    What codes tell of volumes is regressed on draws. In directions of volume in which draws have too much variance,
    codes move as the regression of codes on volumes says.

    Args:
        rows: people whose draws are looked at.
        wanted: covariance of volumes about what features tell, (3, 3) mL².

    Returns:
        The largest variance of volumes, over what is wanted, before.
    """
    prior, latent = model.prior, model.config.latent
    codes, odd, spread = [], [], []
    for r in rows:
        half = model.draw(DRAWS // 2, SEED + r)
        ml = _pairs_ml(model, features[r : r + 1], SEED + r)
        codes.append(prior.narrow(half[:, :latent]))
        odd.append((ml[: len(half)] - ml[len(half) :]) / 2)
        spread.append(np.cov(ml.T))
    x, y = torch.cat(codes).double().numpy(), np.concatenate(odd)
    slopes = np.linalg.solve(x.T @ x + PENALTY * len(x) * np.eye(latent), x.T @ y).T  # mL for each code
    root = np.linalg.cholesky(wanted + 1e-6 * np.eye(len(wanted)))
    values, vectors = np.linalg.eigh(np.linalg.solve(root, np.linalg.solve(root, np.mean(spread, axis=0)).T))
    logger.info("variance of volumes over draws, over what is wanted: %s", values.round(2))
    less = vectors * (np.maximum(values, 1.0) ** -0.5 - 1.0) @ vectors.T
    change = root @ less @ np.linalg.inv(root)
    covariance = (prior.spread @ prior.spread.T).double().numpy()
    back = covariance @ slopes.T @ np.linalg.pinv(slopes @ covariance @ slopes.T)
    narrower = np.eye(latent) + back @ change @ slopes
    prior.spread.copy_(torch.from_numpy(narrower @ prior.spread.double().numpy()))
    return float(values.max())


def _pairs_ml(model: CSegSynth, y: Tensor, seed: int) -> NDArray[np.float64]:
    """Volumes of `DRAWS` draws of a person, (draws, tissues) mL: half of them, then those with opposite noise."""
    half = model.draw(DRAWS // 2, seed)
    every = list(torch.cat([half, -half])[:, None])
    return np.stack(list(side_by_side(lambda one: _ml(model, y, one), every)))


def _ridge(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What ridge regression tells of each column of `y`, and its errors for each person when fitted to the others,
    which the penalty minimises."""
    x = np.column_stack([np.ones(len(x)), x])
    spared = np.diag([0.0] + [1.0] * (x.shape[1] - 1))
    told, errors = [], []
    for penalty in PENALTIES:
        hat = x @ np.linalg.solve(x.T @ x + penalty * spared, x.T)
        told.append(hat @ y)
        errors.append((y - told[-1]) / (1.0 - hat.diagonal())[:, None])
    best = np.argmin([np.square(e).mean(axis=0) for e in errors], axis=0)
    chosen = ([found[b][:, k] for k, b in enumerate(best)] for found in (told, errors))
    fitted, left_out = (np.stack(columns, axis=1) for columns in chosen)
    return fitted, left_out


def _smallest(model: CSegSynth, y: Tensor, ml: NDArray[np.float64]) -> Tensor:
    """The smallest shifts, in `UNITS`, that change volumes by this about a typical person.

    With shifts of log-ratios alone a change of the whole brain would let background into its inside.

    Args:
        y: features of the typical person.
        ml: (tissues,) or (tissues, any number), mL.
    """
    units = np.diag(UNITS)
    return torch.from_numpy(units @ np.linalg.pinv(_slopes(model, y) @ units) @ ml).float()


def _slopes(model: CSegSynth, y: Tensor) -> NDArray[np.float64]:
    """Change of each tissue's volume, mL, with each shift, (tissues, shifts), about a typical person."""
    generator = model.generator
    assert isinstance(generator, TemplateGenerator)  # noqa: S101 - `calibrate` takes no other
    balance = generator.balance.clone()
    z = torch.zeros(1, model.config.latent + generator.noise_width)
    z[0, model.config.latent] = 1.0
    out = []
    for k, unit in enumerate(UNITS):
        ends = []
        for sign in (-SHIFT, SHIFT):
            generator.balance.zero_()
            generator.balance[k, 0] = sign * unit
            ends.append(_ml(model, y, z))
        out.append((ends[1] - ends[0]) / (2 * SHIFT * unit))
    generator.balance.copy_(balance)
    return np.stack(out, axis=1)


def _ml(model: CSegSynth, y: Tensor, z: Tensor) -> NDArray[np.float64]:
    """Tissue volumes of one brain, mL, by every second voxel."""
    return volumes_ml(model(y, z, 2), 2)[0, : len(TISSUES)].numpy().astype(float)
