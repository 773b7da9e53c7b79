"""The `mesoface` command, stages, reports, the demo, and the flows in Prefect and on Dask."""
