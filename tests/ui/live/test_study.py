"""The view Study: the study's networks whatever models were chosen, which stay chosen."""

from __future__ import annotations

from robustness import models
from robustness.statistics import study
from tests.support.pages import headline, html, run, texts


def test_it_has_the_study_s_networks_and_leaves_the_chosen_models_alone() -> None:
    app = run(view="study", sample="coffee", models="SqueezeNet")
    assert headline(app).startswith("EfficientNet-Lite0 kept its prediction under 10 of 10")
    assert "models download VGG16 ResNet50 DenseNet121 EfficientNetB0" in texts(app)
    for network in study.networks():
        assert f"{models.label(network.model)}, stand-in" in html(app)
    assert "in place of VGG16: 5 of 10" in texts(app)
    assert 'id="controls"' in html(app), "where the link Skip to the controls leads"
    app.segmented_control(key="network").set_value("DenseNet121").run()
    assert "in place of DenseNet121: 9 of 10" in texts(app)
    assert len(app.get("image")) == 11, "the original and the ten"
    app.segmented_control(key="view").set_value("map").run()
    assert app.multiselect(key="models").value == ["SqueezeNet"]
