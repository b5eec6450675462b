"""How notifications, links and history look in JSON, under the switches that leave them open."""

from typing import Any

from expandd.simulator.store import Job, Notification
from expandd.simulator.switches import Foreign, HistoryShape, Naming, Switches

_ELSEWHERE = "https://images.example.com/other.jpg"
_NAMES = {
    Naming.BOTH: ("id_image", "address"),
    Naming.ID_IMAGE: ("id_image",),
    Naming.ADDRESS: ("address",),
    Naming.NEITHER: (),
}


def link(job: Job, base: str) -> str:
    """The address of a result; without its signature it does not open."""
    return f"{base}/results/{job.id_image}/{job.id_task}?signature={job.signature}"


def history_json(jobs: list[Job], shape: HistoryShape, base: str) -> dict[str, Any]:
    return {
        "history": [_history_link(link(job, base), shape) for job in jobs],
        "info_list": [{"id_task": job.id_task, "timestamp": job.finishes} for job in jobs],
    }


def _history_link(address: str, shape: HistoryShape) -> Any:
    if shape is HistoryShape.STRINGS:
        return address
    return {"l": address} if shape is HistoryShape.OBJECTS else [{"l": address}]


def notification_json(notification: Notification, switches: Switches, base: str) -> Any:
    entry = {"id": notification.id, "name": notification.name, "timestamp": notification.timestamp}
    if notification.foreign is not None:
        return _foreign(entry, notification.id_image, notification.foreign)
    names = dict.fromkeys(_NAMES[switches.naming], notification.id_image)
    data: dict[str, Any] | None = None
    if notification.name == "error":
        data = {"tasks": "expand_generate", "msg": "The image could not be expanded."}
        data |= names if switches.error_has_id else {}
    elif notification.job is not None and names:
        data = {**names, "links": [{"l": link(notification.job, base)}]}
    return entry | {"data": data}


def _foreign(entry: dict[str, Any], id_image: str, kind: Foreign) -> Any:
    names = {"id_image": id_image, "address": id_image}
    data: dict[Foreign, Any] = {
        Foreign.FAILED: {"tasks": "expand_generate", "msg": "Another client's image could not be expanded."},
        Foreign.PROGRESS: {"task": "expand_generate", "msg": "working", "progress": 0.5},
        Foreign.DATA_NULL: None,
        Foreign.DATA_LIST: [names],
        Foreign.NO_LINKS: names,
        Foreign.EMPTY_LINKS: names | {"links": []},
        Foreign.LINK_IS_TEXT: names | {"links": _ELSEWHERE},
    }
    if kind is Foreign.NOT_AN_OBJECT:
        return "expand_generate"
    if kind is Foreign.NO_DATA:
        return entry
    if kind is Foreign.NO_ID:
        del entry["id"]
    return entry | {"data": data.get(kind, names | {"links": [{"l": _ELSEWHERE}]})}
