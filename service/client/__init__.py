"""Talking to a service from Python: `Client`, and `AsyncClient` with the same methods to await.

```python
from service.client import Client

with Client() as client:
    study = client.submit("digits", n_trials=40)
    study.wait(progress=True)
    for trial in study.front():
        print(trial.trial_id, trial.value("error"), trial.config)
```
"""

from __future__ import annotations

from service.client.awaited import AsyncClient, AsyncStudyHandle
from service.client.blocking import Client, StudyHandle

__all__ = ["AsyncClient", "AsyncStudyHandle", "Client", "StudyHandle"]
