"""Presets of the Deep Facial Detail Net: every switch in which the paper, its released code and our own designs differ.

`paper` is the text of section 4, `released` what the released code did, `small` the same structure with few channels,
`fast` our own. Where the text is silent (normalisation of the input, padding, initial weights) `paper` does as the
released code. Parameters for 256 x 256 patches and 64 components, in millions, generator / discriminator: see
`dfdn_networks.parameter_counts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin

from ..capture.errors import UserError

Design = Literal["cascade", "shared"]
Colour = Literal["v", "hsv", "local"]
Gan = Literal["none", "log", "lsgan"]
CHANNELS: dict[str, int] = {"v": 1, "hsv": 3, "local": 4}
"""Channels of the texture after conversion, see dfdn_input.py."""
REGION_CHANNELS = 4
"""Channels that region conditioning adds."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Structure, input, losses and rates of one DFDN."""

    name: str
    design: Design = "cascade"
    """cascade: U-Net, head, PCA layer, second U-Net (Fig. 4). shared: one trunk for both modules (dfdn_fast.py)."""
    colour: Colour = "hsv"
    normalisation: Literal["none", "mean"] = "mean"
    """mean: twice the difference to the patch's mean over valid texels, as the released code; none: as it is."""
    noise_channels: int = 1
    """Planes of the noise z beside the texture while training; 0 at inference. The released code has none."""
    region_conditioning: bool = False
    """One model for all areas that is told each texel's facial region; else one model per area, or one for all."""
    pdim_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512, 512)
    """Of the U-Net's levels (shared: of the trunk's). A patch too small for all levels uses the first ones."""
    head: Literal["output", "bottleneck", "projection"] = "output"
    """Coefficients from: fully connected layers on the U-Net's output or on its bottleneck, or the projection of the
    U-Net's output on the PCA basis, which needs no parameters."""
    fc: tuple[int, ...] = (2048, 1024, 512)
    """Hidden sizes of the fully connected layers; the last layer has one output per component."""
    fc_activation: Literal["relu", "leaky"] = "relu"
    refine: bool = True
    """False: no PDRM, the PCA reconstruction is the result."""
    pdrm_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    pdrm_texture: bool = False
    """PDRM sees the texture beside the PCA reconstruction. Eq. 10 gives it the reconstruction alone."""
    pdrm_up: Literal["relu", "leaky"] = "leaky"
    pdrm_output: Literal["replace", "residual"] = "replace"
    """PDRM's output is the displacement, or is added to the PCA reconstruction."""
    output: Literal["tanh", "linear"] = "tanh"
    """Of PDRM; times the dataset's height scale. tanh cannot go beyond it."""
    norm: Literal["batch", "group"] = "batch"
    zero_start: bool = False
    """Begin at the zero map: last layers all 0. Else N(0, 0.02) as the released code."""
    gan: Gan = "log"
    disc_channels: tuple[int, ...] = (64, 128, 256, 512)
    disc_padding: int = 2
    distance: Literal["l1", "huber"] = "l1"
    """Of Eq. 10. huber: quadratic below half of the height scale; its minimum is nearer to the mean, that of l1 is the
    median."""
    lambda_: float = 100.0
    eta: float = 0.5
    weight_pca: float = 1.0
    weight_fine: float = 1.0
    weight_coefficients: float = 0.0
    """Of the L1 distance of PCA coefficients, in standard deviations. The released code used it, the paper not."""
    weight_slope: float = 0.0
    """Of the distance of the refined map's slopes: fine relief counts more than in heights. Ours."""
    appearance_normals: Literal["literal", "change"] = "literal"
    """literal: Eq. 12. change: what displacement changes in Eq. 12 is added to the proxy's smooth normals, so that the
    facets of its mesh are no relief to be explained."""
    learning_rate: float = 1e-4
    batch: int = 8
    average: float = 0.0
    """Per step, of the running mean of the weights that is kept as the result; 0: the weights themselves."""
    clip: float = 0.0
    """Largest norm of the generator's gradient; 0: any."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            allowed = get_args(entry.type) if get_origin(entry.type) is Literal else ()
            if allowed and getattr(self, entry.name) not in allowed:
                raise UserError(
                    f"preset {self.name}: {entry.name} is {getattr(self, entry.name)!r}, allowed are {list(allowed)}"
                )
        if not (self.learning_rate > 0 and self.batch >= 1 and 0 <= self.average < 1 and self.noise_channels >= 0):
            raise UserError(
                f"preset {self.name}: learning_rate {self.learning_rate}, batch {self.batch}, average {self.average}, "
                f"noise_channels {self.noise_channels}; allowed are above 0, 1 and more, 0 to below 1, 0 and more"
            )

    @property
    def texture_channels(self) -> int:
        """Channels of the network's input, without noise."""
        return CHANNELS[self.colour] + (REGION_CHANNELS if self.region_conditioning else 0)


PAPER = Preset("paper")
RELEASED = Preset(
    "released", colour="v", noise_channels=0, fc_activation="leaky", pdrm_texture=True, pdrm_up="relu",
    # Its discriminator was trained, but no gradient of it reached the generator, so the result is that of none.
    gan="none",
    lambda_=1.0, eta=50.0, weight_pca=5.0, weight_coefficients=10.0, learning_rate=2e-4, batch=1,
)  # fmt: skip
SMALL = replace(
    PAPER, name="small", colour="local", noise_channels=0, pdim_channels=(12, 24, 48, 64, 64, 64, 64, 64),
    head="projection", pdrm_channels=(12, 24, 48, 64, 64, 64), pdrm_texture=True, pdrm_output="residual",
    output="linear", norm="group", zero_start=True, gan="none", disc_channels=(16, 32, 64, 128), distance="huber",
    weight_slope=0.5, appearance_normals="change", learning_rate=1e-3, average=0.99, clip=1.0,
)  # fmt: skip
FAST = replace(
    SMALL, name="fast", design="shared", pdim_channels=(24, 48, 96, 160, 224), pdrm_channels=(24, 24), fc=(),
    disc_channels=(32, 64, 128, 256), average=0.998,
)  # fmt: skip
PRESETS: dict[str, Preset] = {preset.name: preset for preset in (PAPER, RELEASED, SMALL, FAST)}


def preset_from(values: Mapping[str, Any]) -> Preset:
    """A preset of plain data, as checkpoints hold it. Raises UserError for unknown or missing entries."""
    names = {entry.name for entry in fields(Preset)}
    if set(values) != names:
        odd = sorted(set(values) ^ names)
        raise UserError(f"preset of another version of mesoface: {', '.join(odd)} differ; train again or update")
    entries: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Preset(**entries)
