"""The view Domain: what breaks the image within a domain; a click plays it in the view Live."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from robustness import models, report
from robustness.base.text import counted, plain, share, visible
from robustness.images.framing import Picture
from robustness.images.pixels import to_png
from robustness.matching.domain import PRESETS, propose
from robustness.measure.condition import Condition
from robustness.measure.domain import Domain
from robustness.measure.request import version_for
from robustness.measure.search import Progress, SmallestBreak, Tried, smallest_breaks
from robustness.report.search import QUESTION, answer, in_order, note
from robustness.report.tables import verdict
from robustness.ui import draw, shared
from robustness.ui.draw import report_button
from robustness.ui.evaluations.domain import uploaded_domain
from robustness.ui.html import html
from robustness.ui.jobs import CachedWork
from robustness.ui.live import stack
from robustness.ui.live.page import say_unusable, usable
from robustness.ui.session import listed
from robustness.ui.shared import work_key

_FILE = "file"
_NOTHING = Condition.of({})


def show(picture: Picture, model_names: Sequence[str], seed: int, truth: str | None) -> None:
    """Draw the choice of a domain, the search and, once it has ended, a card for each model."""
    say_unusable(model_names)
    with st.container(horizontal=True, vertical_alignment="bottom", key="domain-controls"):
        st.html(html("target", name="controls"))
        starts = {name: preset.title.capitalize() for name, preset in PRESETS.items()}
        starts[_FILE] = "A file"
        start = listed("Domain", starts, "domain")
        ranges_place = st.container(width="content")
        report_place = st.container(width="content")
    domain = uploaded_domain() if start == _FILE else propose(preset=start)
    if domain is None:
        return
    with ranges_place:
        _show_ranges(domain)
    with st.container(key="domain-answer"):
        answer_place = st.container()
        with st.container(key="domain-breaks"):
            _show_original(picture)
            cards_place = st.container(key="domain-cards")
        with answer_place:
            breaks = _search(picture, domain, usable(model_names), seed, truth)
        with cards_place:
            for found in in_order(breaks):
                with st.container(key=f"break-{found.model}"):
                    _show_card(picture, found, seed)
    if breaks:
        with report_place:
            report_button(lambda: report.of_breaks(domain, picture, breaks), "domain")


def _show_ranges(domain: Domain) -> None:
    """Draw what the domain says, folded."""
    with st.popover(counted(len(domain.ranges), "range"), icon=":material/tune:"):
        st.markdown(f"**{plain(domain.name)}**")
        for each in domain.ranges:
            st.caption(plain(each.text), help=plain(each.source) or None)


def _search(
    picture: Picture, domain: Domain, model_names: Sequence[str], seed: int, truth: str | None
) -> list[SmallestBreak]:
    """Draw the sentence on what breaks the image, or what starts the search for it.

    Returns a result for each model; none before the search has ended.
    """
    headline_place = st.empty()
    headline_place.html(draw.headline(QUESTION))
    refusal = _framing_refusal(picture, domain)
    if refusal:
        st.info(plain(refusal), icon=":material/crop:")
        return []
    if not model_names:
        return []
    progress = Progress(len(model_names))

    def share_after(event: Tried | SmallestBreak) -> float:
        if isinstance(event, Tried):
            progress.note(event)
        return progress.done / progress.total

    work = CachedWork(
        what="Searching",
        key=work_key(f"break {domain.digest}", picture, model_names, [_NOTHING], seed),
        picture=picture,
        events=lambda nameless: smallest_breaks(nameless, domain, model_names, seed=seed),
        total=1,
        results=(SmallestBreak,),
        said=lambda _count, done: f"Searching: {share(done, 0)}",
        share_after=share_after,
    )
    found = work.on_request(
        "Search",
        "The smallest combination of these perturbations that changes each model's prediction, by "
        "the sum of their strengths. It tries some hundred images a model.",
    )
    if found is None:
        return []
    breaks = [each.labelled(truth) for each in found]
    headline_place.html(draw.headline(answer(domain, breaks)))
    st.caption(note(breaks))
    return breaks


def _framing_refusal(picture: Picture, domain: Domain) -> str:
    """What to do where the domain declares another framing than the page has; "" if it does not."""
    fit, side = picture.overrides
    wanted = []
    if domain.fit not in (None, fit):
        wanted.append(f"the fit {domain.fit}")
    if domain.side not in (None, side):
        wanted.append(f"the side {domain.side}")
    if not wanted:
        return ""
    return f"This domain has {' and '.join(wanted)}: choose that under Fit, above the image."


def _show_original(picture: Picture) -> None:
    with st.container(key="break-original"):
        st.image(
            shared.original_png(picture),
            width="stretch",
            output_format="PNG",
            alt=f"The original image, {visible(picture.name)}",
        )
        st.markdown("**Original**")


def _show_card(picture: Picture, found: SmallestBreak, seed: int) -> None:
    """Draw a model's composition with its image and the button that plays it."""
    version = version_for(picture, found.model)
    image = shared.change(version, found.condition, seed).image
    row = found.row
    st.image(
        to_png(image),
        width="stretch",
        output_format="PNG",
        alt=f"The image under {found.condition.short}",
    )
    st.html(
        html(
            "smallest_break",
            found=found,
            label=models.label(found.model),
            composition=found.condition.short,
            before=models.class_name(found.model, row.clean_top1),
            after=models.class_name(found.model, row.top1),
            verdict=verdict(row),
        )
    )
    st.button(
        "Play in Live",
        key=f"play {found.model}",
        icon=":material/play_arrow:",
        on_click=stack.open_live,
        args=(found.condition,),
        kwargs={"plays": True},
    )
