"""Checkpoints of a run, by Orbax: save without waiting, restore, average.

    DIR/checkpoints/STEP   the last `keep_last`: everything that training needs to go on
    DIR/checkpoints/0      the weights alone that an import brought, before any training
    DIR/best/STEP          the `keep_best` with the highest validation BLEU: weights alone

Orbax writes arrays and JSON; nothing in a checkpoint is ever executed. A save that was cut off
leaves a temporary folder, which is not taken for a checkpoint.
"""

import itertools
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import Array, Int
from orbax.checkpoint.checkpoint_managers import preservation_policy

from transformer import hosts
from transformer.errors import UserError
from transformer.training.step import TrainState


class Checkpoints:
    """The checkpoints of one training run."""

    def __init__(self, workdir: pathlib.Path, keep_last: int, keep_best: int):
        self._folder = workdir / "checkpoints"
        self._policy = _KeepLast(keep_last)
        self._last = _manager(self._folder, preservation_policy=self._policy)
        _make_way(workdir, self.latest_step or 0)
        self._best = keep_best and _manager(
            workdir / "best", max_to_keep=keep_best, best_fn=lambda metrics: metrics["bleu"]
        )

    @property
    def latest_step(self) -> int | None:
        """The newest step saved, None where there is none."""
        return self._last.latest_step()

    def save(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Starts writing `state`, and `progress` (JSON-able) beside it.

        Of the steps in ``progress["stops"]`` none stays when a later one is saved.
        """
        step = int(state.step)
        if step == self.latest_step:
            return
        self._policy.stops = progress.get("stops", ())
        items = {"params": state.params, "opt_state": state.opt_state, "ema": state.ema}
        arrays = {k: ocp.args.StandardSave(v) for k, v in items.items() if v is not None}
        self._last.save(
            step, args=ocp.args.Composite(progress=ocp.args.JsonSave(progress), **arrays)
        )

    def save_best(self, step: int, params: dict[str, Any], bleu: float) -> None:
        """Keeps `params`, if their score is among the best so far."""
        if self._best and step not in self._best.all_steps():
            arguments = ocp.args.Composite(params=ocp.args.StandardSave(params))
            self._best.save(step, args=arguments, metrics={"bleu": bleu})

    def restore(self, template: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest state, laid out like `template` (shapes with shardings), and its progress.

        Raises:
          UserError: that checkpoint cannot be read; the newest whole one is named.
        """
        return _newest_or_explain(
            self._folder, self._last, self.latest_step, lambda step: self._read(step, template)
        )

    def _read(self, step: int, template: TrainState) -> tuple[TrainState, dict[str, Any]]:
        items = {k: getattr(template, k) for k in ("params", "opt_state", "ema")}
        arrays = {k: ocp.args.StandardRestore(v) for k, v in items.items() if v is not None}
        read = self._last.restore(
            step, args=ocp.args.Composite(progress=ocp.args.JsonRestore(), **arrays)
        )
        step_array = jax.device_put(jax.numpy.asarray(step, "int32"), template.step.sharding)
        state = TrainState(step_array, read["params"], read["opt_state"], read.get("ema"))
        return state, read["progress"]

    def close(self) -> None:
        """Waits until everything is written."""
        for manager in (self._last, self._best):
            if manager:
                manager.close()


def saved_steps(workdir: pathlib.Path, best: bool = False) -> list[int]:
    """The steps that `workdir` holds checkpoints of, oldest first."""
    folder = workdir / ("best" if best else "checkpoints")
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.exists() else []


def _make_way(workdir: pathlib.Path, step: int) -> None:
    """Removes the best weights of steps after `step`: they come again.

    Of a run that begins they are an earlier experiment's, and kept as DIR/best.1, best.2, ...
    """
    if hosts.is_first():
        best = workdir / "best"
        later = [saved for saved in saved_steps(workdir, best=True) if saved > step]
        if later and step == 0:
            names = (workdir / f"best.{number}" for number in itertools.count(1))
            best.rename(next(name for name in names if not name.exists()))
        else:
            for saved in later:
                shutil.rmtree(best / str(saved))
    hosts.gather("way made", None)  # nobody lists them before


def averaged_steps(workdir: pathlib.Path) -> list[int]:
    """Those of `saved_steps` that section 6.1 takes the mean of, oldest first.

    An import's weights are left out, and those of steps at which the run was told to stop: where it
    was interrupted must not decide what it comes to.
    """
    steps = saved_steps(workdir)
    if not any(steps):
        return []
    manager = _manager(workdir / "checkpoints", read_only=True)

    def read(step: int) -> list[int]:
        arguments = ocp.args.Composite(progress=ocp.args.JsonRestore())
        return manager.restore(step, args=arguments)["progress"].get("stops", [])

    stops = _newest_or_explain(workdir / "checkpoints", manager, steps[-1], read)
    manager.close()
    return [step for step in steps if step and step not in stops]


def read_weights(
    workdir: pathlib.Path,
    template: dict[str, Any],
    ema: bool = False,
    average: int = 1,
    best: bool = False,
    step: int | None = None,
) -> tuple[dict[str, Any], list[int]]:
    """Weights to translate with, and the steps they come from.

    Args:
      workdir: the run's folder.
      template: shapes with shardings, nested like the parameters.
      ema: the moving average instead of the parameters (best ones hold what was validated).
      average: the mean of so many checkpoints, at least 1; of several of `averaged_steps`.
      best: by validation BLEU, among those kept for it, instead of the last.
      step: this checkpoint instead of the last; with `average`, it is the last of those averaged.

    Raises:
      UserError: there is no such checkpoint, or it cannot be read.
    """
    steps = saved_steps(workdir, best)
    where = workdir / ("best" if best else "checkpoints")
    if not steps:
        raise UserError(f"{where} holds no checkpoint; train first, or name another --workdir.")
    held = ", ".join(map(str, steps))
    if step is not None and step not in steps:
        raise UserError(f"{where} holds no checkpoint of step {step}; it holds {held}.")
    manager = _manager(where, read_only=True)
    if best:
        steps = sorted(steps, key=lambda saved: manager.metrics(saved)["bleu"])
    elif average > 1:
        steps = averaged_steps(workdir)
        held = f"{', '.join(map(str, steps)) or 'none'} to be averaged"
    if step is not None:
        steps = steps[: steps.index(step) + 1] if best else [s for s in steps if s <= step]
    if len(steps) < average:
        raise UserError(
            f"{average} checkpoints cannot be averaged: {where} holds {held}; lower --average."
        )
    chosen = steps[-average:]
    hosts.same({f"Last checkpoint of {where}": chosen[-1]}, "start again when training has ended")

    def read(step: int) -> dict[str, Any]:
        # Weights that were imported, as step 0, have no moving average yet.
        item = "ema" if ema and not best and step else "params"
        arguments = ocp.args.Composite(**{item: ocp.args.StandardRestore(template)})
        return manager.restore(step, args=arguments)[item]

    mean = None
    for count, saved in enumerate(chosen, 1):
        params = _newest_or_explain(where, manager, saved, read)
        mean = params if mean is None else _running_mean(mean, params, count)
    manager.close()
    return mean, chosen


@jax.jit
def _running_mean(mean: Any, new: Any, count: Int[Array, ""] | int) -> Any:
    return jax.tree.map(lambda m, n: m + (n - m) / count, mean, new)


def _manager(folder: pathlib.Path, read_only: bool = False, **options) -> ocp.CheckpointManager:
    if not read_only:
        folder.mkdir(parents=True, exist_ok=True)
    return ocp.CheckpointManager(
        folder.absolute(),
        options=ocp.CheckpointManagerOptions(
            read_only=read_only, cleanup_tmp_directories=not read_only, **options
        ),
    )


class _KeepLast(preservation_policy.PreservationPolicy):
    """Keeps so many of the newest checkpoints at which the run did not stop, and the newest one."""

    def __init__(self, count: int):
        self._count = count
        self.stops: Sequence[int] = ()

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        last = [step for step in steps if step not in self.stops][-self._count :]
        return [step in last or step == steps[-1] for step in steps]


def _newest_or_explain(folder: pathlib.Path, manager: ocp.CheckpointManager, step: int, read):
    """`read(step)`; where that fails, a sentence that offers the newest step that can be read."""
    try:
        return read(step)
    except MemoryError:
        raise
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):  # the device's memory
            raise
        broken = error
    for older in sorted((s for s in manager.all_steps() if s < step), reverse=True):
        try:
            read(older)
        except Exception:
            continue
        offer = f"the newest whole one before it is step {older}: move {step} away to go on from it"
        break
    else:
        offer = "there is no whole one before it"
    reason = f"{type(broken).__name__}: {str(broken).strip()}".splitlines()[0]
    raise UserError(
        f"checkpoint {folder / str(step)} cannot be read; it is damaged or of another model, or "
        f"the disk failed ({reason[:200]}); {offer}."
    ) from broken
