"""Named expressions as activations of the canonical units (FACS-like), for any face model with named units."""

from ..capture.errors import UserError
from .face_model import UNIT_NAMES

EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"lip_corner_pull": 0.9, "cheek_raise": 0.8, "lid_tighten": 0.35, "dimple": 0.3, "lip_raise": 0.15},
    "laugh": {"lip_corner_pull": 1.0, "cheek_raise": 1.0, "lid_tighten": 0.5, "jaw_open": 0.45, "lip_raise": 0.4},
    "frown": {"brow_lower": 1.0, "lid_tighten": 0.4, "lip_corner_depress": 0.5, "lip_press": 0.3},
    "surprise": {"brow_inner_raise": 1.0, "brow_outer_raise": 1.0, "lid_raise": 0.8, "jaw_open": 0.55},
    "brow_raise": {"brow_inner_raise": 1.0, "brow_outer_raise": 1.0, "lid_raise": 0.3},
    "disgust": {"nose_wrinkle": 1.0, "lip_raise": 0.7, "brow_lower": 0.5, "cheek_raise": 0.3, "chin_raise": 0.3},
    "anger": {"brow_lower": 1.0, "lid_raise": 0.3, "lid_tighten": 0.7, "lip_tighten": 0.7, "nostril_flare": 0.7},
    "fear": {"brow_inner_raise": 1.0, "brow_lower": 0.5, "lid_raise": 0.9, "lip_stretch": 0.8, "jaw_open": 0.3},
    "sadness": {"brow_inner_raise": 0.9, "brow_lower": 0.4, "lip_corner_depress": 0.9, "chin_raise": 0.5},
    "squint": {"lid_tighten": 1.0, "cheek_raise": 0.9, "nose_wrinkle": 0.4, "brow_lower": 0.4},
    "pucker": {"lip_pucker": 1.0, "lip_funnel": 0.3},
    "mouth_open": {"jaw_open": 1.0},
    "eyes_closed": {"blink": 1.0},
}


def activations_of(expression: str) -> dict[str, float]:
    """Unit activations of a named expression, or of a list such as `smile:0.5+jaw_open:0.3`.

    Each term is an expression or a unit name with an optional weight in 0..1 (default 1); terms add up, clipped to 1.
    Raises UserError for a name or weight that is not allowed.
    """
    total: dict[str, float] = {}
    for term in expression.split("+"):
        name, _, weight_text = term.strip().partition(":")
        try:
            weight = float(weight_text) if weight_text else 1.0
        except ValueError:
            weight = -1.0
        if not 0.0 <= weight <= 1.0:
            raise UserError(
                f"expression {expression!r}: weight {weight_text!r} of {name!r} must be a number from 0 to 1"
            )
        if name in EXPRESSIONS:
            units = EXPRESSIONS[name]
        elif name in UNIT_NAMES:
            units = {name: 1.0}
        else:
            raise UserError(
                f"expression {expression!r}: there is no {name!r}. Allowed: {', '.join(EXPRESSIONS)}; "
                f"or units: {', '.join(UNIT_NAMES)}; combine with '+', weigh with ':0.5'"
            )
        for unit, value in units.items():
            total[unit] = min(1.0, total.get(unit, 0.0) + weight * value)
    return total
