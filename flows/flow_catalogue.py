"""All flows by name."""

from collections.abc import Callable
from dataclasses import dataclass

from ..capture.errors import UserError
from .flow_run import FlowResult
from .network_flows import build_dictionary, synthesize, train_dfdn, train_emotion_net
from .rig_flows import calibrate_rig, capture_session
from .scan_flows import build_dataset, reconstruct_scan, regenerate_all

LIMITS = {"camera-rig": 1, "reconstruction": 1, "training": 1}
"""Concurrency limits and how many runs may hold them at once, as a new Prefect home gets them."""


@dataclass(frozen=True)
class FlowSpec:
    """A flow: a plain function whose first parameter is a FlowRun."""

    name: str
    function: Callable[..., FlowResult]
    limit: str
    """Name of the concurrency limit that a run holds; Prefect fails when it is not defined."""
    tags: tuple[str, ...] = ()
    scales: bool = False
    """Whether --runner dask spreads it."""

    @property
    def summary(self) -> str:
        """First sentence of its help."""
        return (self.function.__doc__ or self.name).strip().splitlines()[0]


FLOWS = {
    spec.name: spec
    for spec in (
        FlowSpec("capture-session", capture_session, "camera-rig", ("capture",)),
        FlowSpec("calibrate-rig", calibrate_rig, "reconstruction", ("capture", "calibration")),
        FlowSpec("reconstruct-scan", reconstruct_scan, "reconstruction", ("scans",), scales=True),
        FlowSpec("build-dataset", build_dataset, "reconstruction", ("scans", "dataset"), scales=True),
        FlowSpec("regenerate-all", regenerate_all, "reconstruction", ("scans", "dataset"), scales=True),
        FlowSpec("train-emotion-net", train_emotion_net, "training", ("training",)),
        FlowSpec("build-dictionary", build_dictionary, "training", ("training",)),
        FlowSpec("train-dfdn", train_dfdn, "training", ("training",)),
        FlowSpec("synthesize", synthesize, "training", ("synthesis",)),
    )
}


def find_flow(name: str) -> FlowSpec:
    """Raises UserError for an unknown name."""
    if name not in FLOWS:
        raise UserError(f"{name!r} is no flow; there are {', '.join(FLOWS)}")
    return FLOWS[name]
