"""The entities of SuperOffice, their actions and their columns.

Transcribed from the event reference, whose pages list the columns in the order used here:
https://docs.superoffice.com/en/automation/webhook/reference/index.html

A column is written as on the wire, an ``int`` unless ``:kind`` follows. Nothing is rejected
because it is missing here: the catalogue only says what a value means. Users of SuperOffice invent
event names of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Kind(Enum):
    """How SuperOffice sends the values of a column."""

    INT = "int"
    """A number: an id, a list item, an enum or a bit mask."""
    FLAG = "flag"
    """A boolean sent as the number 0 or 1."""
    BOOL = "bool"
    """A JSON boolean."""
    NUMERIC = "numeric"
    """An integer, sometimes sent as a string of digits."""
    DATE = "date"
    """A date-time string: with an offset, without one, or a "no date" of year 1 or 1760."""
    OTHER = "other"
    """Sent as more than one type without a rule for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One kind of record, with the events that it raises; ``about`` says what it is.

    ``name`` is the part of the event name before the last dot, ``key`` the column of PrimaryKey.
    ``fields`` are the columns of FieldValues, present on the actions ``fields_on``; Changes is
    filled on ``changes_on``; ``values`` are the columns of Values on ``deleted``. ``notes`` say
    what the values of a column mean, as far as that is documented.
    """

    name: str
    about: str
    key: str | None
    actions: tuple[str, ...]
    fields: Mapping[str, Kind]
    fields_on: tuple[str, ...]
    changes_on: tuple[str, ...]
    values: tuple[str, ...]
    notes: Mapping[str, str]


def _entity(
    name: str,
    about: str,
    *,
    actions: str,
    key: str | None = None,
    fields: str = "",
    fields_on: str = "",
    changes_on: str = "",
    values: str = "",
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Entity:
    columns = (column.partition(":") for column in fields.split())
    return Entity(
        name=name,
        about=about,
        key=key,
        actions=tuple(actions.split()),
        fields=MappingProxyType({column: Kind(kind or "int") for column, _, kind in columns}),
        fields_on=tuple(fields_on.split()),
        changes_on=tuple(changes_on.split()),
        values=tuple(values.split()),
        notes=MappingProxyType(dict(notes)),
    )


_LATER: Final = (
    "Who deletes one in the user interface causes softdeleted; deleted follows when it is removed"
    " for good, by default 14 days later."
)

ENTITIES: Final = (
    _entity(
        "activity",
        "An entry of the diary: an appointment, a task, a call, or that of a document.",
        actions="created changed deleted",
        key="appointment_id",
        # private is an enum, not a flag.
        fields="""activeDate:date associate_id contact_id do_by:date document_id endDate:date
            modified_appointment_fields mother_id person_id private project_id sale_id status
            task_idx type updated:date userdef2_id userdef_id""",
        fields_on="created",
        changes_on="created changed",
        values="appointment_id contact_id person_id project_id sale_id",
    ),
    _entity(
        "associate",
        "A user of SuperOffice.",
        actions="created changed deleted",
        key="associate_id",
        fields="""deleted:flag group_idx person_id registered_associate_id type updated:date
            updated_associate_id waiting_for_approval:flag""",
        fields_on="created",
        changes_on="created changed",
        values="associate_id person_id",
    ),
    _entity(
        "chatsession",
        "A conversation in chat.",
        actions="created changed message",
        key="id",
        # The reference writes camelCase, its sample PascalCase.
        fields="""alertLevel chatbotIsactive:bool consented:bool contactId:numeric
            customerAlias:other customerId:numeric projectId rating saleId status ticketId topicId
            userId""",
        fields_on="created",
        changes_on="message",
        notes={
            "status": "0 invalid, 1 form before the chat, 2 FAQ, 3 form while offline, 4 in the"
            " queue, 5 the customer wrote last, 6 the user did, 7 finished, 8 deleted, 9 closed,"
            " 10 a request was posted, 11 closed from the queue."
        },
    ),
    _entity(
        "contact",
        f"A company. {_LATER}",
        actions="created changed softdeleted deleted",
        key="contact_id",
        fields="""activeInterests associate_id business_idx category_idx country_id deleted:flag
            DeletedDate:date registered:date registered_associate_id source updated:date
            userdef2_id userdef_id""",
        fields_on="created changed",
        changes_on="created changed",
        values="associate_id contact_id",
    ),
    _entity(
        "document",
        "A document: what is known about it, not its content.",
        actions="created changed deleted edited",
        key="document_id",
        fields="""application_id appointment_id document_id registered:date
            registered_associate_id updated:date updated_associate_id userdef2_id userdef_id""",
        fields_on="created",
        changes_on="created changed",
        values="document_id appointment_id",
    ),
    _entity(
        "person",
        f"Somebody who works for a contact. {_LATER}",
        actions="created changed softdeleted deleted consented unconsented",
        key="person_id",
        fields="""activeInterests associate_id business_idx category_idx contact_id country_id
            DeletedDate:date group_id person_id position_idx registered:date
            registered_associate_id retired:flag source updated:date updated_associate_id
            userdef2_id userdef_id""",
        fields_on="created",
        changes_on="created changed consented",
        values="associate_id contact_id person_id",
    ),
    _entity(
        "project",
        "A project.",
        actions="created changed deleted",
        key="project_id",
        fields="""activeLinks associate_id done:flag registered:date registered_associate_id
            status_idx type_idx updated:date updated_associate_id userdef2_id userdef_id""",
        fields_on="created",
        changes_on="created changed",
        values="associate_id project_id",
    ),
    _entity(
        "projectmember",
        "Somebody who takes part in a project.",
        actions="created changed deleted",
        key="projectmember_id",
        fields="""contact_id mtype_idx person_id project_id projectmember_id registered:date
            registered_associate_id updated:date updated_associate_id""",
        fields_on="created",
        changes_on="created changed",
        values="associate_id project_id",
    ),
    # What the PrimaryKey of a quote identifies is not documented.
    _entity("quote", "A quote.", actions="approved rejected sent ordered"),
    _entity(
        "relation",
        "A relation between two records, contacts or persons.",
        actions="created changed deleted",
        key="relation_id",
        # The reference writes associate_id, its sample associateId.
        fields="""associateId destination_record destination_table registered:date
            registered_associate_id reldef_id source_record source_table updated:date
            updated_associate_id""",
        fields_on="created",
        changes_on="created changed",
        values="associate_id relation_id",
    ),
    _entity(
        "sale",
        "A sale, won or not.",
        actions="created changed deleted sold lost completed",
        key="sale_id",
        fields="""activeLinks appointment_id associate_id comptr_id contact_id credited_id
            currency_id done group_idx person_id probability_idx project_id reason_id
            reasonSold_id reasonStalled_id registered:date registered_associate_id saleTypeCat_id
            saleType_id saledate:date source_id status updated:date updated_associate_id
            userdef2_id userdef_id""",
        fields_on="created changed deleted",
        changes_on="created changed sold lost completed",
        values="sale_id associate_id contact_id person_id project_id",
        notes={"done": "0 unknown, 1 no, 2 yes.", "status": "1 open, 2 sold, 3 lost, 4 stalled."},
    ),
    _entity(
        "salestakeholder",
        "Somebody who has a part in a sale.",
        actions="created changed deleted",
        key="salestakeholder_id",
        fields="""contact_id person_id registered:date registered_associate_id sale_id
            stakeholderrole_id updated:date updated_associate_id""",
        fields_on="created changed deleted",
        changes_on="created changed",
        values="sale_id",
    ),
    _entity(
        "ticket",
        "A request to customer service.",
        actions="created changed",
        key="id",
        # cust_id may be null.
        fields="""category connect_id contact_id created_at:date cust_id has_attachment:flag
            last_changed:date owned_by priority project_id sale_id slevel status ticket_status
            ticket_type""",
        fields_on="created changed",
        changes_on="changed",
    ),
    _entity(
        "webhook",  # webhook123.errors is sent for number 123
        "The state of a subscription to events.",
        actions="started stopped errors",
        key="webhook_id",
        # events is a number in the samples, a comma-separated list in the database.
        fields="""events:other registered:date registered_associate_id state updated:date
            updated_associate_id""",
        fields_on="started stopped errors",
    ),
    _entity("test", "Sent on registration.", actions=""),  # its whole name is "test"
)
"""The entities that are named on the wire as they are named here."""

LIST: Final = _entity(
    "list.{name}",
    "An item of a list.",
    actions="created changed softdeleted",
    fields_on="created changed softdeleted",  # FieldValues is there, and empty
    changes_on="created changed softdeleted",
)
"""Items of a list: ``list.category``, or by the number of its definition ``list.110``."""

EXTRA_TABLE: Final = _entity(
    "y_{table}",
    "A row of a custom table.",
    actions="created changed deleted",
    key="id",
    # And every custom column that is not text. The misspelling is SuperOffice's.
    fields="""id last_changed:date dbi_agent_id dbi_last_syncronized:date
        dbi_last_modified:date""",
    fields_on="created changed deleted",
    changes_on="created changed",
)
"""Rows of a custom table; on ``created`` and ``changed`` its values are sent as ``[I:6]``."""

_LIST_NAMES: Final = """
    amountclass associate business category comptr contint country credited currency
    deliveryterms deliverytype doctmpl extapp intent mrmrs paymentterms paymenttype persint
    perspos pmembtype priceunit priority prob productcategory productfamily producttype projstatus
    projtype quoteapprreason quotedenyreason reason reasonsold reasonstalled rejectreason
    relationdefinition saletype saletypecat salutation searchcat source stakeholderrole
    subscriptionunit tags task taskmenu udlist consentpurpose consentsource legalbase pricelist
    saletypestagelink ejcategory ticketpriority ticketstatus tickettype usergroup
    udlistdefinition
"""
LIST_NAMES: Final = tuple(_LIST_NAMES.split())
"""SuperOffice's own lists; a list that users defined has only its number."""

_BY_NAME: Final = {entity.name: entity for entity in ENTITIES}


def find(entity: str) -> Entity | None:
    """Return what is known of an entity, in whatever case it is written, or None."""
    name = str.lower(entity)
    if name.startswith("y_"):
        return EXTRA_TABLE
    return LIST if name.startswith("list.") else _BY_NAME.get(name)
