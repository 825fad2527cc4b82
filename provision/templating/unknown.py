"""Values that check mode cannot predict.

An `Unknown` propagates: whatever a template makes of one is unknown, too. Jinja2 needs a real truth
value, length or text from some operations, so an Unknown answers those with an empty one and makes
a note in its rendering's `Witness`; the Templar then discards what was rendered. A template that
does not touch the Unknown (`known or unknown.stdout`) keeps its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Witness:
    """Remembers whether one rendering used an unknown value, and which."""

    def __init__(self) -> None:
        self.source = ""

    def note(self, source: str) -> None:
        """Note the first unknown value that a rendering used."""
        self.source = self.source or source


class _Made:
    """Whether this process has made an unknown value: only check mode does."""

    any = False


class Unknown:
    """A value that only a real run gives. `source` names what it depends on.

    is_defined: whether there will be a value; a key of a result need not be there.
    """

    __slots__ = ("_is_defined", "_source", "_witness")

    def __init__(
        self, source: str, witness: Witness | None = None, is_defined: bool = True
    ) -> None:
        _Made.any = True
        self._source = source
        self._witness = witness
        self._is_defined = is_defined

    @property
    def reason(self) -> str:
        """Why a task that needs this value has no predicted outcome."""
        return f"cannot be predicted: needs {self._source}"

    def bind(self, witness: Witness | None) -> Unknown:
        """Return the same value for one rendering, whose witness notes its use; None for none."""
        return Unknown(self._source, witness, self._is_defined)

    def defined(self) -> Unknown:
        """Return the value of a variable that a real run sets, or fails."""
        return Unknown(self._source)

    def is_certainly_defined(self) -> bool:
        """Return whether there will be a value, whatever it is."""
        return self._is_defined

    def use(self, *_: Any, **__: Any) -> Unknown:
        """Note that an operation, a filter or a test used this value, and return it."""
        if self._witness is not None:
            self._witness.note(self._source)
        return self

    def __getattr__(self, name: str) -> Unknown:
        if name.startswith("__"):  # a protocol that an Unknown does not have
            raise AttributeError(name)
        return self.use()

    __getitem__ = __call__ = use
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __rmod__ = use
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = use
    __neg__ = __pos__ = __lt__ = __le__ = __gt__ = __ge__ = use

    def __eq__(self, other: object) -> Any:
        return self.use()

    def __ne__(self, other: object) -> Any:
        return self.use()

    def __hash__(self) -> int:
        self.use()
        return 0

    def __bool__(self) -> bool:
        self.use()
        return False

    def __len__(self) -> int:
        self.use()
        return 0

    def __iter__(self) -> Iterator[Any]:
        self.use()
        return iter(())

    def __contains__(self, item: object) -> bool:
        self.use()
        return False

    def __int__(self) -> int:
        self.use()
        return 0

    def __float__(self) -> float:
        self.use()
        return 0.0

    def __str__(self) -> str:
        self.use()
        return "(unknown)"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)


class PartialResult(dict[str, Any]):
    """A registered result of which check mode knows some keys: any other key is Unknown.

    `source` names the task.
    """

    def __init__(self, values: dict[str, Any], source: str, witness: Witness | None = None) -> None:
        _Made.any = True
        super().__init__(values)
        self._source = source
        self._witness = witness

    def bind(self, witness: Witness) -> PartialResult:
        """Return the same result for one rendering, whose witness notes the use of other keys."""
        return PartialResult(dict(self._plain_items()), self._source, witness)

    def _plain_items(self) -> Iterator[tuple[str, Any]]:
        return ((key, dict.__getitem__(self, key)) for key in dict.__iter__(self))

    def _note(self) -> None:
        if self._witness is not None:
            self._witness.note(self._source)

    def __missing__(self, key: str) -> Unknown:
        return Unknown(f"'{key}' of {self._source}", self._witness, is_defined=False)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or Unknown: whether the default applies is not known."""
        return self[key]

    def __contains__(self, key: object) -> bool:
        if not super().__contains__(key):
            self._note()
        return super().__contains__(key)

    # What looks at the whole result depends on the keys that are not known.

    def __iter__(self) -> Iterator[str]:
        self._note()
        return super().__iter__()

    def __len__(self) -> int:
        self._note()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._note()
        return super().__eq__(other)

    def __repr__(self) -> str:
        self._note()
        return super().__repr__()

    def keys(self) -> Any:
        """Return the known keys."""
        self._note()
        return super().keys()

    def values(self) -> Any:
        """Return the known values."""
        self._note()
        return super().values()

    def items(self) -> Any:
        """Return the known pairs."""
        self._note()
        return super().items()

    __hash__ = None


def find_unknown(value: Any) -> Unknown | None:
    """Return an Unknown in a value, at any depth; a PartialResult as a whole is one, too."""
    return _find_unknown(value) if _Made.any else None


def _find_unknown(value: Any) -> Unknown | None:
    if isinstance(value, Unknown):
        return value
    if isinstance(value, PartialResult):
        return Unknown(value._source)
    if isinstance(value, (dict, list)):
        items = value.values() if isinstance(value, dict) else value
        return next(
            (unknown for item in items if (unknown := _find_unknown(item)) is not None), None
        )
    return None


def collapse(value: Any) -> Any:
    """Return an Unknown for a value that has one within; a PartialResult stays what it is."""
    unknown = None if isinstance(value, PartialResult) else find_unknown(value)
    return value if unknown is None else unknown.bind(None)
