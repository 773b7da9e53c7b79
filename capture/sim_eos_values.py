"""Numbers of Canon's EOS protocol: operations, properties, event records, and the codes of exposure values.

Aperture, shutter and ISO are coded in eighths of a stop from a fixed origin (f/1 = 0x08, 1 s = 0x38, ISO 100 = 0x48);
of the eight, thirds of a stop use +3 and +5 and half stops +4. The values below are the marked ones (1/60, f/11), not
the exact powers of two. Labels of the real camera driver were compared with them for every code.
"""

import struct
from enum import IntEnum
from typing import Literal

ImageFormat = Literal["RAW", "RAW+JPEG", "JPEG"]

STORAGE = 0x00020001
FOLDER, JPEG, CR2 = 0x3001, 0x3801, 0xB103
FORMATS = {"JPG": JPEG, "CR2": CR2}


class Op(IntEnum):
    """Operations a body answers."""

    GET_DEVICE_INFO = 0x1001
    OPEN_SESSION = 0x1002
    CLOSE_SESSION = 0x1003
    GET_STORAGE_IDS = 0x1004
    GET_STORAGE_INFO = 0x1005
    GET_OBJECT_HANDLES = 0x1007
    GET_OBJECT_INFO = 0x1008
    GET_OBJECT = 0x1009
    GET_THUMB = 0x100A
    DELETE_OBJECT = 0x100B
    GET_DEVICE_PROP_DESC = 0x1014
    GET_DEVICE_PROP_VALUE = 0x1015
    SET_DEVICE_PROP_VALUE = 0x1016
    GET_PARTIAL_OBJECT = 0x101B
    EOS_GET_STORAGE_IDS = 0x9101
    EOS_GET_STORAGE_INFO = 0x9102
    EOS_GET_PARTIAL_OBJECT = 0x9107
    EOS_GET_OBJECT_INFO_EX = 0x9109
    EOS_SET_PROPERTY = 0x9110
    EOS_SET_REMOTE_MODE = 0x9114
    EOS_SET_EVENT_MODE = 0x9115
    EOS_GET_EVENT = 0x9116
    EOS_TRANSFER_COMPLETE = 0x9117
    EOS_PC_HDD_CAPACITY = 0x911A
    EOS_SET_UI_LOCK = 0x911B
    EOS_RESET_UI_LOCK = 0x911C
    EOS_KEEP_DEVICE_ON = 0x911D
    EOS_REQUEST_PROPERTY = 0x9127
    EOS_RELEASE_ON = 0x9128
    EOS_RELEASE_OFF = 0x9129
    EOS_AF_CANCEL = 0x9160


# Without the viewfinder operations (0x9151 to 0x9153) the driver shows no live view, which this body has not.
ADVERTISED = tuple(int(op) for op in Op)
DOWNLOADS = (Op.GET_OBJECT, Op.GET_PARTIAL_OBJECT, Op.EOS_GET_PARTIAL_OBJECT)


class Prop(IntEnum):
    """Properties a body has."""

    APERTURE = 0xD101
    SHUTTER = 0xD102
    ISO = 0xD103
    EXPOSURE_MODE = 0xD105
    DRIVE = 0xD106
    METERING = 0xD107
    FOCUS_MODE = 0xD108
    WHITE_BALANCE = 0xD109
    COLOUR_SPACE = 0xD10F
    BATTERY = 0xD111
    CAMERA_TIME = 0xD113
    AUTO_POWER_OFF = 0xD114
    OWNER = 0xD115
    MODEL_ID = 0xD116
    AVAILABLE_SHOTS = 0xD11B
    DESTINATION = 0xD11C
    STORAGE = 0xD11E
    IMAGE_FORMAT = 0xD120
    UTC_TIME = 0xD17C
    REVIEW_TIME = 0xD1A9
    SERIAL = 0xD1AF
    EVF_OUTPUT = 0xD1B0
    ARTIST = 0xD1D0
    COPYRIGHT = 0xD1D1
    LENS = 0xD1D8


class Record(IntEnum):
    """Records of the event queue."""

    END = 0
    OBJECT_ADDED = 0xC181
    OBJECT_REMOVED = 0xC182
    OBJECT_IN_RAM = 0xC186
    VALUE = 0xC189
    CHOICES = 0xC18A
    STATUS = 0xC18B


DESTINATION_CARD, DESTINATION_RAM = 2, 4
DRIVE_CONTINUOUS = (1, 4, 5, 0x14)
FOCUS_ONE_SHOT, FOCUS_MANUAL = 0, 3
MODEL_ID_760D = 0x80000347

_DENOMINATORS = (
    *(4, 5, 6, 8, 10, 13, 15, 20, 25, 30, 40, 50, 60, 80, 100, 125, 160, 200, 250, 320, 400),
    *(500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000),
)
_SECONDS = (30, 25, 20, 15, 13, 10, 8, 6, 5, 4, 3.2, 2.5, 2, 1.6, 1.3, 1, 0.8, 0.6, 0.5, 0.4, 0.3)
_APERTURES = (1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.5, 4, 4.5, 5, 5.6, 6.3, 7.1, 8, 9, 10, 11, 13, 14, 16, 18, 20, 22)


def third_stop_codes(first: int, count: int) -> tuple[int, ...]:
    """`count` codes of the 1/8-stop scale in third stops from code `first` on: 0x60, 0x63, 0x65, 0x68 ..."""
    codes: list[int] = []
    code = first
    while len(codes) < count:
        codes.append(code)
        code += {0: 3, 3: 2, 5: 3}[code % 8]
    return tuple(codes)


# 30 s is five stops above 1 s (0x38 - 5 * 8); f/1.8 is five thirds above f/1.
SHUTTERS_S: dict[int, float] = dict(
    zip(
        third_stop_codes(0x10, len(_SECONDS) + len(_DENOMINATORS)),
        (*map(float, _SECONDS), *(1 / value for value in _DENOMINATORS)),
        strict=True,
    )
)
APERTURES: dict[int, float] = dict(zip(third_stop_codes(0x15, len(_APERTURES)), map(float, _APERTURES), strict=True))
ISOS: dict[int, int] = {0x48 + 8 * stop: 100 << stop for stop in range(8)}
ISO_AUTO = 0

# (Canon's picture type, size, compression) per file; RAW first.
IMAGE_FORMATS: dict[ImageFormat, tuple[tuple[int, int, int], ...]] = {
    "JPEG": ((1, 0, 3),),
    "RAW+JPEG": ((6, 0, 4), (1, 0, 3)),
    "RAW": ((6, 0, 4),),
}


def encode_image_format(image_format: ImageFormat) -> bytes:
    """The structure a body sends for its image format."""
    files = IMAGE_FORMATS[image_format]
    return struct.pack("<I", len(files)) + b"".join(struct.pack("<4I", 16, *file) for file in files)


def decode_image_format(data: bytes) -> ImageFormat | None:
    """The image format of such a structure, None for one this body has not."""
    for image_format in IMAGE_FORMATS:
        encoded = encode_image_format(image_format)
        if data[: len(encoded)] == encoded:
            return image_format
    return None


def battery_code(percent: int) -> int:
    """The code of the nearest level a body can tell: 0 low, 5 25 %, 1 50 %, 4 75 %, 2 100 %."""
    return ((10, 0), (37, 5), (62, 1), (87, 4), (1000, 2))[sum(percent > limit for limit in (10, 37, 62, 87))][1]
