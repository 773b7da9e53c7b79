"""Properties of a simulated EOS body: values, choices, what may be written, and the records that tell of them."""

import calendar
import struct
import time

from .sim_camera_types import ExposureSettings, SimCameraOptions
from .sim_card import CardObject
from .sim_eos_values import (
    APERTURES,
    DESTINATION_CARD,
    DESTINATION_RAM,
    FOCUS_MANUAL,
    FOCUS_ONE_SHOT,
    IMAGE_FORMATS,
    ISO_AUTO,
    ISOS,
    MODEL_ID_760D,
    SHUTTERS_S,
    STORAGE,
    Prop,
    Record,
    battery_code,
    decode_image_format,
    encode_image_format,
)
from .sim_ptp import Response

WIDTHS = {Prop.WHITE_BALANCE: 1, Prop.METERING: 1} | dict.fromkeys(
    (
        *(Prop.APERTURE, Prop.SHUTTER, Prop.ISO, Prop.EXPOSURE_MODE, Prop.DRIVE, Prop.COLOUR_SPACE, Prop.BATTERY),
        Prop.REVIEW_TIME,
    ),
    2,
)
TEXTS = (Prop.OWNER, Prop.SERIAL, Prop.ARTIST, Prop.COPYRIGHT, Prop.LENS)
READ_ONLY = (Prop.BATTERY, Prop.MODEL_ID, Prop.AVAILABLE_SHOTS, Prop.STORAGE, Prop.SERIAL, Prop.LENS, Prop.FOCUS_MODE)
CHOICES: dict[Prop, tuple[int, ...]] = {
    Prop.APERTURE: tuple(APERTURES),
    Prop.SHUTTER: tuple(SHUTTERS_S),
    Prop.ISO: (ISO_AUTO, *ISOS),
    Prop.DRIVE: (0x00, 0x01, 0x13, 0x14, 0x10, 0x11),
    Prop.METERING: (3, 4, 1, 5),
    Prop.WHITE_BALANCE: (0, 1, 8, 2, 3, 4, 5, 6),
    Prop.COLOUR_SPACE: (1, 2),
    Prop.DESTINATION: (DESTINATION_CARD, DESTINATION_RAM),
    Prop.REVIEW_TIME: (0, 2, 4, 8, 0xFF),
}
INVALID_VALUE = 0x201C
# What a body answers for shots left while its pictures go to the host, which has told it a huge disk.
SHOTS_ON_HOST = 9999


class Properties:
    """Values as bytes by property code. Not locked: its body does that."""

    def __init__(self, options: SimCameraOptions) -> None:
        self.clock_offset_s = options.clock_offset_s
        numbers = {
            Prop.APERTURE: 0x38,
            Prop.SHUTTER: 0x70,
            Prop.ISO: 0x48,
            Prop.EXPOSURE_MODE: 3,
            Prop.DRIVE: 0,
            Prop.METERING: 3,
            Prop.FOCUS_MODE: FOCUS_MANUAL if options.focus_manual else FOCUS_ONE_SHOT,
            Prop.WHITE_BALANCE: 0,
            Prop.COLOUR_SPACE: 1,
            Prop.BATTERY: battery_code(options.battery_percent),
            Prop.CAMERA_TIME: 0,
            Prop.UTC_TIME: 0,
            Prop.AUTO_POWER_OFF: 120,
            Prop.MODEL_ID: MODEL_ID_760D,
            Prop.AVAILABLE_SHOTS: options.free_shots,
            Prop.DESTINATION: DESTINATION_CARD,
            Prop.STORAGE: STORAGE,
            Prop.REVIEW_TIME: 2,
            Prop.EVF_OUTPUT: 0,
        }
        self._values: dict[int, bytes] = {
            prop: value.to_bytes(WIDTHS.get(prop, 4), "little") for prop, value in numbers.items()
        }
        self._values[Prop.IMAGE_FORMAT] = encode_image_format("RAW+JPEG")
        texts = {Prop.SERIAL: options.serial, Prop.LENS: options.lens}
        for prop in TEXTS:
            self._values[prop] = texts.get(prop, "").encode() + b"\0"

    def __contains__(self, prop: int) -> bool:
        return prop in self._values

    def value(self, prop: int) -> bytes:
        """The bytes of a property; the clock's are those of now."""
        now_s = time.time() + self.clock_offset_s
        if prop == Prop.UTC_TIME:
            return struct.pack("<I", int(now_s))
        if prop == Prop.CAMERA_TIME:  # what the body's display shows, counted as if it were UTC
            return struct.pack("<I", calendar.timegm(time.localtime(now_s)))
        return self._values[prop]

    def number(self, prop: Prop) -> int:
        """The value of a numeric property."""
        return int.from_bytes(self.value(prop), "little")

    def put_number(self, prop: Prop, number: int) -> None:
        """Change a property from inside the body, without any check."""
        self._values[prop] = number.to_bytes(WIDTHS.get(prop, 4), "little")

    def put_text(self, prop: Prop, value: str) -> None:
        """Change a text property from inside the body."""
        self._values[prop] = value.encode() + b"\0"

    def write(self, prop: int, data: bytes) -> int:
        """A host's write of `data` (numbers padded to 4 bytes) -> response code."""
        if prop not in self._values:
            return Response.DEVICE_PROP_NOT_SUPPORTED
        if prop in READ_ONLY:
            return Response.ACCESS_DENIED
        if prop == Prop.IMAGE_FORMAT:
            image_format = decode_image_format(data)
            if image_format is None:
                return INVALID_VALUE
            self._values[prop] = encode_image_format(image_format)
        elif prop in TEXTS:
            self._values[prop] = data.split(b"\0")[0] + b"\0"
        else:
            return self._write_number(Prop(prop), data[: WIDTHS.get(Prop(prop), 4)])
        return Response.OK

    def _write_number(self, prop: Prop, data: bytes) -> int:
        number = int.from_bytes(data, "little")
        if len(data) != len(self._values[prop]) or (prop in CHOICES and number not in CHOICES[prop]):
            return INVALID_VALUE
        if prop == Prop.UTC_TIME:
            self.clock_offset_s = number - time.time()
        elif prop == Prop.CAMERA_TIME:
            self.clock_offset_s = time.mktime((*time.gmtime(number)[:8], -1)) - time.time()
        else:
            self._values[prop] = data
        return Response.OK

    def settings(self) -> ExposureSettings:
        """What an exposure made now would use; ISO Auto counts as 100."""
        image_format = decode_image_format(self._values[Prop.IMAGE_FORMAT])
        assert image_format is not None
        return ExposureSettings(
            ISOS.get(self.number(Prop.ISO), 100),
            APERTURES[self.number(Prop.APERTURE)],
            SHUTTERS_S[self.number(Prop.SHUTTER)],
            image_format,
        )

    def value_record(self, prop: int) -> bytes:
        """The record that tells a property's value."""
        return record(Record.VALUE, struct.pack("<I", prop) + self.value(prop))

    def all_records(self) -> bytes:
        """Every value, then every list of choices, as a body tells them when its events are switched on."""
        values = b"".join(map(self.value_record, self._values))
        choices = b"".join(
            record(Record.CHOICES, struct.pack(f"<III{len(codes)}I", prop, 3, len(codes), *codes))
            for prop, codes in CHOICES.items()
        )
        formats = b"".join(encode_image_format(image_format) for image_format in IMAGE_FORMATS)
        head = struct.pack("<III", Prop.IMAGE_FORMAT, 3, len(IMAGE_FORMATS))
        return values + choices + record(Record.CHOICES, head + formats)


def record(code: int, body: bytes = b"") -> bytes:
    """One record of the event queue: its whole length, its code, its body."""
    return struct.pack("<II", 8 + len(body), code) + body


def object_added(item: CardObject) -> bytes:
    """The record of a new file on the card."""
    head = struct.pack("<IIIIIIII", item.handle, STORAGE, item.format, 0, 0, item.size_bytes, item.parent, 0)
    return record(Record.OBJECT_ADDED, head + item.name.encode().ljust(16, b"\0"))


def object_in_ram(item: CardObject) -> bytes:
    """The record of a new file that waits in the body's memory for its transfer."""
    head = struct.pack("<IIIII", item.handle, item.format, 0, item.size_bytes, 0)
    return record(Record.OBJECT_IN_RAM, head + item.name.encode().ljust(16, b"\0"))
