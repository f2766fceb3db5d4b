"""How Gaussian views are cut: each element is read where it lies, as aligned as the kernel is told."""

import pytest
import torch

from aevae_fast.kernels import gaussian_tiles
from aevae_fast.kernels.gaussian_tiles import TILE, cut, warps


def chunk(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    mean, logvar = torch.empty((*shape[:2], 2 * shape[2]), dtype=dtype).chunk(2, 2)
    return mean, logvar


VIEWS = {
    "separate": lambda: (torch.empty(6, 5, 24), torch.empty(6, 5, 24)),
    "separate, odd": lambda: (torch.empty(3, 3, 7), torch.empty(3, 3, 7)),
    "chunk": lambda: chunk((6, 1, 64), torch.bfloat16),
    "chunk of 100 bf16": lambda: chunk((6, 1, 100), torch.bfloat16),
    "chunk of 12": lambda: chunk((6, 1, 12), torch.float32),
    "chunk, odd": lambda: chunk((6, 4, 17), torch.float16),
    "tokens": lambda: chunk((4, 6, 32), torch.float32),
    "some rows": lambda: (torch.empty(4, 13, 32)[:, :12:2], torch.empty(4, 6, 32)),
    "transposed": lambda: (torch.empty(4, 32, 6).transpose(1, 2), torch.empty(4, 6, 32)),
    "offset": lambda: (torch.empty(4, 6, 35)[..., 3:], torch.empty(4, 6, 32)),
    "expanded": lambda: (torch.empty(4, 6, 32), torch.empty(1, 1, 32).expand(4, 6, 32)),
    "wide": lambda: chunk((2, 1, 5000), torch.float32),
    "one row": lambda: chunk((1, 1, 3), torch.float32),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("per", ["element", "row", "sample"])
def test_every_element_is_read_where_it_lies(name: str, per: str) -> None:
    views = VIEWS[name]()
    form = cut((*views, None), per_row=per == "row", per_sample=per == "sample")
    row, column = torch.arange(form.rows)[:, None], torch.arange(form.dimension)
    unit, align = form.constants["UNIT"], form.constants["ALIGN"]
    assert form.dimension % unit == 0
    for place, tensor in enumerate(views):
        b, s, d = form.strides[3 * place : 3 * place + 3]
        offset = row // form.length * b + row % form.length * s + column * d
        sizes, strides = tensor.shape, tensor.stride()
        expected = sum(
            torch.arange(size).view([-1 if axis == at else 1 for axis in range(3)]) * stride
            for at, (size, stride) in enumerate(zip(sizes, strides, strict=True))
        )
        assert torch.equal(offset.flatten(), expected.flatten())  # type: ignore[union-attr]
        address = tensor.data_ptr() + offset[:, ::unit] * tensor.element_size()
        assert not (address % align).any()
    assert form.strides[6:] == (0, 0, 0)
    if per == "row":  # a row's KL is one row's
        assert form.rows % (views[0].shape[0]) == 0
        assert form.rows == views[0].shape[0] * views[0].shape[1]
    if per == "sample":
        assert (form.rows, form.length) == (views[0].shape[0] * views[0].shape[1], views[0].shape[1])
    tile_rows, tile_columns = form.constants["BLOCK_R"], form.constants["BLOCK_D"]
    assert tile_rows * tile_columns == TILE
    assert form.blocks_d * tile_columns >= form.dimension + (3 if unit == 1 else 0)
    assert form.programs == -(-form.rows // tile_rows) * form.blocks_d


@pytest.mark.parametrize(
    ("name", "per_row", "rows", "align"),
    [
        pytest.param("separate", False, 1, 16, id="contiguous"),
        pytest.param("separate", True, 30, 16, id="contiguous, but rows are summed"),
        pytest.param("tokens", False, 24, 16, id="leading axes merge"),
        pytest.param("some rows", False, 24, 16, id="they do not"),
        pytest.param("chunk of 100 bf16", False, 6, 8, id="half starts at 200 bytes"),
        pytest.param("chunk of 12", False, 6, 16, id="a quarter of 16 elements"),
        pytest.param("transposed", False, 24, 1, id="elements are no neighbours"),
    ],
)
def test_what_is_found_in_a_layout(name: str, per_row: bool, rows: int, align: int) -> None:
    form = cut(VIEWS[name](), per_row=per_row)
    assert (form.rows, form.constants["ALIGN"]) == (rows, align)
    assert (form.length == 1) == (name not in ("some rows", "transposed"))


def test_large_offsets_are_wide() -> None:
    """Meta tensors: no memory."""
    narrow, wide = (torch.empty(n, 1, 1 << 20, device="meta") for n in (2000, 2048))
    assert not cut((narrow,)).constants["WIDE"]
    assert cut((wide,)).constants["WIDE"]
    far = torch.empty(2, 1, 1 << 31, dtype=torch.float16, device="meta")[..., :8]
    assert cut((far,)).constants["WIDE"]
    assert gaussian_tiles.NARROW + TILE < 2**31


def test_warps() -> None:
    even, odd = cut(VIEWS["chunk"]()), cut(VIEWS["chunk, odd"]())
    assert [warps(even, True, False), warps(even, True, True), warps(even, False, False)] == [2, 4, 4]
    assert warps(odd, True, False) == 4
