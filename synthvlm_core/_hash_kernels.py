"""Compiled loops behind hashes of many rows: MD5 of rows spelled column by column, BLAKE2b of captions.

Only numba kernels over plain arrays belong here; what is hashed and how it is spelled is in ``hashing``. The functions
are those of RFC 1321 and RFC 7693, without keys; tests hold them against hashlib.
"""

# numba compiles a kernel for the array types it is called with; annotations would only repeat them, unchecked.
# mypy: disallow-untyped-defs=False

import math

import numba
import numpy as np

_kernel = numba.njit(cache=True, nogil=True)
_inline = numba.njit(cache=True, nogil=True, inline="always")

LANES = 64
"""Rows that are hashed side by side: as many 32-bit numbers as a register of 256 bits holds."""
_MD5_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476], np.uint32)
_SINES = np.array([int(abs(math.sin(i + 1)) * 2**32) for i in range(64)], np.uint32)
_TURNS = np.array([[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]], np.uint32)

_BLAKE2B_IV = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
_BLAKE2B_START = _BLAKE2B_IV ^ np.array([0x01010000 ^ 16, 0, 0, 0, 0, 0, 0, 0], np.uint64)  # 16 bytes, no key
_HEXADECIMALS = np.frombuffer(b"0123456789abcdef", np.uint8)
_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    np.uint8,
)  # fmt: skip


@_inline
def _write(out, at, data, start, stop):
    """Copy some bytes; returns where the next go."""
    for i in range(stop - start):
        out[at + i] = data[start + i]
    return at + stop - start


@_inline
def _decimals(number):
    """How many decimals a number has."""
    count, bound = 1, 10
    while number >= bound:
        count += 1
        bound *= 10
    return count


@_kernel
def add_lengths(lengths, label, offsets, valid):
    """Add to every row's length what `write_cells` writes."""
    for row in range(len(lengths)):
        if valid[row]:
            size = offsets[row + 1] - offsets[row]
            lengths[row] += len(label) + _decimals(size) + 1 + size


@_kernel
def write_cells(out, places, label, data, offsets, valid):
    """Write ``<label><bytes>:<value>`` at the rows' places and move these on; nothing where a cell is not valid."""
    for row in range(len(places)):
        if valid[row]:
            start, stop = offsets[row], offsets[row + 1]
            at = _write(out, places[row], label, 0, len(label))
            rest = stop - start
            count = _decimals(rest)
            for i in range(count - 1, -1, -1):
                out[at + i] = np.uint8(48 + rest % 10)
                rest //= 10
            out[at + count] = np.uint8(58)
            places[row] = _write(out, at + count + 1, data, start, stop)


@_kernel
def md5_sums(words, firsts, blocks, order):
    """The sums of the upper and of the lower halves of the rows' digests, modulo 2**64.

    Rows are taken eight at a time, one in each lane of the processor's registers.

    Args:
        words: the padded messages, each at a multiple of 16 words.
        firsts: the block at which each message begins.
        blocks: how many blocks each message has.
        order: the rows in an order in which neighbours have about equally many.
    """
    high, low = np.uint64(0), np.uint64(0)
    state, turned, block = (
        np.empty((4, LANES), np.uint32),
        np.empty((4, LANES), np.uint32),
        np.empty((16, LANES), np.uint32),
    )
    for first in range(0, len(order), LANES):
        taken = min(LANES, len(order) - first)
        for lane in range(LANES):
            for i in range(4):
                state[i, lane] = _MD5_START[i]
        most = 0
        for lane in range(taken):
            most = max(most, blocks[order[first + lane]])
        for number in range(most):
            for lane in range(taken):
                row = order[first + lane]
                place = 16 * (firsts[row] + min(number, blocks[row] - 1))
                for i in range(16):
                    block[i, lane] = words[place + i]
            _md5_lanes(state, turned, block)
            for lane in range(taken):
                if number < blocks[order[first + lane]]:
                    for i in range(4):
                        state[i, lane] = turned[i, lane]
        for lane in range(taken):
            low += np.uint64(state[0, lane]) | np.uint64(state[1, lane]) << np.uint64(32)
            high += np.uint64(state[2, lane]) | np.uint64(state[3, lane]) << np.uint64(32)
    return high, low


@_kernel
def _md5_lanes(state, turned, block):
    """One block of every lane: `turned` becomes the state behind it."""
    for i in range(4):
        for lane in range(LANES):
            turned[i, lane] = state[i, lane]
    for i in range(16):
        a, b, c, d = turned[-i & 3], turned[1 - i & 3], turned[2 - i & 3], turned[3 - i & 3]
        words, sine, turn = block[i], _SINES[i], _TURNS[0, i & 3]
        for lane in range(LANES):
            mixed = (b[lane] & c[lane]) | (~b[lane] & d[lane])
            a[lane] = _step(a[lane], b[lane], mixed, words[lane], sine, turn)
    for i in range(16):
        a, b, c, d = turned[-i & 3], turned[1 - i & 3], turned[2 - i & 3], turned[3 - i & 3]
        words, sine, turn = block[5 * i + 1 & 15], _SINES[16 + i], _TURNS[1, i & 3]
        for lane in range(LANES):
            mixed = (d[lane] & b[lane]) | (~d[lane] & c[lane])
            a[lane] = _step(a[lane], b[lane], mixed, words[lane], sine, turn)
    for i in range(16):
        a, b, c, d = turned[-i & 3], turned[1 - i & 3], turned[2 - i & 3], turned[3 - i & 3]
        words, sine, turn = block[3 * i + 5 & 15], _SINES[32 + i], _TURNS[2, i & 3]
        for lane in range(LANES):
            mixed = b[lane] ^ c[lane] ^ d[lane]
            a[lane] = _step(a[lane], b[lane], mixed, words[lane], sine, turn)
    for i in range(16):
        a, b, c, d = turned[-i & 3], turned[1 - i & 3], turned[2 - i & 3], turned[3 - i & 3]
        words, sine, turn = block[7 * i & 15], _SINES[48 + i], _TURNS[3, i & 3]
        for lane in range(LANES):
            mixed = c[lane] ^ (b[lane] | ~d[lane])
            a[lane] = _step(a[lane], b[lane], mixed, words[lane], sine, turn)
    for i in range(4):
        for lane in range(LANES):
            turned[i, lane] += state[i, lane]


@_inline
def _step(a, b, mixed, word, sine, turn):
    total = np.uint32(np.uint32(np.uint32(a + mixed) + sine) + word)
    return np.uint32(b + np.uint32(np.uint32(total << turn) | np.uint32(total >> np.uint32(np.uint32(32) - turn))))


@_kernel
def write_messages(out, firsts, prefix, data, offsets):
    """Write ``<prefix><8 bytes of its length><value>`` of every row where its first block of 128 bytes lies."""
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        at = _write(out, 128 * firsts[row], prefix, 0, len(prefix))
        for i in range(8):
            out[at + i] = np.uint8(np.uint64(stop - start) >> np.uint64(8 * i))
        _write(out, at + 8, data, start, stop)


@_kernel
def blake2b_128(words, firsts, lengths, order, out):
    """The 128-bit digest of every message, as two little-endian words, into `out` of shape (rows, 2).

    Args:
        words: the messages, each at a multiple of 16 words, zeros behind it.
        firsts: the block at which each message begins.
        lengths: of the messages, in bytes, at least 1.
        order: the rows in an order in which neighbours have about equally many blocks.
    """
    state, mixed = np.empty((8, LANES), np.uint64), np.empty((16, LANES), np.uint64)
    block, counts, lasts = np.empty((16, LANES), np.uint64), np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64)
    for first in range(0, len(order), LANES):
        taken = min(LANES, len(order) - first)
        most = 0
        for lane in range(taken):
            most = max(most, (lengths[order[first + lane]] + 127) // 128)
        for i in range(8):
            for lane in range(LANES):
                state[i, lane] = _BLAKE2B_START[i]
        for number in range(most):
            for lane in range(taken):
                row = order[first + lane]
                blocks = (lengths[row] + 127) // 128
                place = 16 * (firsts[row] + min(number, blocks - 1))
                counts[lane] = min(128 * (number + 1), lengths[row])
                lasts[lane] = ~np.uint64(0) if number == blocks - 1 else np.uint64(0)
                for i in range(16):
                    block[i, lane] = words[place + i]
            _blake2b_lanes(state, mixed, block, counts, lasts)
            for lane in range(taken):
                row = order[first + lane]
                if number == (lengths[row] + 127) // 128 - 1:
                    out[row, 0], out[row, 1] = state[0, lane], state[1, lane]


@_kernel
def _blake2b_lanes(state, mixed, block, counts, lasts):
    """Take one block of every lane into its state."""
    for i in range(8):
        for lane in range(LANES):
            mixed[i, lane] = state[i, lane]
            mixed[8 + i, lane] = _BLAKE2B_IV[i]
    for lane in range(LANES):
        mixed[12, lane] ^= counts[lane]
        mixed[14, lane] ^= lasts[lane]
    for number in range(12):
        order = _SIGMA[number]
        for i in range(8):
            turn = i >> 2
            a, b, c, d = i & 3, 4 + ((i + turn) & 3), 8 + ((i + 2 * turn) & 3), 12 + ((i + 3 * turn) & 3)
            _mix(mixed[a], mixed[b], mixed[c], mixed[d], block[order[2 * i]], block[order[2 * i + 1]])
    for i in range(8):
        for lane in range(LANES):
            state[i, lane] ^= mixed[i, lane] ^ mixed[8 + i, lane]


@_inline
def _mix(a, b, c, d, x, y):
    for lane in range(LANES):
        va = a[lane] + b[lane] + x[lane]
        vd = _right(d[lane] ^ va, 32)
        vc = c[lane] + vd
        vb = _right(b[lane] ^ vc, 24)
        va = va + vb + y[lane]
        vd = _right(vd ^ va, 16)
        vc = vc + vd
        a[lane], b[lane], c[lane], d[lane] = va, _right(vb ^ vc, 63), vc, vd


@_inline
def _right(value, turn):
    return value >> np.uint64(turn) | value << np.uint64(64 - turn)


@_kernel
def hexadecimals(digests, out):
    """Spell words, lowest byte first, two characters a byte."""
    for row in range(len(digests)):
        for i in range(16):
            byte = np.uint8(digests[row, i >> 3] >> np.uint64(8 * (i & 7)))
            out[32 * row + 2 * i] = _HEXADECIMALS[byte >> 4]
            out[32 * row + 2 * i + 1] = _HEXADECIMALS[byte & 15]
