"""What kernels cost on GPUs that were not there, as README shows it, from the record of `benchmarks.compile_report`."""

from typing import Any

_DTYPES = ("bf16", "fp32")
_GAUSSIAN = {
    "reparameterize_kl": "sample and KL",
    "reparameterize_kl_bwd": "sample and KL, backward",
    "gaussian_kl": "KL alone",
    "gaussian_kl_bwd": "KL alone, backward",
}
# title, the count's name in the record, and (label, configuration) of each row
_TABLES = (
    (
        "**Nearest code**, per (row, code) pair in the main loop",
        "per_pair",
        [(f"D = {dim}, {dtype}", f"nearest_code D={dim} {dtype} rows") for dim in (64, 256) for dtype in _DTYPES],
    ),
    (
        "**Gaussian bottleneck**, per element of the latent, D = 256",
        "per_element",
        [
            (f"{label}, {dtype}", f"{kernel} D=256 {dtype} chunk")
            for kernel, label in _GAUSSIAN.items()
            for dtype in _DTYPES
        ],
    ),
)


def compile_tables(record: dict[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Title and rows, the headings first; a configuration that a target has no record of is a dash."""
    targets = record["targets"]
    tables = []
    for title, unit, configurations in _TABLES:
        rows = [["", *targets]]
        for label, name in configurations:
            found = [target.get(name) for target in targets.values()]
            rows.append([label, *(f"{measured[unit]:.2f}" if measured else "-" for measured in found)])
        tables.append((title, rows))
    return tables
