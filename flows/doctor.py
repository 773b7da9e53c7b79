"""`mesoface doctor`: what of this machine mesoface can use, and what to do about the rest."""

import json as json_text
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .doctor_extras import extras, folders, networks, torch_device
from .doctor_probes import (
    Finding,
    cameras,
    face_models,
    graphics_card,
    library_with_cuda,
    machine,
    mitsuba_llvm,
    mitsuba_scalar,
    native_libraries,
    packages,
    serial_ports,
)

__all__ = ["Finding", "diagnose", "doctor"]

Probe = Callable[[], list[Finding]]

PROBES: dict[str, Probe] = {
    "packages": packages,
    "libraries": native_libraries,
    "Mitsuba": mitsuba_scalar,
    "Mitsuba LLVM": mitsuba_llvm,
    "graphics card": graphics_card,
    "torch device": torch_device,
    "networks": networks,
    "pycolmap CUDA": lambda: library_with_cuda("pycolmap", "pycolmap.has_cuda"),
    "serial ports": serial_ports,
    "cameras": cameras,
    "machine": machine,
    "face models": face_models,
    "extras": extras,
    "folders": folders,
}
"""Each asks one thing and lets whatever may crash or hang do so in a process of its own, with a time limit."""

STYLES = {"ok": "green", "optional": "cyan", "missing": "bold red", "broken": "bold red"}


def diagnose() -> list[Finding]:
    """Ask all probes at the same time; never raises, and ends within about 15 seconds.

    Findings come in the order of `PROBES`. A probe that fails itself is reported as broken.
    """
    with ThreadPoolExecutor(max_workers=len(PROBES)) as pool:
        running = [(name, pool.submit(probe)) for name, probe in PROBES.items()]
    findings = []
    for name, future in running:
        error = future.exception()
        if error is None:
            findings += future.result()
        else:
            advice = "This check itself failed, please report it with the text above."
            findings.append(Finding(name, "broken", f"{type(error).__name__}: {error}", advice))
    return findings


def healthy(findings: list[Finding]) -> bool:
    """Whether everything that mesoface cannot do without is there and works."""
    return not any(finding.status in ("missing", "broken") for finding in findings)


def doctor(*, json: bool = False) -> int:
    """Check this machine: libraries, renderer, graphics card, networks, trigger box, cameras, memory, disk, folders.

    Nothing is changed, and no camera or port is opened. `optional` is something that mesoface works without.
    Exit code 1 when something that it needs is missing or broken, else 0.

    Example: mesoface doctor

    Parameters
    ----------
    json
        Print JSON instead of a table.
    """
    console = Console()
    if json:
        findings = diagnose()
        facts = {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}
        console.file.write(json_text.dumps(facts, indent=1) + "\n")
        return 0 if facts["healthy"] else 1
    with console.status("checking, up to 15 seconds"):
        findings = diagnose()
    _show(console, findings)
    return 0 if healthy(findings) else 1


def _show(console: Console, findings: list[Finding]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        style = STYLES[finding.status]
        table.add_row(escape(finding.name), f"[{style}]{finding.status}[/]", escape(finding.found))
    console.print(table)
    for needed in (False, True):  # what must be mended comes last, where it is seen
        for finding in findings:
            if finding.advice and (finding.status in ("missing", "broken")) == needed:
                console.print(f"[{STYLES[finding.status]}]{escape(finding.name)}[/]: {escape(finding.advice)}")
    if healthy(findings):
        console.print("[green]Everything that mesoface needs is there.[/]")
    else:
        console.print("[bold red]Something that mesoface needs is missing or broken, see above.[/]")
