"""What FID looks at: features of tissue maps, by our own network or by pre-trained ones from a file.

Without files our own extractor is used (`train.extractor_network`): its values can be compared with each other and
with the floor, not with other papers'. With files, those of the paper:
RadImageNet's ResNet-50 (Mei et al. 2022) for slices and MedicalNet's ResNet (Chen et al. 2019) for volumes, their
weights as safetensors with the names that torchvision, RadImageNet, MedicalNet or MONAI give them. Pictures reach
them as they were trained and as MONAI's perceptual losses give them: slices with RadImageNet's channel means (blue,
green, red) taken off, volumes with mean 0 and standard deviation 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from csegsynth_core.errors import PackError
from train.extractor_network import own_extractors

PLANES: Final = ("sagittal", "coronal", "axial")
OWN: Final = (
    "our own networks, trained to tell degradations, tissue, place, age and sex of tissue maps (the first two are "
    "what they tell well; comparable with the floor, not with other papers)"
)
CHANNEL_MEANS: Final = (0.406, 0.456, 0.485)
"""RadImageNet's, blue first: what its network's input has lost."""
EVERY: Final = 2
"""Slices from one that a network sees to the next."""
_SEQUENTIAL: Final = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""RadImageNet's numbers for torchvision's names."""


class Features:
    """Features of one tissue of one brain. Call with fractions (3, 80, 104, 80) inside `grid.BOX` and a tissue.

    Args:
        slices: weights of a two-dimensional ResNet; None: ours.
        volumes: weights of a three-dimensional ResNet; None: ours.

    Raises:
        PackError: a file cannot be read or does not hold such a network.
    """

    def __init__(self, slices: Path | None = None, volumes: Path | None = None) -> None:
        self.slices = None if slices is None else load_resnet(slices, 2)
        self.volumes = None if volumes is None else load_resnet(volumes, 3)
        self.names = {
            "fid_2d": OWN if slices is None else f"pre-trained {_said(self.slices)}, {Path(slices).name}",
            "fid_3d": OWN if volumes is None else f"pre-trained {_said(self.volumes)}, {Path(volumes).name}",
        }

    @property
    def saw(self) -> frozenset[str]:
        """Keys of the people whose maps our own networks were trained on; nobody where both are pre-trained."""
        if self.slices is not None and self.volumes is not None:
            return frozenset()
        return own_extractors()[0].saw

    def __call__(self, maps: Tensor, tissue: int) -> dict[str, Tensor]:
        """`volume` (1, width), and (slices, width) of each plane."""
        out: dict[str, Tensor] = {}
        alone = maps[tissue]
        if self.volumes is not None:
            spread = alone.std().clamp_min(1e-6)
            out["volume"] = _pooled(self.volumes, ((alone - alone.mean()) / spread)[None, None])
        else:
            out["volume"] = own_extractors()[1](alone[None, None])
        for axis, plane in enumerate(PLANES):
            images = torch.movedim(alone, axis, 0)[::EVERY, None]
            if self.slices is not None:
                channels = self.slices.conv1.weight.shape[1]
                off = torch.tensor(CHANNEL_MEANS if channels == 3 else [0.0])[:, None, None]
                out[plane] = _pooled(self.slices, images.expand(-1, channels, -1, -1) - off)
            else:
                out[plane] = own_extractors()[0](images)
        return out


def load_resnet(path: Path, dimensions: int) -> Any:
    """A ResNet (He et al. 2016) of MONAI's with weights from a safetensors file; its depth is read off the file.

    Raises:
        PackError: the file cannot be read, or holds something else.
    """
    from monai.networks.nets import ResNet

    what = f"weights of a {dimensions}-D ResNet as safetensors (names as torchvision's or MONAI's: conv1.weight, …)"
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise PackError(
            f"{path} cannot be read",
            expected=what,
            got=str(error)[:200],
            fix="load a .pt or .pth with torch.load(…, weights_only=True), write it with safetensors.torch.save_file",
        ) from error
    weights = {_name(k): v.float() for k, v in found.items() if k.split(".")[-2:-1] != ["fc"]}
    counts = [len({k.split(".")[1] for k in weights if k.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4)]
    first = weights.get("conv1.weight")
    if first is None or first.ndim != dimensions + 2 or not all(counts):
        raise PackError(
            f"{path} holds no {dimensions}-D ResNet",
            expected=what,
            got=f"{len(found)} tensors such as {', '.join(list(found)[:3]) or 'none'}"
            + (f"; conv1.weight of shape {tuple(first.shape)}" if first is not None else ""),
            fix="give slices' weights to --features-2d and volumes' to --features-3d",
        )
    model = ResNet(
        "bottleneck" if "layer1.0.conv3.weight" in weights else "basic",
        counts,
        [64, 128, 256, 512],
        spatial_dims=dimensions,
        n_input_channels=first.shape[1],
        conv1_t_size=first.shape[2],
        conv1_t_stride=2,
        shortcut_type="B" if any(".downsample." in k for k in weights) else "A",
        feed_forward=False,
        bias_downsample=any(k.endswith("downsample.0.bias") for k in weights),
    )
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise PackError(
            f"{path} does not fit a ResNet of its depth", expected=what, got=str(error)[:300]
        ) from error
    lacking = [k for k in missing if not k.endswith("num_batches_tracked")]
    if lacking or unexpected:
        raise PackError(
            f"{path} does not fit a ResNet of its depth",
            expected=what,
            got=f"missing {', '.join(lacking[:3]) or 'nothing'}; unknown {', '.join(unexpected[:3]) or 'nothing'}",
        )
    return model.eval().requires_grad_(False)


def _name(name: str) -> str:
    """Names without wrappers, RadImageNet's numbers as torchvision's names."""
    name = re.sub(r"^(module\.|backbone\.|model\.)+", "", name)
    head, _, rest = name.partition(".")
    return f"{_SEQUENTIAL[head]}.{rest}" if head in _SEQUENTIAL else name


def _pooled(model: Any, x: Tensor) -> Tensor:
    """Features before the classifier, averaged over places, (n, width)."""
    parts = []
    for some in x.split(16):
        y = model.maxpool(model.act(model.bn1(model.conv1(some))))
        y = model.layer4(model.layer3(model.layer2(model.layer1(y))))
        parts.append(y.flatten(2).mean(dim=2))
    return torch.cat(parts)


def _said(model: nn.Module | None) -> str:
    layers = [len(getattr(model, f"layer{n}")) for n in (1, 2, 3, 4)]
    convolutions = 3 if hasattr(model.layer1[0], "conv3") else 2  # type: ignore[union-attr,index]
    return f"ResNet-{convolutions * sum(layers) + 2}"
