"""How notifications, links and history look in JSON, under the switches that leave them open."""

from typing import Any

from expandd.simulator.store import Job, Notification
from expandd.simulator.switches import Foreign, HistoryShape, Naming, Switches

ERROR_TEXT = "The image could not be expanded."
_ELSEWHERE = "https://images.example.com/other.jpg"


def link(job: Job, base: str) -> str:
    """The address of a result; without its signature it does not open."""
    return f"{base}/results/{job.id_image}/{job.id_task}?signature={job.signature}"


def notification_json(notification: Notification, switches: Switches, base: str) -> Any:
    if notification.foreign is not None:
        return _foreign(notification, notification.foreign)
    data: dict[str, Any] | None = None
    if notification.job is not None and notification.name == "error":
        data = {"tasks": "expand_generate", "msg": ERROR_TEXT}
        if switches.error_has_id:
            data |= _names(notification.id_image, switches.naming)
    elif notification.job is not None and switches.naming is not Naming.NEITHER:
        names = _names(notification.id_image, switches.naming)
        data = {**names, "links": [{"l": link(notification.job, base)}]}
    return _entry(notification, data)


def history_json(jobs: list[Job], shape: HistoryShape, base: str) -> dict[str, Any]:
    return {
        "history": [_history_link(link(job, base), shape) for job in jobs],
        "info_list": [{"id_task": job.id_task, "timestamp": job.finishes} for job in jobs],
    }


def _history_link(address: str, shape: HistoryShape) -> Any:
    if shape is HistoryShape.STRINGS:
        return address
    return {"l": address} if shape is HistoryShape.OBJECTS else [{"l": address}]


def _names(id_image: str, naming: Naming) -> dict[str, Any]:
    keys = {
        Naming.BOTH: ("id_image", "address"),
        Naming.ID_IMAGE: ("id_image",),
        Naming.ADDRESS: ("address",),
        Naming.NEITHER: (),
    }
    return dict.fromkeys(keys[naming], id_image)


def _entry(notification: Notification, data: Any) -> dict[str, Any]:
    return {
        "id": notification.id,
        "name": notification.name,
        "timestamp": notification.timestamp,
        "data": data,
    }


def _foreign(notification: Notification, kind: Foreign) -> Any:
    if kind is Foreign.NOT_AN_OBJECT:
        return "expand_generate"
    entry = _entry(notification, _foreign_data(notification.id_image, kind))
    if kind in {Foreign.NO_DATA, Foreign.NO_ID}:
        del entry["data" if kind is Foreign.NO_DATA else "id"]
    return entry


def _foreign_data(id_image: str, kind: Foreign) -> Any:
    names: dict[str, Any] = {"id_image": id_image, "address": id_image}
    shapes: dict[Foreign, Any] = {
        Foreign.FAILED: {"tasks": "expand_generate", "msg": "Another client's image could not be expanded."},
        Foreign.PROGRESS: {"task": "expand_generate", "msg": "working", "progress": 0.5},
        Foreign.DATA_NULL: None,
        Foreign.DATA_LIST: [names],
        Foreign.NO_LINKS: names,
        Foreign.EMPTY_LINKS: names | {"links": []},
        Foreign.LINK_IS_TEXT: names | {"links": _ELSEWHERE},
    }
    return shapes.get(kind, names | {"links": [{"l": _ELSEWHERE}]})
