"""Interrupts, exceptions of callbacks, threads, lifetimes."""
import gc
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from conftest import SHAPE

import rlhf
from rlhf import _core

LONG = dict(max_new_tokens=56, use_stop_tokens=False)
BATCH = [[2, 3, 4]] * 600


class At:
    """A progress callback that does something the `count`-th time it is called where `when` says
    yes to its arguments."""

    def __init__(self):
        self.action, self.count, self.stages = None, 0, []

    def arm(self, action, count=1, when=lambda *_: True):
        self.action, self.count, self.when = action, count, when

    def __call__(self, stage, done, total):
        self.stages.append(stage)
        if self.action is not None and self.when(stage, done, total):
            self.count -= 1
            if self.count == 0:
                action, self.action = self.action, None
                action()


@pytest.fixture
def at():
    return At()


@pytest.fixture
def watched(at):
    with rlhf.Context(threads=2, seed=1, progress=at) as context:
        yield rlhf.Model(context=context, **SHAPE)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def tokens(answers):
    return [answer.tokens.tolist() for answer in answers]


def run_child(code, **options):
    """A script with the package and the tests' conftest at hand."""
    path = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "PYTHONPATH": path}, **options)


# ---- interrupts -------------------------------------------------------------------------

def test_interrupted_generation_goes_on_to_the_same_answers(watched, at):
    expected = tokens(watched.generate(BATCH, **LONG))
    generator = rlhf.Generator(watched, **LONG)
    generator.start(BATCH)
    at.arm(interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        generator.run()
    assert isinstance(caught.value.__context__, rlhf.CancelledError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    generator.run()
    assert tokens(generator.results()) == expected


def test_interrupted_step_goes_on_to_the_same_weights(watched, at, prompts):
    options = dict(max_new_tokens=50, num_epochs=2, num_minibatches=4, stop_token_id=-2)
    many = prompts * 40
    other = watched.clone()
    rm = rlhf.RewardModel.from_model(watched)
    expected = rlhf.PPOTrainer(other, rm, **options).step(many)
    ppo = rlhf.PPOTrainer(watched, rm, **options)
    interrupts = 0
    for count in (1, 4, 2):  # as a stage ends it may come after the last step
        at.arm(interrupt, count, when=lambda stage, done, total: done < total)
        try:
            stats = ppo.step(many)
            break
        except KeyboardInterrupt:
            interrupts += 1
    else:
        at.action = None
        stats = ppo.step(many)
    assert interrupts > 0
    assert stats["policy_loss"] == expected["policy_loss"]
    for name in other.parameters():
        assert np.array_equal(other.read_parameter(name), watched.read_parameter(name)), name


def test_update_goes_on_after_an_interrupt(watched, at, prompts):
    options = dict(max_new_tokens=50, num_epochs=2, num_minibatches=4, stop_token_id=-2)
    many = prompts * 40
    other = watched.clone()
    results = []
    for policy in (other, watched):
        ppo = rlhf.PPOTrainer(policy, None, **options)
        rollout = ppo.rollout(many)
        rollout.scores[:] = np.arange(len(many)) % 5
        ppo.advantages(rollout)
        if policy is watched:
            at.arm(interrupt)
            with pytest.raises(KeyboardInterrupt):
                ppo.update(rollout)
        results.append(ppo.update(rollout)["policy_loss"])
    assert results[0] == results[1]


def lengths(rollout):
    return [float(sequence.tokens.sum() % 7) for sequence in rollout]


def lengths_later(rollout):
    """So that progress is due at once in what comes then."""
    time.sleep(0.06)
    return lengths(rollout)


def assert_alike(model, other):
    for name in model.parameters():
        assert np.array_equal(model.read_parameter(name), other.read_parameter(name)), name


@pytest.mark.parametrize("where", ["reward", "score", "train"])
def test_resumed_step_with_a_reward_function_goes_on_to_the_bit(watched, at, prompts, tmp_path,
                                                                where):
    """Stopped in the function, in advantages ("score") or in the update ("train")."""
    options = dict(max_new_tokens=50, num_epochs=2, num_minibatches=4, stop_token_id=-2, lr=1e-3)
    many = prompts * 40
    straight, resumed = watched.clone(), watched.clone()
    uninterrupted = rlhf.PPOTrainer(straight, lengths, **options)
    expected = [uninterrupted.step(many) for _ in range(2)]

    def reward(rollout):
        if where == "reward":
            interrupt()
        return lengths_later(rollout)
    ppo = rlhf.PPOTrainer(watched, reward, **options)
    if where != "reward":
        at.arm(interrupt, when=lambda stage, done, total: stage == where and done < total)
    with pytest.raises(KeyboardInterrupt):
        ppo.step(many)
    ppo.save(tmp_path / "state")
    again = rlhf.PPOTrainer(resumed, lengths, **options)
    again.resume(tmp_path / "state")
    for whole in expected:
        stats = again.step(many)
        for name in ("iteration", "num_episodes", "score", "kl", "policy_loss", "value_loss"):
            assert stats[name] == whole[name], name
    assert_alike(straight, resumed)


@pytest.mark.parametrize("kind", ["model", "function"])
def test_interrupt_as_an_update_ends_is_raised_once_and_ends_it(watched, at, prompts, kind):
    """The next step is of another iteration, on samples of its own."""
    options = dict(max_new_tokens=6, num_epochs=2, stop_token_id=-2, lr=1e-3)
    rm = rlhf.RewardModel.from_model(watched)
    reward = rm if kind == "model" else lengths
    other = watched.clone()
    expected = rlhf.PPOTrainer(other, reward, **options)
    expected.step(prompts)
    expected.step(prompts)
    ppo = rlhf.PPOTrainer(watched, reward, **options)
    at.arm(interrupt, when=lambda stage, done, total: stage == "train" and done == total)
    with pytest.raises(KeyboardInterrupt):
        ppo.step(prompts)
    assert ppo.num_iterations == 1
    assert ppo.step(prompts)["iteration"] == 2
    assert_alike(other, watched)


def at_the_end(name):
    return lambda stage, done, total: stage == name and done == total


def test_interrupt_as_a_stage_ends_leaves_what_was_done(watched, at, prompts, tmp_path):
    """It is raised once, by the call in which it came."""
    other = watched.clone()
    dataset = rlhf.Dataset(kind="text", context=watched.context)
    for prompt in prompts:
        dataset.append(list(prompt))
    expected = rlhf.LMTrainer(other, dataset, batch_size=4)
    losses = [expected.step()["loss"] for _ in range(2)]
    dataset.rewind()
    trainer = rlhf.LMTrainer(watched, dataset, batch_size=4)
    generator = rlhf.Generator(watched, max_new_tokens=4)
    generator.start(prompts)
    ppo = rlhf.PPOTrainer(watched.clone(), None, max_new_tokens=4)
    path = tmp_path / "model"
    for stage, call in (("generate", generator.run), ("train", trainer.step),
                        ("evaluate", lambda: trainer.evaluate(dataset)),
                        ("logits", lambda: watched.logits(prompts)),
                        ("save", lambda: watched.save(path)),
                        ("load", lambda: rlhf.Model.load(path, context=watched.context)),
                        ("generate", lambda: ppo.rollout(prompts))):
        at.arm(interrupt, when=at_the_end(stage))
        with pytest.raises(KeyboardInterrupt) as caught:
            call()
        assert caught.value.__context__ is None, stage
        assert len(watched.logits(BATCH)) == len(BATCH)  # no cancellation is left over
    assert len(generator.results()) == len(prompts)
    assert trainer.num_steps == 1 and trainer.step()["loss"] == losses[1]
    assert_alike(other, watched)
    assert rlhf.Model.load(path, context=watched.context).config == watched.config
    assert ppo.rollout(prompts)[0].sequence_id == len(prompts)  # the first was drawn


def test_interrupt_between_two_stages_ends_the_call_in_the_second(watched, at, prompts):
    many = prompts * 40
    ppo = rlhf.PPOTrainer(watched, rlhf.RewardModel.from_model(watched), max_new_tokens=50,
                          num_epochs=4, num_minibatches=4, stop_token_id=-2)
    at.arm(interrupt, when=at_the_end("generate"))
    with pytest.raises(KeyboardInterrupt) as caught:
        ppo.step(many)
    assert isinstance(caught.value.__context__, rlhf.CancelledError)
    assert ppo.num_iterations == 0 and ppo.step(many)["iteration"] == 1


def test_interrupt_as_a_rollout_ends_does_not_lose_it(model, prompts, monkeypatch):
    """The ids of its sequences are spent."""
    options = dict(max_new_tokens=6, stop_token_id=-2)
    expected = rlhf.PPOTrainer(model.clone(), lengths, **options).step(prompts)
    ppo = rlhf.PPOTrainer(model, lengths, **options)
    invoke = _core.invoke

    def interrupted(*arguments, **options):
        monkeypatch.undo()
        invoke(*arguments, **options)
        raise KeyboardInterrupt
    for name in ("_core", "_ppo"):
        monkeypatch.setattr(f"rlhf.{name}.invoke", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ppo.step(prompts)
    assert ppo.step(prompts)["policy_loss"] == expected["policy_loss"]


def test_interrupted_resume_without_a_rollout_leaves_none_in_hand(watched, at, prompts, tmp_path):
    """One that fails leaves the one that is."""
    drawn = []

    def reward(rollout):
        drawn.append(rollout[0].sequence_id)
        return lengths(rollout)
    ppo = rlhf.PPOTrainer(watched, reward, max_new_tokens=6)
    ppo.save(tmp_path / "state")
    ppo.rollout(prompts)
    rollout = ppo.rollout(prompts)
    assert rollout[0].sequence_id == len(prompts)
    with pytest.raises(rlhf.NotFoundError):
        ppo.resume("nowhere")
    assert ppo._held() is rollout
    at.arm(interrupt, when=at_the_end("resume"))
    with pytest.raises(KeyboardInterrupt):
        ppo.resume(tmp_path / "state")
    ppo.step(prompts)
    assert drawn == [0]  # as with the saved trainer


def test_step_of_other_prompts_leaves_an_interrupted_update(watched, at, prompts):
    options = dict(max_new_tokens=50, num_epochs=2, num_minibatches=4, stop_token_id=-2)
    many = prompts * 40
    other = watched.clone()
    expected = rlhf.PPOTrainer(other, lengths, **options)
    for batch in (many, prompts):
        expected.step(batch)
    ppo = rlhf.PPOTrainer(watched, lengths, **options)
    at.arm(interrupt, when=lambda stage, done, total: stage == "train" and done < total)
    with pytest.raises(KeyboardInterrupt):
        ppo.step(many)
    with pytest.raises(rlhf.StateError, match="under way"):
        ppo.step(prompts)
    with pytest.raises(rlhf.NotFoundError):
        ppo.resume("nowhere")
    for batch in (many, prompts):
        ppo.step(batch)
    assert_alike(other, watched)


def test_step_goes_on_with_an_interrupted_rollout_that_was_closed(watched, at, prompts):
    """A `with` closes it, drawn or in the middle of its update."""
    options = dict(max_new_tokens=50, num_epochs=2, num_minibatches=4, stop_token_id=-2)
    many = prompts * 40
    other = watched.clone()
    expected = rlhf.PPOTrainer(other, lengths, **options)
    ppo = rlhf.PPOTrainer(watched, lengths_later, **options)
    for stage in "score", "train":
        expected.step(many)
        at.arm(interrupt, when=lambda name, done, total: name == stage and done < total)
        with pytest.raises(KeyboardInterrupt), ppo.rollout(many) as rollout:
            ppo.update(rollout)
        assert rollout.closed and repr(rollout) == "Rollout(closed)"
        ppo.step(many)
    assert_alike(other, watched)
    before = watched.context.memory()["total_now"]
    ppo.rollout(many).close()
    kept = watched.context.memory()["total_now"]
    ppo.close()
    assert kept > before > watched.context.memory()["total_now"]


def test_other_signals_run_their_handlers_within_a_call(watched, at):
    """One that returns changes nothing, one that raises ends the call."""
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        at.arm(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        watched.generate(BATCH, **LONG)
        assert heard == [signal.SIGUSR1]

        def overdue(number, frame):
            raise TimeoutError("mine")
        signal.signal(signal.SIGUSR1, overdue)
        at.arm(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        with pytest.raises(TimeoutError, match="mine"):
            watched.generate(BATCH, **LONG)
        assert signal.getsignal(signal.SIGUSR1) is overdue
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(watched.generate(BATCH[:2], **LONG)) == 2  # no cancellation is left over


@pytest.mark.parametrize("stage, call", [
    ("tokenizer", "rlhf.Tokenizer.train('ab cd ' * 10**7)"),
    ("generate", "model.generate([[2, 3]] * 20000, max_new_tokens=60, use_stop_tokens=False)"),
    ("logits", "model.logits([[2] * 64] * 10000)"),
    ("logprobs", "model.logprobs([[2] * 64] * 50000)"),
    ("train", "rlhf.PPOTrainer(model, None, num_epochs=10**6).update(rollout)")])
def test_sigint_from_outside_ends_a_long_call(stage, call):
    """Each would take many seconds; one that comes to its end fails the test."""
    child = run_child(f"""
        import sys
        import rlhf
        from conftest import SHAPE
        calls = []
        def progress(stage, done, total):
            calls.append(stage)
            if stage == "{stage}" and calls.count(stage) == 2:
                print("ready", flush=True)
        model = rlhf.Model(context=rlhf.Context(threads=1, progress=progress), **SHAPE)
        rollout = rlhf.Rollout(context=model.context)
        for i in range(200):
            rollout.append([2] * 60, [0] * 10 + [1] * 50, score=i)
        try:
            {call}
        except KeyboardInterrupt as error:
            print(type(error.__context__).__name__)
            assert model.logits([[2]])[0].shape == (1, 48)
            sys.exit(3)
        """)
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=100)
    finally:
        child.kill()
    assert (child.returncode, out) == (3, "CancelledError\n"), err
    assert "Exception ignored" not in err


def test_main_thread_is_interrupted_while_it_waits_for_another(watched, at):
    """Its turn on the context has not come yet."""
    started = threading.Event()
    stop = threading.Event()
    at.arm(lambda: (started.set(), stop.wait(60)))
    other = threading.Thread(target=lambda: watched.generate(BATCH[:50], **LONG))
    other.start()
    assert started.wait(60)
    threading.Timer(0.1, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        watched.logits([[2]])
    stop.set()
    other.join()


# ---- exceptions -------------------------------------------------------------------------

class Mine(Exception):
    pass


def fail(*_):
    raise Mine("words")


def test_sampler_that_raises_and_the_call_that_goes_on(watched):
    expected = tokens(watched.generate(BATCH[:3], sampler=rlhf.Greedy(), **LONG))
    left = [40]

    def sample(logits, info):
        left[0] -= 1
        if left[0] == 0:
            raise Mine("words")
        return logits.argmax()
    generator = rlhf.Generator(watched, sample, **LONG)
    generator.start(BATCH[:3])
    with pytest.raises(Mine, match="words") as caught:
        generator.run()
    assert isinstance(caught.value.__context__, rlhf.CallbackError)
    assert "sample" in [frame.name for frame in caught.traceback]
    generator.run()
    assert tokens(generator.results()) == expected
    with pytest.raises(ValueError, match="token 99"):
        watched.generate(BATCH[:1], sampler=lambda logits, info: 99)
    for where in ({"begin": fail}, {"end": fail}):
        with pytest.raises(Mine):
            watched.generate(BATCH[:1], sampler=rlhf.CustomSampler(lambda x, i: 2, **where),
                             max_new_tokens=2)


def test_sampler_that_raises_in_ppo(watched, prompts):
    ppo = rlhf.PPOTrainer(watched, None, max_new_tokens=4, allow_biased_rollout=True)
    ppo.set_sampler(fail)
    with pytest.raises(Mine):
        ppo.rollout(prompts)
    ppo.set_sampler(None)
    assert len(ppo.rollout(prompts)) == len(prompts)


def test_progress_log_text_and_source_that_raise(watched, at, tokenizer, tmp_path):
    at.arm(fail)
    with pytest.raises(Mine):
        watched.logits(BATCH)
    assert len(watched.logits(BATCH[:2])) == 2

    with rlhf.Context(threads=1, log=fail, log_level="info") as context:
        path = tmp_path / "rows.jsonl"
        path.write_text('{"text": "the cat"}\n')
        with pytest.raises(Mine):
            rlhf.Dataset.load(path, rlhf.Tokenizer.train(["the cat"], context=context))

    model = rlhf.Model(context=tokenizer._context, **{**SHAPE, "vocab_size": len(tokenizer)})
    with pytest.raises(Mine):
        model.generate([tokenizer.encode("the cat")], tokenizer=tokenizer, text=fail,
                       max_new_tokens=20)

    def rows():
        yield {"tokens": [2, 3, 4]}
        raise Mine("words")
    dataset = rlhf.Dataset.from_source(rows(), "text", context=watched.context)
    with pytest.raises(Mine):
        rlhf.LMTrainer(watched, dataset, batch_size=4).step()
    with pytest.raises(rlhf.OptionError, match="token"):
        rlhf.Dataset.from_source([{"token": [1]}], "text", context=watched.context).next()
    source = rlhf.Dataset.from_source([], "text", context=watched.context, save=fail, restore=fail)
    with pytest.raises(Mine):
        source.position
    with pytest.raises(Mine):
        source.position = b"somewhere"


def test_context_of_an_exception_keeps_its_own_chain():
    inner, outer, cause = ValueError("inner"), KeyError("outer"), rlhf.StateError(
        "x", status=rlhf.Status.ERR_STATE)
    outer.__context__ = inner
    _core.add_context(outer, cause)
    assert outer.__context__ is inner and inner.__context__ is cause
    _core.add_context(outer, cause)  # no circle
    assert cause.__context__ is None


def test_callback_that_uses_its_own_context_is_busy(watched):
    def sample(logits, info):
        watched.logits([[2]])
    with pytest.raises(rlhf.BusyError):
        watched.generate(BATCH[:1], sampler=sample)
    with rlhf.Context(threads=1) as context:
        other = rlhf.Model(context=context, **SHAPE)
        answers = watched.generate(
            BATCH[:1], max_new_tokens=2,
            sampler=lambda logits, info: other.logits([info.tokens])[0][-1].argmax())
        assert len(answers[0].answer) > 0


def test_callback_may_encode_and_decode(tokenizer):
    """As the README and Context say; a reward function may use anything."""
    model = rlhf.Model(context=tokenizer._context, **{**SHAPE, "vocab_size": len(tokenizer)})
    seen = []

    def sample(logits, info):
        seen.append(tokenizer.decode(tokenizer.encode("the cat")))
        return 2
    prompts = [tokenizer.encode("the cat")] * 2
    model.generate(prompts, sampler=sample, max_new_tokens=1)
    assert seen == ["the cat"] * 2

    def reward(rollout):
        with rlhf.RewardModel.from_model(model) as fresh:
            model.generate(prompts, max_new_tokens=2)
            return fresh.score(rollout.sequences)
    ppo = rlhf.PPOTrainer(model, reward, max_new_tokens=2)
    assert ppo.step(prompts)["iteration"] == 1


def test_cancel_from_another_thread(watched, at):
    at.arm(watched.context.cancel)
    with pytest.raises(rlhf.CancelledError):
        watched.generate(BATCH, **LONG)
    assert len(watched.generate(BATCH[:1], **LONG)) == 1


# ---- threads ----------------------------------------------------------------------------

def test_gil_is_released_in_a_call():
    """A call waits in C for its turn while the call before it runs Python: with the GIL held
    neither would end."""
    child = run_child("""
        import ctypes, threading, time
        import numpy as np
        import rlhf
        from conftest import SHAPE
        model = rlhf.Model(context=rlhf.Context(threads=1), **SHAPE)
        entering, threads = threading.Event(), []
        out = np.zeros(2, np.float32)
        def wait_in_c():
            ids, ends = (ctypes.c_int32 * 2)(2, 3), (ctypes.c_int64 * 2)(0, 2)
            entering.set()
            assert rlhf.lib.rlhf_model_logprobs(
                model._pointer, ids, ends, 1, 1.0,
                out.ctypes.data_as(ctypes.POINTER(ctypes.c_float))) == 0
        def sample(logits, info):
            if not threads:
                threads.append(threading.Thread(target=wait_in_c))
                threads[0].start()
                entering.wait()
                time.sleep(0.1)
            return 2
        model.generate([[2, 3]], sampler=sample, max_new_tokens=5)
        threads[0].join()
        assert out[1] == model.logprobs([[2, 3]])[0][1]
        """)
    try:
        out, err = child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        pytest.fail("no end within 30 s: a call that waits in C holds the GIL", pytrace=False)
    finally:
        child.kill()
    assert child.returncode == 0, out + err


def test_threads_share_a_model(watched, prompts):
    expected = [rows.tobytes() for rows in watched.logits(prompts)]
    found = {}

    def work(number):
        found[number] = [watched.logits([ids])[0].tobytes() for ids in prompts]
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[i] == expected for i in range(4))


def test_close_waits_for_the_call_of_another_thread(watched, at):
    generator = rlhf.Generator(watched, **LONG)
    generator.start(BATCH)
    at.arm(lambda: threading.Thread(target=generator.close).start())
    generator.run()
    while not generator.closed:
        pass
    with pytest.raises(rlhf.StateError, match="this Generator is closed"):
        generator.run()


def test_forked_child_is_refused_and_may_begin_anew(watched):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                watched.logits([[2]])
            except rlhf.StateError:
                watched.close()
                fresh = rlhf.Model(context=rlhf.Context(threads=2), **SHAPE)
                code = 0 if fresh.logits([[2]])[0].shape == (1, 48) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- lifetimes --------------------------------------------------------------------------

def world(context, tmp_path):
    tokenizer = rlhf.Tokenizer.train(["the cat sat"], vocab_size=270, context=context)
    model = rlhf.Model(context=context, **SHAPE)
    texts = rlhf.Dataset.from_source(iter([{"tokens": [2, 3, 4]}] * 100), "text", context=context)
    sampler = rlhf.CustomSampler(lambda logits, info: 2, softmax_temperature=1.0)
    generator = rlhf.Generator(model, sampler, text=lambda i, t: None, tokenizer=tokenizer)
    generator.start([[2, 3]])
    generator.step()
    trainer = rlhf.LMTrainer(model.clone(), texts, batch_size=2)
    trainer.step()
    rm = rlhf.RewardModel.from_model(model)
    ppo = rlhf.PPOTrainer(model, rm, max_new_tokens=3)
    ppo.set_sampler(sampler)
    rollout = ppo.rollout([[2, 3]])
    store = rlhf.Feedback(tmp_path / "store", context=context)
    return [context, tokenizer, tokenizer.stream(), model, texts, sampler, generator, trainer, rm,
            ppo, rollout, store]


@pytest.mark.parametrize("seed", range(6))
def test_objects_go_in_any_order(seed, tmp_path):
    gc.collect()
    before = len(_core.registry)
    order = random.Random(seed)
    objects = world(rlhf.Context(threads=1, log=lambda *_: None), tmp_path)
    assert len(_core.registry) >= before + 3
    order.shuffle(objects)
    while objects:
        thing = objects.pop()
        if order.random() < 0.5:
            thing.close()
            thing.close()
            assert thing.closed
        del thing
        if order.random() < 0.3:
            gc.collect()
    gc.collect()
    assert len(_core.registry) == before


def test_objects_in_a_circle_are_collected(tmp_path):
    gc.collect()
    before = len(_core.registry)
    objects = world(rlhf.Context(threads=1, progress=lambda *_: None), tmp_path)
    for thing in objects:
        thing.circle = objects
    del objects, thing
    gc.collect()
    assert len(_core.registry) == before


def test_use_after_close_is_refused(context, model, tokenizer, pairs, prompts, tmp_path):
    objects = world(context, tmp_path)
    uses = {"Tokenizer": lambda x: x.encode("a"), "TextStream": lambda x: x.push(2),
            "Model": lambda x: x.logits([[2]]), "Dataset": lambda x: x.next(),
            "Generator": lambda x: x.run(), "LMTrainer": lambda x: x.step(),
            "RewardModel": lambda x: x.score([[2]]), "PPOTrainer": lambda x: x.step([[2]]),
            "Rollout": lambda x: x[0], "Feedback": lambda x: x.info,
            "Context": lambda x: x.memory(),
            "CustomSampler": lambda x: rlhf.Generator(model, x)}
    for thing in objects:
        thing.close()
        with pytest.raises(rlhf.StateError, match="is closed"):
            uses[type(thing).__name__](thing)
        with pytest.raises(rlhf.StateError):
            with thing:
                pass
        assert "closed" in repr(thing) or "object" in repr(thing)
    with pytest.raises(TypeError, match="pickled"):
        import pickle
        pickle.dumps(pairs)


def test_program_ends_quietly_whatever_it_still_holds():
    child = run_child("""
        import rlhf
        from conftest import SHAPE
        held = [rlhf.Context(log=print, progress=lambda *_: None)]
        model = rlhf.Model(**SHAPE)
        generator = rlhf.Generator(model, lambda logits, info: 2)
        generator.start([[2, 3]])
        generator.step()
        held += [model, generator, rlhf.PPOTrainer(model), rlhf.Dataset.from_source([], "text"),
                 held]
        """)
    out, err = child.communicate(timeout=100)
    assert (child.returncode, out, err) == (0, "", "")


def test_memory_is_flat_over_many_contexts():
    for round in range(30):
        with rlhf.Context(threads=2) as context:
            model = rlhf.Model(context=context, **SHAPE)
            model.logits([[2, 3]])
            held = context.memory()
            assert held["now"]["weights"] > 0 and held["total_peak"] >= held["total_now"]
        del model
    assert threading.active_count() < 5


def test_arrays_are_handed_over_without_copies(context, model):
    from rlhf import _arrays
    ids = np.arange(2, 40, dtype=np.int32)
    assert np.shares_memory(_arrays.ragged([ids]).tokens, ids)
    square = ids[:36].reshape(6, 6)
    assert np.shares_memory(_arrays.ragged(square).tokens, ids)
    values = np.ones(5, np.float32)
    assert _arrays.floats(values) is values
    first, second = model.logits([[2, 3], [4, 5, 6]])
    assert first.base is second.base and first.base.shape == (5, 48)
    kept = second.copy()
    model.close()
    context.close()
    del model, first
    gc.collect()
    assert np.array_equal(second, kept)  # the view keeps the array that it is of alive


def test_copies_outlive_what_they_were_copied_from(model, prompts):
    ppo = rlhf.PPOTrainer(model, None, max_new_tokens=5)
    rollout = ppo.rollout(prompts)
    rollout.scores[:] = 1
    sequence = rollout[0]
    kept = sequence.tokens.copy(), sequence.logprobs.copy()
    ppo.update(rollout)
    rollout.close()
    ppo.close()
    model.close()
    gc.collect()
    assert np.array_equal(sequence.tokens, kept[0])
    assert np.array_equal(sequence.logprobs, kept[1])


def test_latest_context_serves_what_names_none():
    with rlhf.Context(threads=1, seed=7) as first:
        a = rlhf.Model(**SHAPE)
        assert a.context is first
        with rlhf.Context(threads=2, seed=8) as second:
            b = rlhf.Model(**SHAPE)
            assert b.context is second
        c = rlhf.Model(**SHAPE)
        assert c.context is first and c.context.num_threads == 1
        name = next(iter(a.parameters()))
        assert np.array_equal(a.read_parameter(name), c.read_parameter(name))
        assert not np.array_equal(a.read_parameter(name), b.read_parameter(name))
