"""A training run from config to checkpoints, read top to bottom: data -> model -> step -> loop."""

import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from transformer import config as config_lib
from transformer import hosts
from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.corpus import has_validation
from transformer.data.pipeline import TrainData
from transformer.sharding import make_mesh, put_batch, row_blocks, shape_template
from transformer.training import workdir as workdir_lib
from transformer.training.checkpoint import Checkpoints, averaged_steps, read_weights, saved_steps
from transformer.training.lock import taken
from transformer.training.meter import Meter
from transformer.training.metrics import MetricsLog, Progress, kinds_logged, say_line
from transformer.training.prepare import (
    load_validation,
    prepare_start,
    prepare_validation,
    row_multiple,
)
from transformer.training.profiler import Profiler
from transformer.training.signals import StopRequest
from transformer.training.step import (
    StepMetrics,
    TrainState,
    decoding_params,
    make_train_step,
    state_template,
)
from transformer.training.validation import Validator


class Run(NamedTuple):
    """What stays the same from the first step to the last."""

    config: Config
    workdir: pathlib.Path
    mesh: Mesh
    data: TrainData
    validate: Validator | None
    train_step: Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]
    checkpoints: Checkpoints


def train(config: Config, workdir: pathlib.Path, profile: bool = False) -> dict[str, Any]:
    """Trains, or goes on with what `workdir` holds, until `config.training.num_steps`.

    SIGTERM and Ctrl-C save first; the same call then goes on as if nothing had happened: same
    losses, same data order, same weights, to the bit. Several processes (`transformer.hosts`) call
    this with the same arguments: a signal to one of them stops all, and the first one alone writes
    logs. With `profile` the first one writes a trace of a few steps as well.

    Returns:
      The last validation's record, empty without a validation set.

    Raises:
      UserError: a mistake in the config, the data or the folder; a difference in them between
        processes; or a loss that is not finite.
      KeyboardInterrupt: Ctrl-C, after saving.
      SystemExit: SIGTERM, after saving; its status is 0.
    """
    hosts.same(config_lib.flatten(config_lib.to_dict(config), "config."))
    mesh = make_mesh(config.mesh)
    workdir_lib.check(workdir, config)
    done = max(saved_steps(workdir), default=0)
    last = config.training.num_steps
    if done > last or (done == last and _is_judged(config, workdir, done)):
        return _nothing_to_do(workdir, done)
    with taken(workdir), jax.set_mesh(mesh):
        run, state, progress = _prepare(config, workdir, mesh, say=say_line)
        with StopRequest() as stop:
            result = _loop(run, state, progress, stop, profile)
    return result


def _nothing_to_do(workdir: pathlib.Path, step: int) -> dict[str, Any]:
    say_line(f"nothing to do: the run in {workdir} ended at step {step}")
    return {}


def _is_judged(config: Config, workdir: pathlib.Path, step: int) -> bool:
    """Whether the log has the scores of a run that ended at `step`, and not before it had them."""
    if not has_validation(config.data):
        return True
    kinds = hosts.gather("kinds", sorted(kinds_logged(workdir, step)))[0]
    averaged = any(kind.startswith("average of ") for kind in kinds)
    return "validation" in kinds and (averaged or _average_count(config, workdir) < 2)


def _average_count(config: Config, workdir: pathlib.Path) -> int:
    """Of how many checkpoints the mean is scored at the end; below 2 there is none."""
    return min(config.training.average_last, len(averaged_steps(workdir)))


def _prepare(
    config: Config, workdir: pathlib.Path, mesh: Mesh, say: Callable[[str], None]
) -> tuple[Run, TrainState, dict[str, Any]]:
    """Data, model and state: new ones, or the ones that `workdir` holds."""
    held_out = load_validation(config)
    stored = workdir_lib.stored_vocabulary(workdir, config.data.vocab_path)
    rows = row_multiple(config, mesh, workdir_lib.stored_row_multiple(workdir))
    new = not any(saved_steps(workdir))  # step 0 is an import's
    data, tokenizer, init, shardings = prepare_start(config, stored, mesh, rows, say, new)
    validate = prepare_validation(config, mesh, tokenizer, held_out, shardings, say)
    # Once the data is the run's, nothing can be wrong any more: the folder becomes this run's.
    workdir_lib.describe_data(workdir, data, validate.num_pairs if validate else 0, rows)
    workdir_lib.claim(workdir, config, tokenizer)
    checkpoints = Checkpoints(workdir, config.training.keep_last, config.training.keep_best)
    progress = {
        "data": None,
        "best_bleu": None,
        "stale": 0,
        "validated": 0,
        "stops": [],
        "unreported": [],
    }
    template = state_template(init, shardings)
    if not checkpoints.latest_step:
        state = init()
        if checkpoints.latest_step == 0:
            state = _with_imported(state, read_weights(workdir, template.params, step=0)[0])
            say(f"begins with the weights that {workdir} holds")
        count = workdir_lib.describe(workdir, state.params)
        say(f"model: {count:,} parameters, {jax.device_count()} x {jax.devices()[0].device_kind}")
    else:
        state, stored = checkpoints.restore(template)
        progress |= {"validated": int(state.step)} | stored
        say(f"resumed {workdir} at step {int(state.step)}")

    train_step = make_train_step(config, tokenizer.vocab_size, mesh, shardings)
    return Run(config, workdir, mesh, data, validate, train_step, checkpoints), state, progress


def _with_imported(state: TrainState, params: dict[str, Any]) -> TrainState:
    """Step 0 with other weights; the average gets its own copy, since updates reuse the buffers."""
    return state._replace(params=params, ema=state.ema and jax.tree.map(jnp.copy, params))


def _loop(
    run: Run, state: TrainState, progress: dict[str, Any], stop: StopRequest, profile: bool
) -> dict[str, Any]:
    """Trains from `state` on; returns the last validation's record."""
    training, step = run.config.training, int(state.step)
    stopped_early = 0 < training.patience <= progress["stale"]
    if stopped_early and _is_judged(run.config, run.workdir, step):
        run.checkpoints.close()
        return _nothing_to_do(run.workdir, step)
    last = stopped_early or step == training.num_steps
    batches = run.data.iterator(row_blocks(run.mesh))
    if progress["data"] is not None:
        batches.set_state(progress["data"])
    again = (last or step % training.eval_every == 0) and progress["validated"] < step
    log, bar = MetricsLog(run.workdir, step, again), Progress(training.num_steps, step)
    unreported = progress["unreported"]
    meter = Meter(run.config, run.workdir, run.checkpoints, log, bar, step, unreported)
    profiler = _profiler(run, bar) if profile else None
    result: dict[str, Any] = {}

    def save() -> None:
        meter.drain()  # a loss that is not finite is never saved
        place = {"data": batches.get_state(), "unreported": meter.unreported}
        run.checkpoints.save(state, progress | place)

    def validate() -> bool:
        """Whether the run is to end early."""
        nonlocal result
        meter.drain()
        result = _validate(run, decoding_params(state), step, log, bar)
        _judge(run, state, result["bleu"], progress)
        meter.restart_clock()
        return 0 < training.patience <= progress["stale"]

    try:
        if run.validate and again:
            validate()
        while not (last or stop.reached(step)):
            if profiler:
                profiler.before(step, state)
            with jax.profiler.StepTraceAnnotation("train", step_num=step + 1):
                batch = next(batches)
                state, metrics = run.train_step(state, put_batch(run.mesh, batch))
            step += 1
            if profiler:
                profiler.after(batch, state)
            meter.add(step, batch, metrics)
            last = step == training.num_steps
            if step % training.log_every == 0 or last:
                meter.report()
            due = last or step % training.checkpoint_every == 0
            if due and not training.patience:
                save()  # a preemption may not wait for the validation
            if run.validate and (last or step % training.eval_every == 0):
                last |= validate()
            if due or last:
                save()
        if stop.signal:
            if step != run.checkpoints.latest_step:
                progress["stops"].append(step)
            save()
            bar.message(f"{stop.signal.name}: saved step {step}; the same command goes on from it")
    finally:
        # Also after an error: what was handed to Orbax is whole before the process ends.
        run.checkpoints.close()
        if profiler:
            profiler.close()
        bar.close()
    if run.validate and last:
        result = _validate_average(run, state, step, log, bar) or result
    log.close()
    if stop.signal is signal.SIGINT:
        raise KeyboardInterrupt
    if stop.signal:
        raise SystemExit(0)  # nothing that was to follow begins
    return result


def _profiler(run: Run, bar: Progress) -> Profiler:
    training = run.config.training
    breaks = [training.checkpoint_every] + [training.eval_every] * (run.validate is not None)
    folder = run.workdir / workdir_lib.PROFILE
    return Profiler(folder, run.data.shapes, breaks, training.num_steps, bar.message)


def _validate(run: Run, params, step: int, log: MetricsLog, bar: Progress, kind="validation"):
    started = time.time()
    result = run.validate(params, bar.note)
    record = result | {"seconds": round(time.time() - started, 2)}
    log.write(kind, step, record, run.validate.draw_attention(params))
    bar.keep(f"BLEU {result['bleu']:.2f}")
    bar.message(
        f"step {step}: {kind} loss {result['loss']:.4f}, perplexity {result['perplexity']:.2f}, "
        f"accuracy {result['accuracy']:.1%}, BLEU {result['bleu']:.2f} "
        f"({time.time() - started:.0f} s)"
    )
    return result


def _judge(run: Run, state: TrainState, bleu: float, progress: dict[str, Any]) -> None:
    """Keeps the weights if they are the best so far, and counts validations without a better."""
    progress["validated"] = int(state.step)
    run.checkpoints.save_best(int(state.step), decoding_params(state), bleu)
    if progress["best_bleu"] is None or bleu > progress["best_bleu"]:
        progress |= {"best_bleu": bleu, "stale": 0}
    else:
        progress["stale"] += 1


def _validate_average(run: Run, state: TrainState, step: int, log: MetricsLog, bar: Progress):
    """Scores the mean of the last checkpoints beside the last one (section 6.1)."""
    hosts.gather("written", None)  # the first process has deleted those that are not kept
    count = _average_count(run.config, run.workdir)
    if count < 2:
        return None
    template = shape_template(state.params, jax.tree.map(lambda a: a.sharding, state.params))
    params, _ = read_weights(run.workdir, template, ema=state.ema is not None, average=count)
    return _validate(run, params, step, log, bar, f"average of {count}")
