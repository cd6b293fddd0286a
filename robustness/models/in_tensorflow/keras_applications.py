"""Keras' own networks, with the changes that the catalogue's records ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustness.models.in_tensorflow.runtime import keras, tensorflow


def keras_application(name: str, **options: Any) -> Any:
    """The network ``name`` of ``keras.applications`` without weights."""
    return getattr(keras().applications, name)(weights=None, **options)


def efficientnet_b0(deviations: Sequence[float]) -> Any:
    """Keras' EfficientNet-B0 with the rescaling that it adds only for ``weights="imagenet"``.

    The published file holds standard deviations where its normalisation layer takes variances,
    so Keras divides by the square roots of these ``deviations`` once more:
    keras/src/applications/efficientnet.py.
    """
    k = keras()

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        output = layer(*arguments, **options)
        if isinstance(layer, k.layers.Normalization):
            scale = [std**-0.5 for std in deviations]
            return k.layers.Rescaling(scale, name="normalization_rescaling")(output)
        return output

    return k.models.clone_model(keras_application("EfficientNetB0"), call_function=call)


def _with_named_stages(network: Any, readers: Mapping[str, str], replace: Any = None) -> Any:
    """A clone of ``network`` without weights, with named layers for stages that have none.

    ``readers`` maps a layer to the name of the stage that it reads. ``replace`` makes a layer's
    clone if its class changes.
    """
    identity = keras().layers.Identity

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        if layer.name in readers:
            read, *others = arguments
            arguments = (identity(name=readers[layer.name])(read), *others)
        return layer(*arguments, **options)

    return keras().models.clone_model(network, clone_function=replace, call_function=call)


def mobilenet_v3_large() -> Any:
    """MobileNetV3-Large with a fixed name for a layer that Keras numbers per process."""
    network = keras_application("MobileNetV3Large", input_shape=(224, 224, 3))
    return _with_named_stages(network, {"logits": "embedding"})


def convnext_tiny() -> Any:
    """Keras' ConvNeXt-Tiny with named stages and true depthwise convolutions.

    Keras uses convolutions with as many groups as channels, which TensorFlow runs on a CPU only
    through XLA: compiled again for each batch size, and four to five times slower on two cores.
    """
    k, tf = keras(), tensorflow()

    class Depthwise(k.layers.Conv2D):  # type: ignore[name-defined]
        """Keeps the weights of the grouped convolution, so that the published file fits."""

        def call(self, inputs: Any) -> Any:
            kernel = tf.transpose(tf.convert_to_tensor(self.kernel), (0, 1, 3, 2))
            output = tf.nn.depthwise_conv2d(inputs, kernel, (1, 1, 1, 1), "SAME")
            return tf.nn.bias_add(output, tf.convert_to_tensor(self.bias))

    def replace(layer: Any) -> Any:
        depthwise = type(layer) is k.layers.Conv2D and layer.groups == layer.filters
        return (Depthwise if depthwise else type(layer)).from_config(layer.get_config())

    readers = {
        "convnext_tiny_downsampling_block_0": "stage1",
        "convnext_tiny_downsampling_block_1": "stage2",
        "convnext_tiny_downsampling_block_2": "stage3",
        "convnext_tiny_head_gap": "stage4",
    }
    return _with_named_stages(keras_application("ConvNeXtTiny"), readers, replace)
