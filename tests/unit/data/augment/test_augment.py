"""Augmentation: draws by their statistics, samples and labels beside plain twins."""

from __future__ import annotations

import functools
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from augment_samples import ALL, GRID, OPEN, SAMPLES, SECONDS

from flam_train.batch import SAMPLE_RATE, Added, Augment, Draws
from flam_train.data.augment.apply import augmented
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.augment.draw import REACH, Augmentation, rolled, uniform
from flam_train.data.mixing.item_cache import ItemCache
from flam_train.data.shards.schema import Event, Tag
from flam_train.data.stream.clips import Clip
from flam_train.data.stream.collate import heard


def tagged(clip: Clip, *tags: tuple[str, float, float]) -> Clip:
    return replace(clip, tags=tuple(Tag(*tag) for tag in tags))


def noise(n: int, seconds: float = SECONDS, *events: tuple[float, float, str]) -> Clip:
    rng = np.random.default_rng(n)
    waveform = np.zeros(SAMPLES, dtype=np.int16)
    sounding = round(seconds * SAMPLE_RATE)
    waveform[:sounding] = (3000 * rng.normal(size=sounding)).astype(np.int16)
    return Clip(f"clip-{n}", waveform, seconds, events=tuple(Event(*e) for e in events), seed=n)


def draws_of(config: AugmentConfig, backgrounds: ItemCache | None, count: int, other: Clip | None = None) -> list[Clip]:
    augmentation = Augmentation(config, SECONDS, backgrounds, mix=True)
    return [augmentation.clip(replace(noise(0), seed=seed), other) for seed in range(count)]


def test_draws_are_uniform_in_their_ranges_and_keep_their_shares(backgrounds):
    found = draws_of(ALL, backgrounds, 3000, noise(1, 0.05))
    draws = [clip.draws for clip in found]
    assert_uniform([d.shift for d in draws], -SAMPLES, SAMPLES)
    assert_uniform([d.gain_db for d in draws], -10, 10)
    assert_uniform([d.added[0].level_db for d in draws], -6, 6)
    assert_uniform([d.added[0].shift for d in draws], -SAMPLES, SAMPLES)
    with_background = [d for d in draws if len(d.added) == 2]
    assert len(with_background) == pytest.approx(1500, abs=100)
    assert_uniform([d.added[1].level_db for d in with_background], -30, -10)
    bands = [d.band for d in draws if d.band is not None]
    assert len(bands) == pytest.approx(1500, abs=100)
    assert_uniform(np.log([low for low, _ in bands]), np.log(50), np.log(300))
    assert_uniform(np.log([high for _, high in bands]), np.log(4000), np.log(12_000))
    # Independent of one another.
    columns = [[d.shift, d.gain_db, d.added[0].level_db, d.added[0].shift, d.band is None] for d in draws]
    correlation = np.corrcoef(np.array(columns, dtype=float).T) - np.eye(5)
    assert np.abs(correlation).max() < 0.07
    assert {(a.samples, b) for a, b in ((d.added[0], d.samples) for d in draws)} == {(2400, SAMPLES)}


def assert_uniform(values, lowest: float, highest: float) -> None:
    """No gap between the sorted values and the uniform distribution's beyond what 1 in 10^5 of such sets has."""
    share = (np.sort(values) - lowest) / (highest - lowest)
    assert share.min() >= 0
    assert share.max() <= 1
    assert np.abs(share - (np.arange(len(share)) + 0.5) / len(share)).max() < 2.5 / np.sqrt(len(share))


def test_partners_by_position():
    augmentation = Augmentation(ALL, SECONDS, None, mix=True)
    further = [augmentation.partner(5, position) for position in range(4000)]
    assert sum(f > 0 for f in further) == pytest.approx(2000, abs=120)
    assert_uniform([f - 0.5 for f in further if f], 0, REACH)
    assert further == [augmentation.partner(5, position) for position in range(4000)]
    assert further != [augmentation.partner(6, position) for position in range(4000)]
    assert not any(Augmentation(ALL, SECONDS, None, mix=False).partner(5, position) for position in range(100))


@pytest.mark.parametrize(
    "changed", [{"gain_db": (0, 0)}, {"band_share": 0.0}, {"shift_seconds": 0.0}, {"background": ()}]
)
def test_one_augmentation_leaves_the_others_draws_alone(backgrounds, changed):
    def kept(config: AugmentConfig, cache: ItemCache | None) -> list[tuple]:
        out = []
        for clip in draws_of(config, cache, 60, noise(1)):
            parts = {"gain_db": clip.draws.gain_db, "band_share": clip.draws.band, "background": clip.draws.added[1:]}
            parts |= {"shift_seconds": (clip.draws.shift, clip.draws.added[0].shift)}
            out.append(tuple(parts[name] for name in parts if name not in changed))
        return out

    assert kept(ALL, backgrounds) == kept(replace(ALL, **changed), None if "background" in changed else backgrounds)


def test_numbers_stay_what_they_are():
    """A change here breaks the resuming of every run that augments."""
    assert uniform(7, "shift", 2) == [0.9261279455673495, 0.8067790195323826]


@pytest.mark.parametrize("by", range(-8, 9))
def test_labels_are_rolled_as_the_clip(by):
    """By whole frames: the labels of rolled events are rolled labels."""
    rng = np.random.default_rng(by + 8)
    edges = rng.integers(0, 17, size=(40, 2)) / 16 * SECONDS  # on frames' edges and middles
    events = tuple(Event(a, b, "x") for a, b in np.sort(edges, axis=1).tolist() if b > a)
    shift = by * SAMPLES // 8
    for event in events:
        found = rolled([event], shift, SAMPLES)
        want = np.roll(GRID.labels([event.onset], [event.offset])[0], by)
        got = GRID.labels([e.onset for e in found], [e.offset for e in found]).any(0)
        # Half a frame at the end of a clip and half a one at its beginning are two events: both their frames count.
        assert (got == want).all(), (event, shift)
        assert sum(e.offset - e.onset for e in found) == pytest.approx(event.offset - event.onset)


def test_events_by_samples():
    events = (Event(0.02, 0.07, "a"), Event(0.0, 0.1, "b"))
    found = rolled(events, 2400, SAMPLES)
    assert [(round(e.onset, 9), round(e.offset, 9), e.label) for e in found] == [
        (0.07, 0.1, "a"), (0.0, 0.02, "a"), (0.05, 0.1, "b"), (0.0, 0.05, "b"),
    ]  # fmt: skip
    assert rolled(events, 0, SAMPLES) == events
    assert [(round(e.onset, 9), round(e.offset, 9)) for e in rolled(events[:1], -960, SAMPLES)] == [(0.0, 0.05)]
    for shift in range(-SAMPLES, SAMPLES + 1, 97):
        assert all(0 <= e.onset < e.offset <= SECONDS + 1e-12 for e in rolled(events, shift, SAMPLES))


@functools.cache
def fourier() -> np.ndarray:
    k = np.arange(SAMPLES)
    return np.exp(-2j * np.pi * (np.outer(k, k) % SAMPLES) / SAMPLES)


def twin(clip: Clip) -> np.ndarray:
    """What becomes of a clip: sums, and a Fourier transform written out."""
    draws = clip.draws
    wave = np.array([float(clip.waveform_S[(n - draws.shift) % SAMPLES]) for n in range(SAMPLES)])
    level = np.sqrt(np.mean(clip.waveform_S[: draws.samples].astype(float) ** 2))
    for added, sound in zip(draws.added, clip.added, strict=True):
        own = np.sqrt(np.mean(sound[: added.samples].astype(float) ** 2))
        at = [sound[(n - added.shift) % SAMPLES] for n in range(SAMPLES)]
        wave += np.array(at, dtype=float) * 10 ** (added.level_db / 20) * level / own
    if draws.band is not None:
        low, high = draws.band
        k = np.arange(SAMPLES)
        frequency = np.minimum(k, SAMPLES - k) * SAMPLE_RATE / SAMPLES
        with np.errstate(divide="ignore"):
            response = 1 / np.sqrt((1 + (low / frequency) ** 8) * (1 + (frequency / high) ** 8))
        matrix = fourier()
        wave = (matrix.conj() @ (response * (matrix @ wave))).real / SAMPLES
    return wave * 10 ** (draws.gain_db / 20) / 32768


def augment_of(clips: list[Clip]) -> tuple[Augment, torch.Tensor]:
    sounds = [s for clip in clips for s in clip.added]
    added_PS = torch.from_numpy(np.stack(sounds)) if sounds else torch.zeros(0, SAMPLES, dtype=torch.int16)
    return Augment([c.draws for c in clips], added_PS), torch.from_numpy(np.stack([c.waveform_S for c in clips]))


def test_samples_are_the_plain_twins(backgrounds):
    augmentation = Augmentation(ALL, SECONDS, backgrounds, mix=True)
    clips = [
        augmentation.clip(noise(n, 0.1 if n % 2 else 0.07), noise(50 + n, 0.04) if n % 3 else None) for n in range(6)
    ]
    assert {len(clip.added) for clip in clips} == {0, 1, 2}
    assert {clip.draws.band is None for clip in clips} == {True, False}
    out_BS = augmented(*augment_of(clips))
    assert out_BS.dtype == torch.float32
    for row, clip in enumerate(clips):
        np.testing.assert_allclose(out_BS[row].numpy(), twin(clip), atol=2e-6)


def test_a_row_does_not_depend_on_its_neighbours(backgrounds):
    augmentation = Augmentation(ALL, SECONDS, backgrounds, mix=True)
    clips = [augmentation.clip(noise(n), noise(50 + n)) for n in range(8)]
    whole = augmented(*augment_of(clips))
    for row, clip in enumerate(clips):
        assert torch.equal(augmented(*augment_of([clip]))[0], whole[row])
    assert torch.equal(augmented(*augment_of(clips[::-1])).flip(0), whole)


def test_nothing_drawn_is_the_clip_itself():
    augment, waveform_BS = augment_of([replace(noise(0), draws=Draws())])
    assert torch.equal(augmented(augment, waveform_BS), waveform_BS / 32768)


def test_levels_are_relative_to_the_clip():
    def added_to(clip: Clip, sound: Clip, db: float) -> np.ndarray:
        draws = Draws(0, round(clip.duration * SAMPLE_RATE), (Added(round(sound.duration * SAMPLE_RATE), 0, db),))
        out_BS = augmented(*augment_of([replace(clip, draws=draws, added=[sound.waveform_S])]))
        return 32768 * out_BS[0].numpy() - clip.waveform_S

    clip, sound = noise(0, 0.03), noise(1, 0.05)
    found = added_to(clip, sound, -6.0)
    level = np.sqrt((clip.waveform_S[:1440].astype(float) ** 2).mean())
    assert np.sqrt((found[:2400] ** 2).mean()) == pytest.approx(level * 10 ** (-6 / 20), rel=1e-5)
    silent = replace(clip, waveform_S=np.zeros(SAMPLES, dtype=np.int16))
    np.testing.assert_allclose(added_to(silent, sound, -6.0), sound.waveform_S * 10 ** (-6 / 20), rtol=1e-5, atol=1e-3)
    assert not added_to(clip, silent, -6.0).any()


def test_band_limits_lie_where_they_say():
    time = np.arange(SAMPLES) / SAMPLE_RATE
    for hertz, loss in ((100, 3.01), (1000, 0.0), (8000, 3.01), (50, 24.1), (16_000, 24.1)):
        wave = (8000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)
        clip = replace(noise(0), waveform_S=wave, draws=Draws(band=(100.0, 8000.0)))
        out_S = augmented(*augment_of([clip]))[0].numpy()
        assert -20 * np.log10(out_S.std() / (wave / 32768).std()) == pytest.approx(loss, abs=0.05)


def test_backgrounds_come_from_anywhere_in_long_enough_ones(backgrounds):
    config = AugmentConfig(background=("bank",), background_share=1.0)
    found = [clip.added[0] for clip in draws_of(config, backgrounds, 60)]
    whole = [backgrounds.bank.waveform(item) for item in range(2)]
    starts = {0: set(), 1: set()}
    for sound_S in found:
        for item, wave in enumerate(whole):
            for start in np.flatnonzero(wave[: len(wave) - SAMPLES + 1] == sound_S[0]):
                if (wave[start : start + SAMPLES] == sound_S).all():
                    starts[item].add(int(start))
    assert len(starts[0]) > 15
    assert starts[1] == {0}
    with pytest.raises(ValueError, match=r"augment\.background: no background of at least 10 s in bank: add a bank"):
        Augmentation(config, 10.0, backgrounds, mix=True)


def test_bad_samples(backgrounds, monkeypatch):
    augmentation = Augmentation(ALL, SECONDS, backgrounds, mix=True)
    broken = noise(0).failed("it is broken")
    assert augmentation.clip(broken, noise(1)) == broken
    alone, beside = (augmentation.clip(noise(3, 0.1, (0, 0.1, "a")), other) for other in (None, broken))
    assert (alone.draws, alone.events) == (beside.draws, beside.events)  # a bad sample is told at its own place
    monkeypatch.setattr(ItemCache, "read", lambda *_: (_ for _ in ()).throw(ValueError("shard: damaged")))
    failed = Augmentation(replace(ALL, background_share=1.0), SECONDS, backgrounds, mix=True).clip(noise(3), None)
    assert failed.error == "augment.background: shard: damaged"
    assert not failed.waveform_S.any()


def test_a_mixture_has_the_labels_of_both():
    config = AugmentConfig(mix_share=1.0)
    clip = noise(0, 0.1, (0.0, 0.05, "dog"), (0.02, 0.04, "cat"))
    found = Augmentation(config, SECONDS, None, mix=True).clip(clip, noise(1, 0.1, (0.06, 0.1, "dog")))
    assert found.events == (Event(0.0, 0.05, "dog"), Event(0.02, 0.04, "cat"), Event(0.06, 0.1, "dog"))
    assert (found.key, found.captions) == (clip.key, clip.captions)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gain_db": (3, -3)}, r"augment\.gain_db: \[3, -3\] must be \[lowest, highest\]"),
        ({"mix_share": 1.5}, r"augment\.mix_share: 1\.5 must be at least 0"),
        ({"shift_seconds": -1}, r"augment\.shift_seconds: -1 must be at least 0"),
        ({"low_hz": (50, 5000)}, r"augment\.low_hz: up to 5000 must lie below high_hz, from 4000 on"),
        ({"high_hz": (4000, 25_000)}, r"augment\.high_hz: 25000 must be above 0 and at most 24000"),
    ],
)
def test_ranges_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**values)


def test_what_is_on_is_said():
    assert not AugmentConfig().on
    assert AugmentConfig().said() == "none"
    assert not AugmentConfig(background_share=1.0).on  # without a bank
    for f in fields(AugmentConfig):
        if f.name in ("shift_seconds", "mix_share", "band_share"):
            assert AugmentConfig(**{f.name: 0.5}).on
    assert ALL.said() == (
        "shift by up to 0.1 s, mix 0.5 of the clips with events, background in 0.5, band limits in 0.5, gain of -10 to "
        "10 dB"
    )
    assert [(ALL.sounds(kind), AugmentConfig().sounds(kind)) for kind in ("global", "frame")] == [(1, 0), (2, 0)]


# -- through the stream


def test_a_tag_goes_where_its_seconds_go():
    """Beside a plain twin: the samples of a tag's seconds, rolled. Where they pass the end, it is the whole clip's."""
    clip, config = noise(0, 0.08, (0.0, 0.02, "bell")), AugmentConfig(shift_seconds=0.1)
    clip = tagged(clip, ("dog", 0.01, 0.05), ("rain", 0.0, 0.08), ("wind", -0.5, 0.08), ("owl", 0.0, 0.085))
    augmentation, whole = Augmentation(config, SECONDS, None, mix=True), 0
    for seed in range(40):
        found = augmentation.clip(replace(clip, seed=seed), None)
        mine, open_ = heard(found, OPEN, weak=True)
        assert open_ == {"wind"}  # heard somewhere in .58 s, of which this clip has .08
        for label, first, last in (("dog", 480, 2400), ("rain", 0, 3840), ("owl", 0, 3840)):
            ((onset, offset),) = [(a, b) for name, a, b in mine if name == label]
            marked = np.zeros(SAMPLES)
            marked[first:last] = 1
            places = np.flatnonzero(np.roll(marked, found.draws.shift))
            if places[-1] - places[0] == last - first - 1:
                assert (round(onset * SAMPLE_RATE), round(offset * SAMPLE_RATE)) == (places[0], places[-1] + 1)
            else:
                assert (onset, offset) == (0.0, SECONDS)
                whole += 1
    assert 40 < whole < 100


def test_a_mixed_clip_has_the_tags_of_both():
    one, other = tagged(noise(0), ("dog", 0.0, 0.1)), tagged(noise(1, 0.05), ("rain", 0.0, 0.05), ("wind", 0.0, 0.9))
    found = Augmentation(AugmentConfig(mix_share=1.0), SECONDS, None, mix=True).clip(one, other)
    mine, open_ = heard(found, OPEN, weak=True)
    assert mine == [("dog", 0.0, 0.1), ("rain", 0.0, 0.05)]
    assert open_ == {"wind"}  # of which it was not known in the clip that was added
    assert heard(found, OPEN, weak=False) == ([], {"dog", "rain", "wind"})


def test_clips_are_not_mixed_where_events_would_hide_what_a_tag_leaves_open():
    augmentation = Augmentation(AugmentConfig(mix_share=1.0), SECONDS, None, mix=True)
    timed, weak = noise(0, 0.1, (0.0, 0.05, "dog")), tagged(noise(1), ("dog", 0.0, 0.1))
    for one, other in ((timed, weak), (weak, timed)):
        found = augmentation.clip(one, other)
        assert (found.events, [tag.label for tag in found.tags]) == (one.events, [tag.label for tag in one.tags])
        assert not found.added
    both = tagged(noise(2, 0.1, (0.05, 0.1, "dog")), ("dog", 0.0, 0.1))  # it has the event, too
    found = augmentation.clip(timed, both)
    assert sorted((e.onset, e.offset) for e in found.events) == [(0.0, 0.05), (0.05, 0.1)]
