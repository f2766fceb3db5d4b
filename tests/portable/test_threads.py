"""Blocks on threads of their own leave PyTorch's setting as it was."""

import threading
import time

import pytest
import torch

from aevae_fast.portable._threads import on_threads, threads_for


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_inside_operations_have_one_thread_and_afterwards_as_many_as_before() -> None:
    seen = []
    on_threads(lambda: lambda _: seen.append(torch.get_num_threads()), range(8), 2)
    assert seen == [1] * 8
    assert torch.get_num_threads() == 2


def test_an_error_in_a_block_is_raised_and_the_setting_put_back() -> None:
    def fail(block: int) -> None:
        raise ArithmeticError(block)

    with pytest.raises(ArithmeticError):
        on_threads(lambda: fail, range(8), 2)
    assert torch.get_num_threads() == 2


def test_threads_that_start_while_others_are_inside_keep_their_cores() -> None:
    found = []

    def call(pause: float) -> None:
        on_threads(lambda: lambda _: time.sleep(pause), range(8), threads_for(torch.zeros(1)))
        found.append(torch.get_num_threads())

    callers = [threading.Thread(target=call, args=(pause,)) for pause in (0.02, 0.005, 0.01)]
    for caller in callers:
        caller.start()
        time.sleep(0.01)
    for caller in callers:
        caller.join()
    assert found == [2, 2, 2]
    assert torch.get_num_threads() == 2
