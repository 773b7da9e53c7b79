"""The demo's report: every step with its pictures and its figures against the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..capture.files import write_text
from . import html
from .demo_dataset import dataset_figures, dataset_parts
from .demo_figures import Figure
from .demo_geometry import TakeErrors, geometry_figures, geometry_parts, take_errors
from .demo_people import people_parts, portrait_picture, scan_folder, studio_figures, take_figures, take_parts
from .demo_plan import DemoPlan, Person
from .demo_proxy import face_figures, face_parts
from .demo_steps import Shown, Steps, clock
from .demo_training import evaluation_parts, training_figures, training_parts

HEADER = ("figure", "found", "bound", "")


@dataclass(frozen=True)
class DemoResults:
    """Where everything lies."""

    out: Path
    plan: DemoPlan
    takes: Mapping[Person, Path]
    calibration: Path
    scans: Mapping[Person, Path]
    dataset: Path
    network: Path
    evaluation: Path

    @cached_property
    def errors(self) -> dict[Person, TakeErrors]:
        """Of every take's reconstruction; seconds each."""
        return {
            person: take_errors(results, scan_folder(self.out, person) / "truth")
            for person, results in self.scans.items()
        }


def all_figures(results: DemoResults, shown: Shown) -> list[Figure]:
    """Every figure of the demo, in the order of its steps."""
    out, plan = results.out, results.plan
    found: list[Figure] = []
    parts = (
        ("studio", lambda: studio_figures(out, plan)),
        ("takes", lambda: take_figures(list(results.takes.values()))),
        ("reconstruction", lambda: geometry_figures(plan, results.calibration, results.errors)),
        ("dataset", lambda: dataset_figures(plan, results.dataset, results.scans)),
        ("network", lambda: training_figures(plan, results.network, results.evaluation)),
        ("portrait", lambda: face_figures(out, plan)),
    )
    for number, (what, make) in enumerate(parts):
        shown(what, number, len(parts) + 1)
        found += make()
    shown("report", len(parts), len(parts) + 1)
    return found


def write_demo_report(results: DemoResults, figures: Sequence[Figure], steps: Steps) -> Path:
    """Write report.html, which links to the steps' own reports."""
    out, plan = results.out, results.plan

    def table(step: str) -> str:
        return html.table([figure.row for figure in figures if figure.step == step], HEADER)

    failed = [figure for figure in figures if not figure.passed]
    times = [[f"{number}. {name}", clock(seconds)] for number, (name, seconds) in enumerate(steps.seconds.items(), 1)]
    parts = [
        html.table([
            ["figures within their bounds", f"{len(figures) - len(failed)} of {len(figures)}"],
            *(["outside", figure.name] for figure in failed),
            ["people", ", ".join(person.name for person in plan.people)],
            ["pictures", f"{plan.size_px[0]} x {plan.size_px[1]} px"],
        ]),
        html.heading("1. Virtual people", "Rendered as the shipped rig would shoot them: 23 exposures each, with exact "
                     "truth. What follows is judged by it."),
        table("studio"),
        *people_parts(out, plan),
        html.heading("2. Takes", "Shot with five simulated EOS 760D through libgphoto2 and the simulated trigger box, "
                     "over their real protocols; verified on disk and judged."),
        table("capture"),
        *take_parts(out, dict(results.takes)),
        html.heading("3. Calibration", "From a rendered board. More: calibration/report.html."),
        table("calibration"),
        html.heading("4. Reconstruction", "Depth from five views; diffuse and specular light by polarisation; "
                     "normals by photometric stereo; displacement from two solves of Eq. 9. Displacement is judged on "
                     "plain skin, less what the smooth face itself has of its band."),
        table("reconstruction"),
        *geometry_parts(out, results.scans, results.errors),
        html.heading("5. Dataset", "Every take registered to the face model, patches cut where detail is strongest, "
                     "one person held out, a basis of the others. Correspondence: how far a texel lies from the skin "
                     "it is meant for."),
        table("dataset"),
        *dataset_parts(out, results.dataset, results.scans),
        html.heading("6. Training", "A small DFDN, a few hundred steps: it shows the way, it is not a good "
                     "network."),
        table("training"),
        *training_parts(out, results.network),
        html.heading("7. Evaluation", "On the held-out person, beside a zero map, brightness taken for height "
                     "(shading baseline), and the truth projected on the basis (PCA oracle: no prediction in it "
                     "can be better)."),
        table("evaluation"),
        *evaluation_parts(out, results.evaluation),
        html.heading("8. Detail from one picture", "Predicted by the network that comes with mesoface, trained on "
                     "synthetic heads only, for a person it has not seen and for a real photograph."),
        table("synthesis"),
        html.gallery([("virtual portrait", portrait_picture(out))], 300),
        *face_parts(out),
        html.heading("Times of this run", "What was valid already took no time."),
        html.table([*times, ["all", clock(steps.total_s)]]),
    ]  # fmt: skip
    path = out / "report.html"
    write_text(path, html.page(f"Mesoface demo{'' if plan.name == 'default' else f' ({plan.name})'}", parts))
    return path
