"""Mixtures: the draw as data, the rendering against a plain twin, labels against measured energy, levels, shares."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from checkout import ROOT
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from flam_train.batch import SAMPLE_RATE, Pieces
from flam_train.data.mixing import render as rendering
from flam_train.data.mixing.captions import Mention, describe_scene
from flam_train.data.mixing.levels import HOP, a_weighted, describe
from flam_train.data.mixing.source import (
    Bank,
    MixRecipe,
    MixSpec,
    MixtureSource,
    draw,
    pieces,
    record,
    render,
    render_one,
)
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.data.stream.order import Place
from flam_train.vocabulary import Concept, Vocabulary

PAPER = {
    "clip_seconds": 10.0, "background_db": [-55, -45], "events": [1, 10], "event_seconds": None, "choose": "item",
    "at_once": 3, "split_share": 0.1, "split_parts": [2, 3], "repeat_share": 0.1, "repeat_times": [2, 3],
    "snr_db": [6, 30], "peak_db": -1.0, "fade_seconds": 0.01, "inactive_db": -70.0, "inactive_below_peak_db": None,
    "bridge_seconds": 0.15, "shortest_seconds": 0.02, "captions": 3, "caption_words": None,
}  # fmt: skip


def recipe(**changes) -> MixRecipe:
    return MixRecipe.from_dict(PAPER | changes)


def burst(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Noise bursts with digital silence between them."""
    x = rng.standard_normal(round(seconds * SAMPLE_RATE)) * 0.1
    gate = np.repeat(rng.random(len(x) // 4800 + 1) < 0.7, 4800)[: len(x)]
    gate[:4800] = True
    return np.rint(np.clip(x * gate, -1, 1) * 32767).astype(np.int16)


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Bank:
    rng = np.random.default_rng(0)
    items = []
    for label in ("dog", "bell", "rain"):
        for n in range(4):
            waveform = burst(rng, float(rng.uniform(0.4, 2.5)))
            duration = len(waveform) / SAMPLE_RATE
            details = describe(waveform, "event")
            items.append(
                (Record(f"{label}-{n}", duration, events=(Event(0, duration, label),), details=details), waveform)
            )
    for n in range(3):
        waveform = np.rint(rng.standard_normal(11 * SAMPLE_RATE) * 300).astype(np.int16)
        items.append((Record(f"floor-{n}", 11.0, details=describe(waveform, "background")), waveform))
    folder = tmp_path_factory.mktemp("bank")
    (folder / "vocabulary.yaml").write_text(
        "corpus: tiny\nclasses:\n"
        "  dog: {phrasings: [dog barking, a dog barks], held_out: [a dog is barking]}\n"
        "  bell: {phrasings: [bell ringing], held_out: [a bell is ringing]}\n"
        "  rain: {phrasings: [rain], held_out: [it rains]}\n"
    )
    entry = write_shard(folder / "shard-000000.tar", items)
    write_manifest(folder, "tiny", [entry], vocabulary="vocabulary.yaml", annotates=["dog", "bell", "rain"])
    return Bank(folder)


@pytest.fixture(scope="module")
def specs(bank) -> list[MixSpec]:
    return [draw(recipe(), bank, 5, n) for n in range(400)]


def twin(p: Pieces, bank_N: np.ndarray, waveform_BS: np.ndarray) -> np.ndarray:
    """`render` sample by sample in float64."""
    out = waveform_BS.astype(np.float64)
    rows = set()
    for c, s, n, t, g in zip(
        *(x.tolist() for x in (p.clip_P, p.start_P, p.length_P, p.onset_P, p.gain_P)), strict=True
    ):
        fade = min(p.fade, n // 2)
        for k in range(n):
            edge = min(k, n - 1 - k)
            out[c, t + k] += g * bank_N[s + k] * ((edge + 0.5) / fade if edge < fade else 1.0)
        rows.add(c)
    for c in rows:
        out[c] *= min(1.0, 32767 / max(np.abs(out[c]).max(), 1))
    return np.rint(out).astype(np.int16)


@pytest.fixture(params=["one by one", "in layers", "in layers of 2 rows"])
def way(request, monkeypatch):
    """How a CPU mixes, and how a GPU does, here on the CPU."""
    if request.param != "one by one":
        monkeypatch.setattr(rendering, "add_one_by_one", rendering.add_in_layers)
    if "2" in request.param:
        monkeypatch.setattr(rendering, "ROWS", 2)


def test_render_equals_its_plain_twin_and_leaves_other_rows(way):
    rng = np.random.default_rng(3)
    bank_N = rng.integers(-30_000, 30_000, 4000, dtype=np.int16)
    waveform_BS = rng.integers(-2000, 2000, (4, 1000), dtype=np.int16)
    columns = [
        (0, 10, 900, 50, 0.2),
        (2, 100, 300, 0, 1.5),
        (2, 3000, 7, 990, 0.7),
        (2, 200, 500, 100, 1.0),
        (3, 0, 1, 5, 0.1),
    ]
    clip, start, length, onset, gain = (torch.tensor(c) for c in zip(*columns, strict=True))
    p = Pieces(clip, start, length, onset, gain.to(torch.float32), fade=40)
    out = render(p, torch.from_numpy(bank_N), torch.from_numpy(waveform_BS)).numpy()
    expected = twin(p, bank_N, waveform_BS)
    assert out.dtype == np.int16
    assert np.abs(out.astype(int) - expected).max() <= 1
    assert np.array_equal(out[1], waveform_BS[1])
    assert np.abs(out[2].astype(int)).max() == 32767  # scaled down to full scale, not clipped
    assert (np.abs(out[2].astype(int)) >= 32767).sum() <= 2


def test_fades_are_linear_at_both_ends(way):
    p = Pieces(*(torch.tensor([v]) for v in (0, 0, 2000, 100)), torch.tensor([0.5]), fade=480)
    out = render(p, torch.full((2000,), 20_000, dtype=torch.int16), torch.zeros((1, 2400), dtype=torch.int16))[
        0
    ].numpy()
    ramp = np.rint(10_000 * (np.arange(480) + 0.5) / 480)
    assert np.array_equal(out[100:580], ramp)
    assert np.array_equal(out[1620:2100], ramp[::-1])
    assert (out[580:1620] == 10_000).all()
    assert not out[:100].any()
    assert not out[2100:].any()


def test_a_draw_is_pure_plain_data(bank, specs):
    assert draw(recipe(), bank, 5, 7) == specs[7]
    assert draw(recipe(), bank, 5, 8) != specs[7]
    assert draw(recipe(), bank, 6, 7) != specs[7]
    stored = json.loads(record(specs[7], recipe(), bank).check("here").to_json())
    events = [Event(**e) for e in stored["events"]]
    assert MixSpec.from_dict(stored["details"]["spec"], events, stored["captions"]) == specs[7]


def test_the_published_numbers_hold_over_many_draws(specs):
    """10 % split, 10 % repeated, at most 3 at once, 6 to 30 dB, everything inside the clip."""
    kinds = np.array([kind for spec in specs for kind in spec.kinds])
    error = 4 * np.sqrt(0.1 * 0.9 / len(kinds))
    assert len(kinds) > 1500
    # Events that find no place are left out, and repeated ones find a place less often: up to 2 % of them here.
    assert abs((kinds == "split").mean() - 0.1) < error + 0.02
    assert abs((kinds == "repeat").mean() - 0.1) < error + 0.02
    for spec in specs:
        parts = np.bincount([p.event for p in spec.pieces[1:]])
        for kind, count in zip(spec.kinds, parts, strict=True):
            assert (count == 1) if kind == "once" else count in (2, 3)
        assert all(6 <= p.snr_db <= 30 for p in spec.pieces[1:])
        assert all(p.onset >= 0 and p.onset + p.length <= 480_000 for p in spec.pieces)
        busy = np.zeros(480_001, dtype=int)
        for p in spec.pieces[1:]:
            busy[p.onset] += 1
            busy[p.onset + p.length] -= 1
        assert busy.cumsum().max() <= 3


def test_pieces_stand_above_the_background_as_the_spec_says(bank, specs):
    """Measured on rendered audio: A-weighted RMS over the sounding 20 ms of event and background, within 0.5 dB."""
    memory = bank.load()

    def level(piece) -> float:
        x = memory[bank.address[piece.item] + piece.start :][: piece.length].numpy() * piece.gain / 32768
        power = np.array([np.mean(h**2) for h in np.split(a_weighted(x), range(HOP, len(x), HOP))])
        return 10 * np.log10(power[power > power.max() * 10**-3.5].mean())

    checked = 0
    for spec in specs[:40]:
        floor = level(spec.pieces[0])
        for piece in spec.pieces[1:]:
            if spec.kinds[piece.event] != "split":
                assert level(piece) - floor == pytest.approx(piece.snr_db, abs=0.5)
                checked += 1
    assert checked > 100


def test_labels_are_where_the_event_alone_has_energy(bank):
    """Each class rendered alone, without the background: its labels cover the 20 ms that are above the threshold."""
    rules = recipe(bridge_seconds=0.02, fade_seconds=0.0)  # the measuring window does not see shorter gaps
    memory = bank.load()
    for number in range(25):
        spec = draw(rules, bank, 9, number)
        for label in {p.label for p in spec.pieces[1:]}:
            alone = dataclasses.replace(spec, pieces=tuple(p for p in spec.pieces if p.label == label))
            p = pieces([(0, alone)], bank, rules.fade_samples)
            audio = render(p, memory, torch.zeros((1, 480_000), dtype=torch.int16))[0].numpy() / 32768
            power = uniform_filter1d(a_weighted(audio) ** 2, HOP)
            loud = power > 10 ** (-70 / 10)
            labelled = np.zeros(480_000, dtype=bool)
            for e in spec.events:
                if e.label == label:
                    labelled[round(e.onset * SAMPLE_RATE) : round(e.offset * SAMPLE_RATE)] = True
            # Both are windows of 20 ms: their edges agree within one window.
            near = maximum_filter1d(np.diff(loud, prepend=False), 2 * HOP + 1)
            assert not (loud != labelled)[~near].any()


def test_events_of_a_class_never_overlap_and_lie_in_pieces(specs):
    for spec in specs:
        for label in {e.label for e in spec.events}:
            mine = [e for e in spec.events if e.label == label]
            assert all(a.offset < b.onset for a, b in pairwise(mine))
        assert {e.label for e in spec.events} == {p.label for p in spec.pieces[1:]}


def test_inactive_below_peak(bank):
    spec = draw(recipe(inactive_below_peak_db=200), bank, 1, 3)
    assert spec == draw(recipe(), bank, 1, 3)
    assert draw(recipe(inactive_below_peak_db=1), bank, 1, 3).events != spec.events


def test_crops_keep_to_their_range_and_contain_sound(bank):
    rules = recipe(event_seconds=[0.3, 0.6], split_share=0.0, repeat_share=0.0)
    lengths = [p.length for n in range(60) for p in draw(rules, bank, 2, n).pieces[1:]]
    assert max(lengths) <= round(0.6 * SAMPLE_RATE)
    assert min(lengths) >= HOP


def test_loud_mixtures_are_lowered_as_a_whole(bank):
    memory = bank.load()
    for number in range(20):
        spec = draw(recipe(background_db=[-20, -20], snr_db=[20, 30], at_once=1), bank, 3, number)
        out = render(pieces([(0, spec)], bank, 480), memory, torch.zeros((1, 480_000), dtype=torch.int16))
        # Event (at most -1 dBFS) over a background at least 20 dB below.
        assert out.abs().max() < 32767
        assert all(20 <= p.snr_db <= 30 for p in spec.pieces[1:])


def test_online_equals_the_file(bank):
    rules = recipe()
    source = MixtureSource("online", bank, rules, size=100, seed=5)
    memory = bank.load()
    assert source.shard_sizes.tolist() == [100]
    assert source.annotates == ["bell", "dog", "rain"]
    for cursor in (0, 17, 250):
        clip = source.clip(Place(corpus=2, pass_=cursor // 100, index=0, cursor=cursor), seed=1)
        spec = draw(rules, bank, 5, cursor)
        assert clip.corpus == 2
        assert clip.fade == 480
        assert clip.events == record(spec, rules, bank).events
        assert clip.captions == spec.captions
        assert clip.pieces is not None
        flat = torch.tensor([p[:3] for p in clip.pieces])
        gain = torch.tensor([p[3] for p in clip.pieces], dtype=torch.float32)
        p = Pieces(torch.zeros(len(flat), dtype=torch.int64), *flat.unbind(1), gain, clip.fade)
        online = render(p, memory, torch.from_numpy(clip.waveform_S)[None])[0].numpy()
        assert np.array_equal(online, render_one(spec, bank, rules))


def test_both_ways_mix_the_same(bank, specs, monkeypatch):
    p = pieces(list(enumerate(specs[:3])), bank, 480)
    silence, memory = torch.zeros((4, 480_000), dtype=torch.int16), bank.load()
    cpu = render(p, memory, silence)
    monkeypatch.setattr(rendering, "ROWS", 2)
    monkeypatch.setattr(rendering, "add_one_by_one", rendering.add_in_layers)
    assert (cpu.int() - render(p, memory, silence).int()).abs().max() <= 1


@pytest.mark.gpu
def test_the_gpu_renders_the_same(bank, specs):
    rows = list(enumerate(specs[:4]))
    silence = torch.zeros((4, 480_000), dtype=torch.int16)
    cpu = render(pieces(rows, bank, 480), bank.load(), silence)
    gpu = render(pieces(rows, bank, 480), bank.load().cuda(), silence.cuda()).cpu()
    assert (cpu.int() - gpu.int()).abs().max() <= 1


def test_captions_tell_order_and_overlap():
    words = Vocabulary("tiny", {k: Concept(k, (k,), (f"the {k}",)) for k in ("a", "b", "c")})
    scene = [Mention(6.0, 7.0, "c", 5.0), Mention(0.0, 2.0, "a", 20.0), Mention(1.0, 3.0, "b", 10.0)]
    rng = np.random.default_rng(0)
    for text in describe_scene(scene, words, "trained", 5, None, rng):
        assert text.startswith("a ")
        assert text.index("b") < text.rindex("c")
        assert any(word in text for word in (" while b", " and at the same time b", " together with b"))
        assert any(word in text for word in ("then c", "followed by c", "later c"))
    assert all("c" not in text.split() for text in describe_scene(scene, words, "trained", 5, 3, rng))
    assert describe_scene(scene, words, "held_out", 1, 2, rng) == ["the a"]
    assert describe_scene([], words, "trained", 3, None, rng) == []
    bare = Vocabulary("tiny", {k: Concept(k, (k,)) for k in "abc"})
    with pytest.raises(ValueError, match="has no held-out phrasing"):
        describe_scene(scene, bare, "held_out", 1, None, rng)


def test_held_out_captions_change_nothing_else(bank):
    trained, held_out = (draw(recipe(), bank, 5, 1, phrasings) for phrasings in ("trained", "held_out"))
    assert dataclasses.replace(trained, captions=()) == dataclasses.replace(held_out, captions=())
    assert set(trained.captions).isdisjoint(held_out.captions)


def test_a_bank_without_what_is_needed_is_told(bank):
    with pytest.raises(ValueError, match=r"no background of at least 12.0 s.*--only-backgrounds"):
        draw(recipe(clip_seconds=12.0), bank, 0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at_onse": 3}, "unknown key 'at_onse': did you mean at_once"),
        ({"snr_db": [30, 6]}, r"recipe: snr_db: \[30, 6\] must be \[lowest, highest\]"),
        ({"events": [0, 3]}, "recipe: events: 0 must be at least 1 and at most 1000"),
        ({"choose": "clas"}, "recipe: choose: 'clas' is not known: did you mean class"),
        ({"split_share": 0.7, "repeat_share": 0.7}, "split_share: with repeat_share it must be at most 1"),
        ({"clip_seconds": "ten"}, "recipe: clip_seconds: 'ten' is not a number"),
        ({"clip_seconds": float("inf")}, "recipe: clip_seconds: inf is not a number"),
        ({"peak_db": float("nan")}, "recipe: peak_db: nan is not a number"),
        ({"at_once": 1.5}, "recipe: at_once: 1.5 is not a whole number"),
        ({"captions": None}, "recipe: captions: None is not a whole number"),
        ({"fade_seconds": -1}, "recipe: fade_seconds: -1 must be at least 0"),
        ({"snr_db": 6}, r"recipe: snr_db: 6 must be a list of 2"),
    ],
)
def test_recipes_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe(**changes)


def test_a_recipe_that_lacks_a_number_is_refused():
    with pytest.raises(ValueError, match="'snr_db' is missing"):
        MixRecipe.from_dict({k: v for k, v in PAPER.items() if k != "snr_db"})


def test_a_recipe_stays_as_it_was_written():
    """Checkpoints compare its text: 6 is not to become 6.0."""
    assert json.dumps(recipe().to_dict(), sort_keys=True) == json.dumps(PAPER | {"tries": 20}, sort_keys=True)


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "conf" / "mixing").glob("*.yaml")))
def test_every_recipe_loads(name):
    assert MixRecipe.from_dict(MixRecipe.load(name).to_dict()) == MixRecipe.load(name)
