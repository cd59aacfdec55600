from __future__ import annotations

from tests.service.conftest import new_postgresql_url, postgresql

__all__ = ["new_postgresql_url", "postgresql"]
