"""The `mesoface` command: wiring, errors and exit codes. The commands themselves live beside this file.

Exit codes: 0 done; 1 a check found something wrong; 2 bad input (one clear message); 130 interrupted (run again to
continue).
"""

import sys

from cyclopts import App, CycloptsError
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from . import (
    calibrate_command,
    capture_commands,
    dataset_command,
    dataset_import,
    dataset_regions,
    dataset_virtual,
    demo,
    dfdn_command,
    dictionary_command,
    doctor,
    evaluate_command,
    face_model_commands,
    geometry_command,
    import_command,
    proxy_command,
    reconstruct_command,
    rig_commands,
    serve_command,
    studio_commands,
    synthesize_command,
    take_commands,
    target_commands,
    train_command,
)

app = App(
    name="mesoface",
    help="From the shutter to skin detail: capture, reconstruction and synthesis of faces in millimetres.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
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
take.command(take_commands.list_takes, name="list")
for _command in (
    take_commands.show,
    take_commands.verify,
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
):
    dataset.command(_command)
dataset.command(dataset_import.import_face, name="import")
dataset.command(dataset_command.card, name="view")
app.command(dataset)

dictionary = App(name="dictionary", help="The expression dictionary: from looks to expression coefficients.")
dictionary.command(dictionary_command.build)
dictionary.command(dictionary_command.query)
app.command(dictionary)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors a user can mend are one message on standard error."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        result = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return 2
    except ValidationError as error:
        for problem in error.errors():
            where = "-".join(str(part) for part in problem["loc"])
            errors.print(f"[bold red]error:[/] {escape(where)}: {escape(problem['msg'])}, found {problem['input']!r}")
        return 2
    except UserError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        return 2
    except (KeyboardInterrupt, SystemError) as error:
        if not _is_interruption(error):
            raise
        errors.print("interrupted; every finished file is kept, run the same command again to continue")
        return 130
    return result if isinstance(result, int) else 0


def _is_interruption(error: BaseException | None) -> bool:
    """Ctrl-C, also when it struck inside a compiled kernel, which turns it into the cause of a SystemError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    sys.exit(main())
