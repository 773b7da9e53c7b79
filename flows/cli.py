"""The `mesoface` command: wiring, errors and exit codes. The commands themselves live beside this file.

Exit codes, settings and the log of a run: run_command.py; for users: docs/commands.md.
"""

import sys

from cyclopts import App, Parameter

from . import (
    calibrate_command,
    capture_commands,
    config_command,
    dataset_command,
    dataset_import,
    dataset_regions,
    dataset_share,
    dataset_virtual,
    demo,
    dfdn_command,
    dictionary_command,
    doctor,
    evaluate_command,
    face_model_commands,
    flows_command,
    geometry_command,
    import_command,
    proxy_command,
    reconstruct_command,
    rig_commands,
    serve_command,
    studio_commands,
    synthesize_command,
    take_commands,
    take_show,
    target_commands,
    train_command,
)
from .run_command import run_command

app = App(
    name="mesoface",
    help=(
        "From the shutter to skin detail: capture, reconstruction and synthesis of faces in millimetres.\n\n"
        "Every command also takes --config FILE (settings; default mesoface.toml in this folder) and --no-log (write "
        "no log file of this run)."
    ),
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=()),
)
app.command(demo.demo)
app.command(doctor.doctor)
app.command(capture_commands.capture)
app.command(calibrate_command.calibrate)
app.command(geometry_command.geometry)
app.command(reconstruct_command.reconstruct)
app.command(import_command.import_folder, name="import")
app.command(proxy_command.proxy)
app.command(synthesize_command.synthesize)
app.command(evaluate_command.evaluate_network, name="evaluate")

take = App(name="take", help="Takes: look, verify, continue, shoot again, close, hand on.")
take.command(take_show.list_takes, name="list")
for _command in (
    take_show.show,
    take_show.verify,
    take_commands.resume,
    take_commands.reshoot,
    take_commands.close,
    take_commands.clear_cards,
    take_commands.develop,
    take_commands.export,
):
    take.command(_command)
app.command(take)

studio = App(name="studio", help="The virtual studio: render scans and portraits of virtual people with exact truth.")
studio.command(studio_commands.render)
studio.command(studio_commands.portrait)
studio.command(studio_commands.verify)
studio.command(serve_command.serve)
studio.command(target_commands.targets)
app.command(studio)

rig = App(name="rig", help="The rig description: cameras, lamps, polarisers, limits.")
rig.command(rig_commands.check)
rig.command(rig_commands.example)
rig.command(rig_commands.cameras)
rig.command(rig_commands.fire)
rig.command(target_commands.board)
app.command(rig)

face_model = App(name="face-model", help="Face models: procedural, BFM, ICT-FaceKit, eos.")
face_model.command(face_model_commands.info)
face_model.command(face_model_commands.convert)
face_model.command(face_model_commands.render)
app.command(face_model)

train = App(name="train", help="Make the networks that come with mesoface, or better ones.")
train.command(train_command.landmarks)
train.command(train_command.emotion)
train.command(train_command.appearance)
train.command(dfdn_command.dfdn)
app.command(train)

model = App(name="model", help="Trained networks.")
model.command(dfdn_command.export)
app.command(model)

dataset = App(name="dataset", help="Datasets: from scans to patches, PCA basis and shards for training.")
for _command in (
    dataset_command.build,
    dataset_command.info,
    dataset_command.verify,
    dataset_command.card,
    dataset_regions.regions,
    dataset_command.pca,
    dataset_virtual.virtual,
    dataset_virtual.portraits,
    dataset_share.publish,
    dataset_share.fetch,
):
    dataset.command(_command)
dataset.command(dataset_import.import_face, name="import")
dataset.command(dataset_command.card, name="view")
app.command(dataset)

dictionary = App(name="dictionary", help="The expression dictionary: from looks to expression coefficients.")
dictionary.command(dictionary_command.build)
dictionary.command(dictionary_command.query)
app.command(dictionary)


config = App(name="config", help="Settings: files, environment, and what comes of them.")
config.command(config_command.show)
app.command(config)

app.register_install_completion_command(help="Install completion by the Tab key for bash, zsh or fish.")

app.command(flows_command.flows_app())
app.command(flows_command.ui)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Whatever goes wrong is one message on standard error."""
    return run_command(app, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
