"""The link host: GET of a result."""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from expandd.simulator.switches import ResultType
from tests.simulator.desk import Desk, an_image, opened


def test_the_link_host_is_another_one_than_the_apis(desk: Desk) -> None:
    link = urlsplit(desk.link())
    api = urlsplit(desk.server.api_url)
    assert link.port != api.port
    assert desk.plain.get(f"{desk.server.link_url}/api/me").status_code == 404
    assert desk.plain.get(f"{desk.server.url}{link.path}?{link.query}").status_code == 404


def test_a_result_is_served_without_a_token_and_with_its_true_length(desk: Desk) -> None:
    answer = desk.plain.get(desk.link())
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert desk.server.counts().authorization_at_link_host == 0


def test_a_token_sent_to_the_link_host_is_counted(desk: Desk) -> None:
    link = desk.link()
    assert desk.api.get(link).status_code == 200
    assert desk.server.counts().authorization_at_link_host == 1
    desk.server.set_fault("link:503")
    assert desk.api.get(link).status_code == 503
    assert desk.server.counts().authorization_at_link_host == 2


def test_the_same_link_gives_the_same_bytes_even_when_rendered_again(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    link = desk.link()
    first = desk.plain.get(link).content
    for seed in range(17):
        desk.plain.get(desk.link(an_image(64, 64, seed=seed)))
    assert desk.plain.get(link).content == first


@pytest.mark.parametrize(
    ("kind", "switch", "wanted"),
    [
        ("PNG", ResultType.SAME, "PNG"),
        ("JPEG", ResultType.SAME, "JPEG"),
        ("WEBP", ResultType.SAME, "WEBP"),
        ("PNG", ResultType.JPEG, "JPEG"),
        ("JPEG", ResultType.PNG, "PNG"),
        ("JPEG", ResultType.WEBP, "WEBP"),
    ],
)
def test_the_result_type_is_the_sources_or_a_switch(
    make_desk: Callable[..., Desk], kind: str, switch: ResultType, wanted: str
) -> None:
    desk = make_desk(result_type=switch)
    answer = desk.plain.get(desk.link(an_image(kind=kind)))
    assert opened(answer.content).format == wanted
    assert answer.headers["content-type"] == f"image/{wanted.lower()}"


def test_a_link_without_its_signature_is_403(desk: Desk) -> None:
    link = desk.link()
    assert desk.plain.get(link.partition("?")[0]).status_code == 403
    assert desk.plain.get(link[:-1]).status_code == 403


@pytest.mark.parametrize("path", ["/", "/results", "/results/a/b", "/results/a/b/c", "/other/a/b"])
def test_a_link_nobody_gave_is_404(desk: Desk, path: str) -> None:
    assert desk.plain.get(f"{desk.server.link_url}{path}").status_code == 404


def test_a_link_that_names_another_image_is_404(desk: Desk) -> None:
    link = desk.link()
    id_image = urlsplit(link).path.split("/")[2]
    assert desk.plain.get(link.replace(id_image, desk.upload())).status_code == 404


def test_a_result_cannot_be_had_before_it_is_finished_nor_when_it_failed(desk: Desk) -> None:
    desk.server.set_fault("generate:job-fails")
    id_image = desk.upload()
    failed, running = (desk.generate(id_image).json()["id_task"] for _ in range(2))
    address = f"{desk.server.link_url}/results/{id_image}"
    assert desk.plain.get(f"{address}/{running}").status_code == 404
    desk.server.clock.advance(2)
    assert desk.plain.get(f"{address}/{running}").status_code == 403
    assert desk.plain.get(f"{address}/{failed}").status_code == 404


def test_a_link_can_only_be_read(desk: Desk) -> None:
    assert desk.plain.post(desk.link()).status_code == 405


def test_a_link_outlives_its_source_but_not_its_own_life(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(source_life=100.0, link_life=1000.0)
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    link = desk.listed()[0]["data"]["links"][0]["l"]
    desk.server.clock.advance(990)
    assert desk.history(id_image).status_code == 405
    assert desk.plain.get(link).status_code == 200
    desk.server.clock.advance(10)
    assert desk.plain.get(link).status_code == 404


@pytest.mark.parametrize("hops", [1, 3])
def test_a_link_may_redirect_before_it_leads_to_the_image(make_desk: Callable[..., Desk], hops: int) -> None:
    desk = make_desk(redirects=hops)
    answer = desk.plain.get(desk.link(), follow_redirects=True)
    assert [hop.status_code for hop in answer.history] == [302] * hops
    assert opened(answer.content).size == (95, 80)


def test_the_counts_tell_whole_downloads_of_each_image(desk: Desk) -> None:
    notification = desk.finished()
    link = notification["data"]["links"][0]["l"]
    id_image = notification["data"]["id_image"]
    assert desk.server.counts().downloads == {}
    desk.plain.get(link)
    desk.plain.get(link)
    desk.plain.get(link.partition("?")[0])
    assert desk.server.counts().downloads == {id_image: 2}


def test_a_download_broken_off_by_the_client_does_not_count(desk: Desk) -> None:
    # Noise does not compress: the result is far larger than what the sockets hold.
    link = desk.link(an_image(2000, 2000, noise=True))
    with desk.plain.stream("GET", link) as answer:
        assert len(next(answer.iter_raw())) > 0
    # Long enough for the server to notice the end and to have sent the rest into the void.
    time.sleep(0.2)
    assert desk.server.counts().downloads == {}
