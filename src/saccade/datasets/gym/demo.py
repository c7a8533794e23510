"""Films to try things on: seven with a small story each, and any number by chance."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from saccade.datasets.gym import scenes
from saccade.datasets.gym.film import ENTRANCES, Take, Truth, draw_film


def demo_films(folder: str | Path) -> list[Truth]:
    """Draw all films into ``folder`` (made if it is not there): 640×360, 24 to 30 frames a second, 12 to 19 s.

    Each has text on screen and subtitles: English beside the film or in it, Korean in one. The same call draws
    the same films.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [film(folder / f"{film.__name__.strip('_')}.mp4") for film in FILMS]


def random_film(path: str | Path, seed: int, *, shots: int = 5, fps: int | Fraction = 25) -> Truth:
    """A film of different scenes in random order, with random cuts, dissolves and fades, a flash and a whip pan."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(list(scenes.PLACES))[: shots - 1]
    parts = [scenes.PLACES[place](rng) for place in places]
    parts.insert(int(rng.integers(shots)), scenes.park_whip(rng, begin=0.8))
    takes = []
    for part in parts:
        enter = str(rng.choice(ENTRANCES, p=(0.55, 0.15, 0.15, 0.15)))
        seconds, over = float(rng.uniform(2.0, 4.0)), float(rng.uniform(0.4, 1.2))
        flash = float(rng.uniform(0.8, 1.2)) if rng.uniform() < 0.3 else None
        takes.append(Take(part, seconds, enter, over, flash))
    return draw_film(path, takes, fps=fps, music=seed)


def _soup(path: Path) -> Truth:
    rng = np.random.default_rng(11)
    return draw_film(
        path,
        [
            Take(scenes.title_card(rng, "Soup of the day", "in twenty minutes"), 2.8),
            Take(scenes.red_pot(rng), 5.0, "fade", 1.0),
            Take(scenes.soup_from_above(rng), 4.6),
            Take(scenes.bowl_on_table(rng), 4.4, "dissolve", 1.0),
        ],
        fps=25,
        captions=[(8.2, 11.6, "Add two carrots")],
        subtitles=[
            (3.2, 5.4, "Put the red pot on the stove and let the water boil."),
            (5.6, 7.6, "Be careful, the steam is hot."),
            (8.0, 10.2, "Cut the carrots and drop them into the soup."),
            (10.4, 12.0, "Keep stirring with a wooden spoon."),
            (12.6, 15.4, "Serve it with fresh bread."),
        ],
        music=1,
    )


def _street(path: Path) -> Truth:
    rng = np.random.default_rng(4)
    return draw_film(
        path,
        [
            Take(scenes.car_passes(rng), 4.2),
            Take(scenes.beside_the_car(rng), 4.0),
            Take(scenes.car_passes(rng, (208, 60, 52), "red"), 4.0),
        ],
        fps=30,
        captions=[(4.6, 7.6, "Speed limit 30")],
        subtitles=[
            (0.4, 2.6, "Look, the bakery is open already."),
            (4.6, 7.4, "He drives slowly because children play here."),
            (8.6, 11.4, "And there comes the red taxi."),
        ],
        embedded=True,
        music=2,
    )


def _beach(path: Path) -> Truth:
    rng = np.random.default_rng(7)
    return draw_film(
        path,
        [
            Take(scenes.title_card(rng, "A day at the sea"), 2.4),
            Take(scenes.beach(rng), 5.2, "dissolve", 0.8),
            Take(scenes.ball_at_sea(rng), 5.0, "dissolve", 1.2),
        ],
        fps=24,
        captions=[(8.0, 10.4, "Six hours later")],
        subtitles=[
            (2.4, 4.4, "바람이 불어요. 공을 꼭 잡으세요!"),
            (4.6, 6.2, "공이 바다로 굴러가요."),
            (8.0, 10.4, "이제 배를 타고 공을 찾아야 해요."),
        ],
        language="ko",
        music=3,
    )


def _door(path: Path) -> Truth:
    rng = np.random.default_rng(5)
    return draw_film(
        path,
        [
            Take(scenes.red_door(rng), 5.2),
            Take(scenes.garden(rng), 4.6, "white", 0.8),
            Take(scenes.dog_runs(rng), 4.0),
        ],
        fps=25,
        captions=[(5.8, 8.6, "The secret garden")],
        subtitles=[
            (0.4, 1.8, "What is behind this door?"),
            (2.0, 4.4, "She opens the red door very slowly."),
            (5.8, 8.4, "A garden full of butterflies!"),
            (10.2, 12.8, "And her dog is already here."),
        ],
        music=4,
    )


def _lesson(path: Path) -> Truth:
    rng = np.random.default_rng(6)
    return draw_film(
        path,
        [
            Take(scenes.slide(rng, "The water cycle", ("Evaporation", "Clouds and wind", "Rain and snow")), 6.0),
            Take(scenes.ball_at_sea(rng), 3.0),
            Take(scenes.slide(rng, "What it costs", ("Clean water: 2 euros", "Repairs: 70 euros"), 1.0), 4.6),
            Take(scenes.bar_chart(rng, "Water budget", "Total cost: 4,200 euros"), 4.4),
        ],
        fps=25,
        subtitles=[
            (0.5, 2.8, "Today we learn how water travels."),
            (3.0, 5.6, "The sun warms the sea and water rises into the air."),
            (6.4, 8.6, "All rivers return to the ocean."),
            (9.4, 12.4, "Now let us talk about money: pipes are expensive."),
            (14.0, 17.2, "The whole project stays within the budget."),
        ],
        embedded=True,
        music=5,
    )


def _night(path: Path) -> Truth:
    rng = np.random.default_rng(8)
    return draw_film(
        path,
        [
            Take(scenes.title_card(rng, "Winter night"), 2.4),
            Take(scenes.snowy_village(rng), 5.2, "fade", 1.2),
            Take(scenes.owl(rng), 4.4),
            Take(scenes.snowy_village(rng), 3.0),
        ],
        fps=24,
        captions=[(8.2, 11.4, "A voice from the forest")],
        subtitles=[
            (3.2, 6.4, "Snow is falling and everybody sleeps."),
            (8.0, 10.8, "Only the owl is awake and watches the moon."),
        ],
        music=6,
    )


def _park(path: Path) -> Truth:
    rng = np.random.default_rng(9)
    return draw_film(
        path,
        [
            Take(scenes.dog_runs(rng), 4.0, flash=1.6),
            Take(scenes.park_whip(rng, begin=1.4), 3.6),
            Take(scenes.garden(rng), 2.2),
            Take(scenes.dog_runs(rng, pan=40), 3.4),
        ],
        fps=30,
        captions=[(0.4, 3.2, "Sunday, 10:30")],
        subtitles=[
            (0.6, 3.2, "Run, Bruno, fetch the ball!"),
            (4.4, 6.8, "Somebody waves at us from over there."),
            (10.0, 12.6, "Good dog. Now give it back."),
        ],
        music=7,
    )


FILMS: tuple[Callable[[Path], Truth], ...] = (_soup, _street, _beach, _door, _lesson, _night, _park)
