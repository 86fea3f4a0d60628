"""The compiled loops behind SSIM.

Only numba kernels over plain arrays belong here; images, constants and the public functions are in `ssim`.

Window sums are kept by adding the row or column that enters a window and subtracting the one that leaves it: exact,
since they are whole numbers, and the time does not grow with the window. Loops are functions of their own over whole
rows, without an index that could be negative, so that the compiler turns them into vector instructions.
"""

# numba compiles a kernel for the array types it is called with; annotations would only repeat them, unchecked.
# mypy: disallow-untyped-defs=False

import numba
import numpy as np

_kernel = numba.njit(cache=True, nogil=True)


@_kernel
def mean_ssim(first, second, window, c1, c2):
    """Mean SSIM of two (height, width) arrays of bytes over all windows that lie inside them."""
    height, width = first.shape
    across, down = width - window + 1, height - window + 1
    # per column, over the rows of the window: sums of x, y, x*x + y*y (SSIM needs no more of the squares) and x*y
    x, y = np.zeros(width, np.int32), np.zeros(width, np.int32)
    squares, products = np.zeros(width, np.int32), np.zeros(width, np.int32)
    # the same per window of the current row; whole numbers below 2**53 all along, where doubles are exact
    sx, sy, ss, sp = np.empty(across), np.empty(across), np.empty(across), np.empty(across)
    # one sum per column, added up at the end: a loop with one sum for all would run on single numbers
    total = np.zeros(across)
    for row in range(height):
        _add(first[row], second[row], 1, x, y, squares, products)
        if row >= window:
            _add(first[row - window], second[row - window], -1, x, y, squares, products)
        if row >= window - 1:
            _slide(x, y, squares, products, window, sx, sy, ss, sp)
            _similarity(sx, sy, ss, sp, float(window * window), c1, c2, total)
    return total.sum() / (float(across) * float(down))


@_kernel
def _add(first, second, sign, x, y, squares, products):
    """Add a row to the sums per column, or take it away."""
    sign = np.int32(sign)
    for i in range(len(x)):
        a, b = np.int32(first[i]), np.int32(second[i])
        x[i] += sign * a
        y[i] += sign * b
        squares[i] += sign * (a * a + b * b)
        products[i] += sign * (a * b)


@_kernel
def _slide(x, y, squares, products, window, sx, sy, ss, sp):
    """Sums per window from sums per column."""
    ax, ay, aq, ap = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(window):
        ax += x[i]
        ay += y[i]
        aq += squares[i]
        ap += products[i]
    sx[0], sy[0], ss[0], sp[0] = ax, ay, aq, ap
    for i in range(len(sx) - 1):
        ax += x[i + window] - x[i]
        ay += y[i + window] - y[i]
        aq += squares[i + window] - squares[i]
        ap += products[i + window] - products[i]
        sx[i + 1], sy[i + 1], ss[i + 1], sp[i + 1] = ax, ay, aq, ap


@_kernel
def _similarity(sx, sy, ss, sp, n, c1, c2, total):
    """Add the SSIM of every window of a row.

    Wang's fraction, its first factors times n**2 and its second ones times n * (n - 1): what is left of means and
    sample covariances are whole numbers, and a window that lost nothing has the same number above and below.
    """
    c1 *= n * n
    c2 *= n * (n - 1.0)
    for i in range(len(total)):
        product = sx[i] * sy[i]
        square = sx[i] * sx[i] + sy[i] * sy[i]
        above = (2.0 * product + c1) * (2.0 * (n * sp[i] - product) + c2)
        below = (square + c1) * (n * ss[i] - square + c2)
        total[i] += above / below
