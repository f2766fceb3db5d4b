"""Commands that are modules of their own."""

from importlib.util import find_spec

import pytest

from aevae_fast.cli.app import run


@pytest.mark.parametrize(
    "name", ["train", "evaluate", "reconstruct", "generate", "interpolate", "compare", "check", "info"]
)
def test_every_command_has_help(name, capsys):
    if not find_spec("aevae_fast.cli." + {"reconstruct": "evaluate", "interpolate": "generate"}.get(name, name)):
        pytest.skip(f"there is no {name}")
    assert run([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out
