"""From an upload to the answer: which model, and where it fails."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from playwright.sync_api import Browser, expect

from robustness.pictures.samples import sample_bytes
from tests.support.journeys import HEADLINE, hand_back, visit


def test_two_actions_after_an_upload_answer_both_questions(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in ("coffee", "rocket", "motorcycle"):
            packed.writestr(f"espresso/{name}.png", sample_bytes(name))
    models = "models=SqueezeNet+1.1&models=EfficientNet-Lite0"
    suite = "suite=My+own+choice&dataset_perturbations=Gaussian+blur"
    page = visit(browser, f"{address}/dataset?source=Upload&{models}&{suite}")
    page.locator("input[type=file]").first.set_input_files(archive)
    expect(page.get_by_text("3 images in 1 class, all matched to ImageNet-1k")).to_be_visible()
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.locator(HEADLINE).first).to_have_text(re.compile("best|Tie"))
    expect(page.locator(".st-key-failing img").first).to_be_visible()
    page.locator(".st-key-decision").get_by_text("Show failures").click()
    failed = page.locator(".st-key-decision").get_by_role("heading", name=re.compile("under"))
    expect(failed).to_be_visible()
    expect(page.locator(".st-key-decision [href*='image=']").first).to_be_visible()
    hand_back(page)
