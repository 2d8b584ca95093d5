"""Which method trains which family."""

from __future__ import annotations

from importlib import import_module

from train.engine import Method

_METHODS = {
    "csegsynth": "train.csegsynth:CSegSynthMethod",
    "alpha_gan": "train.csegsynth:CSegSynthMethod",
    "c_vae": "train.vae:VaeMethod",
    "vae": "train.vae:VaeMethod",
    "c_gan": "train.gan:GanMethod",
    "gan": "train.gan:GanMethod",
    "c_ldm": "train.ldm:LdmMethod",
    "ldm": "train.ldm:LdmMethod",
}


def method_of(family: str) -> type[Method]:
    """The class that trains a family. Raises KeyError if there is none."""
    module, _, name = _METHODS[family].partition(":")
    found: type[Method] = getattr(import_module(module), name)
    return found
