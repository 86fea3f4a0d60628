"""Compiled loops behind caption statistics: UTF-8 decoding, word splitting and exact n-gram counting.

Only numba kernels over plain arrays belong here; Arrow, the character tables and the public function are in
``statistics``. Nothing here depends on the Unicode version or on a random seed: tables and hash keys come in
as arguments, because numba's on-disk cache would freeze globals.

Why the counts are exact although n-grams and words are hashed: a hash only picks where to look. Two items are
taken as equal after their code points (or word numbers) compared equal one by one, never because of the hash.
The hash is multiply-shift with secret random keys (Dietzfelbinger 1996), so text cannot be crafted to
collide, and nothing is sorted: the expected time is linear in a text's length, whatever the text.
"""

# numba compiles a kernel for the array types it is called with; annotations would only repeat them, unchecked.
# mypy: disallow-untyped-defs=False

import math

import numba
import numpy as np

ALNUM = np.uint8(1)
SPECIAL = np.uint8(2)
SEPARATOR = np.uint8(4)
CASED = np.uint8(8)
CASE_IGNORABLE = np.uint8(16)

_DOTTED_I = 0x130  # İ, the one character whose lower case is two characters
_SIGMA, _FINAL_SIGMA = 0x3A3, 0x3C2  # Σ, the one character whose lower case depends on its neighbours

FLAGGED_SEEN_BITS = 14
"""2**14 bits say which hashes a flagged word may have: a list of a thousand sets one in sixteen."""

_kernel = numba.njit(cache=True, nogil=True)
_inline = numba.njit(cache=True, nogil=True, inline="always")


@_kernel
def decode(data, start, stop, points, length):
    """Append the code points of valid UTF-8 ``data[start:stop]`` to ``points`` and return the new length."""
    i = start
    while i < stop:
        lead = np.uint32(data[i])
        if lead < 0x80:
            points[length] = lead
            i += 1
        elif lead < 0xE0:
            points[length] = (lead & 0x1F) << 6 | (data[i + 1] & 0x3F)
            i += 2
        elif lead < 0xF0:
            points[length] = (lead & 0x0F) << 12 | np.uint32(data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F)
            i += 3
        else:
            points[length] = (
                (lead & 0x07) << 18
                | np.uint32(data[i + 1] & 0x3F) << 12
                | np.uint32(data[i + 2] & 0x3F) << 6
                | (data[i + 3] & 0x3F)
            )
            i += 4
        length += 1
    return length


@_inline
def slot_bits(items):
    """Bits of a hash table at most half full; at least one, so that the shift below stays under 64."""
    bits = 1
    while (1 << bits) < 2 * items:
        bits += 1
    return bits


@_kernel
def count_ngrams(sequence, length, size, keys, hashes, slots, first, counts):
    """Fill ``counts`` with the frequency of every distinct n-gram and return how many there are."""
    total = length - size + 1
    if total <= 0:
        return 0
    # Position by position for one key at a time: this order lets the compiler use vector instructions.
    hashes[:total] = np.uint64(0)
    for j in range(size):
        key = keys[j]
        for i in range(total):
            hashes[i] += key * np.uint64(sequence[i + j])
    bits = slot_bits(total)
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    slots[: mask + 1] = -1
    distinct = 0
    for i in range(total):
        slot = np.int64(hashes[i] >> shift)
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = distinct
                first[distinct] = i
                counts[distinct] = 1
                distinct += 1
                break
            start = first[known]
            if hashes[start] == hashes[i]:
                j = 0
                while j < size and sequence[start + j] == sequence[i + j]:
                    j += 1
                if j == size:
                    counts[known] += 1
                    break
            slot = (slot + 1) & mask
    return distinct


@_kernel
def may_repeat(points, length, size, key, seen):
    """Whether some n-gram may occur twice; False is certain, and most captions end here.

    What stands for an n-gram are the low 7 bits of its last characters, as many as fit into one number: equal n-grams
    have equal numbers. Each sets one bit of many, without a branch that a processor could guess wrong.
    """
    total = length - size + 1
    if total <= 1:
        return False
    bits = _seen_bits(total)
    shift = np.uint64(64 - bits)
    seen[: 1 << (bits - 6)] = np.uint64(0)
    kept = (np.uint64(1) << np.uint64(7 * min(size, 9))) - np.uint64(1)
    gram, twice = np.uint64(0), np.uint64(0)
    for i in range(size - 1):
        gram = gram << np.uint64(7) | np.uint64(points[i] & 127)
    for i in range(size - 1, length):
        gram = (gram << np.uint64(7) | np.uint64(points[i] & 127)) & kept
        place = (gram * key) >> shift
        bit = np.uint64(1) << (place & np.uint64(63))
        word = seen[place >> np.uint64(6)]
        twice |= word & bit
        seen[place >> np.uint64(6)] = word | bit
    return twice != np.uint64(0)


@_inline
def _seen_bits(items):
    """Bits to address some 400 bits for each of a number of items."""
    bits = 6
    while (1 << bits) < 400 * items:
        bits += 1
    return bits


@_inline
def _words_may_repeat(hashes, words, size):
    """Whether so many words in a row may have occurred before, as those of a repeated n-gram did; False is certain."""
    run, seen = 0, np.uint64(0)
    for word in range(words):
        bit = np.uint64(1) << (hashes[word] >> np.uint64(58))
        run = run + 1 if seen & bit else 0
        seen |= bit
        if run == size:
            return True
    return False


@_kernel
def _top_share(counts, distinct, total, histogram):
    """Share held by the k most frequent n-grams, k = min(floor(sqrt(distinct)), distinct - singletons)."""
    singletons, largest = 0, 0
    for i in range(distinct):
        singletons += counts[i] == 1
        largest = max(largest, counts[i])
    if singletons == distinct:
        return 0.0
    # A histogram of frequencies instead of a sort: linear, whatever the text.
    histogram[: largest + 1] = 0
    for i in range(distinct):
        histogram[counts[i]] += 1
    left = min(int(math.sqrt(distinct)), distinct - singletons)
    held, frequency = 0, largest
    while left > 0:
        taken = min(left, histogram[frequency])
        held += taken * frequency
        left -= taken
        frequency -= 1
    return held / total


@_kernel
def _lower_sigma(points, length, i, table, lower):
    """Lower case of the Σ at ``i`` within its word, by the rule str.lower follows (Unicode's Final_Sigma)."""
    j = i - 1
    while j >= 0 and table[points[j]] & CASE_IGNORABLE and not table[points[j]] & SEPARATOR:
        j -= 1
    if j < 0 or not table[points[j]] & CASED:
        return lower[_SIGMA]
    j = i + 1
    while j < length and table[points[j]] & CASE_IGNORABLE and not table[points[j]] & SEPARATOR:
        j += 1
    if j < length and table[points[j]] & CASED:
        return lower[_SIGMA]
    return np.uint32(_FINAL_SIGMA)


@_kernel
def split_words(points, length, table, lower, keys, lowered, starts, stops, hashes):
    """Write lower-cased words to ``lowered``, and the bounds and hash of what stripping leaves; return their number.

    ``lowered`` needs one place per UTF-8 byte: İ alone grows, and its two bytes become two characters.
    """
    words, written, begin, end = 0, 0, 0, 0
    code, code_at_end = np.uint64(0), np.uint64(0)
    for i in range(length + 1):
        point = np.uint32(0x20) if i == length else points[i]
        letter = lower[point]
        flags = table[letter]
        if flags & SEPARATOR:
            if end > begin:
                starts[words], stops[words], hashes[words] = begin, end, code_at_end
                words += 1
            begin = end = written
            code = np.uint64(0)
            continue
        if point == _SIGMA:
            letter = _lower_sigma(points, length, i, table, lower)
        elif point == _DOTTED_I:
            letter, flags = np.uint32(0x69), table[0x69]
        if flags & SPECIAL and written == begin:
            continue  # stripped in front
        lowered[written] = letter
        code += keys[written - begin] * (np.uint64(letter) + np.uint64(1))
        written += 1
        if not flags & SPECIAL:  # else stripped behind, unless another letter comes
            end, code_at_end = written, code
        if point == _DOTTED_I:
            lowered[written] = 0x307
            code += keys[written - begin] * np.uint64(0x308)
            written += 1
            if not table[0x307] & SPECIAL:
                end, code_at_end = written, code
    return words


@_kernel
def hash_words(points, starts, stops, words, keys, hashes):
    """Hash every word; ``+ 1`` keeps a NUL at the end from being free to add."""
    for word in range(words):
        start, code = starts[word], np.uint64(0)
        for i in range(start, stops[word]):
            code += keys[i - start] * (np.uint64(points[i]) + np.uint64(1))
        hashes[word] = code


@_inline
def _find(points, start, stop, code, slots, bits, known_points, known_starts, known_stops, known_hashes):
    """The slot that holds this word, or the empty slot where it would go."""
    slot, mask = np.int64(code >> np.uint64(64 - bits)), (1 << bits) - 1
    while slots[slot] >= 0:
        known = slots[slot]
        begin = known_starts[known]
        if known_hashes[known] == code and known_stops[known] - begin == stop - start:
            j = 0
            while j < stop - start and known_points[begin + j] == points[start + j]:
                j += 1
            if j == stop - start:
                break
        slot = (slot + 1) & mask
    return slot


@_kernel
def number_words(points, starts, stops, hashes, words, bits, slots, ids):
    """Give every word the index of its first occurrence; leave a look-up table of 2**bits in ``slots``."""
    slots[: 1 << bits] = -1
    for word in range(words):
        slot = _find(points, starts[word], stops[word], hashes[word], slots, bits, points, starts, stops, hashes)
        if slots[slot] < 0:
            slots[slot] = word
        ids[word] = slots[slot]


@_kernel
def row_statistics(
    data, offsets, prefix, suffix, table, lower, keys, char_rep_len, word_rep_len, capacity,
    flagged_points, flagged_starts, flagged_stops, flagged_hashes, flagged_slots, flagged_bits, flagged_seen,
    out, first_row,
):  # fmt: skip
    """Fill ``out`` (one column per text, in the order of ``statistics.COLUMNS``) from ``first_row`` on.

    ``capacity`` bounds the UTF-8 bytes of one text with its prefix and suffix.
    """
    points, lowered = np.empty(capacity, np.uint32), np.empty(capacity, np.uint32)
    starts, stops = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    hashes, ids = np.empty(capacity, np.uint64), np.empty(capacity, np.uint32)
    slots = np.empty(1 << slot_bits(capacity), np.int32)
    seen = np.empty(1 << (_seen_bits(capacity) - 6), np.uint64)
    first_seen, counts = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    histogram = np.empty(capacity + 1, np.int32)
    for text in range(len(offsets) - 1):
        row = first_row + text
        length = decode(prefix, 0, len(prefix), points, 0)
        length = decode(data, offsets[text], offsets[text + 1], points, length)
        length = decode(suffix, 0, len(suffix), points, length)
        out[:, row] = 0.0
        if length == 0:
            continue

        alnum, special = 0, 0
        for i in range(length):
            flags = table[points[i]]
            alnum += (flags & ALNUM) != 0
            special += (flags & SPECIAL) != 0
        out[0, row] = alnum / length
        out[3, row] = special / length

        if may_repeat(points, length, char_rep_len, keys[0] | np.uint64(1), seen):
            distinct = count_ngrams(points, length, char_rep_len, keys, hashes, slots, first_seen, counts)
            out[1, row] = _top_share(counts, distinct, length - char_rep_len + 1, histogram)

        words = split_words(points, length, table, lower, keys, lowered, starts, stops, hashes)
        if words == 0:
            continue
        flagged = 0
        for word in range(words):
            place = hashes[word] >> np.uint64(64 - FLAGGED_SEEN_BITS)
            if flagged_seen[place >> np.uint64(6)] >> (place & np.uint64(63)) & np.uint64(1):
                slot = _find(
                    lowered, starts[word], stops[word], hashes[word], flagged_slots, flagged_bits,
                    flagged_points, flagged_starts, flagged_stops, flagged_hashes,
                )  # fmt: skip
                flagged += flagged_slots[slot] >= 0
        out[2, row] = flagged / words

        if _words_may_repeat(hashes, words, word_rep_len):
            number_words(lowered, starts, stops, hashes, words, slot_bits(words), slots, ids)
            distinct = count_ngrams(ids, words, word_rep_len, keys, hashes, slots, first_seen, counts)
            repeated = 0
            for i in range(distinct):
                if counts[i] > 1:
                    repeated += counts[i]
            out[4, row] = repeated / (words - word_rep_len + 1)
