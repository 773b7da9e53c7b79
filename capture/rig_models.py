"""Typed content of rig.toml: cameras, lights, subject, limits.

World frame: millimetres, right-handed, origin at the centre of the face, x towards the subject's left (image right
in the centre view), y up, z from the face towards the centre camera. Camera axes are OpenCV's: x right, y down,
z forward. Every field's description doubles as the text of an error message, so it says what to write.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from .errors import UserError
from .rig_checks import RigProblems, find_problems

SCHEMA_VERSION = 1

# Strict scalars: "50" in quotes or true in place of 1 is a slip worth reporting, not worth converting.
Number = Annotated[float, Strict()]
Integer = Annotated[int, Strict()]
Text = Annotated[str, Strict(), Field(min_length=1)]
Name = Annotated[str, Strict(), Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=32)]
Point = tuple[Number, Number, Number]


class Table(BaseModel):
    """A frozen TOML table that accepts its own keys only, and finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RigHeader(Table):
    """[rig]"""

    name: Name = Field(description="name of the rig: letters, digits, - and _")
    pair_mode: Literal["switched", "two_bodies"] = Field(
        description="switched = one centre body, polariser switched between exposures; "
        "two_bodies = two co-located centre bodies with fixed parallel and crossed analysers"
    )
    schema_version: Literal[1] = Field(description="version of this file format, 1")


class Sensor(Table):
    """[cameras.sensor]"""

    width_px: Integer = Field(ge=16, le=65535, description="image width in px as the camera delivers it (landscape)")
    height_px: Integer = Field(ge=16, le=65535, description="image height in px")
    width_mm: Number = Field(gt=0, le=100, description="width in mm of the sensor area that gives width_px")


class Lens(Table):
    """[cameras.lens]: focal length and OpenCV distortion (radial k1 k2, tangential p1 p2, no units)."""

    focal_mm: Number = Field(gt=0, le=2000, description="focal length in mm")
    k1: Number = Field(default=0.0, ge=-10, le=10, description="radial distortion, OpenCV k1")
    k2: Number = Field(default=0.0, ge=-10, le=10, description="radial distortion, OpenCV k2")
    p1: Number = Field(default=0.0, ge=-1, le=1, description="tangential distortion, OpenCV p1")
    p2: Number = Field(default=0.0, ge=-1, le=1, description="tangential distortion, OpenCV p2")


class Exposure(Table):
    """[cameras.exposure]: settings pushed to the body before a take and read back."""

    iso: Integer = Field(ge=50, le=102400, description="ISO speed, for example 100")
    aperture: Number = Field(ge=0.7, le=64, description="f-number, for example 11 for f/11")
    shutter_s: Number = Field(gt=0, le=30, description="exposure time in seconds, for example 0.1 for 1/10 s")
    white_balance: Literal["Daylight", "Shadow", "Cloudy", "Tungsten", "Fluorescent", "Flash", "Manual"] = Field(
        default="Flash", description="a fixed white balance (automatic would differ between the frames of a pair)"
    )
    image_format: Literal["RAW", "RAW+JPEG"] = Field(default="RAW", description="files the body writes per exposure")


class Pose(Table):
    """[cameras.pose]: nominal position and aim of a camera that is not calibrated by images yet."""

    position_mm: Point = Field(description="[x, y, z] of the lens' centre of projection in mm, world frame")
    target_mm: Point = Field(default=(0.0, 0.0, 0.0), description="[x, y, z] in mm that the image centre looks at")
    roll_deg: Number = Field(
        default=0.0, ge=-180, le=180, description="turn of the body about its viewing axis, clockwise seen from behind"
    )


def _read_pose(value: Any) -> Any:
    """The word "uncalibrated" becomes None; every other text is refused with what may stand here."""
    if value == "uncalibrated":
        return None
    if value is None or isinstance(value, (dict, Pose)):
        return value
    raise ValueError("neither the word nor a table")


def _read_film(value: Any) -> Any:
    """A number of degrees or the word "null" (TOML has no null value, so a word cannot be mistaken for one)."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None or value == "null" or (is_number and -360 <= value <= 360):
        return value
    raise ValueError("neither an angle nor the word")


class RigCamera(Table):
    """[[cameras]]: one camera body; `pose` is None while uncalibrated."""

    name: Name = Field(description="name of the view, used in file names: letters, digits, - and _")
    role: Literal["centre", "side", "centre_cross", "centre_parallel"] = Field(
        description="centre (switched rigs), centre_parallel and centre_cross (two_bodies rigs), or side"
    )
    model: Text = Field(description='camera model as the body reports it, for example "Canon EOS 760D"')
    serial: Text = Field(description='serial number as the body reports it, in quotes, for example "063034012345"')
    sensor: Sensor = Field(description="table with width_px, height_px, width_mm")
    lens: Lens = Field(description="table with focal_mm and optional k1, k2, p1, p2")
    exposure: Exposure = Field(description="table with iso, aperture, shutter_s and optional white_balance")
    analyser: Literal["none", "linear"] = Field(
        default="none", description="linear = a linear polariser sits before the lens; none = no polariser"
    )
    analyser_deg: Number | None = Field(
        default=None,
        ge=-360,
        le=360,
        description="angle of the analyser's axis in its PARALLEL state, in the image plane: 0 = image right, "
        "90 = vertical; the crossed state is 90 degrees further",
    )
    pose: Annotated[Pose | None, BeforeValidator(_read_pose)] = Field(
        description='the word "uncalibrated" or a table with position_mm and optional target_mm, roll_deg'
    )


class RigLight(Table):
    """[[lights]]: one lamp on one channel of the trigger box."""

    name: Name = Field(description="name of the lamp, used in file names: letters, digits, - and _")
    role: Literal["flash", "uniform"] = Field(
        description="flash = fired alone for one parallel/crossed pair; uniform = soft light for the uniform step"
    )
    channel: Integer = Field(ge=1, le=32, description="output of the trigger box this lamp hangs on")
    position_mm: Point | None = Field(
        default=None, description="[x, y, z] of the flash tube in mm, world frame; not for a uniform light"
    )
    aim_mm: Point = Field(default=(0.0, 0.0, 0.0), description="[x, y, z] in mm that the lamp points at")
    polariser: Literal["linear", "none"] = Field(description="linear = film before the lamp; none = bare")
    film_deg: Annotated[Number | Literal["null"] | None, BeforeValidator(_read_film)] = Field(
        default=None,
        description="angle of the film's axis between -360 and 360 degrees, 0 = vertical, counter-clockwise as seen "
        'from the subject; or the word "null" = the angle that leaves no highlight in the crossed image',
    )
    relative_energy: Number = Field(
        default=1.0, gt=0, le=4, description="energy, 1 = a quarter of full power, 4 = full power"
    )
    falloff_exponent: Number = Field(
        default=1.0, ge=0, le=100, description="m in the lamp's cos^m fall-off away from its aim; 0 = equal all round"
    )


class Subject(Table):
    """[subject]: where the face is, and how much room it takes."""

    target_mm: Point = Field(default=(0.0, 0.0, 0.0), description="[x, y, z] of the face's centre in mm")
    extent_mm: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]] = (
        Field(default=(180.0, 240.0, 160.0), description="width, height, depth of the face in mm, each above 0")
    )


class Limits(Table):
    """[limits]: where a scan is called slow, dark, burnt out or badly crossed."""

    span_s: Number = Field(default=4.0, gt=0, le=600, description="longest time in s from first to last exposure")
    frames_per_s: Number = Field(default=5.0, gt=0, le=60, description="continuous rate of the bodies, frames per s")
    recycle_s: Number = Field(default=0.5, ge=0, le=60, description="s a lamp needs to recharge after FULL power")
    polariser_switch_s: Number = Field(
        default=0.1, ge=0, le=60, description="s the switched polariser needs between its two states"
    )
    sync_s: Number = Field(default=0.005, gt=0, le=1, description="shortest exposure in s that sees the whole flash")
    clipped_share: Number = Field(
        default=0.002, ge=0, le=1, description="share of a frame's pixels that may be at the white level, 0 to 1"
    )
    black_share: Number = Field(
        default=0.7, ge=0, le=1, description="share of the face's box that may be black, background included, 0 to 1"
    )
    leak_max: Number = Field(
        default=0.01, gt=0, le=1, description="share of the specular light the crossed image may keep, 0 to 1"
    )

    skew_s: Number = Field(default=0.03, gt=0, le=10, description="s between the starts of bodies exposing together")
    ambient_share: Number = Field(
        default=0.02, gt=0, le=1, description="share of the white level that stray light may reach, 0 to 1"
    )
    flash_weak: Number = Field(
        default=0.6, gt=0, lt=1, description="part of the expected brightness below which a flash is weak, 0 to 1"
    )
    pair_ratio: tuple[Number, Number] = Field(
        default=(0.35, 0.98), description="[lowest, highest] brightness of the crossed frame over the parallel one"
    )
    sharpness_min: Number = Field(
        default=0.4, ge=0, le=1, description="sharpness of a frame relative to the sharpest of its kind, 0 to 1"
    )
    motion_mm: Number = Field(default=1.5, gt=0, le=100, description="mm the subject may move during a take")
    noise_max: Number = Field(default=0.02, gt=0, le=1, description="noise of mid-grey skin over its signal, 0 to 1")
    battery_percent: Integer = Field(default=25, ge=0, le=100, description="weakest battery to start with, percent")
    clock_s: Number = Field(default=120.0, gt=0, description="s that a body's clock may be off")


class CaptureTable(Table):
    """[capture]: how the bodies and the trigger box are reached, and how they play together."""

    trigger_box: Text = Field(default="auto", description='serial port of the trigger box, or "auto"')
    camera_ports: Literal["usb"] | tuple[Text, ...] = Field(
        default="usb", description='"usb" or a list of gphoto2 ports such as ["ptpip:192.168.1.11"]'
    )
    flash_delay_s: Number = Field(
        default=0.06, ge=0, le=5, description="s the uniform step's lamps wait behind the first shutter to open"
    )
    ambient_frame: Annotated[bool, Strict()] = Field(
        default=True, description="true = one frame of the centre body without flash at the end of a take"
    )


class Targets(Table):
    """[targets]: what the calibration takes photograph; measure the printed board with a calliper and write that."""

    board_squares: tuple[Annotated[Integer, Field(ge=3, le=30)], Annotated[Integer, Field(ge=3, le=30)]] = Field(
        default=(12, 9), description="[across, down] squares of the ChArUco board, 3 to 30 each"
    )
    board_square_mm: Number = Field(default=20.0, ge=2, le=500, description="side of a square of the board in mm")
    board_marker_mm: Number = Field(
        default=15.0, ge=1, le=500, description="side of a marker in mm, 0.4 to 0.9 of a square's side"
    )
    board_dictionary: Literal["DICT_4X4_1000", "DICT_5X5_250", "DICT_5X5_1000", "DICT_6X6_250", "DICT_6X6_1000"] = (
        Field(default="DICT_5X5_250", description="OpenCV's name of the board's markers")
    )
    board_poses: Integer = Field(default=15, ge=6, le=30, description="placements of the board in a board take")
    sphere_mm: Number = Field(default=100.0, ge=5, le=300, description="diameter of the mirror ball in mm")
    sphere_poses: Integer = Field(default=3, ge=1, le=6, description="places of the mirror ball in a sphere take")
    gloss_ball_mm: Number = Field(default=57.2, ge=5, le=300, description="diameter of the black satin ball in mm")
    flat_mm: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]] = Field(
        default=(700.0, 500.0), description="width and height in mm of the matt card; it must fill every view"
    )
    chart: Literal["classic24"] = Field(default="classic24", description="kind of the colour chart")
    chart_patch_mm: Number = Field(default=40.0, ge=2, le=200, description="side of a patch of the chart in mm")
    chart_gap_mm: Number = Field(default=6.0, ge=0, le=50, description="black between the patches in mm")
    dark_frames: Integer = Field(default=4, ge=1, le=32, description="frames without light of every camera")


class Rig(Table):
    """A whole rig: header, cameras, lights, subject, capture, targets, limits. Build it with `load_rig`.

    Raises `pydantic.ValidationError` when a value or the combination of values is not allowed.
    """

    rig: RigHeader = Field(description="table with name, pair_mode, schema_version")
    cameras: tuple[RigCamera, ...] = Field(max_length=64, description="one [[cameras]] table per body")
    lights: tuple[RigLight, ...] = Field(max_length=32, description="one [[lights]] table per lamp")
    subject: Subject = Field(default_factory=Subject, description="table with target_mm, extent_mm")
    capture: CaptureTable = Field(default_factory=CaptureTable, description="table of ports and timing")
    targets: Targets = Field(default_factory=Targets, description="table of calibration targets")
    limits: Limits = Field(default_factory=Limits, description="table of limits")

    @model_validator(mode="after")
    def _check_combination(self) -> "Rig":
        cameras = dict(enumerate(self.cameras))
        lights = dict(enumerate(self.lights))
        if problems := find_problems(self.rig.pair_mode, cameras, lights, self.subject, self.targets):
            raise RigProblems(problems)
        return self

    @property
    def name(self) -> str:
        return self.rig.name

    @property
    def pair_mode(self) -> Literal["switched", "two_bodies"]:
        return self.rig.pair_mode

    @property
    def centre(self) -> RigCamera:
        """The reference view: the centre body, or the parallel body of a two_bodies rig."""
        return next(camera for camera in self.cameras if camera.role in ("centre", "centre_parallel"))

    @property
    def cross_camera(self) -> RigCamera:
        """The body that takes the crossed frames: the centre body itself, or the crossed one of a two_bodies rig."""
        return next(camera for camera in self.cameras if camera.role in ("centre", "centre_cross"))

    @property
    def side_cameras(self) -> tuple[RigCamera, ...]:
        return tuple(camera for camera in self.cameras if camera.role == "side")

    @property
    def flashes(self) -> tuple[RigLight, ...]:
        """The polarised lamps, one parallel/crossed pair each, in file order."""
        return tuple(light for light in self.lights if light.role == "flash")

    @property
    def uniform_lights(self) -> tuple[RigLight, ...]:
        """Lamps of the uniform step: those with role uniform, or all flashes when there is none."""
        return tuple(light for light in self.lights if light.role == "uniform") or self.flashes

    def camera(self, name: str) -> RigCamera:
        """The camera of that name. Raises UserError with the known names."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise UserError(f'no camera "{name}" in rig "{self.name}"; known: {", ".join(c.name for c in self.cameras)}')

    def light(self, name: str) -> RigLight:
        """The lamp of that name. Raises UserError with the known names."""
        for light in self.lights:
            if light.name == name:
                return light
        raise UserError(f'no light "{name}" in rig "{self.name}"; known: {", ".join(x.name for x in self.lights)}')
