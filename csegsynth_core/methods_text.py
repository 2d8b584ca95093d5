"""Words for papers: the equations, a methods paragraph with the current settings, and BibTeX.

Equation numbers are those of Wang et al. 2025; the explanations are ours.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from csegsynth_core import __version__, grid
from csegsynth_core.coverage import training_people
from csegsynth_core.pack import Pack

CITATION: Final = Path(__file__).resolve().parents[1] / "CITATION.cff"

SYMBOLS: Final = (
    r"$\mathbf{x}$ maps of a real person, $\mathbf{y}$ encoded features, $\mathbf{v}$ volumes; "
    r"$E_\phi$ encoder, $G_\theta$ generator, $D_\omega$ discriminator of maps, $C_\eta$ discriminator of codes, "
    r"$P_\psi$ prior network; $\hat{\mathbf{z}}_{rnd}\sim\mathcal{N}(\mathbf{0},\mathbf{I})$, "
    r"$\hat{\mathbf{z}}_{rec}=E_\phi(\mathbf{x})$, "
    r"$\hat{\mathbf{z}}_{cnd}=\hat{\mathbf{z}}_{rnd}+P_\psi(\mathbf{y})$, and "
    r"$\hat{\mathbf{x}}_{\bullet}=G_\theta(\hat{\mathbf{z}}_{\bullet})$; $\mathrm{GP}$ the gradient penalty "
    r"$(\lVert\nabla\,\cdot\,\rVert_2-1)^2$ at random points between real and generated."
)

EQUATIONS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "Eq. 6 · pre-training: encoder and generator",
        r"\begin{aligned}\mathcal{L}_{a1} = &-D_\omega(\hat{\mathbf{x}}_{rnd}) - D_\omega(\hat{\mathbf{x}}_{rec})"
        r" - \lambda_1 C_\eta(\hat{\mathbf{z}}_{rec})\\"
        r"&+ \lambda_2 L_{BCE}(\hat{\mathbf{x}}_{rec}, \mathbf{x})\end{aligned}",
        "Drawn and rebuilt brains should pass as real, codes should pass as normal draws, and a rebuilt brain should "
        "equal its original voxel by voxel.",
    ),
    (
        "Eq. 7 · pre-training: discriminator of maps",
        r"\begin{aligned}\mathcal{L}_{a2} = &\;D_\omega(\hat{\mathbf{x}}_{rnd}) + D_\omega(\hat{\mathbf{x}}_{rec})"
        r" - 2 D_\omega(\mathbf{x})\\"
        r"&+ \lambda_3\left(\mathrm{GP}(\tilde{\mathbf{x}}) + \mathrm{GP}(\tilde{\mathbf{x}}')\right)\end{aligned}",
        "Real maps should score higher than drawn and rebuilt ones; the penalty keeps the score's slope near 1.",
    ),
    (
        "Eq. 8 · pre-training: discriminator of codes",
        r"\mathcal{L}_{a3} = C_\eta(\hat{\mathbf{z}}_{rec}) - C_\eta(\hat{\mathbf{z}}_{rnd})"
        r" + \lambda_4\,\mathrm{GP}(\tilde{\mathbf{z}})",
        "Normal draws should score higher than encoded brains, which in turn drives the codes to be normal.",
    ),
    (
        "Eq. 13 · fine-tuning: encoder, generator and prior network",
        r"\begin{aligned}\mathcal{L}_{c1} = &-D_\omega(\hat{\mathbf{x}}_{cnd}) - D_\omega(\hat{\mathbf{x}}_{rec})\\"
        r"&- \lambda_1\left(C_\eta(\hat{\mathbf{z}}_{cnd}) + C_\eta(\hat{\mathbf{z}}_{rec})\right)\\"
        r"&+ \lambda_2\left(L1(Vol(\hat{\mathbf{x}}_{cnd}), \mathbf{v})"
        r" + L1(Vol(\hat{\mathbf{x}}_{rec}), \mathbf{v})\right)\\"
        r"&+ \lambda_3 L_{BCE}(\hat{\mathbf{x}}_{rec}, \mathbf{x})\\"
        r"&+ \lambda_4 TML(\mathbf{v}, Vol(\hat{\mathbf{x}}_{cnd}), Vol(\hat{\mathbf{x}}'_{cnd}))\end{aligned}",
        "As before, for brains conditioned on features; their volumes should equal the person's, and be nearer to "
        "them than those of a brain made with disturbed features (triplet loss).",
    ),
    (
        "Eq. 14 · fine-tuning: discriminator of maps",
        r"\begin{aligned}\mathcal{L}_{c2} = &\;D_\omega(\hat{\mathbf{x}}_{cnd}) + D_\omega(\hat{\mathbf{x}}_{rec})"
        r" - 2 D_\omega(\mathbf{x})\\"
        r"&+ \lambda_5\left(\mathrm{GP}(\tilde{\mathbf{x}}) + \mathrm{GP}(\tilde{\mathbf{x}}')\right)\end{aligned}",
        "As Eq. 7, with conditioned brains in the place of drawn ones.",
    ),
    (
        "Eq. 15 · fine-tuning: discriminator of codes",
        r"\begin{aligned}\mathcal{L}_{c3} = &\;C_\eta(\hat{\mathbf{z}}_{cnd}) + C_\eta(\hat{\mathbf{z}}_{rec})"
        r" - 2 C_\eta(\hat{\mathbf{z}}_{rnd})\\"
        r"&+ \lambda_6\left(\mathrm{GP}(\tilde{\mathbf{z}}) + \mathrm{GP}(\tilde{\mathbf{z}}')\right)\end{aligned}",
        "As Eq. 8, also for codes that the prior network made from features.",
    ),
)

COMPUTED: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "A generated brain",
        r"\hat{\mathbf{x}} = G_\theta\left(\hat{\mathbf{z}} + P_\psi(\mathbf{y})\right),"
        r"\quad \hat{\mathbf{z}} \sim \mathcal{N}(\mathbf{0}, \mathbf{I})",
        "The draw comes from the seed: the same person and seed give the same brain. In the compact network the code "
        "moves and re-weights a template, noise behind the code slides its folds, and the smallest fractions are "
        "taken for none, as segmentations do.",
    ),
    (
        "A volume",
        r"V_t = 0.008\,\mathrm{mL} \cdot \sum_{ijk} \hat{x}_{t,ijk}",
        "Fractions times the volume of a voxel of 2 mm; the sum of the three tissues is called WM+GM+CSF.",
    ),
    (
        "Feature influence",
        r"g_{t,f} = \frac{1}{NM}\sum_{n,m} \frac{\partial V_t(\mathbf{y}_n, \hat{\mathbf{z}}_m)}{\partial y_f}",
        "By back-propagation, over N people and M draws; the 95 % interval resamples people.",
    ),
)


def methods_paragraph(pack: Pack, *, seed: int, draws: int | None = None, who: str = "") -> str:
    """A paragraph for a paper, with the settings of the moment.

    Args:
        seed: of the latent draw.
        draws: how many draws were averaged, where there were several.
        who: whose brains these are: `female, 48 years`.
    """
    shape = "×".join(str(n) for n in grid.SHAPE)
    people = "simulated people" if pack.simulated else "people"
    preset = getattr(getattr(pack.model, "config", None), "preset", "")
    kept = pack.metrics.get("n") if pack.metrics.get("split") == "test" else None
    one = f"one latent draw (seed {seed})" if seed else "the latent noise set to zero (seed 0)"
    used = f"{draws} latent draws (seed {seed})" if draws else one
    brains = f"Brains of a person ({who})" if who else "Brains"
    evaluated = f" and evaluated on {kept} people kept aside" if kept else ""
    return (
        f"Synthetic white-matter, grey-matter and cerebrospinal-fluid partial-volume maps ({shape} voxels of "
        f"{grid.VOXEL_MM:g} mm, rigidly aligned to ICBM152 axes, never scaled) were generated with CSegSynth "
        f"{__version__}, an independent implementation of the conditional α-GAN of Wang et al. (2025)"
        f"{_network(preset)}, using the model pack “{pack.name}” (SHA-256 {pack.hash[:12]}…), trained on "
        f"{training_people(pack)} {people} ({pack.about.get('title', pack.name)}){evaluated}. The model was "
        f"conditioned on {len(pack.schema.names)} features ({_listed(pack)}); missing values were imputed from age "
        f"and sex. {brains} were generated with {used}. Tissue volumes are sums of voxel fractions times "
        f"{grid.VOXEL_ML:g} mL. The training data are cross-sectional: differences between generated brains "
        "describe associations among people, not effects or forecasts."
    )


def licences(pack: Pack) -> str:
    """Licences of code and pack, and whom the pack's data are from; a line each."""
    lines = [
        "Code: Apache-2.0.",
        f"Model pack {pack.name}: {pack.about.get('licence', 'n/a')}.",
        str(pack.about.get("attribution", "")),
    ]
    return "\n".join(line for line in lines if line)


def bibtex(path: Path = CITATION) -> str:
    """BibTeX of the paper and of this software, from `CITATION.cff`; the second only where the file lacks a paper."""
    try:
        text = path.read_text("utf-8")
    except OSError:
        text = ""
    software, _, reference = text.partition("references:")
    entries = []
    if reference:
        entries.append(_entry("article", reference, "", doi=True))
    entries.append(_entry("software", software, __version__, doi=False))
    return "\n\n".join(entries)


def _entry(kind: str, text: str, version: str, *, doi: bool) -> str:
    """One entry from the part of the citation file that describes it."""
    authors = [
        f"{family.strip()}, {given.strip()}"
        for family, given in re.findall(r"family-names:\s*([^,}\n]+),?\s*given-names:\s*([^}\n]+)", text)
    ] or [f"{{{n.strip()}}}" for n in re.findall(r"^\s*-\s*name:\s*(.+)$", text, re.MULTILINE)]
    year = _field(text, "year") or "2025"
    first = (
        re.sub(r"[^a-z]", "", authors[0].split(",")[0].casefold())
        if kind == "article" and authors
        else "csegsynth"
    )
    fields = {
        "title": f"{{{_field(text, 'title') or 'CSegSynth'}}}",
        "author": " and ".join(authors),
        "year": year if kind == "article" else "",
        "version": version,
        "journal": _field(text, "journal"),
        "doi": _field(text, "doi") if doi else "",
        "url": _field(text, "url"),
        "license": _field(text, "license"),
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return f"@{kind}{{{first}{year if kind == 'article' else ''},\n" + ",\n".join(lines) + "\n}"


def _field(text: str, name: str) -> str:
    found = re.search(rf"^\s*{name}:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip().strip('"') if found else ""


def _network(preset: str) -> str:
    return {
        "compact": ", with a compact generator that deforms and re-weights a template brain",
        "paper": ", with the networks of the reference",
    }.get(preset, "")


def _listed(pack: Pack) -> str:
    """Names of a few features; the rest counted."""
    labels = [f.label.lower() if not f.label.isupper() else f.label for f in pack.schema.features]
    return ", ".join(labels) if len(labels) <= 12 else f"{', '.join(labels[:10])} and {len(labels) - 10} more"
