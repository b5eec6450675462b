"""Runs several hosts of one cluster as processes: the same folders and account, a state directory each."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemon import House

LEASE = 5.0
"""Seconds: the shortest that is allowed."""


def hosts(
    root: Path, api_url: str, database: str, names: str, *, top: str = "", api: str = "", poll: str = "100ms"
) -> dict[str, House]:
    """A house for each of these names of one letter, which share the folders of `root`. `database` is a URL."""
    common = House(root, api_url)
    common.build(top=top, api=api)
    text = common.config.read_text(encoding="utf-8").replace("poll_interval: 100ms", f"poll_interval: {poll}")
    common.config.write_text(text, encoding="utf-8")
    url = root / "database-url"
    url.write_text(database, encoding="utf-8")
    url.chmod(0o600)
    return {name: _host(common, name, url) for name in names}


def _host(common: House, name: str, url: Path) -> House:
    house = House(common.root / f"host-{name}", common.api_url)
    house.root.mkdir()
    text = common.config.read_text(encoding="utf-8").replace(str(common.state_dir), str(house.state_dir))
    cluster = f"cluster: {{database_file: {url}, name: {name}, lease: {LEASE:g}s}}\n"
    house.config.write_text(cluster + text, encoding="utf-8")
    return house
