"""Operations that move, count or rearrange elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from robustness.models.run.replay.operation_table_and_values import Node, Value, operation
from robustness.models.tensorflow_and_keras_import import tensorflow


def number_type(name: str) -> Any:
    """TensorFlow's type of the whole numbers that OpenVINO calls ``name``."""
    return {"i32": tensorflow().int32, "i64": tensorflow().int64}[name]


@operation("Result")
def _unchanged(_node: Node, x: Value) -> Value:
    return x


@operation("Transpose")
def _transpose(_node: Node, x: Value, axes: Value) -> Value:
    order = axes.array.tolist() or list(range(x.rank))[::-1]
    return x.transposed(order)


@operation("Reshape")
def _reshape(node: Node, x: Value, *target: Value) -> Value:
    """``target`` is not read where one size at most is left open."""
    tf = tensorflow()
    if not target:
        return Value(tf.reshape(x.plain, _with_one_open(node)))
    sizes_after = target[0].plain
    if node.attributes["special_zero"]:
        tensor = x.plain
        sizes = tf.pad(tf.shape(tensor, sizes_after.dtype), [[0, max(0, len(node.shape) - x.rank)]])
        sizes_after = tf.where(tf.equal(sizes_after, 0), sizes[: len(node.shape)], sizes_after)
    return Value(tf.reshape(x.plain, sizes_after))


@operation("Squeeze", "Unsqueeze")
def _with_other_ones(node: Node, x: Value, *_axes: Value) -> Value:
    if node.shapes[0] is not None and node.shape.count(None) <= 1:
        return Value(tensorflow().reshape(x.plain, _with_one_open(node)))
    tf, axes = tensorflow(), _axes[0].array.reshape(-1).tolist() if _axes else None
    if node.type == "Squeeze":
        return Value(tf.squeeze(x.plain, axes))
    tensor, rank = x.plain, x.rank + len(axes or ())
    for axis in sorted(axis % rank for axis in axes or ()):
        tensor = tf.expand_dims(tensor, axis)
    return Value(tensor)


def _with_one_open(node: Node) -> list[int]:
    return [-1 if size is None else size for size in node.shape]


@operation("ShapeOf")
def _shape_of(node: Node, x: Value) -> Value:
    kind = number_type(node.kinds[0])
    if None not in x.shape:
        return Value(np.array(x.shape, kind.as_numpy_dtype))
    tf = tensorflow()
    sizes = tf.shape(x.tensor, kind)
    return Value(tf.stack([sizes[place] for place in x.stored_axes(range(x.rank))]))


@operation("Broadcast")
def _broadcast(node: Node, x: Value, target: Value, *axes: Value) -> Value:
    tf = tensorflow()
    mode = str(node.attributes["mode"]).lower()
    if mode == "explicit":
        at = axes[0].array.tolist()
        sizes: list[Any] = [1] * len(node.shape)
        for axis, size in zip(at, x.shape, strict=True):
            sizes[axis] = -1 if size is None else size
        return Value(tf.broadcast_to(tf.reshape(x.plain, sizes), target.plain))
    if mode == "bidirectional":
        sizes = tf.broadcast_dynamic_shape(tf.shape(x.plain), tf.cast(target.plain, tf.int32))
        return Value(tf.broadcast_to(x.plain, sizes))
    return Value(tf.broadcast_to(x.plain, target.plain))


@operation("Tile")
def _tile(_node: Node, x: Value, repeats: Value) -> Value:
    tf = tensorflow()
    times = repeats.plain
    if repeats.shape[0] is not None and repeats.shape[0] < x.rank:
        times = tf.pad(times, [[x.rank - repeats.shape[0], 0]], constant_values=1)
    return Value(tf.tile(x.expanded(int(times.shape[0])).plain, times))


@operation("Concat")
def _concat(node: Node, *parts: Value) -> Value:
    leader = max(parts, key=lambda part: not part.is_constant)
    (axis,) = leader.stored_axes([node.attributes["axis"]])
    tensors = [part.at(leader.order) for part in parts]
    return Value(tensorflow().concat(tensors, axis), leader.order)


@operation("Split", "VariadicSplit")
def _split(node: Node, x: Value, axis: Value, *lengths: Value) -> list[Value]:
    (place,) = x.stored_axes([int(axis.array)])
    sizes = lengths[0].array.tolist() if lengths else node.attributes["num_splits"]
    parts = tensorflow().split(x.at(x.order), sizes, place)
    return [Value(part, x.order) for part in parts]


@operation("Slice")
def _cut_out(_node: Node, x: Value, start: Value, stop: Value, step: Value, *axes: Value) -> Value:
    at = axes[0].array.tolist() if axes else range(start.array.size)
    cuts = [slice(None)] * x.rank
    for place, *ends in zip(x.stored_axes(at), start.array, stop.array, step.array, strict=True):
        cuts[place] = _slice(x.stored[place], *map(int, ends))
    return Value(x.at(x.order)[tuple(cuts)], x.order)


def _slice(size: int | None, start: int, stop: int, step: int) -> slice:
    """The slice as Python means it: a stop before the beginning, going backwards, is none."""
    if size is None:
        most = np.iinfo(np.int32).max
        return slice(start, None if abs(stop) >= most else stop, step)
    first, last, _ = slice(start, stop, step).indices(size)
    return slice(first, None if last < 0 else last, step)


@operation("StridedSlice")
def _strided_slice(node: Node, x: Value, begin: Value, end: Value, *stride: Value) -> Value:
    def bits(name: str) -> int:
        return sum(1 << place for place, bit in enumerate(node.attributes.get(name, [])) if bit)

    limits = np.iinfo(np.int32)
    ends = [np.clip(value.array, limits.min, limits.max).astype(np.int32) for value in (begin, end)]
    strides = stride[0].array.astype(np.int32) if stride else np.ones_like(ends[0])
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = {name: bits(name) for name in names}
    return Value(tensorflow().strided_slice(x.plain, *ends, strides, **masks))


@operation("Gather")
def _gather(node: Node, x: Value, indices: Value, axis: Value) -> Value:
    tf = tensorflow()
    (place,) = x.stored_axes([int(axis.array)])
    batched = int(node.attributes.get("batch_dims", 0))
    if indices.is_constant and not batched and indices.array.size == 1 and not x.is_constant:
        # Cut out: the slope of a gather is scattered, which takes longer.
        index = int(indices.array.reshape(()))
        along = [slice(None)] * x.rank
        along[x.order.index(int(axis.array) % x.rank)] = slice(index, index + 1 or None)
        taken = Value(x.tensor[tuple(along)], x.order)
        return taken if indices.rank == 1 else _without(taken, int(axis.array) % x.rank, indices)
    at = indices.plain
    size = x.stored[place]
    if size is not None:
        at = tf.where(at < 0, at + tf.cast(size, at.dtype), at)
    gathered = tf.gather(x.plain, at, axis=int(axis.array), batch_dims=batched)
    return Value(gathered)


def _without(x: Value, axis: int, indices: Value) -> Value:
    """``x`` with its ``axis`` of size 1 in the shape of ``indices``, which hold one."""
    tf = tensorflow()
    if indices.rank == 0:
        place = x.order.index(axis)
        order = [at - (at > axis) for at in x.order if at != axis]
        return Value(tf.squeeze(x.tensor, [place]), order)
    plain = x.plain
    for _ in range(indices.rank - 1):
        plain = tf.expand_dims(plain, axis)
    return Value(plain)


@operation("GatherND")
def _gather_nd(node: Node, x: Value, indices: Value) -> Value:
    batched = int(node.attributes.get("batch_dims", 0))
    return Value(tensorflow().gather_nd(x.plain, indices.plain, batch_dims=batched))


@operation("ScatterNDUpdate")
def _scatter_nd_update(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    if str(node.attributes.get("reduction", "none")).lower() != "none":
        raise NotImplementedError("a reduction")
    tf = tensorflow()
    return Value(tf.tensor_scatter_nd_update(x.plain, indices.plain, updates.plain))


@operation("Pad")
def _pad(node: Node, x: Value, begin: Value, end: Value, *filled: Value) -> Value:
    tf = tensorflow()
    mode = str(node.attributes["pad_mode"]).rpartition(".")[2].upper()
    amounts = np.stack([begin.array, end.array], 1)[list(x.order)]
    if (amounts < 0).any():
        raise NotImplementedError("a negative amount")
    if mode == "EDGE":
        tensor = x.at(x.order)
        for axis, (before, after) in enumerate(amounts.tolist()):
            if before or after:
                last = tensor.shape[axis] - 1
                at = np.clip(np.arange(-before, last + 1 + after), 0, last)
                tensor = tf.gather(tensor, at, axis=axis)
        return Value(tensor, x.order)
    value = filled[0].plain if filled else 0
    return Value(tf.pad(x.at(x.order), amounts, mode, value), x.order)


@operation("Range")
def _range(node: Node, start: Value, stop: Value, step: Value) -> Value:
    tf = tensorflow()
    kind = tf.float32 if node.kinds[0].startswith("f") else number_type(node.kinds[0])
    ends = [tf.cast(tf.reshape(value.plain, ()), kind) for value in (start, stop, step)]
    return Value(tf.range(*ends))


@operation("OneHot")
def _one_hot(node: Node, indices: Value, depth: Value, on: Value, off: Value) -> Value:
    axis = int(node.attributes["axis"])
    encoded = tensorflow().one_hot(
        indices.plain, int(depth.array), on.plain, off.plain, axis % (indices.rank + 1)
    )
    return Value(encoded)


@operation("CumSum")
def _cumulative_sum(node: Node, x: Value, axis: Value) -> Value:
    (place,) = x.stored_axes([int(axis.array)])
    exclusive, reverse = (bool(node.attributes[name]) for name in ("exclusive", "reverse"))
    return Value(tensorflow().cumsum(x.at(x.order), place, exclusive, reverse), x.order)


@operation("DepthToSpace", "SpaceToDepth")
def _depth_and_space(node: Node, x: Value) -> Value:
    """Between channels (N, C, H, W) and places; in blocks of ``block_size`` rows and columns."""
    tf = tensorflow()
    side = int(node.attributes["block_size"])
    blocks_first = str(node.attributes["mode"]).lower().endswith("blocks_first")
    if x.rank != 4:
        raise NotImplementedError(f"{x.rank} axes")
    if not blocks_first:
        raise NotImplementedError("channels before blocks")
    act = tf.nn.depth_to_space if node.type == "DepthToSpace" else tf.nn.space_to_depth
    order = (0, 2, 3, 1)
    return Value(act(x.at(order), side), order)


@operation("SpaceToBatch", "BatchToSpace")
def _batch_and_space(node: Node, x: Value, blocks: Value, begin: Value, end: Value) -> Value:
    """Between places and parts of the batch, as around a dilated convolution."""
    tf = tensorflow()
    sides, amounts = blocks.array, np.stack([begin.array, end.array], 1)
    if sides[0] != 1 or amounts[0].any():
        raise NotImplementedError("blocks of the batch")
    act = tf.space_to_batch if node.type == "SpaceToBatch" else tf.batch_to_space
    return Value(act(x.plain, sides[1:], amounts[1:]))


@operation("ShuffleChannels")
def _shuffle_channels(node: Node, x: Value) -> Value:
    tf = tensorflow()
    groups, axis = int(node.attributes["group"]), int(node.attributes["axis"]) % x.rank
    (place,) = x.stored_axes([axis])
    sizes = [-1 if size is None else size for size in x.stored]
    channels = sizes[place]
    parted = [*sizes[:place], groups, channels // groups, *sizes[place + 1 :]]
    axes = list(range(len(parted)))
    axes[place], axes[place + 1] = axes[place + 1], axes[place]
    shuffled = tf.transpose(tf.reshape(x.at(x.order), parted), axes)
    return Value(tf.reshape(shuffled, sizes), x.order)
