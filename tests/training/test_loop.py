"""The loop on a model of two tiny layers: what it computes, how it goes on after a kill, what it says when it fails."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tools_server.errors import TrainingDiverged, TrainingFailed, TrainingInterrupted
from tools_server.training.base import Dtype
from tools_server.training.body import Body
from tools_server.training.checkpoint import State, read
from tools_server.training.export import from_peft
from tools_server.training.gate import attach as attach_weights
from tools_server.training.loop import CHECKPOINT, Result, Trainer, first_passes, plan_steps
from tools_server.training.lora import Activation, adapter_state, attach, lowest_block
from tools_server.training.objective import Objective
from tools_server.training.packing import Row, collate, pack
from tools_server.training.types import Example, Hyperparameters, Progress, Target

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

VOCABULARY = 64
BLOCKS = 2
PREFIX = tuple(range(40, 52))
HYPER = Hyperparameters(
    rank=4, learning_rate=1e-2, epochs=4, batch_samples=8, row_tokens=64, rows=2, dropout=0.2, evaluations=4
).resolved(1000)


def bare() -> Any:
    torch.manual_seed(7)
    torch.set_num_threads(1)
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config).eval()


def tiny(hyper: Hyperparameters = HYPER, computed_in: Dtype = "bfloat16") -> tuple[Any, Objective]:
    model, activation = attach(bare(), hyper)
    body = Body(model, lowest_block(hyper, BLOCKS), first_passes(TRAIN, DEV, hyper))
    return model, Objective(model, body, activation, activated=hyper.kind == "alora", computed_in=computed_in)


def sample(word: int, *, free: bool = False, invocation: int = 0) -> Example:
    """Two words, and which of two labels goes with the first one: odd or even."""
    prompt = (*PREFIX, word, word + 1, 30)
    label = 60 + word % 2
    targets = [Target(len(prompt), label, None if free else (60, 61))]
    return Example(prompt, len(prompt), tuple(targets), invocation)


TRAIN = [sample(word) for word in range(25)]
DEV = [sample(word) for word in (3, 8, 13)]


def run(folder: Path, state: State, *, hyper: Hyperparameters = HYPER, **options: Any):
    model, objective = tiny(hyper)
    torch.manual_seed(hyper.seed)
    trainer = Trainer(
        model,
        objective,
        train=options.pop("train", TRAIN),
        dev=DEV,
        folder=folder,
        told=options.pop("told", lambda _: None),
        **options,
    )
    return trainer.run(state)


def fresh(hyper: Hyperparameters = HYPER) -> State:
    return State("tiny", hyper, plan_steps(TRAIN, hyper))


def test_packed_samples_give_the_losses_and_gradients_of_samples_one_by_one():
    model, objective = tiny()
    model.eval()
    samples = [sample(word, free=word % 2 == 0) for word in range(9)]

    def gradients(rows: list[list[Row]]) -> tuple[float, list[Any]]:
        model.zero_grad()
        total = sum(objective(collate(some)).total for some in rows)
        total.backward()
        return float(total.detach()), [value.grad.clone() for value in model.parameters() if value.requires_grad]

    packed, ours = gradients([pack(samples, 64, "0")])
    alone, theirs = gradients([[Row((each,), 0)] for each in samples])
    assert packed == pytest.approx(alone, rel=2e-2)  # bfloat16 inside
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=0.05 * float(other.abs().max()) + 1e-6)


def test_a_row_of_one_sample_is_what_transformers_makes_of_it():
    example = sample(5)
    with torch.no_grad():
        wanted = bare()(input_ids=torch.tensor([list(example.tokens)]), output_hidden_states=True).hidden_states[-1]
        found = Body(attach(bare(), HYPER)[0])(collate([Row((example,), 0)]))
    assert torch.allclose(found[:, : len(example.tokens)], wanted, atol=1e-5)


def test_it_learns_what_the_samples_have_in_common(tmp_path: Path):
    told: list[Progress] = []
    eager = replace(HYPER, learning_rate=3e-2, dropout=0.0, patience=9)
    few = [sample(word) for word in (3, 8, 13, 20)]
    result = run(tmp_path, State("tiny", eager, 60), hyper=eager, told=told.append, train=few)
    assert result.history[-1]["dev_loss"] < 0.5 < told[0].loss
    assert told[-1].step == told[-1].steps == result.steps
    assert [each.step for each in told] == list(range(1, result.steps + 1))
    assert told[-1].seconds_left == 0


@pytest.mark.parametrize("layers", [None, 1])
def test_a_run_that_was_killed_and_resumed_ends_with_the_same_weights(tmp_path: Path, layers: int | None):
    hyper = replace(HYPER, layers=layers)
    whole = run(tmp_path, fresh(hyper), hyper=hyper).adapter
    (tmp_path / CHECKPOINT).unlink()
    calls = itertools.count()
    with pytest.raises(TrainingInterrupted, match="Stopped after step 6 of"):
        run(tmp_path, fresh(hyper), hyper=hyper, should_stop=lambda: next(calls) >= 5)
    resumed = run(tmp_path, read(tmp_path / CHECKPOINT, "tiny"), hyper=hyper).adapter
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_weights_with_the_lowest_loss_on_dev_are_kept_and_a_hopeless_run_ends_early(tmp_path: Path):
    wild = replace(HYPER, learning_rate=3.0, epochs=40, evaluations=40, patience=2)
    result = run(tmp_path, fresh(wild), hyper=wild)
    losses = {each["step"]: each["dev_loss"] for each in result.history}
    assert result.stopped_early
    assert losses[result.best_step] == min(losses.values()) == result.best_loss


def run_measured(
    folder: Path, hyper: Hyperparameters, measured: Iterator[tuple[float, float]], *, begun: bool = False
) -> tuple[Result, Any]:
    """Train the tiny model with given measurements on dev; give the result and the model."""
    model, objective = tiny(hyper)
    train = [sample(word) for word in range(25)]
    trainer = Trainer(model, objective, train=train, dev=[sample(3)], folder=folder, told=lambda _: None, begun=begun)
    trainer.evaluate = lambda hyper: next(measured)  # pyright: ignore[reportAttributeAccessIssue]
    return trainer.run(fresh(hyper)), model


def test_the_step_with_most_right_is_kept_where_that_is_asked_for_though_its_loss_is_higher(tmp_path: Path):
    by_right = replace(HYPER, choose_by="right", patience=9, evaluations=4)
    measured = iter([(0.2, 0.4), (0.3, 0.6), (0.5, 0.6), (0.4, 0.5)])
    result, _ = run_measured(tmp_path, by_right, measured)
    assert [each["dev_accuracy"] for each in result.history] == [0.4, 0.6, 0.6, 0.5]
    assert result.best_step == result.history[1]["step"], "of equals the one with the lower loss"
    assert result.best_loss == 0.3


def test_the_last_step_is_kept_where_that_is_asked_for_though_it_is_worse_than_what_it_went_on_from(tmp_path: Path):
    last = replace(HYPER, choose_by="last", patience=1, evaluations=4)
    measured = iter([(0.1, 0.9), (0.3, 0.6), (0.5, 0.6), (0.4, 0.5), (0.4, 0.4)])
    result, model = run_measured(tmp_path, last, measured, begun=True)
    assert (result.best_step, result.best_loss) == (result.steps, 0.4)
    assert all(torch.equal(value, adapter_state(model)[name]) for name, value in result.adapter.items())


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_lower(tmp_path: Path):
    model, objective = tiny()
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.fill_(float("nan"))
    trainer = Trainer(
        model, objective, train=[sample(word) for word in range(9)], dev=[], folder=tmp_path, told=lambda _: None
    )
    with pytest.raises(TrainingDiverged, match=r"The loss is nan at step 1 of \d+.*\n?.*Lower --learning-rate"):
        trainer.run(fresh())


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path):
    run(tmp_path, fresh())
    with pytest.raises(TrainingFailed, match="belongs to another run"):
        read(tmp_path / CHECKPOINT, "another")
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingFailed, match="cannot be read"):
        read(tmp_path / CHECKPOINT, "tiny")


def test_upper_blocks_alone_learn_from_kept_states_what_they_would_from_the_whole_model():
    hyper = replace(HYPER, layers=1, dropout=0.0)
    model, kept = tiny(hyper, "float32")  # so that no rounding hides a fault
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    assert names
    assert all(".layers.1." in name for name in names)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.5)
    model.eval()
    whole = Objective(model, Body(model), Activation(), activated=False, computed_in="float32")
    later = pack(TRAIN, 48, "another order")

    def gradients(objective: Objective, rows: list[Row]) -> list[Any]:
        model.zero_grad()
        objective(collate(rows)).total.backward()
        return [value.grad.clone() for value in model.parameters() if value.requires_grad]

    calls: list[int] = []
    lowest = model.get_base_model().model.layers[0]
    lowest.register_forward_hook(lambda *_: calls.append(1))
    for rows in (later[:2], later[2:], later[:2]):
        ours = gradients(kept, rows)
        computed = len(calls)
        for one, other in zip(ours, gradients(whole, rows), strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        assert len(calls) == computed + 1
    passes = sum(1 for _ in first_passes(TRAIN, DEV, hyper))
    assert len(calls) <= passes + 3, "each sample went through the lower block once, besides those of the whole model"


def test_more_layers_than_the_model_has_are_refused():
    with pytest.raises(TrainingFailed, match=r"layers is 3; the model has 2.*\n?.*Give 1 to 2"):
        attach(bare(), replace(HYPER, layers=3))


def test_an_activated_adapter_changes_nothing_before_its_invocation():
    model, objective = tiny(replace(HYPER, kind="alora", dropout=0.0))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.5)
    model.eval()
    at = len(PREFIX) + 2

    def hidden(invocation: int) -> Any:
        seen: list[Any] = []
        handle = model.get_base_model().model.norm.register_forward_hook(lambda *args: seen.append(args[2]))
        with torch.no_grad():
            objective(collate(pack([sample(5, invocation=invocation)], 64, "0")))
        handle.remove()
        return seen[0][0, : len(PREFIX) + 3].float()

    never = hidden(len(PREFIX) + 3)  # acts from behind the last token on: nowhere
    acting = hidden(at)
    assert torch.equal(never[:at], acting[:at])
    assert not torch.allclose(never[at:], acting[at:], atol=1e-2)


def test_the_mask_of_an_activated_adapter_does_what_peft_does():
    model, objective = tiny(replace(HYPER, kind="alora", dropout=0.0))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.5)
    model.eval()
    weights = from_peft(model, invocation_tokens=(30,))
    example = sample(5, invocation=len(PREFIX) + 2)
    seen: list[Any] = []
    handle = model.get_base_model().model.norm.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        objective(collate(pack([example], 64, "0")))
    handle.remove()
    theirs = attach_weights(bare(), weights)
    with torch.no_grad():
        wanted = theirs(input_ids=torch.tensor([list(example.tokens)]), output_hidden_states=True).hidden_states[-1]
        plain = bare()(input_ids=torch.tensor([list(example.tokens)]), output_hidden_states=True).hidden_states[-1]
    # The objective computes in bfloat16; what an adapter changes is far more than that rounds.
    found = seen[0][:, : len(example.tokens)].float()
    assert float((found - wanted).norm()) < 0.05 * float((plain - wanted).norm())


def test_parameters_of_the_base_stay_as_they_are(tmp_path: Path):
    model, objective = tiny()
    before = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    trainer = Trainer(
        model, objective, train=[sample(word) for word in range(9)], dev=[], folder=tmp_path, told=lambda _: None
    )
    trainer.run(fresh())
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters() if name in before)
    assert set(adapter_state(model)) == {name for name, value in model.named_parameters() if value.requires_grad}
