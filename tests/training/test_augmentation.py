"""Samples show what pictures show, and tell where nothing is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import shards
from training.augmentation import Augmentation, Sample, compose, place, resized
from training.data import Picture

PEOPLE, FACES, BOTH = frozenset({0}), frozenset({1}), frozenset({0, 1})
STILL = Augmentation(
    mosaic=0, single_scale=(1, 1), flip=0, hue=0, saturation=0, brightness=0, grey=0, blur=0
)


def made(first: Picture, *others: Picture, side: int = 64, seed: int = 0, **how: object) -> Sample:
    """Compose a sample in which nothing changes but what is named."""
    changed = replace(STILL, **how)  # type: ignore[arg-type]  # each by its name
    return compose(first, others or (first,), side, changed, np.random.default_rng(seed))


def test_a_picture_that_fits_is_shown_as_it_is() -> None:
    """With padding around it, where it is known that nobody is."""
    picture = shards.picture(PEOPLE, (0, 10, 5, 30, 40), width=64, height=64)
    sample = made(picture)
    # To within what the way through hue and saturation rounds.
    np.testing.assert_allclose(sample.pixels.astype(int), picture.pixels, atol=5)
    np.testing.assert_array_equal(sample.boxes, picture.boxes)
    assert sample.known[..., 0].all()
    assert not sample.known[..., 1].any()


def test_padding_is_known_to_be_empty() -> None:
    """Of both classes, whatever the picture is labelled for."""
    sample = made(shards.picture(FACES, width=64, height=32))
    padding = (sample.pixels == 114).all(axis=2)
    assert padding.sum() >= 32 * 64
    assert not sample.known[~padding][:, 0].any()
    assert sample.known[padding].all()


def test_a_mosaic_of_people_and_faces_knows_each_where_it_is() -> None:
    """Where a class is not known, there is no box of it."""
    people = shards.picture(PEOPLE, (0, 8, 8, 56, 40))
    faces = shards.picture(FACES, (1, 8, 8, 56, 40))
    seen = set()
    for seed in range(20):
        sample = made(people, faces, seed=seed, mosaic=1, tile_scale=(0.8, 1.0))
        for index, x1, y1, x2, y2 in sample.boxes.round().astype(int):
            assert sample.known[y1:y2, x1:x2, index].all()
            assert not sample.known[y1:y2, x1:x2, 1 - index].any()
            seen.add(index)
    assert seen == {0, 1}


def test_a_sliver_of_somebody_is_neither_somebody_nor_nobody() -> None:
    """Its box goes, and nothing is learnt there."""
    picture = shards.picture(PEOPLE, (0, 0, 0, 32, 64), width=64, height=64)
    sample = Sample.blank(64)
    place(sample, picture, (0, 0, 64, 64), -28, 0)
    assert len(sample.boxes) == 0
    assert not sample.known[:, :4, 0].any()
    assert sample.known[:, 4:36, 0].all()


def test_where_a_label_is_not_sure_nothing_is_known() -> None:
    """But a sure one that it overlaps counts."""
    picture = replace(
        shards.picture(BOTH, (0, 20, 0, 40, 64), width=64, height=64),
        unsure=np.array([[0, 0, 0, 30, 64]], np.float32),
    )
    sample = made(picture)
    assert not sample.known[:, :20, 0].any()
    assert sample.known[:, 20:, 0].all()
    assert sample.known[..., 1].all()


def test_a_mirror_image_mirrors_all() -> None:
    """Pixels, boxes and what is known."""
    picture = shards.picture(FACES, (1, 0, 0, 16, 16), width=64, height=48)
    plain, mirrored = made(picture), made(picture, flip=1)
    np.testing.assert_array_equal(mirrored.pixels, plain.pixels[:, ::-1])
    np.testing.assert_array_equal(mirrored.known, plain.known[:, ::-1])
    (row,) = mirrored.boxes
    assert (row[1], row[3]) == (48, 64)


def test_enlarged_pictures_show_a_part_with_its_boxes() -> None:
    """So that people come larger than they are in any picture."""
    picture = shards.picture(PEOPLE, (0, 0, 0, 64, 64), width=64, height=64)
    sample = made(picture, single_scale=(1.5, 1.5))
    np.testing.assert_array_equal(sample.boxes, [[0, 0, 0, 64, 64]])


def test_copies_of_others_bring_their_boxes() -> None:
    """And cover what they are pasted on: what is covered nearly whole is gone."""
    donor = shards.picture(FACES, (1, 16, 8, 48, 40))
    background = shards.picture(BOTH, width=64, height=64)
    samples = [made(background, donor, seed=seed, copies=1) for seed in range(10)]
    pasted = [sample for sample in samples if len(sample.boxes)]
    assert 0 < len(pasted) < len(samples)
    for sample in pasted:
        (row,) = sample.boxes.round().astype(int)
        inside = sample.known[row[2] : row[4], row[1] : row[3]]
        assert inside[..., 1].all()
        assert not inside[..., 0].any()


def test_nothing_is_known_of_who_is_covered() -> None:
    """Of what still shows of them."""
    sample = Sample.blank(64)
    whole = (0, 0, 64, 64)
    place(sample, shards.picture(PEOPLE, (0, 0, 0, 20, 20), width=64, height=64), whole, 0, 0)
    place(sample, shards.picture(PEOPLE, width=18, height=18), whole, 0, 0)
    assert len(sample.boxes) == 0
    assert sample.known[:18, :18, 0].all()
    assert not sample.known[18:20, :20, 0].any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    side=st.sampled_from([32, 64, 96]),
    box=st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(4, 60), st.integers(4, 40)),
)
def test_boxes_stay_in_the_sample_and_where_their_class_is_known(
    seed: int, side: int, box: tuple[int, int, int, int]
) -> None:
    """Whatever chance does; and the same chance does the same."""
    x, y, width, height = box
    row = (x, y, min(x + width, 64), min(y + height, 48))
    people, faces = shards.picture(PEOPLE, (0, *row)), shards.picture(FACES, (1, *row))
    sample, again = (
        compose(people, (people, faces), side, Augmentation(copies=2), np.random.default_rng(seed))
        for _ in range(2)
    )
    np.testing.assert_array_equal(sample.pixels, again.pixels)
    np.testing.assert_array_equal(sample.boxes, again.boxes)
    assert (sample.boxes[:, 1:] >= 0).all()
    assert (sample.boxes[:, 1:] <= side).all()
    assert ((sample.boxes[:, 3:] - sample.boxes[:, 1:3]) >= 3).all()
    for index, *centre in np.column_stack(
        [sample.boxes[:, 0], (sample.boxes[:, 1:3] + sample.boxes[:, 3:]) / 2]
    ):
        assert sample.known[int(centre[1]), int(centre[0]), int(index)] in (0, 1)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("longest", [32, 64, 128])
def test_boxes_are_resized_with_their_picture(longest: int, aspect: float) -> None:
    """By the sides that it really gets."""
    picture = resized(shards.picture(PEOPLE, (0, 0, 0, 64, 48)), longest, aspect)
    width, height = picture.size
    assert max(width, height) == longest
    assert width / height == pytest.approx(64 / 48 * aspect, rel=0.05)
    np.testing.assert_array_equal(picture.boxes, [[0, 0, 0, width, height]])


def test_a_stretched_picture_is_wider_or_higher_by_so_much_at_most() -> None:
    """And it is so in either way, from sample to sample."""
    picture = shards.picture(PEOPLE, (0, 0, 0, 64, 64), width=64, height=64)
    aspects = []
    for seed in range(20):
        (box,) = made(picture, seed=seed, stretch=0.5).boxes
        aspects.append((box[3] - box[1]) / (box[4] - box[2]))
    assert 1 / 1.5 - 0.03 <= min(aspects) < 1 < max(aspects) <= 1.5 + 0.03
