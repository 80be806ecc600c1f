"""Committee: several classifiers whose predictions are averaged, as one Model.

    p(x) = 1/M sum_m softmax(z_m(x)),    l_k(x) = log p_k(x)             z_m: logits of member m

The committee's logits are l, of which the softmax is p exactly (averages.py). dE/dpixel is the sum
of the members' gradients: an attack on a committee sees all members at once (Uličný, Lundström and
Byttner, 2016, Section 3.3).
"""

from collections.abc import Sequence

from caffe_ext.models.averages import compute_log_mean, compute_member_diffs, log_softmax
from caffe_ext.models.base import Floats, Model, Pixels
from caffe_ext.models.composite import CompositeModel, DiffOfLogits


class Committee(CompositeModel):
    """The averaged prediction of several models with the same images and classes.

    members  the models, one or more

    The batch size is the smallest of the members'.
    """

    title, parts = "a committee", "members"

    def __init__(self, members: Sequence[Model]) -> None:
        """Raise ValueError unless the members take the same images and have the same classes."""
        if not members:
            raise ValueError("a committee needs at least one member")
        self.members = tuple(members)
        # The mean image of one fixes the size of the images for all.
        first = next((one for one in members if one.pixel_space.mean_size), members[0])
        for number, member in enumerate(members, 1):
            for what, mine, theirs in (
                ("classes", first.classes, member.classes),
                ("an input (C, H, W) of", first.input_shape, member.input_shape),
                ("images (C, H, W) of", first.image_shape, member.image_shape),
                ("a crop of", first.pixel_space.crop, member.pixel_space.crop),
                ("the device", first.device, member.device),
            ):
                fixed = what != "images (C, H, W) of" or member.pixel_space.mean_size
                if mine != theirs and fixed:
                    raise ValueError(
                        f"the members of a committee must fit together: one has {what} {mine}, "
                        f"member {number} {theirs}"
                    )
        super().__init__(first)
        self.batch_size = min(member.batch_size for member in members)

    def logits(self, images: Pixels) -> Floats:
        """Return log p, float32 (N, K): the logarithms of the averaged probabilities."""
        with self._exclusive.hold():
            scores = [member.logits(images) for member in self.members]
            return compute_log_mean(log_softmax(scores))

    def _add_gradients(self, images: Pixels, compute_diff: DiffOfLogits, out: Floats) -> None:
        """Add the gradients of one batch.

        The members' passes are nested: between its forward and backward pass, each calls the next
        one, so that all run forward once. The last one knows all scores.
        """
        scores: list[Floats] = []
        parts: Sequence[Floats] = ()

        def go(number: int) -> None:
            nonlocal parts
            if number == len(self.members):
                every = log_softmax(scores)
                parts = compute_member_diffs(every, compute_diff(compute_log_mean(every)))
                return

            def compute_own_diff(own: Floats, _: slice) -> Floats:
                scores.append(own)
                go(number + 1)
                return parts[number]

            out[...] += self.members[number].gradient(images, compute_own_diff)

        go(0)
