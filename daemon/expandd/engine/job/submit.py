"""Submits a job: uploads it, proves the storage, stores the intent, and makes one paid call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from expandd.domain.errors import (
    MOST_DEATHS,
    READER_DIES,
    AccountAway,
    DatabaseAway,
    Fault,
    FaultCode,
    FileFault,
    ImageIdRefused,
    Later,
    OutcomeUnknown,
    ReaderDied,
)
from expandd.domain.image import Prepared
from expandd.domain.job import Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.spending import Denied, Limits
from expandd.engine.control.holds import LOOK
from expandd.engine.flow.account import Account
from expandd.engine.flow.budgets import Budgets
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.scheduler import NOW, OVER, NextActivation
from expandd.engine.job.deduplicate import Deduplicator
from expandd.engine.job.failures import FaultScope, ImageFailures, Step
from expandd.engine.job.work_folder import RecoveryRecords, WorkFolders
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Api, Clock, Folders, Images, Membership, Spool

SEVERAL = 3
"""Images with the same refusal, and none accepted, after which no image is at fault."""

TRIES = 3
"""Tries of one image after which it is at fault, where no other image was refused so."""

MOST_WORDS = 64
"""Different refusals that are remembered."""

_OF_ONE_IMAGE = re.compile(r"[0-9a-f-]{8,}|\d+", re.IGNORECASE)
"""Ids and numbers in a refusal: they differ from image to image."""


class RequestRefusals:
    """Judges refused paid calls while fields of `api.generate_extra` (`added`) are sent and none was accepted yet."""

    def __init__(self, added: Collection[str]) -> None:
        self._added = ", ".join(sorted(added))
        self._refused: dict[str, dict[str, int]] = {}

    def accepted(self) -> None:
        """Note that the API accepts the extra fields: from now on each refusal is about its image."""
        self._added = ""
        self._refused.clear()

    def judged(self, job: Job, refusal: FileFault) -> AccountAway | Later | None:
        """The error to raise instead of the refusal; None where the image is at fault."""
        if not self._added:
            return None
        words = _OF_ONE_IMAGE.sub("", refusal.fault.message.replace(job.image_id, ""))
        if words not in self._refused and len(self._refused) >= MOST_WORDS:
            self._refused.clear()
        tries = self._refused.setdefault(words, {})
        if len(tries) < SEVERAL or job.id in tries:
            tries[job.id] = tries.get(job.id, 0) + 1
        if len(tries) >= SEVERAL:
            return AccountAway(
                PauseReason.REQUEST_REFUSED,
                f"The API has refused {SEVERAL} images in the same words and accepted none since expandd was started: "
                f"{refusal.fault.message} It may be about `api.generate_extra` ({self._added}); no file is at fault. "
                "Correct it in the configuration and restart expandd.",
            )
        return Later(refusal.fault.message) if tries[job.id] < TRIES else None


SOURCE_LIFE = 23 * 3600.0
"""Seconds after which an upload is not relied on any more: the API deletes sources 24 h after upload."""

MOST_UPLOADS = 3
"""Uploads of one image after which an image id that is still refused counts as a refusal of the image.

Uploads that were repeated for their age alone do not count.
"""

COPY = ".prepared"
"""The name beside the file of the copy that the API is sent."""

WAIT = 1.0
"""Seconds until a job that waits for budgets or credits is activated again."""


T = TypeVar("T")


class Submitter:
    """The steps before and of the paid call. At most one generate per job is ever accepted."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        breakers: CircuitBreakers,
        api: Api,
        folders: Folders,
        images: Images,
        spool: Spool,
        clock: Clock,
        budgets: Budgets,
        account: Account,
        deduplicator: Deduplicator,
        work: WorkFolders,
        fault_scope: FaultScope,
        image_failures: ImageFailures,
        refusals: RequestRefusals,
        membership: Membership,
    ) -> None:
        self._membership = membership
        self._unsent: set[tuple[str, int]] = set()
        """Jobs, with their epoch, that may be stored as submitting though nothing was sent for them."""
        self._jobs = jobs
        self._breakers = breakers
        self._api = api
        self._folders = folders
        self._images = images
        self._spool = spool
        self._clock = clock
        self._budgets = budgets
        self._account = account
        self._deduplicator = deduplicator
        self._work = work
        self._fault_scope = fault_scope
        self._image_failures = image_failures
        self._refusals = refusals
        self._records = RecoveryRecords(jobs=jobs, folders=folders)
        self._deaths: dict[str, int] = {}

    async def upload(self, job: Job) -> NextActivation:
        """Claim the file if it is not claimed yet, and upload it, or an upright copy."""
        identity = await self._folders.claim(job)
        if identity is None:
            await self._work.prove_not_elsewhere(job)
            return await self._return_file(job, "the file is not there any more")
        if await self._records.says_more(job):
            return NOW
        if not identity.is_same(job.source.identity):
            return await self._return_file(job, "the file changed while it was picked up")
        if job.fault is not None:
            raise FileFault(job.fault)
        if job.epoch == 0 and await self._membership.offer(job):
            self._jobs.let_others_carry(job)
            return OVER
        if self._breakers.stopping:
            return WAIT
        next_activation = await self._deduplicator.settled(job)
        if next_activation is not None:
            return next_activation
        failed = bool(job.strikes)
        seconds = self._breakers.spending.wait() or self._breakers.enter(self._breakers.service, after_others=failed)
        if seconds:
            return seconds
        try:
            return await self._send(job)
        finally:
            self._breakers.service.let_go()

    async def pay(self, job: Job) -> NextActivation:
        """Make the paid call, after all proofs that are possible before it."""
        if job.fault is not None:
            raise FileFault(job.fault)
        if self._breakers.stopping or self._breakers.draining:
            return WAIT
        # All at once, since the slot is idle meanwhile; their errors count in this order.
        restored, changed, stored = await asyncio.gather(
            self._records.says_more(job),
            self._changed_since_upload(job),
            self._prove_storage(job),
            return_exceptions=True,
        )
        if _told(restored):
            return NOW
        self._image_failures.convict(job, Step.GENERATE, job.note)
        if self._upload_too_old(job):
            await self._jobs.move(job, JobState.CLAIMED, image_id="", uploads=0)
            return NOW
        if why := _told(changed):
            return await self._return_file(job, why)
        # Others may have been uploaded beside this one, and paid for meanwhile.
        next_activation = await self._deduplicator.settled(job)
        if next_activation is not None:
            return next_activation
        _told(stored)
        failed = bool(job.strikes)
        seconds = self._breakers.enter(self._breakers.service, self._breakers.spending, after_others=failed)
        if seconds:
            return seconds
        try:
            return await self._once(job)
        finally:
            self._breakers.service.let_go()
            self._breakers.spending.let_go()

    async def _once(self, job: Job) -> NextActivation:
        """Make the paid call if credits and budgets allow it."""
        if not await self._account.prove():
            return LOOK
        await self._budgets.keep_up()
        # Local knowledge can save the query. The job database decides, since other hosts pay, too.
        if self._deduplicator.waits(job) or not self._account.may_pay() or not self._budgets.within(job):
            return LOOK
        self._account.begun(job.id)
        try:
            submitted = await self._submitted(job)
            if isinstance(submitted, Denied):
                self._account.not_begun(job.id)
                return await self._wait_for(submitted)
            return await self._generate(submitted)
        finally:
            self._account.answered(job.id)

    async def _submitted(self, job: Job) -> Job | Denied:
        limits = Limits(
            caps=(*self._budgets.caps(job), *self._account.caps(self._membership.hindsight)),
            in_flight=self._budgets.settings.cluster.in_flight,
            unique=self._deduplicator.looks_for_duplicates(job),
        )
        try:
            submitted = await self._jobs.submit(job, limits)
        except DatabaseAway:
            # It may have been stored all the same. Nothing is sent.
            self._unsent.add((job.id, job.epoch))
            raise
        self._unsent.discard((job.id, job.epoch))
        return submitted

    async def _wait_for(self, denied: Denied) -> NextActivation:
        """Take over the payments of other hosts that forbid this one, and return when to try again."""
        if denied.cap is not None:
            await self._budgets.load()
        return WAIT if denied.in_flight else LOOK

    async def mark_unknown(self, job: Job) -> NextActivation:
        """Move a job to unknown whose process died during the paid call or just before it."""
        if (job.id, job.epoch) in self._unsent:
            await self._step_back(job)
            return NOW
        if await self._records.says_more(job):
            return NOW
        await self._jobs.move(job, JobState.UNKNOWN, note="expandd stopped while the paid call was under way")
        return NOW

    async def _send(self, job: Job) -> NextActivation:
        sent, sha256, prepared = await self._prepared(job)
        try:
            uploaded = await self._image_failures.call(job, Step.UPLOAD, self._api.upload(sent, job.relative.name))
        except FileFault:
            found = await self._folders.identity(job.work_file)
            if found is not None and found.is_same(job.source.identity):
                raise
            return await self._return_file(job, "the file was still being written")
        source = replace(job.source, sha256=sha256 or uploaded.sha256)
        await self._jobs.move(
            job,
            JobState.UPLOADED,
            image_id=uploaded.image_id,
            source=source,
            prepared=prepared,
            uploads=job.uploads + 1,
            strikes=0,
        )
        return NOW

    async def _prepared(self, job: Job) -> tuple[Path, str, Prepared | None]:
        """What is sent; the digest of the file and what is known of its copy where that is sent in its place."""
        if not job.source.needs_copy:
            return job.work_file, "", None
        copy = job.work_dir / COPY
        sha256 = await self._digest(job)
        try:
            prepared = await self._images.prepare(job.work_file, copy)
        except ReaderDied as error:
            self._deaths[job.id] = self._deaths.get(job.id, 0) + 1
            if self._deaths[job.id] >= MOST_DEATHS:
                raise FileFault(READER_DIES) from error
            raise
        self._deaths.pop(job.id, None)
        return copy, sha256, prepared

    async def _digest(self, job: Job) -> str:
        try:
            return await self._folders.digest(job.work_file)
        except FileNotFoundError as error:
            raise Later("the file vanished from the work folder") from error

    def _upload_too_old(self, job: Job) -> bool:
        uploaded = job.entered(JobState.UPLOADED)
        age = self._clock.wall() - uploaded if uploaded is not None else None
        # A clock that stepped back makes the age negative: an upload is free, so it is repeated.
        return age is None or not 0 <= age < SOURCE_LIFE

    async def _changed_since_upload(self, job: Job) -> str | None:
        identity, sha256 = await asyncio.gather(
            self._folders.identity(job.work_file), self._folders.digest(job.work_file), return_exceptions=True
        )
        if (found := _told(identity)) is not None and not found.is_same(job.source.identity):
            return "the file was still being written, or exchanged for another, after it was picked up"
        if isinstance(sha256, FileNotFoundError):
            await self._work.prove_not_elsewhere(job)
            return "a person took the file away before anything was paid"
        return None if _told(sha256) == job.source.sha256 else "the file was still being written"

    async def _prove_storage(self, job: Job) -> None:
        room, folder = job.room, job.folder
        proven = await asyncio.gather(
            self._folders.prove(folder.outbox, room),
            self._folders.prove(folder.done, job.source.identity.size),
            # The API's own bytes stay beside what is made of them.
            self._spool.prove(2 * room if job.source.needs_copy else room),
            return_exceptions=True,
        )
        *folders, spool = proven
        for each in folders:
            _told(each)
        self._fault_scope.prove_stores(folder.inbox)
        self._breakers.storage(folder.inbox).passed()
        _told(spool)

    async def _generate(self, job: Job) -> NextActivation:
        try:
            # Twice: a record that comes late would take the place of that of the host that has taken the job over.
            self._prove_membership()
            await self._folders.write_record(job)
            self._prove_membership()
        except Exception:
            # With any error here nothing was sent.
            await self._step_back(job)
            raise
        try:
            call = self._api.generate(job.image_id, job.asked)
            task_id = await self._image_failures.call(job, Step.GENERATE, call)
        except OutcomeUnknown as error:
            await self._jobs.move(job, JobState.UNKNOWN, note=str(error))
            return NOW
        except ImageIdRefused as error:
            return await self._upload_again(job, str(error))
        except (AccountAway, Later):
            await self._step_back(job)
            raise
        except FileFault as error:
            other = self._refusals.judged(job, error)
            if other is None:
                raise
            await self._step_back(job)
            raise other from error
        self._breakers.spending.passed()
        self._refusals.accepted()
        await self._deduplicator.paid(await self._jobs.move(job, JobState.ACCEPTED, task_id=task_id, strikes=0))
        return NOW

    async def _step_back(self, job: Job) -> None:
        """Store that nothing was made; while that is not possible, remember it."""
        self._unsent.add((job.id, job.epoch))
        await self._jobs.move(job, JobState.UPLOADED, attempts=job.attempts)
        self._unsent.discard((job.id, job.epoch))

    def _prove_membership(self) -> None:
        """Raise Later while other hosts may take this one for dead: they would pay for its job."""
        if not self._membership.may_send():
            raise Later("the job database has not answered this host for so long that it must not pay for anything")

    async def _upload_again(self, job: Job, why: str) -> NextActivation:
        if job.uploads >= MOST_UPLOADS:
            raise FileFault(
                Fault(
                    FaultCode.REFUSED_BY_API,
                    f"The API took this image {job.uploads} times but would not expand it: {why}",
                    "Open the image, save it again as a new JPEG or PNG, and drop that. Nothing was paid.",
                ),
            )
        await self._jobs.move(job, JobState.CLAIMED, image_id="", note=why)
        return NOW

    async def _return_file(self, job: Job, why: str) -> NextActivation:
        await self._jobs.move(job, JobState.RETURNED, note=why)
        return NOW


def _told(outcome: T | BaseException) -> T:
    """What a call that was made beside others has returned; raises what it has raised."""
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
