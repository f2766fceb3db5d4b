"""Is every index of the certified search right, and how many rows does its certificate leave open?

    scheme.py, codes.py, rows.py    the columns of the product that the GPU's sweep takes, from its arithmetic alone
    products.py                     that product: in float32, and cut as the coarsest tensor cores cut
    sweep.py, rescan.py             minima, reach, verdicts; the answer of each
    kinds.py, near_ties.py          rows and codebooks, random and adversarial
    truth.py                        float64
    shares.py, __main__.py          the two reports: `python -m benchmarks.certificate`

Written apart from `kernels/`, in plain PyTorch: what is measured here is the arithmetic, on any machine.
"""
