"""`mesoface rig ...`: check a rig description, and write the example to start from."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..capture.errors import UserError
from ..capture.files import write_bytes
from ..capture.plan import shot_plan, step_times_s, steps
from ..capture.polarisation import film_table
from ..capture.rig import Rig, example_rig_path, load_rig, rig_warnings

if TYPE_CHECKING:
    from ..capture.session import Connections


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


def cameras(path: str = "") -> int:
    """Show the cameras that are connected, and how they fit a rig file. Exit code 1 when they don't.

    Example: mesoface rig cameras rig.toml

    Parameters
    ----------
    path
        rig.toml, or "virtual" for the simulated rig that is running; without it all cameras on USB are listed.
    """
    from ..capture.camera_find import find_cameras, match_cameras

    console = Console()
    rig, connections = _rig_and_connections(path)
    with console.status("asking the cameras"):
        found = find_cameras(connections.cameras)
    names = {camera.serial: camera.name for camera in rig.cameras} if rig else {}
    table = _table("camera", "serial", "model", "port", "version")
    for identity in found:
        name = names.get(identity.serial, "[yellow]not in the rig[/]" if rig else "")
        table.add_row(name, identity.serial, identity.model, identity.port, identity.version)
    console.print(table if len(found) else "no camera answers")
    for port, problem in found.problems.items():
        console.print(f"[red]{escape(port)}: {escape(str(problem))}[/]", soft_wrap=True)
    if rig is None:
        return 0
    try:
        match_cameras(rig, found)
    except UserError as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return 1
    console.print(f"[green]all {len(rig.cameras)} cameras of rig {escape(rig.name)} are there[/]")
    return 0


def fire(path: str, *, light: str = "", seconds: float = 20.0) -> int:
    """Fire lamps from the trigger box without any camera: to see that each is plugged where rig.toml says.

    All lamps fire one after the other, or one with --light. Exit code 1 when one does not.

    Example: mesoface rig fire rig.toml --light flash3

    Parameters
    ----------
    path
        rig.toml, or "virtual" for the simulated rig that is running.
    light
        Name of one lamp.
    seconds
        How long to wait for a lamp to recharge.
    """
    import time

    from ..capture.box import BoxError, TriggerBox, find_box
    from ..capture.box_protocol import BoxStep
    from ..capture.plan import PERMILLE_AT_UNIT_ENERGY, light_mask

    rig, connections = _rig_and_connections(path)
    if rig is None:
        raise UserError("name the rig file: mesoface rig fire rig.toml")
    lamps = [rig.light(light)] if light else list(rig.lights)
    console, dark = Console(), 0
    try:
        with TriggerBox.open(find_box(connections.trigger_box)) as box:
            console.print(f"{box.identity.maker} {box.identity.model} {box.identity.serial} at {escape(box.port)}")
            box.configure(rig)
            energies = [min(1000, max(1, round(lamp.relative_energy * PERMILLE_AT_UNIT_ENERGY))) for lamp in lamps]
            box.load([BoxStep(light_mask([lamp]), "U", e, 0) for lamp, e in zip(lamps, energies, strict=True)])
            for lamp in lamps:
                box.wait_ready(light_mask([lamp]), "U", time.monotonic() + seconds)
                box.arm(10, count=1)
                try:
                    box.fire()
                    state = "[green]fired[/]"
                except BoxError as error:
                    if error.kind not in ("not_ready", "timeout"):
                        raise
                    state = f"[red]did not fire: {escape(str(error))}[/]"
                    dark += 1
                console.print(f"channel {lamp.channel:>2}  {lamp.name:<12} {state}")
    except BoxError as error:
        raise UserError(f"trigger box: {error}") from error
    return 1 if dark else 0


def _rig_and_connections(path: str) -> "tuple[Rig | None, Connections]":
    """A rig file, or the simulated rig that is running, and where its bodies and box are."""
    from ..capture.session import Connections
    from ..capture.sim_rig import VirtualRig

    if not path:
        return None, Connections()
    if path == "virtual":
        running = VirtualRig.running()
        if running is None:
            raise UserError("no simulated rig is running; start one in another terminal: mesoface studio serve")
        return load_rig(running.rig_path), running.connections
    rig = load_rig(path)
    return rig, Connections(rig.capture.camera_ports, rig.capture.trigger_box)


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
