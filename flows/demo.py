"""`mesoface demo`: the main job end to end on the built-in virtual studio, from shutter to skin detail."""

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from .demo_dataset import demo_dataset, reconstruct_all
from .demo_figures import FIGURES_FILE, write_figures
from .demo_geometry import calibrate_demo
from .demo_people import render_all, shoot_all
from .demo_plan import DEFAULT, QUICK, claim
from .demo_proxy import demo_faces
from .demo_report import DemoResults, all_figures, write_demo_report
from .demo_steps import Steps, crew
from .demo_training import evaluate_demo, train_demo

STEPS = (
    "render virtual people", "shoot them with the simulated rig", "calibrate the rig", "reconstruct the takes",
    "make a dataset", "train a network on it", "evaluate it on the held-out person",
    "detail of a portrait and a photograph", "compare with the truth",
)  # fmt: skip


def demo(*, out: Path = Path("demo"), quick: bool = False) -> int:
    """Run the whole chain on virtual people and show every step beside the truth in one report.

    Render several people and expressions; shoot them as takes with simulated cameras and lights that speak the real
    protocols; calibrate the rig on a board; reconstruct depth, normals and displacement of every take from its raw
    files; make a dataset with one person held out, and its basis; train a small network on it, evaluate it on that
    person; predict the skin detail of another person's portrait and of a real photograph with the shipped network.
    Takes up to 20 minutes on two cores. Interrupted, it continues. Exit code 1: a figure is outside its bound.

    Example: mesoface demo --quick --out demo-quick

    Parameters
    ----------
    out
        Folder for all results; report.html shows them, figures.json holds the figures.
    quick
        Smaller pictures and one expression; up to 5 minutes.
    """
    console = Console(file=sys.stdout, soft_wrap=True)
    plan = QUICK if quick else DEFAULT
    claim(out, plan)
    steps = Steps(STEPS, console)
    render, shoot, calibrate, reconstruct, dataset_, train, evaluate, faces, compare = STEPS
    with crew() as pool:
        with steps.step(render) as shown:
            render_all(pool, out, plan, shown)
        with steps.step(shoot) as shown:
            takes = shoot_all(out, plan, shown)
        with steps.step(calibrate) as shown:
            calibration = calibrate_demo(out, shown)
        with steps.step(reconstruct) as shown:
            scans = reconstruct_all(pool, out, plan, takes, calibration, shown)
    with steps.step(dataset_) as shown:
        dataset = demo_dataset(out, plan, scans, shown)
    with steps.step(train) as shown:
        network = train_demo(out, plan, dataset, shown)
    with steps.step(evaluate) as shown:
        evaluation = evaluate_demo(out, dataset, network, shown)
    with steps.step(faces) as shown:
        demo_faces(out, shown)
    with steps.step(compare) as shown:
        results = DemoResults(out, plan, takes, calibration, scans, dataset, network, evaluation)
        figures = all_figures(results, shown)
        write_figures(out, figures)
        write_demo_report(results, figures, steps)
    failed = [figure for figure in figures if not figure.passed]
    for figure in failed:
        console.print(f"[bold red]outside its bound:[/] {escape(', '.join(figure.row[:3]))}", highlight=False)
    kept = f"{len(figures) - len(failed)} of {len(figures)} figures are within their bounds"
    console.print(f"{kept}: {escape(str(out / FIGURES_FILE))}", highlight=False)
    console.print(f"report: {escape(str(out / 'report.html'))}", highlight=False)
    return 1 if failed else 0
