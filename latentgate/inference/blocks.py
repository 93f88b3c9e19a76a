"""The loop that every engine shares: compiled blocks of iterations; between them progress, checkpoints and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from .checkpoint import Checkpoint
from .progress import bar

Block = dict[str, np.ndarray]


class Ran(NamedTuple):
    """What a loop leaves behind.

    Attributes:
        state: after the last block.
        output: {name: array [iteration, ...]}.
        interrupted: whether Ctrl-C ended it.
    """

    state: Any
    output: Block
    interrupted: bool


def run_in_blocks(
    title: str,
    advance: Callable[[Any, int], tuple[Any, dict[str, Any]]],
    state: Any,
    total: int,
    block: int,
    *,
    finished: Callable[[Any, list[Block]], bool],
    note: Callable[[Any, Block], str],
    progress: bool | None,
    checkpoint: Checkpoint,
) -> Ran:
    """Advances a state block by block, from its checkpoint if there is one.

    Args:
        title: of the progress bar.
        advance: (state, iterations done) -> (new state, {name: output [block, ...]}).
        state: the first state.
        total: iterations.
        block: iterations in a block; what a last block has beyond `total` is cut.
        finished: whether to end before `total`, given the state and all output.
        note: a line beside the bar, given the state and the last output.
        progress: see `lg.fit`.
        checkpoint: where to resume from and to write to.

    Raises:
        KeyboardInterrupt: if there is no output yet.
    """
    blocks: list[Block] = []
    restored = checkpoint.restore(state)
    if restored is not None:
        state, blocks = restored
    interrupted = False
    with bar(title, total, progress) as report:
        try:
            done = min(len(blocks) * block, total)
            while done < total and not (blocks and finished(state, blocks)):
                state, output = advance(state, done)
                kept = min(block, total - done)
                blocks.append({name: np.asarray(value)[:kept] for name, value in jax.device_get(output).items()})
                done += kept
                checkpoint.store(state, len(blocks), blocks[-1])
                report(done, note(state, blocks[-1]))
            report(total, note(state, blocks[-1]))
        except KeyboardInterrupt:
            if not blocks:
                raise
            interrupted = True
    return Ran(state, {name: np.concatenate([one[name] for one in blocks]) for name in blocks[0]}, interrupted)
