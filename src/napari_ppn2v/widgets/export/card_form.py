"""What others are told of a model: name, description, authors, licence, tags."""

from __future__ import annotations

from qtpy.QtCore import QSize, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QWidget,
)

from napari_ppn2v.files.bioimage_card import (
    DEFAULT_LICENCE,
    LONGEST_DESCRIPTION,
    UNNAMED,
    Author,
    ModelCard,
    name_from,
)

LICENCES = {
    DEFAULT_LICENCE: "use and change it freely, and name you",
    "CC0-1.0": "use and change it freely, without any condition",
    "MIT": "use and change it freely, and keep the notice; made for programs",
    "BSD-3-Clause": "likewise, and do not advertise with your name",
}
"""Those that are offered, and what they allow; any of the SPDX list can be typed."""


class CardForm(QWidget):
    """A form for one `ModelCard`.

    Signals
    -------
    changed
        Anything was edited.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name, self.tags = QLineEdit(), QLineEdit()
        self.description, self.authors = TextLines(3), TextLines(2)
        self.licence = QComboBox()
        self._explain()
        self._lay_out()
        self._connect()

    def _explain(self) -> None:
        self.licence.setEditable(True)
        self.licence.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.licence.setAccessibleName("Licence")
        self.licence.addItems(list(LICENCES))
        self.description.setPlaceholderText(
            "sample, microscope, camera, exposure: for example HeLa, tubulin-GFP, "
            "63x 1.4, sCMOS, 20 ms"
        )
        self.authors.setPlaceholderText("Name; affiliation; ORCID\none line for each")
        self.tags.setPlaceholderText("for example: sCMOS, tubulin")
        allowed = "; ".join(f"{name}: {words}" for name, words in LICENCES.items())
        helps = {
            self.name: "What others see first: letters without accents, digits, spaces "
            "and _ + - ( ).",
            self.description: "One or two sentences by which others see whether it is "
            f"for their images, of at most {LONGEST_DESCRIPTION} characters. Empty: "
            "the package says that it was not described.",
            self.authors: "Whom to ask about the model, one in each line: name; "
            "affiliation; ORCID; @name on GitHub. All but the name may be left out. "
            f"Empty: the package says “{UNNAMED}”.",
            self.licence: f"What others may do with it. {allowed}. Others of the SPDX "
            "list can be typed.",
            self.tags: "Words by which others find it, between commas; may be empty.",
        }
        for widget, text in helps.items():
            widget.setToolTip(f"<qt>{text}</qt>")

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Name", self.name)
        form.addRow("Description", self.description)
        form.addRow("Authors", self.authors)
        form.addRow("Licence", self.licence)
        form.addRow("Tags", self.tags)

    def _connect(self) -> None:
        for edit in (self.name, self.tags):
            edit.textChanged.connect(lambda _: self.changed.emit())
        for lines in (self.description, self.authors):
            lines.textChanged.connect(self.changed)
        self.licence.editTextChanged.connect(lambda _: self.changed.emit())

    def card(self) -> ModelCard:
        """Return what is entered.

        Raises
        ------
        BadSetting  If the model zoo would refuse one of these.
        """
        authors = self.authors.toPlainText().splitlines()
        known = tuple(Author.parse(line) for line in authors if line.strip())
        tags = (tag.strip() for tag in self.tags.text().split(","))
        return ModelCard(
            name=self.name.text().strip(),
            description=" ".join(self.description.toPlainText().split()),
            authors=known or (Author(UNNAMED),),
            licence=self.licence.currentText().strip(),
            tags=tuple(tag for tag in tags if tag),
        )

    def describe_another(self, name: str) -> None:
        """Begin with another model: authors and licence stay, the rest was of its own.

        Parameters
        ----------
        name : of the model, of which that of the package is made
        """
        self.name.setModified(False)
        self.suggest_name(name)
        self.description.clear()
        self.tags.clear()

    def suggest_name(self, name: str) -> None:
        """Make the name of that of a model, unless the user has written one."""
        if not self.name.isModified():
            self.name.setText(name_from(name))
            self.name.setCursorPosition(0)


# napari's themes leave fields of several lines without a ground of their own; this grey
# lies half-way in all of them, near that of the other fields
_FIELD = "QPlainTextEdit {background-color: rgba(128, 128, 128, 33%); padding: 1px;}"
_PADDING = 2  # pixels, above and below together


class TextLines(QPlainTextEdit):
    """A few lines of text; Tab goes on to the next field.

    Parameters
    ----------
    count : lines that are seen at once
    """

    def __init__(self, count: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._count = count
        self.setStyleSheet(_FIELD)
        self.setTabChangesFocus(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Ask for the height of the lines, whatever the font; half of none is seen."""
        document = self.document()
        margin = 0.0 if document is None else document.documentMargin()
        around = margin + 2 * self.frameWidth() + _PADDING
        height = self._count * self.fontMetrics().lineSpacing() + around
        return QSize(super().sizeHint().width(), round(height))

    def minimumSizeHint(self) -> QSize:
        """Be as narrow as the dock is."""
        return QSize(0, self.sizeHint().height())
