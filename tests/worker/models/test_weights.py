from __future__ import annotations

import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from worker.errors import ConfigurationError
from worker.models import build_network, example_input, load_weights

SHAPE = (1, 8, 8)


def network(seed: int, n_classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("resnet8", SHAPE, n_classes)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], keys) -> bool:
    return all(torch.equal(ours[key], theirs[key]) for key in keys)


def save(state: dict[str, torch.Tensor], path) -> None:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth"])
def test_weights_are_loaded_from_either_format(tmp_path, name):
    state = network(1).state_dict()
    save(state, tmp_path / name)
    model = network(2)

    load_weights(model, tmp_path / name, example_input(SHAPE))

    assert same(model.state_dict(), state, state)


@pytest.mark.parametrize("missing", [False, True])
def test_a_head_that_does_not_fit_starts_afresh_and_is_logged(tmp_path, caplog, missing):
    caplog.set_level(logging.INFO)
    path = tmp_path / "weights.safetensors"
    state = network(1, n_classes=100).state_dict()
    body = [key for key in state if not key.startswith("head.")]
    save({key: state[key] for key in body} if missing else state, path)
    model, fresh = network(2), network(2).state_dict()

    load_weights(model, path, example_input(SHAPE))

    assert same(model.state_dict(), state, body)
    assert same(model.state_dict(), fresh, ["head.weight", "head.bias"])
    assert f"the classifier head head does not fit {path} and starts from random weights" in caplog.text


def test_the_head_of_torchvisions_networks_is_found(tmp_path):
    torch.manual_seed(0)
    theirs = build_network("squeezenet1_1", (3, 32, 32), 1000)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    model = build_network("squeezenet1_1", (3, 32, 32), 10)

    load_weights(model, tmp_path / "weights.pth", example_input((3, 32, 32)))

    assert torch.equal(model.features[0].weight, theirs.features[0].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("stem.weight"), r"missing: stem\.weight$"),
        (lambda s: s.update(extra=torch.zeros(1)), "unknown: extra$"),
        (lambda s: s.update({"stem.weight": torch.zeros(2)}), r"of another shape: stem\.weight$"),
        (
            lambda s: (s.update({f"k{n}": torch.zeros(1) for n in range(9)}), s.pop("stem.weight")),
            r"missing: stem\.weight; unknown: k0, k1, k2, k3, k4 and 4 more$",
        ),
    ],
)
def test_anything_else_that_does_not_fit_is_named(tmp_path, change, message):
    state = network(1).state_dict()
    change(state)
    save(state, tmp_path / "weights.safetensors")

    with pytest.raises(ConfigurationError, match=f"weights .* does not fit the network: {message}"):
        load_weights(network(2), tmp_path / "weights.safetensors", example_input(SHAPE))


def test_old_files_without_counters_of_batches_fit(tmp_path):
    state = {key: value for key, value in network(1).state_dict().items() if "num_batches_tracked" not in key}
    torch.save(state, tmp_path / "weights.pth")
    model = network(2)

    load_weights(model, tmp_path / "weights.pth", example_input(SHAPE))

    assert same(model.state_dict(), state, state)


class Malice:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.safetensors", b""),
        ("weights.safetensors", b"{}" * 40),
        ("weights.pth", b""),
        ("weights.pth", b"no weights"),
        ("weights.pth", pickle.dumps(Malice(), protocol=2)),
    ],
)
def test_another_file_holds_no_weights_and_runs_no_code(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ConfigurationError, match=f"weights {tmp_path}/{name} hold no tensors that can be read"):
        load_weights(network(2), tmp_path / name, example_input(SHAPE))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3, "state_dict": {}}, torch.zeros(2)])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")

    with pytest.raises(ConfigurationError, match="must hold a state dict: tensors by name"):
        load_weights(network(2), tmp_path / "weights.pth", example_input(SHAPE))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=f"weights must be a file that the worker sees, got {tmp_path}/absent"):
        load_weights(network(2), tmp_path / "absent", example_input(SHAPE))
