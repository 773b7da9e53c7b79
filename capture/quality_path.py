"""The path of the subject during a take: every centre frame registered, as positions since the first exposure."""

import numpy as np

from .plan import Shot
from .quality_face import face_window
from .quality_models import Take
from .quality_motion import ColourRatios, Shift, colour_ratios, measure_shift

# A registration over less of the face than this tells nothing.
SMALLEST_OVERLAP = 0.05
KINDS = ("uniform", "parallel", "cross")


def subject_path(take: Take, skip: set[int]) -> dict[int, Shift]:
    """Where the face is in each frame of the centre bodies relative to the first of them, by shot index.

    A crossed frame has no highlights and is registered with one crossed frame of the same body; a parallel frame with
    its crossed partner, whose light is the same, when one body took both. Dark frames, side views and the
    shots to `skip` are left out.
    """
    path: dict[int, Shift] = {}
    chosen = [shot for shot in take.present if shot.index not in skip and not take.is_dark(shot)]
    for camera in {take.rig.centre.name, take.rig.cross_camera.name}:
        path |= _body_path(take, [s for s in chosen if s.camera == camera and s.kind in KINDS])
    return path


def _body_path(take: Take, shots: list[Shot]) -> dict[int, Shift]:
    if not shots:
        return {}
    first = take.facts[shots[0].index]
    mask = face_window(take.rig, shots[0].camera, *first.view_px).mask
    prepared = {
        shot.index: colour_ratios(take.facts[shot.index].face, mask, first.mm_per_px)
        for shot in shots
        if take.facts[shot.index].view_px == first.view_px
    }
    crossed = [shot.index for shot in shots if shot.kind == "cross" and shot.index in prepared] or list(prepared)
    reference = max(crossed, key=lambda index: lit_share(prepared[index]))
    partner = {shot.pair: shot.index for shot in shots if shot.kind == "cross"}
    places: dict[int, np.ndarray] = {}
    overlaps: dict[int, float] = {}
    order = sorted(prepared, key=lambda index: index not in partner.values())  # partners before those who need them
    for index in order:
        shot = next(shot for shot in shots if shot.index == index)
        base = partner.get(shot.pair, reference) if shot.kind == "parallel" else reference
        base = base if base in places else reference
        shift = measure_shift(prepared[base], prepared[index])
        step = np.array([shift.right_mm, shift.down_mm, shift.turn_deg])
        if shift.overlap >= SMALLEST_OVERLAP:
            places[index] = step + places.get(base, np.zeros(3))
            overlaps[index] = shift.overlap
    if not places:
        return {}
    start = places[min(places)]
    radius_mm = prepared[reference].radius_mm
    found = {}
    for index, place in sorted(places.items()):
        right, down, turn = (float(x) for x in place - start)
        length = float(np.hypot(np.hypot(right, down), np.deg2rad(turn) * radius_mm))
        found[index] = Shift(right, down, turn, length, overlaps[index])
    return found


def lit_share(ratios: ColourRatios) -> float:
    """Part of the box that carries weight, at the finest size."""
    return float(ratios.levels[-1][2].mean())
