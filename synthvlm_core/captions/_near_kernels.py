"""Compiled loops behind near-duplicate captions: shingles, signatures, and who is kept.

Only numba kernels over plain arrays belong here; what they mean is in ``near_duplicates``.
"""

# numba compiles a kernel for the array types it is called with; annotations would only repeat them, unchecked.
# mypy: disallow-untyped-defs=False

import numba
import numpy as np

_kernel = numba.njit(cache=True, nogil=True)
_inline = numba.njit(cache=True, nogil=True, inline="always")

_SPACE, _PUNCTUATION = 1, 2
_KIND = np.zeros(256, np.uint8)
_KIND[list(b" \t\n\r\v\f")] = _SPACE
_KIND[[code for code in range(33, 127) if not chr(code).isalnum()]] = _PUNCTUATION


@_inline
def _mixed(value):
    """The finalizer of splitmix64."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@_inline
def _word(data, start, stop):
    value = np.uint64(0xCBF29CE484222325)
    for place in range(start, stop):
        value = (value ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
    return _mixed(value)


@_kernel
def shingles(data, offsets, words, found, counts):
    """Hashes of the runs of `words` words of each text, each once and in order, behind one another in `found`; a text
    of fewer words is one run. Returns how many there are in all; `counts` says how many each text has."""
    held = np.empty(np.max(offsets[1:] - offsets[:-1]) + 1, np.uint64)
    used = 0
    for row in range(len(offsets) - 1):
        many = 0
        place, stop = offsets[row], offsets[row + 1]
        while place < stop:
            while place < stop and _KIND[data[place]] == _SPACE:
                place += 1
            first = place
            while place < stop and _KIND[data[place]] != _SPACE:
                place += 1
            last = place
            while first < last and _KIND[data[first]] == _PUNCTUATION:
                first += 1
            while first < last and _KIND[data[last - 1]] == _PUNCTUATION:
                last -= 1
            if first < last:
                held[many] = _word(data, first, last)
                many += 1
        length = min(words, many)
        start = used
        if many:
            for run in range(many - length + 1):
                value = np.uint64(length)
                for word in range(run, run + length):
                    value = _mixed(value * np.uint64(0x9E3779B97F4A7C15) + held[word])
                found[used] = value
                used += 1
        found[start:used].sort()
        kept = start
        for entry in range(start, used):
            if entry == start or found[entry] != found[entry - 1]:
                found[kept] = found[entry]
                kept += 1
        used = kept
        counts[row] = used - start
    return used


@_kernel
def band_keys(found, counts, factors, terms, rows, keys):
    """For each text and band a hash of `rows` minima, (bands, texts); of a text without shingles 0."""
    bands = len(keys)
    lowest = np.empty(len(factors), np.uint64)
    start = 0
    for text in range(len(counts)):
        stop = start + counts[text]
        if start == stop:
            for band in range(bands):
                keys[band, text] = 0
            continue
        lowest[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
        for entry in range(start, stop):
            value = found[entry]
            for number in range(len(factors)):
                lowest[number] = min(lowest[number], value * factors[number] + terms[number])
        for band in range(bands):
            key = np.uint64(band + 1)
            for number in range(band * rows, (band + 1) * rows):
                key = _mixed(key * np.uint64(0x9E3779B97F4A7C15) + (lowest[number] >> np.uint64(16)))
            keys[band, text] = max(key, np.uint64(1))
        start = stop


@_kernel
def number_buckets(keys, order, buckets, next_bucket):
    """Give the texts of equal keys, which stand beside each other in `order`, one number from `next_bucket` on, and -1
    to those that are alone or have no key. Returns the number after the last."""
    start = 0
    while start < len(order):
        stop = start + 1
        key = keys[order[start]]
        while stop < len(order) and keys[order[stop]] == key:
            stop += 1
        shared = stop - start > 1 and key != 0
        for place in range(start, stop):
            buckets[order[place]] = next_bucket if shared else -1
        next_bucket += shared
        start = stop
    return next_bucket


@_inline
def _jaccard(found, first, first_end, second, second_end):
    """Of two sets in order."""
    sizes = first_end - first + second_end - second
    common = 0
    while first < first_end and second < second_end:
        if found[first] == found[second]:
            common += 1
            first += 1
            second += 1
        elif found[first] < found[second]:
            first += 1
        else:
            second += 1
    return common / (sizes - common) if sizes > common else 0.0


@_kernel
def keep(order, members, starts, heads, following, found, ends, threshold, most, instead, similar):
    """Keep each text, in an order of preference, unless it is similar to a kept one that shares a bucket.

    `members[starts[text]:starts[text + 1]]` are the buckets of a text; `heads` and `following` chain the kept members
    of each. No more than the `most` last kept ones of a bucket are looked at.
    """
    seen = np.full(len(ends), -1, np.int32)  # by text: the last one that it was compared with
    for text in order:
        begin, end = (ends[text - 1] if text else 0), ends[text]
        best, nearest = -1, threshold
        for entry in range(starts[text], starts[text + 1]):
            other = heads[members[entry]]
            looked = 0
            while other >= 0 and looked < most:
                owner = following[other, 0]
                first = ends[owner - 1] if owner else 0
                smaller, larger = min(end - begin, ends[owner] - first), max(end - begin, ends[owner] - first)
                if seen[owner] != text and smaller >= threshold * larger:  # else their sizes alone keep them apart
                    value = _jaccard(found, begin, end, first, ends[owner])
                    if value > nearest or (value == nearest and (best < 0 or owner < best)):
                        best, nearest = owner, value
                seen[owner] = text
                other = following[other, 1]
                looked += 1
        instead[text] = best
        if best >= 0:
            similar[text] = nearest
        else:
            for entry in range(starts[text], starts[text + 1]):
                following[entry, 0] = text
                following[entry, 1] = heads[members[entry]]
                heads[members[entry]] = entry
