"""The `mesoface` command, the demo and its reports; later: Prefect flows."""
