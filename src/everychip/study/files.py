"""Files as code of before the rooms imports them; they are at home in `everychip.storage.files`."""

from everychip.storage.files import (
    digest,
    locked,
    make_folder,
    read_json,
    write_json,
    write_text,
    write_whole,
)

__all__ = ["digest", "locked", "make_folder", "read_json", "write_json", "write_text", "write_whole"]
