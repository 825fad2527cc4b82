"""The values of a rig's facts, bounded and of their forms."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from provision.boundary import patterns

Text = Annotated[str, Meta(max_length=4096)]
Texts = Annotated[list[Text], Meta(max_length=4096)]
Path = Annotated[str, Meta(pattern=patterns.PATH)]
Paths = Annotated[list[Path], Meta(max_length=4096)]
PciAddress = Annotated[str, Meta(pattern=patterns.PCI_ADDRESS)]
PciId = Annotated[str, Meta(pattern=patterns.PCI_ID)]
Version = Annotated[str, Meta(pattern=patterns.VERSION)]
Package = Annotated[str, Meta(pattern=patterns.PACKAGE)]
Count = Annotated[int, Meta(ge=0, le=1 << 62)]
Width = Annotated[int, Meta(ge=0, le=255)]  # all bits set: the device left the bus
Speed = Annotated[float, Meta(ge=0, le=1000)]
Number = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
