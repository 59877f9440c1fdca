"""A contender's side of the pipe: orders come in, figures go out, a JSON object a line each."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Figures: TypeAlias = dict[str, Any]
Orders: TypeAlias = Mapping[str, Callable[..., Figures]]


#: The environment variable with the number of the file descriptor that answers go to. The standard
#: output is no place for them: libraries print there, some as soon as they are imported.
ANSWERS_TO: Final = "BENCHMARK_ANSWERS_TO"


def obey(orders: Orders) -> None:
    """Carry out orders from the standard input until it ends; answer each.

    Args:
        orders: what can be asked for, by name; each takes keyword arguments.
    """
    with os.fdopen(int(os.environ[ANSWERS_TO]), "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            order = json.loads(line)
            figures = orders[order.pop("order")](**order)
            answers.write(json.dumps(figures) + "\n")
            answers.flush()
