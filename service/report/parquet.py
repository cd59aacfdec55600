"""Tables as Parquet files, by pyarrow, which is an extra."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from service.report.tidy import Table


def write_parquet(path: Path, table: Table) -> None:
    """Writes a table; what is unknown is null, also where a whole column is, and times are in UTC."""
    import pyarrow as arrow
    from pyarrow import parquet

    types = {
        str: arrow.string(),
        int: arrow.int64(),
        float: arrow.float64(),
        bool: arrow.bool_(),
        datetime: arrow.timestamp("us", tz="UTC"),
    }
    arrays = {
        name: arrow.array([_as(kind, row.get(name)) for row in table.rows], types[kind])
        for name, kind in table.columns.items()
    }
    parquet.write_table(arrow.table(arrays), path)


def _as(kind: type, value: Any) -> Any:
    """Whole numbers among others, and words of our own enumerations, as what their column holds."""
    return value if value is None or kind is datetime else kind(value)
