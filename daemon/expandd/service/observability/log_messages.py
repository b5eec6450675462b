"""Owns the sentence of each log line, for people who read the journal without looking at its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SENTENCES = {
    "expandd.started": "Started. Hot folders: {folders}; images in flight at most: {workers}.",
    "expandd.stopping": "Stopping: {in_hand} in hand; what is paid for is fetched and saved, for {seconds} s at most.",
    "expandd.stopped": "Stopped; {left_for_next_time} go on at the next start.",
    "permissions.loose": "{why}",
    "expandd.waiting": "Waiting {seconds} s before starting: it has crashed {crashes} times in a row.",
    "engine.recovered": "Compared journal and work folders: {open_jobs} in hand, {returned_files} put back.",
    "reload.done": "New configuration taken. Hot folders: {folders}; images in flight at most: {workers}.",
    "reload.mistake": "{message}",
    "reload.refused": "New configuration refused; mistakes: {mistakes}. {what_to_do}",
    "config.not_kept": "{state_dir} does not take the configuration that was loaded ({why}); the work goes on.",
    "reload.bug_found": "A fault of expandd's own while the new configuration was judged.",
    "metrics.failed": "The metrics cannot be written to {file} ({why}); the work goes on.",
    "snapshot.failed": "{state_dir} does not take what status shows ({why}): status knows less; the work goes on.",
    "loop.error": "{where}: {why}. It is tried again; the work goes on.",
    "loop.stuck": "Stuck: {loop} makes no progress.",
    "page.open": "The page for the browser is at {address}.",
    "page.ordered": "Ordered on the page: {verb} {job}{inbox}.",
    "page.cannot_tell": "The page cannot tell just now how it goes; the work goes on: {why}",
    "page.locked": "Nobody can log in to the page: {why}.",
    "page.bug_found": "A fault of expandd's own in the page; the work goes on.",
    "page.cannot_listen": "There is no page until its address is free; the work goes on. {why}",
    "account.shared": "{holder} works with the same account: together they get no more calls than one. Results take "
    "longer to be noticed. If that is not on purpose, let one instance have all folders.",
    "folder.left": "{inbox} is no longer worked on; other instances may have it.",
    "job.claimed": "{file}: taken.",
    "job.uploaded": "{file}: uploaded.",
    "job.intent": "{file}: about to be paid for.",
    "job.accepted": "{file}: the service has taken it.",
    "job.unknown": "{file}: the answer to the paid call was lost; it is found out by asking.",
    "job.rendered": "{file}: the result is there.",
    "job.vaulted": "{file}: the result is saved.",
    "job.delivered": "{file}: the result lies in the outbox.",
    "job.withdrawn": "{file}: given up before anything was paid: {why}. If it is there, it goes back into the inbox.",
    "job.finished": "{file}: expanded, {delivered_to} in {total_seconds} s.",
    "job.failed": "{file}: {message} {what_to_do}",
    "job.held": "{file}: {why} {what_to_do}",
    "job.duplicate": "{file}: this folder has paid for the same bytes before, as {duplicate_of}, and pays again. "
    "`duplicates: reuse` delivers the earlier result instead, `duplicates: skip` none.",
    "job.put_off": "{file}: {why} Tried again in {again_in} s.",
    "job.original_lost": "{file}: its original is lost: somebody removed it from the work folder of {inbox} before it "
    "could be put away. Its job ends without it.",
    "file.brought_back": "{file}: was given up unfinished, is whole now and goes back into the inbox.",
    "stray.stuck": "{inbox}: what lies in .expandd/{job} cannot be taken out of it: {why} Tried again each minute.",
    "gate.shut": "{gate} waits ({reason}): {why}",
    "gate.opened": "{gate} goes on after {waited} s.",
    "file.settled": "{file}: has stopped changing.",
    "file.ignored": "{file}: not picked up: {why}.",
    "file.unfinished": "{file}: not whole yet: {why}",
    "watch.renewed": "{inbox}: watched anew: {why}.",
    "notifications.read": "{total} notifications, {ours} of them ours.",
    "hook.told": "Hook {hook} was told of {about}.",
    "hook.failed": "Hook {hook} was not told of {about}: {why} The work goes on.",
    "hook.dropped": "Hook {hook}: events that it was not told: {dropped}. {why}",
    "bug.found": "A fault of expandd's own in {where}; what was in hand is kept and tried again.",
}


def sentence(event: str, facts: Mapping[str, Any]) -> str:
    """The sentence of an event; of one without, its name and its facts."""
    template = _SENTENCES.get(event)
    if template is None:
        return " ".join([event, *(f"{key}={value}" for key, value in facts.items())])
    return " ".join(template.format_map(_Facts(facts)).split())


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""
