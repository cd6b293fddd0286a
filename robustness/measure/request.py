"""A request: models, variants, conditions, seed and framing; enough to get the same rows again.

As a TOML file::

    models = ["SqueezeNet", "EfficientNetLite0"]  # default: the default selection
    seed = 7                                      # default: 0
    fit = "crop"                                  # of all models; default: each one's own
    side = 224                                    # pixels, likewise
    remedies = ["median", "autocontrast+tta"]     # default: none

    [[condition]]                                 # perturbations with strengths
    fog = 0.6
    gaussian_blur = 0.4

    [[condition]]                                 # or an attack with all its settings
    attack = "pgd"
    epsilon = 0.03
    norm = "linf"
    steps = 20
    restarts = 1

    [[condition]]                                 # or one of the compositions of a profile, which
    profile = "your camera"                       # together are one condition of that name
    darkness = 0.3

In place of conditions there may be a table ``[domain]``, as in the file of a domain.

There are suites of conditions: the study, ImageNet-C, and perturbations at several strengths.
ImageNet-C's files were saved as JPEG of quality 85 after the corruption, which changes consistency
by several points in either direction. ``imagenet-c`` leaves that step out, ``imagenet-c-jpeg`` has
it.

Each model sees an image as its description says, unless a request overrides that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self, Unpack

from pydantic import BeforeValidator, Field, model_validator

from robustness import models
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks import parse_epsilon
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.options import options_of
from robustness.base.text import some
from robustness.base.toml import parse_toml, read_toml
from robustness.base.validation import (
    CONFIG,
    RefusedError,
    StrictTable,
    checked,
    expected,
    parsed_by,
    table_with_options,
)
from robustness.datasets import ImageNetCTree
from robustness.images.framing import STUDY_SIDE, Framing, Overrides, Picture, check_framing
from robustness.images.pixels import BITS
from robustness.measure.condition import Condition, StoredCondition, StoredTable, pool_profiles
from robustness.measure.domain import Domain, domain_of
from robustness.measure.options import (
    IMAGENET_C_JPEG_SUITE,
    IMAGENET_C_SUITE,
    STUDY_SUITE,
    SUITES,
    ConditionOptions,
    RequestOptions,
)
from robustness.models.record import REGISTRY as MODELS
from robustness.models.variant import Variant, models_and_variants, variants_of
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import SAVED_AS_JPEG, Perturbation, check_seed
from robustness.remedies import Chain, parse_all


def framing(fit: str | None, side: int | None, name: str | None = None) -> Framing:
    """How the model ``name`` sees images; without one, a model that takes study images.

    A ``fit`` replaces the model's own with the share it keeps, a ``side`` the model's own; with
    both, all models see images alike, as study images are resized. Raises ``UnknownNameError`` or
    ``ParameterError`` for values that do not exist.
    """
    own_framing = Framing()
    if name is not None and name in MODELS:
        own_framing = MODELS[name].framing
    if fit is not None and side is not None:
        return check_framing(Framing(fit, side))
    if fit is not None:
        # The share that the model keeps and its padding belong to the fit that is replaced.
        replaced = own_framing._replace(fit=fit, crop_pct=None, padding=Framing().padding)
        return check_framing(replaced)
    if side is not None:
        return check_framing(own_framing._replace(side=side))
    return check_framing(own_framing)


def groups(framings: Iterable[tuple[str, Framing]]) -> dict[Framing, tuple[str, ...]]:
    """The names of ``framings`` by framing, in order of appearance."""
    names_by_framing: dict[Framing, tuple[str, ...]] = {}
    for name, framing_of_model in framings:
        names = names_by_framing.get(framing_of_model, ())
        names_by_framing[framing_of_model] = (*names, name)
    return names_by_framing


def by_framing(
    fit: str | None, side: int | None, names: Sequence[str]
) -> dict[Framing, tuple[str, ...]]:
    """The models ``names`` by their framing, in order of appearance; raises as ``framing``."""
    return groups((name, framing(fit, side, name)) for name in names)


def shared_framing(fit: str | None, side: int | None, names: Sequence[str]) -> Framing:
    """The framing of all the models ``names``, or that of the study image where they differ.

    Raises as ``framing``.
    """
    framings = list(by_framing(fit, side, names))
    if len(framings) == 1:
        return framings[0]
    return framing(fit, side)


def version_for(picture: Picture, name: str) -> Picture:
    """The version of ``picture`` that the model ``name`` sees."""
    return picture.at(framing(*picture.overrides, name))


def options(framings: Mapping[str, Framing]) -> dict[str, str]:
    """The fewest of ``fit`` and ``side`` that give each model its one of ``framings``.

    Empty where none do, as for a description that has changed since.
    """
    first = next(iter(framings.values()), Framing())
    choices: list[Overrides] = [
        (None, None),
        (first.fit, None),
        (None, first.side),
        (first.fit, first.side),
    ]
    for fit, side in choices:
        if any(framing(fit, side, name) != wanted for name, wanted in framings.items()):
            continue
        texts = {}
        if fit is not None:
            texts["fit"] = fit
        if side is not None:
            texts["side"] = str(side)
        return texts
    return {}


_ORIGINAL = "brightness"
"""A perturbation whose strength 0 denotes the original in a TOML file."""


OWN_PREPROCESSING = "each model with its own preprocessing"


def _items(values: Any) -> Any:
    if isinstance(values, dict):
        return tuple(values.items())
    return values


_ByName = BeforeValidator(_items)
"""Pairs of a name and a value, which are a table in JSON."""


def _condition(values: Any) -> Condition:
    if values == {}:
        raise ParameterError(
            "expected perturbations with strengths, or an attack, got an empty table; for the "
            f"original image write {_ORIGINAL} = 0."
        )
    return Condition.from_dict(values)


class _ModelsAndConditions(StrictTable):
    """The keys of a TOML file that are no options.

    A profile, which has a ``match``, may be without a ``condition``: then nothing was found that
    could be evaluated.
    """

    models: Annotated[list[str], Field(min_length=1), expected("a list of names")] | None = None
    condition: list[Annotated[Condition, parsed_by(_condition)]] = Field(default_factory=list)
    domain: Annotated[Domain | None, parsed_by(domain_of)] = None
    match: dict[str, Any] | None = None
    """What a match adds to its profile; a run does not need it."""

    @model_validator(mode="after")
    def _check_conditions(self) -> Self:
        if self.condition and self.domain is not None:
            raise RefusedError("expected either tables [[condition]] or a domain, got both")
        if not self.condition and self.domain is None and self.match is None:
            raise RefusedError("expected one or more tables [[condition]], got none")
        return self


RequestTable = table_with_options(_ModelsAndConditions, RequestOptions)
"""The keys of a TOML file."""


@dataclass(frozen=True)
class Request:
    """The request to evaluate models, on any images.

    ``models`` are (name, hash of its weight file), and ``framings`` (name, how the model sees the
    images), in the same order. If there are ``classes``, which are indices, predictions are among
    them alone. The ``variants`` are of these models, each of models that see images alike, and are
    measured on the same images and conditions. ``domain`` is what the conditions cover, if they
    were made for one, or what a table of predictions is judged by. ``digest`` is the key of cached
    results.
    """

    __pydantic_config__ = CONFIG

    models: Annotated[tuple[tuple[str, str], ...], _ByName, expected("a hash for each model")]
    conditions: Annotated[
        tuple[Annotated[Condition, parsed_by(Condition.from_dict)], ...],
        Field(alias="perturbations"),
    ]
    framings: Annotated[
        tuple[tuple[str, Annotated[Framing, parsed_by(Framing.of)]], ...],
        _ByName,
        expected("a framing for each model"),
    ]
    seed: Annotated[int, parsed_by(check_seed)] = 0
    classes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=100_000)] = ()
    variants: tuple[Variant, ...] = ()
    domain: Annotated[Domain | None, parsed_by(domain_of)] = None

    @model_validator(mode="after")
    def _check_framings(self) -> Self:
        if [name for name, _ in self.framings] != [name for name, _ in self.models]:
            raise RefusedError("expected a framing for each model, in their order")
        return self

    @model_validator(mode="after")
    def _check_variants(self) -> Self:
        for variant in self.variants:
            if not any(set(variant.models) <= set(names) for names in self.by_framing.values()):
                raise RefusedError(
                    f"expected variants of models that see images alike, got {variant.name}"
                )
        if len({variant.name for variant in self.variants}) < len(self.variants):
            raise RefusedError("expected each variant once")
        return self

    def framing_of(self, name: str) -> Framing:
        """How the model ``name`` sees the images."""
        return dict(self.framings)[name]

    @property
    def by_framing(self) -> dict[Framing, tuple[str, ...]]:
        """The names of the models by framing, in order of appearance."""
        return groups(self.framings)

    @property
    def framing_text(self) -> str:
        """How the models see the images, in short: "crop at 224 px"."""
        framings = list(self.by_framing) or [Framing()]
        if len(framings) > 1:
            return OWN_PREPROCESSING
        return framings[0].text

    def only_framing(self, subject: str) -> Framing:
        """The framing of all models; raises ``ParameterError`` if they differ.

        ``subject`` is what needs one framing, such as "An export", and begins the error message.
        """
        framings = list(self.by_framing)
        if len(framings) != 1:
            texts = " and ".join(used.text for used in framings)
            raise ParameterError(
                f"{subject} needs models that see images alike, got {texts}: give a fit and a side "
                "for all, or models of one framing.",
                hint="Such as --fit crop --side 224.",
            )
        return framings[0]

    @property
    def remedies(self) -> tuple[Chain, ...]:
        """The remedies that are tried, each once, in the order of the variants."""
        return tuple(dict.fromkeys(variant.chain for variant in self.variants))

    def with_remedies(self, chains: Iterable[Chain]) -> Request:
        """The same request with a variant of each model for each of ``chains``, and no others.

        A chain that combines models makes one variant of all that have the same classes and see
        images alike, and none of a model that is alone.
        """
        variants: list[Variant] = []
        for chain in chains:
            if chain.several_models:
                for names in self.by_framing.values():
                    variants += variants_of(names, chain)
            else:
                variants += variants_of(self.model_names, chain)
        return replace(self, variants=tuple(variants))

    def with_variants(self, variants: Iterable[Variant]) -> Request:
        """The same request with ``variants`` of its models besides its own, each once.

        Their order is that of remedies, then of models, however they were named. Raises
        ``ParameterError`` for a variant of models that see images differently.
        """
        chains: list[Chain] = []
        every = [*variants, *self.variants]
        for variant in every:
            if not any(set(variant.models) <= set(names) for names in self.by_framing.values()):
                raise ParameterError(
                    f"Expected models that see images alike in {variant.name}, got different "
                    "ones: give a fit and a side for all.",
                    hint="Such as --fit crop --side 224.",
                )
            if variant.chain not in chains:
                chains.append(variant.chain)

        def rank(variant: Variant) -> tuple[int, list[int]]:
            places = [self.model_names.index(name) for name in variant.models]
            return chains.index(variant.chain), places

        ordered = sorted(dict.fromkeys(every), key=rank)
        return replace(self, variants=tuple(ordered))

    def of_models(self, names: Sequence[str]) -> Request:
        """The same request for some of its models, in the order of ``names``, and their variants.

        Raises ``KeyError`` for a model that it does not have.
        """
        hashes = dict(self.models)
        framings = dict(self.framings)
        return replace(
            self,
            models=tuple((name, hashes[name]) for name in names),
            framings=tuple((name, framings[name]) for name in names),
            variants=tuple(each for each in self.variants if set(each.models) <= set(names)),
        )

    @property
    def model_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.models)

    @property
    def pooled_conditions(self) -> tuple[Condition, ...]:
        """The conditions that figures are of: each profile is one."""
        return pool_profiles(self.conditions)

    @property
    def profiles(self) -> dict[str, tuple[str, ...]]:
        """The ids of the compositions of each profile, by its name."""
        ids_by_profile: dict[str, list[str]] = {}
        for condition in self.conditions:
            if condition.profile:
                ids_by_profile.setdefault(condition.profile, []).append(condition.id)
        return {name: tuple(ids) for name, ids in ids_by_profile.items()}

    def as_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "models": dict(self.models),
            "perturbations": [condition.as_dict() for condition in self.conditions],
            "framings": {name: framing.as_dict() for name, framing in self.framings},
            "seed": self.seed,
            "bits": BITS,  # of every image
        }
        # Left out where they are empty: the key of requests without them stays as it was.
        if self.classes:
            document["classes"] = list(self.classes)
        if self.variants:
            document["variants"] = [variant.as_dict() for variant in self.variants]
        if self.domain is not None:
            document["domain"] = self.domain.as_dict()
        return document

    @property
    def digest(self) -> str:
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def as_toml(self) -> str:
        """The request as a TOML file, which ``read_request`` reads back.

        A condition without perturbations comes back as one of strength 0, which changes nothing.
        """
        names = list(self.model_names)
        has_all_variants = self == self.with_remedies(self.remedies)
        if not has_all_variants:
            names += [variant.name for variant in self.variants]
        lines = [f"models = {json.dumps(names)}", f"seed = {self.seed}"]
        overrides = options(dict(self.framings))
        if "fit" in overrides:
            lines.append(f"fit = {json.dumps(overrides['fit'])}")
        if "side" in overrides:
            lines.append(f"side = {overrides['side']}")
        if self.remedies and has_all_variants:
            lines.append(f"remedies = {json.dumps([chain.id for chain in self.remedies])}")
        if self.domain is not None:
            return "\n".join([*lines, "", self.domain.as_toml("domain")])
        for condition in self.conditions:
            lines += ["", "[[condition]]"]
            values = condition.as_dict() or {_ORIGINAL: 0.0}
            for name, value in values.items():
                lines.append(f"{name} = {json.dumps(value)}")
        return "\n".join(lines) + "\n"


def make_spec(
    model_names: Sequence[str] | None,
    conditions: Sequence[Condition],
    **given: Unpack[RequestOptions],
) -> Request:
    """A checked request; without ``model_names`` it has the default selection.

    ``model_names`` may name variants, such as ``SqueezeNet+median``; ``remedies`` make one of each
    model. ``fit`` and ``side`` are as ``framing`` takes them. Duplicate conditions and variants
    count once. Raises ``UnknownNameError`` for an unknown model, fit or remedy,
    ``WeightsError`` for a model without weights, ``ParameterError`` for a seed out of range, no
    condition, or one in a profile and elsewhere.
    """
    options = options_of(RequestOptions, given)
    if not conditions:
        raise ParameterError("Expected at least one perturbation, got none.")
    named_models, variants = models_and_variants(model_names or ())
    names = models.resolve(named_models)
    hashes = tuple((name, models.digest(models.REGISTRY[name])) for name in names)
    framings = tuple((name, framing(options["fit"], options["side"], name)) for name in names)
    conditions = tuple(dict.fromkeys(conditions))
    _check_profiles(conditions)
    request = Request(hashes, conditions, framings, check_seed(options["seed"]))
    return request.with_remedies(parse_all(options["remedies"])).with_variants(variants)


def domain_spec(
    domain: Domain,
    model_names: Sequence[str] | None = None,
    **given: Unpack[RequestOptions],
) -> Request:
    """The request that tests ``domain``, under all its conditions and with its framing.

    Raises ``ParameterError`` for a ``fit`` or ``side`` other than the domain's, and what
    ``make_spec`` raises.
    """
    options = options_of(RequestOptions, given)
    domain.check_framing(options["fit"], options["side"])
    if options["fit"] is None:
        options["fit"] = domain.fit
    if options["side"] is None:
        options["side"] = domain.side
    spec = make_spec(model_names, domain.conditions, **options)
    return replace(spec, domain=domain)


def _check_profiles(conditions: Sequence[Condition]) -> None:
    """Raise ``ParameterError`` for a condition in two profiles, or in one and outside.

    Its rows would not tell for which of them they are.
    """
    profile_by_id: dict[str, str] = {}
    for condition in conditions:
        first_profile = profile_by_id.setdefault(condition.id, condition.profile)
        if first_profile == condition.profile:
            continue
        texts = []
        for name in (first_profile, condition.profile):
            texts.append(f"the profile {name!r}" if name else "no profile")
        raise ParameterError(
            f"Expected each condition once, got {condition.id} in {' and in '.join(texts)}: "
            "evaluate two runs."
        )


def spec_of(
    picture: Picture, model_names: Sequence[str] | None, conditions: Sequence[Condition], seed: int
) -> Request:
    """As ``make_spec``, with the overrides of ``picture``."""
    fit, side = picture.overrides
    return make_spec(model_names, conditions, seed=seed, fit=fit, side=side)


def read_conditions(name: str, data: bytes | None = None) -> tuple[Condition, ...]:
    """The conditions of the TOML file ``name``, from its bytes ``data`` if they are given.

    Raises ``ParameterError`` for a file of another form.
    """
    if data is None:
        values = read_toml(Path(name))
    else:
        values = parse_toml(data, name)
    return _conditions_of(checked(RequestTable, values, name), name)


def _conditions_of(table: _ModelsAndConditions, name: str) -> tuple[Condition, ...]:
    """The conditions of the file called ``name``, each once; raises if there are none."""
    if table.domain is not None:
        return table.domain.conditions
    if not table.condition:
        raise ParameterError(
            f"{name}: expected conditions, got the profile of a match that found no difference or "
            "did not explain it: choose another suite, or match other images."
        )
    return tuple(dict.fromkeys(table.condition))


def read_request(path: Path, model_names: Sequence[str] | None = None) -> Request:
    """The request that the TOML file ``path`` asks for, of ``model_names`` if it names no models.

    Raises ``ParameterError`` for a file of another form, and what ``make_spec``
    raises.
    """
    table = checked(RequestTable, read_toml(path), str(path))
    options = options_of(RequestOptions, dict(table))
    names = table.models or model_names
    if table.domain is not None:
        return domain_spec(table.domain, names, **options)
    return make_spec(names, _conditions_of(table, str(path)), **options)


def study_conditions(
    names: Iterable[str] | None = None, strength: float | None = None
) -> tuple[Condition, ...]:
    """One condition per perturbation, at its study setting or at ``strength``.

    The default is the study's perturbations.
    """
    strengths = None if strength is None else [strength]
    return graded_conditions(names or suite_names(STUDY_SUITE), strengths=strengths)


SEVERITIES = (1, 2, 3, 4, 5)

_DEFAULT_STRENGTH = 0.6
"""The strength of a perturbation without a study setting; it has severity 3."""


def suite_names(suite: str) -> tuple[str, ...]:
    """The perturbations of a suite: the study's ten, or ImageNet-C's 19 corruptions.

    Raises ``UnknownNameError`` for another suite.
    """
    if suite not in SUITES:
        raise UnknownNameError(f"There is no suite {suite!r}. Known: {', '.join(SUITES)}.")
    if suite == STUDY_SUITE:
        return tuple(record.name for record in PERTURBATIONS if record.in_study)
    return tuple(record.name for record in PERTURBATIONS if record.imagenet_c == record.name)


def suite_conditions(
    suite: str,
    *,
    strengths: Iterable[float] | None = None,
    severities: Iterable[int] | None = None,
) -> tuple[Condition, ...]:
    """The perturbations of a suite, as by ``graded_conditions``.

    A path that ends in .toml is a request file or a profile; its conditions are fixed. Those of
    ``imagenet-c-jpeg`` end with JPEG compression, as the published images did. Raises what
    ``suite_names`` and ``graded_conditions`` raise.
    """
    if suite.endswith(".toml"):
        if strengths is not None or severities is not None:
            raise ParameterError(
                f"{suite} has fixed conditions: expected no strengths or severities, got some."
            )
        return read_conditions(suite)
    conditions = graded_conditions(suite_names(suite), strengths=strengths, severities=severities)
    if suite != IMAGENET_C_JPEG_SUITE:
        return conditions
    return tuple(
        Condition.of({**condition.as_dict(), SAVED_AS_JPEG: 1.0}) for condition in conditions
    )


def named_conditions(**given: Unpack[ConditionOptions]) -> tuple[Condition, ...]:
    """The conditions that options name: of ``perturbations``, or of a ``suite``.

    Attacks among the ``perturbations`` come last, each at every ``epsilon``. ImageNet-C's suites
    have all five severities unless others, or strengths, are given. Raises ``UnknownNameError`` or
    ``ParameterError`` for what does not exist or does not go together.
    """
    options = options_of(ConditionOptions, given)
    suite = options["suite"] or STUDY_SUITE
    strengths = options["strengths"]
    severities = options["severities"]
    attack_names = []
    perturbation_names = []
    for name in options["perturbations"] or ():
        if ATTACKS.find(name):
            attack_names.append(name)
        else:
            perturbation_names.append(name)
    attacks = _attacks(attack_names, options)
    if options["perturbations"] is not None and options["suite"] is not None:
        raise ParameterError("Expected either perturbations or a suite, got both.")
    if attack_names and not perturbation_names:
        if strengths is not None or severities is not None:
            raise ParameterError(
                "Attacks take no strengths or severities: expected an epsilon, such as 2/255."
            )
        return attacks
    if options["perturbations"] is not None:
        perturbations = graded_conditions(
            perturbation_names, strengths=strengths, severities=severities
        )
        return (*perturbations, *attacks)
    if suite in (IMAGENET_C_SUITE, IMAGENET_C_JPEG_SUITE) and strengths is None:
        severities = severities or SEVERITIES  # as they are published
    return suite_conditions(suite, strengths=strengths, severities=severities)


def _attacks(names: Sequence[str], options: ConditionOptions) -> tuple[Condition, ...]:
    """The attacks ``names``, each at every epsilon.

    Steps and restarts apply to the attacks that take any. If none does, they are handed to all,
    which refuse them.
    """
    steps = options["attack_steps"]
    restarts = options["attack_restarts"]
    if not names:
        if options["epsilon"] is not None or steps is not None or restarts is not None:
            raise ParameterError(
                "Expected an attack among the perturbations beside an epsilon, steps or restarts, "
                f"got none. Known: {', '.join(ATTACKS.names)}."
            )
        return ()
    attacks = [ATTACKS[name] for name in names]
    with_steps = [attack for attack in attacks if attack.most_steps > 1] or attacks
    with_restarts = [attack for attack in attacks if attack.random] or attacks
    epsilons = [parse_epsilon(str(epsilon)) for epsilon in options["epsilon"] or ["8/255"]]
    conditions = []
    for attack in attacks:
        takes_restarts = restarts is not None and attack in with_restarts
        for epsilon in dict.fromkeys(epsilons):
            conditions.append(
                Condition.attack(
                    attack.name,
                    epsilon=epsilon,
                    steps=steps if attack in with_steps else None,
                    restarts=restarts if takes_restarts else 1,
                )
            )
    return tuple(conditions)


def profile_note(name: str, spec: Request, table: Mapping[str, Any] | None = None) -> str:
    """A sentence if the profile ``name`` is of another side than a model of ``spec`` sees.

    ``table`` is that of its file, which is read without it. "" if ``name`` is no profile.
    """
    if table is None:
        if not name.endswith(".toml"):
            return ""
        table = read_toml(Path(name))
    match = table.get("match")
    if not isinstance(match, Mapping):
        return ""
    matched_side = match.get("side", table.get("side", STUDY_SIDE))
    others = []
    for model, framing_of_model in spec.framings:
        if framing_of_model.side != matched_side:
            others.append(f"{model} ({framing_of_model.side} px)")
    if not others:
        return ""
    verb = "does" if len(others) == 1 else "do"
    return (
        f"{name} was matched at {matched_side} px, which {some(others, 3)} {verb} not see: "
        "strengths in pixels scale with the side, and grain and blur may look otherwise there. "
        "Match at that side to be sure."
    )


def graded_conditions(
    names: Iterable[str],
    *,
    strengths: Iterable[float] | None = None,
    severities: Iterable[int] | None = None,
) -> tuple[Condition, ...]:
    """Each perturbation at each of the ``strengths``, or of ImageNet-C's ``severities``.

    With neither, each at its study setting, or at 0.6 (severity 3) without one. A switch comes
    once. Raises ``UnknownNameError`` or ``ParameterError`` for what does not exist.
    """
    conditions = []
    for name in dict.fromkeys(names):
        record = PERTURBATIONS[name]
        if strengths is not None:
            values = list(strengths)
        elif severities is not None:
            values = [_at_severity(record, level) for level in severities]
        elif record.study_strength is not None:
            values = [record.study_strength]
        else:
            values = [_DEFAULT_STRENGTH]
        if not values:
            raise ParameterError("Expected at least one strength or severity, got none.")
        if not record.graded:
            values = [max(values)]
        conditions += [Condition.of({name: value}) for value in dict.fromkeys(values)]
    return tuple(conditions)


def stored_conditions(
    dataset: ImageNetCTree,
    names: Iterable[str] | None = None,
    severities: Iterable[int] | None = None,
) -> tuple[Condition, ...]:
    """The conditions that a published dataset has, or those of ``names`` and ``severities``.

    Raises ``ParameterError`` if it has none of them.
    """
    corruptions = sorted({corruption for corruption, _ in dataset.stored})
    chosen_names = corruptions if names is None else list(names)
    for name in chosen_names:
        if name not in corruptions:
            raise ParameterError(
                f"{dataset.title} has no {name!r}. Known: {', '.join(corruptions)}."
            )
    chosen_levels = SEVERITIES if severities is None else tuple(severities)
    conditions = []
    for name, level in dataset.stored:
        if name in chosen_names and level in chosen_levels:
            table = StoredTable(corruption=name, severity=level)
            conditions.append(StoredCondition.of_table(table))
    if not conditions:
        raise ParameterError(f"{dataset.title} has none of the severities {chosen_levels}.")
    return tuple(conditions)


def _at_severity(record: Perturbation, level: int) -> float:
    if level not in SEVERITIES:
        raise ParameterError(f"Expected a severity from 1 to 5, got {level}.")
    if not record.severity_strengths:
        raise ParameterError(
            f"{record.name} has no ImageNet-C severities: give a strength from 0 to 1 instead."
        )
    return record.severity_strengths[level - 1]
