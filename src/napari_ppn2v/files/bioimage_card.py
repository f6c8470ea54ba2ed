"""What a person says about a model that is given to others: names, licence, tags."""

from __future__ import annotations

import re
from dataclasses import dataclass

from napari_ppn2v.errors import BadSetting

DEFAULT_LICENCE = "CC-BY-4.0"
UNNAMED = "Author not named"
GENERAL_DESCRIPTION = (
    "Denoises images like those it was trained on: grey values in, grey values out. "
    "Sample, microscope and camera were not described."
)
SHORTEST_NAME, LONGEST_NAME, LONGEST_DESCRIPTION = 5, 128, 1024

_NAME = re.compile(r"[A-Za-z0-9_+\- ()]+")
_ORCID = re.compile(r"(\d{4}-){3}\d{3}[\dX]")


@dataclass(frozen=True, slots=True)
class Author:
    """A person to ask about a model; all but the name may be empty."""

    name: str
    affiliation: str = ""
    orcid: str = ""
    github_user: str = ""

    @classmethod
    def parse(cls, text: str) -> Author:
        """Read "Name; affiliation; ORCID; @github", where all but the name is optional.

        Raises
        ------
        BadSetting  If the name is missing or holds a slash, or the ORCID is mistyped.
        """
        name, *others = (part.strip() for part in text.split(";"))
        if not name or "/" in name or "\\" in name:
            raise BadSetting(
                f"The author '{text}' has no name, or one with a slash. Write it as "
                "'Name; affiliation; ORCID; @github', all but the name optional."
            )
        found = {"affiliation": "", "orcid": "", "github_user": ""}
        for part in filter(None, others):
            if part.startswith("@"):
                found["github_user"] = part[1:]
            elif re.fullmatch(r"[\dX-]{16,19}", part):
                found["orcid"] = _checked_orcid(part)
            else:
                found["affiliation"] = part
        return cls(name, **found)

    def as_plain(self) -> dict[str, str]:
        """Return what is known, under the names of the model description."""
        known = {
            "name": self.name,
            "affiliation": self.affiliation,
            "orcid": self.orcid,
            "github_user": self.github_user,
        }
        return {key: value for key, value in known.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What others read before they use a model.

    Attributes
    ----------
    name : letters, digits, spaces and _ + - ( ), 5 to 128 of them
    description
        One or two sentences: sample, microscope, camera settings. A general one where
        it is empty.
    authors : at least one, `UNNAMED` where nobody was named
    licence : identifier of the SPDX list, such as "CC-BY-4.0" or "CC0-1.0"
    tags : words to find it by, besides those that every exported model has

    Raises
    ------
    BadSetting  If the model zoo would refuse one of these.
    """

    name: str
    description: str = ""
    authors: tuple[Author, ...] = (Author(UNNAMED),)
    licence: str = DEFAULT_LICENCE
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_long_enough = SHORTEST_NAME <= len(self.name) <= LONGEST_NAME
        if not (is_long_enough and _NAME.fullmatch(self.name)):
            raise BadSetting(
                f"The name '{self.name}' has {len(self.name)} characters. Choose one "
                f"of {SHORTEST_NAME} to {LONGEST_NAME}: letters without accents, "
                "digits, spaces and _ + - ( )."
            )
        if len(self.description) > LONGEST_DESCRIPTION:
            raise BadSetting(
                f"The description has {len(self.description)} characters. Shorten it "
                f"to {LONGEST_DESCRIPTION}."
            )
        if not re.fullmatch(r"[A-Za-z0-9.+-]+", self.licence):
            raise BadSetting(
                f"The licence '{self.licence}' is not an SPDX identifier. Write for "
                "example CC-BY-4.0, CC0-1.0 or MIT."
            )
        if not self.authors:
            raise BadSetting("Name at least one author.")


def name_from(stem: str) -> str:
    """Make a name that the model zoo takes of the name of a file."""
    words = re.sub(r"[^A-Za-z0-9_+()-]+", " ", stem).strip()
    return f"PPN2V denoising {words}".strip()[:LONGEST_NAME]


def _checked_orcid(text: str) -> str:
    """Refuse an ORCID whose last character does not follow from the others."""
    if _ORCID.fullmatch(text):
        digits, last = text.replace("-", "")[:-1], text[-1]
        total = 0
        for digit in digits:  # ISO 7064, 11-2
            total = (total + int(digit)) * 2
        check = (12 - total % 11) % 11
        if last == ("X" if check == 10 else str(check)):
            return text
    raise BadSetting(
        f"The ORCID '{text}' is mistyped: it has 16 characters in groups of four, such "
        "as 0000-0002-1825-0097, the last of which is computed from the others."
    )
