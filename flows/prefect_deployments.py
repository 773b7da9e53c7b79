"""Flows as deployments: what Prefect's UI and schedules can start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from .flow_catalogue import FlowSpec


def serve_flows(home: Path, specs: Sequence[FlowSpec], cron: str, parameters: dict[str, Any], at_once: int) -> None:
    """Serve until interrupted. Raises UserError for a bad schedule or parameters the flow does not have."""
    from prefect import serve

    from .prefect_flows import define_limits

    define_limits(home)
    serve(*(deployment(spec, cron, parameters) for spec in specs), limit=at_once, print_starting_message=True)


def deployment(spec: FlowSpec, cron: str = "", parameters: dict[str, Any] | None = None) -> Any:
    """A flow as a deployment of this machine, found again by its module."""
    from prefect.types.entrypoint import EntrypointType
    from pydantic import ValidationError

    from .prefect_flows import prefect_flow

    made = prefect_flow(spec.name)
    if unknown := sorted(set(parameters or {}) - set(made.parameters.properties)):
        raise UserError(f"{spec.name}: has no parameter {unknown[0]!r}; it has {', '.join(made.parameters.properties)}")
    try:
        return made.to_deployment(
            name=spec.name, cron=cron or None, parameters=parameters or {}, tags=["mesoface", *spec.tags],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )  # fmt: skip
    except (ValidationError, ValueError) as error:
        raise UserError(f"{spec.name}: --cron {cron!r}: {error}") from None
