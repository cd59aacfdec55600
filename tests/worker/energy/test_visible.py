from __future__ import annotations

import pytest

from worker.energy.visible import find_gpu, visible_gpus

GPUS = ["GPU-aa11", "GPU-aa22", "GPU-bb33"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, GPUS),
        ("", []),
        ("-1", []),
        ("0", ["GPU-aa11"]),
        ("2,0", ["GPU-bb33", "GPU-aa11"]),
        (" 1 , 2 ", ["GPU-aa22", "GPU-bb33"]),
        ("1,9,2", ["GPU-aa22"]),
        ("GPU-bb", ["GPU-bb33"]),
        ("GPU-aa22,0", ["GPU-aa22", "GPU-aa11"]),
        ("GPU-aa", []),
        ("GPU-zz", []),
        ("MIG-cc44", ["MIG-cc44"]),
        ("MIG-GPU-aa11/1/0", ["MIG-GPU-aa11/1/0"]),
        ("NoDevFiles", []),
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(value, expected):
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}

    assert visible_gpus(GPUS, environment) == expected


@pytest.mark.parametrize(
    ("gpus", "ordinal", "environment", "expected"),
    [
        (GPUS, 0, {"CUDA_VISIBLE_DEVICES": "1"}, "GPU-aa22"),
        (GPUS, 1, {"CUDA_VISIBLE_DEVICES": "1,2"}, "GPU-bb33"),
        (GPUS, 0, {"CUDA_VISIBLE_DEVICES": ""}, None),
        (GPUS, 0, {}, None),
        (GPUS, 0, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "GPU-aa11"),
        (GPUS[:1], 0, {}, "GPU-aa11"),
        ([], 0, {}, None),
    ],
)
def test_the_gpu_of_an_ordinal_is_named_only_where_it_is_sure(gpus, ordinal, environment, expected):
    assert find_gpu(gpus, ordinal, environment) == expected
