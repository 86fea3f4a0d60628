"""Compiled loops behind the places of captions: an index of 128-bit ids with open addressing.

Only numba kernels over plain arrays belong here; what is indexed is in ``places``.
"""

# numba compiles a kernel for the array types it is called with; annotations would only repeat them, unchecked.
# mypy: disallow-untyped-defs=False

import numba
import numpy as np

EMPTY = -1

_kernel = numba.njit(cache=True, nogil=True)
_inline = numba.njit(cache=True, nogil=True, inline="always")


_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[list(b"0123456789abcdef")] = np.arange(16)


@_kernel
def parse(data, offsets, ids, sound):
    """Ids of 32 hexadecimals as two numbers each, and which of them are such."""
    for row in range(len(ids)):
        start = offsets[row]
        sound[row] = offsets[row + 1] - start == 32
        if sound[row]:
            most = np.uint8(0)
            for half in range(2):
                value = np.uint64(0)
                for i in range(16):
                    nibble = _NIBBLES[data[start + 16 * half + i]]
                    most = max(most, nibble)
                    value = value << np.uint64(4) | np.uint64(nibble & 15)
                ids[row, half] = value
            sound[row] = most < 16


@_inline
def _slot(ids, row, known, slots):
    """The slot that holds an id, or the empty one where it belongs."""
    mask = len(slots) - 1
    slot = np.int64(ids[row, 1] & np.uint64(mask))
    while slots[slot] != EMPTY:
        entry = slots[slot]
        if known[entry, 0] == ids[row, 0] and known[entry, 1] == ids[row, 1]:
            break
        slot = (slot + 1) & mask
    return slot


@_kernel
def add(ids, first, part, parts, known, places, slots, used, copies, counted):
    """Enter the ids of a part that are new, with their places from `first` on; returns how many are entered now.

    Unless that is done, every row counts at the first of its id.
    """
    for row in range(len(ids)):
        if ids[row, 0] % np.uint64(parts) == np.uint64(part):
            slot = _slot(ids, row, known, slots)
            if slots[slot] == EMPTY:
                slots[slot] = used
                known[used, 0], known[used, 1] = ids[row, 0], ids[row, 1]
                places[used] = first + row
                used += 1
            if not counted:
                copies[places[slots[slot]]] += 1
    return used


@_kernel
def rehash(known, used, slots):
    """Enter what is known into empty slots."""
    for entry in range(used):
        slots[_slot(known, entry, known, slots)] = entry


@_kernel
def find(ids, sound, part, parts, known, places, slots, found):
    """The place of the first row of every id, -1 where it is none of this part."""
    for row in range(len(ids)):
        found[row] = -1
        if sound[row] and ids[row, 0] % np.uint64(parts) == np.uint64(part):
            entry = slots[_slot(ids, row, known, slots)]
            if entry != EMPTY:
                found[row] = places[entry]


@_kernel
def mark(places, wanted, known, taken):
    """Which rows are of wanted places, and note these as known; returns whether one of them was known before."""
    repeated = False
    for row in range(len(places)):
        place = places[row]
        taken[row] = place >= 0 and wanted[place]
        if taken[row]:
            repeated = repeated or known[place]
            known[place] = True
    return repeated
