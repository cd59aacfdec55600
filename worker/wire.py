"""What messages and what people write are made of: immutable models, and figures that say where they come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

Method = Literal[
    "nvml_energy_timeline",
    "nvml_energy_delta",
    "nvml_power_integral",
    "rapl",
    "codecarbon",
    "analytic",
    "evaluation",
    "none",
]
Quality = Literal["measured", "integrated", "estimated", "none"]


class Frozen(BaseModel):
    """What crosses a process: immutable, every number finite, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


# Numbers within a mapping or a pair, a number that may be whole and one that is not; of fields `Written` sees to it.
Number = Annotated[int | float, BeforeValidator(_no_truth)]
Real = Annotated[float, BeforeValidator(_no_truth)]


class Written(Frozen):
    """What people write: true and false are no numbers, as which pydantic would take them."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            for kind in {int, float} & {annotation, *get_args(annotation)}:
                raise PydanticKnownError("int_type" if kind is int else "float_type")
        return value


class Measurement(Frozen):
    """One objective's value with where it came from; None where it could not be obtained."""

    value: float | None
    unit: str
    method: Method
    quality: Quality
