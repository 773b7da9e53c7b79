"""`mesoface rig ...`: check a rig description, and write the example to start from."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..capture.errors import UserError
from ..capture.files import write_bytes
from ..capture.plan import shot_plan, step_times_s, steps
from ..capture.polarisation import film_table
from ..capture.rig import Rig, example_rig_path, load_rig, rig_warnings


def check(path: Path) -> None:
    """Check a rig file; print its cameras, lamps with film angles, shot plan and warnings.

    Every mistake is listed with its line, the value found and the values allowed (exit code 2). Warnings do not fail.

    Example: mesoface rig check rig.toml

    Parameters
    ----------
    path
        The rig.toml to check.
    """
    rig = load_rig(path)
    console = Console()
    console.print(f"Rig [bold]{escape(rig.name)}[/] ({rig.pair_mode}), {escape(str(path))}")
    console.print(_camera_table(rig))
    console.print(_light_table(rig))
    console.print("film, null: turn of the film, 0° = vertical, counter-clockwise as seen from the subject")
    console.print("leak: share of a highlight left in the crossed image")
    console.print(_plan_table(rig))
    shots = shot_plan(rig)
    console.print(f"{len(shots)} exposures in {shots[-1].step + 1} light steps, about {step_times_s(rig)[-1]:.1f} s")
    warnings = rig_warnings(rig)
    for warning in warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    if not warnings:
        console.print("[green]no warnings[/]")


def example(out: Path = Path("rig.toml"), *, force: bool = False) -> None:
    """Write the example rig with every key explained: five EOS 760D, nine polarised flashes, one soft light.

    Example: mesoface rig example my_rig.toml

    Parameters
    ----------
    out
        File to write.
    force
        Replace an existing file.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; give a file name, for example {out / 'rig.toml'}")
    if out.exists() and not force:
        raise UserError(f"{out} exists; choose another name, or replace it with --force")
    write_bytes(out, example_rig_path().read_bytes())
    Console().print(f"wrote {escape(str(out))}; edit it, then: mesoface rig check {escape(str(out))}")


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        # A shortened serial number or file name is worse than a wrapped neighbour.
        table.add_column(heading, no_wrap=heading in ("camera", "light", "serial"), overflow="fold")
    return table


def _camera_table(rig: Rig) -> Table:
    table = _table("camera", "role", "serial", "body and lens", "exposure", "parallel", "position mm")
    for camera in rig.cameras:
        exposure = camera.exposure
        table.add_row(
            camera.name,
            camera.role,
            escape(camera.serial),
            f"{escape(camera.model)}, {camera.lens.focal_mm:g} mm",
            f"ISO {exposure.iso} f/{exposure.aperture:g} {_shutter(exposure.shutter_s)}",
            "" if camera.analyser_deg is None else f"{camera.analyser_deg:g}°",
            _point(camera.pose.position_mm) if camera.pose else "uncalibrated",
        )
    return table


def _light_table(rig: Rig) -> Table:
    table = _table("light", "channel", "position mm", "energy", "film", "null", "leak")
    films = film_table(rig) if rig.cross_camera.pose is not None else []
    film_of = {light.name: (angle_deg, null_deg, leak) for light, angle_deg, null_deg, leak in films}
    for light in rig.lights:
        position = _point(light.position_mm) if light.position_mm else "all round (uniform)"
        row = [light.name, str(light.channel), position, f"{light.relative_energy:g}"]
        if light.name in film_of:
            angle_deg, null_deg, leak = film_of[light.name]
            row += [f"{angle_deg:.1f}°", f"{null_deg:.1f}°", f"{100 * leak:.2f} %"]
        elif light.film_deg is not None:
            row += [light.film_deg if isinstance(light.film_deg, str) else f"{light.film_deg:.1f}°", "?", "?"]
        table.add_row(*row)
    return table


def _plan_table(rig: Rig) -> Table:
    table = _table("step", "s", "lamps", "mask", "polariser", "energy ‰", "files")
    for step, time_s in zip(steps(shot_plan(rig), rig), step_times_s(rig), strict=True):
        table.add_row(
            str(step.index),
            f"{time_s:.2f}",
            ", ".join(step.shots[0].lights),
            f"{step.light_mask:03x}",
            step.polariser,
            str(step.energy_permille),
            ", ".join(shot.stem for shot in step.shots),
        )
    return table


def _point(point_mm: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.0f}" for value in point_mm)


def _shutter(shutter_s: float) -> str:
    return f"{shutter_s:g} s" if shutter_s >= 0.3 else f"1/{1 / shutter_s:.0f} s"
