"""What a driver reads of the code that it loads: the kernels in it, and for which GPUs it is."""

from __future__ import annotations

import struct

from profiler.devices.cuda_driver import DriverError

INVALID_IMAGE = 200
_EM_CUDA = 190


def read_cubin(code: bytes) -> tuple[int, int, dict[str, int | None]]:
    """Architecture (75 for sm_75), ELF ABI and kernels of a cubin, from its ELF header and section names.

    Raises `DriverError` for what is no cubin.
    """
    try:
        if struct.unpack_from("<H", code, 18)[0] != _EM_CUDA:
            raise ValueError("for another machine")
        abi, flags = code[8], struct.unpack_from("<I", code, 48)[0]
        arch = flags & 0xFF if abi < 8 else flags >> 8 & 0xFF
        table, (entry_bytes, count, names) = struct.unpack_from("<Q", code, 40)[0], struct.unpack_from("<3H", code, 58)
        sections = [struct.unpack_from("<I20xQQ", code, table + i * entry_bytes) for i in range(count)]
        _, begin, size = sections[names]
        text = code[begin : begin + size]
        titles = [text[name : text.index(b"\0", name)].decode() for name, _, _ in sections]
    except (struct.error, IndexError, ValueError):
        raise DriverError(INVALID_IMAGE, "cuModuleLoadData") from None
    return arch, abi, {title[len(".text.") :]: None for title in titles if title.startswith(".text.")}


def write_cubin(entry: str, arch: int = 75, content: bytes = b"") -> bytes:
    """The least that `read_cubin` reads: a kernel of that name. ``content`` tells it from others."""
    title = f".text.{entry}\0".encode()
    header = bytearray(64)
    header[:9] = b"\x7fELF\2\1\1\0\7"
    struct.pack_into("<H", header, 18, _EM_CUDA)
    struct.pack_into("<Q", header, 40, 64)
    struct.pack_into("<I", header, 48, arch)
    struct.pack_into("<3H", header, 58, 64, 1, 0)
    section = struct.pack("<I20xQQ24x", 0, 128, len(title))
    return bytes(header) + section + title + content


def read_ptx(text: str) -> dict[str, int | None]:
    """Kernels of a PTX text and how many parameters they take."""
    found: dict[str, int | None] = {}
    for part in text.split(".visible .entry ")[1:]:
        name, _, rest = part.partition("(")
        found[name.strip()] = rest.partition(")")[0].count(".param .u64")
    return found
