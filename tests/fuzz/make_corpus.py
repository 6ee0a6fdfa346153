#!/usr/bin/env python3
"""Writes the binary part of the corpus: make_corpus.py CORPUS. (The state's comes from its own
target: FUZZ_STATE_SEED=FILE.)"""
import json
import pathlib
import struct
import sys


def safetensors(header, data, size=None):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def main(folder):
    two = {"__metadata__": {"format": "pt"}, "a": tensor("F32", [2, 2], 0, 16),
           "b": tensor("BF16", [3], 16, 22)}
    data = bytes(range(22))
    files = {
        "ok-two": safetensors(two, data),
        "ok-kinds": safetensors({"h": tensor("F16", [1], 0, 2), "d": tensor("F64", [1], 8, 16),
                                 "i": tensor("I8", [2, 3], 2, 8),
                                 "s": tensor("U8", [], 16, 17)}, data[:17]),
        "ok-empty": safetensors({}, b""),
        "bad-hole": safetensors({"a": tensor("U8", [2], 2, 4)}, data[:4]),
        "bad-overlap": safetensors({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)},
                                   data[:3]),
        "bad-shape": safetensors({"a": tensor("F32", [3], 0, 8)}, data[:8]),
        "bad-product": safetensors({"a": tensor("U8", [2 ** 33, 2 ** 33], 0, 8)}, data[:8]),
        "bad-header": safetensors(two, data, size=2 ** 63),
        "bad-short": safetensors(two, data[:20]),
    }
    for name, content in files.items():
        (folder / "safetensors" / f"{name}.bin").write_bytes(content)


main(pathlib.Path(sys.argv[1]))
