"""Where addresses are, by files that come, go and break; no address is ever in the log."""

import builtins
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import geo
from agent.geo import Place
from shared import logs
from tests.kit import places
from tests.kit.places import BERLIN, LISBON, LISBON_6, NOWHERE


@contextmanager
def opened(city: Path | None = None, asn: Path | None = None) -> Iterator[geo.Places]:
    it = geo.Places.open(city, asn)
    try:
        yield it
    finally:
        it.close()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines so far, which name no address."""
    lines = [f"{record.message} {vars(record)['fields']}" for record in caplog.records]
    for address in (BERLIN, LISBON, LISBON_6, NOWHERE):
        assert not any(str(address) in line for line in lines)
        assert str(address) not in caplog.text
    return lines


def test_country_city_and_isp_are_found_for_both_protocols(tmp_path: Path) -> None:
    city, asn = places.write_cities(tmp_path / "city"), places.write_networks(tmp_path / "asn")
    with opened(city, asn) as it:
        assert it.look_up(BERLIN) == Place(country="DE", city="Berlin", isp="Spree Net")
        assert it.look_up(LISBON) == Place(country="PT", city="Lisbon", isp=None)
        assert it.look_up(LISBON_6) == Place(country="PT", city=None, isp="Tejo")
        assert it.look_up(NOWHERE) is None


def test_an_address_of_the_old_protocol_in_the_clothes_of_the_new_is_found(tmp_path: Path) -> None:
    with opened(asn=places.write_networks(tmp_path / "asn")) as it:
        assert it.look_up(IPv6Address(f"::ffff:{BERLIN}")) == Place(country=None, city=None, isp="Spree Net")


def test_without_files_nothing_is_known_and_nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    with opened() as it:
        assert it.look_up(BERLIN) is None
    assert told(caplog) == []


def test_a_file_of_the_old_protocol_knows_nothing_of_the_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = {"192.0.2.0/24": {"country": {"iso_code": "DE"}}}
    with opened(places.write(tmp_path / "city", records, "GeoLite2-City", version=4)) as it:
        assert it.look_up(LISBON_6) is None
        assert it.look_up(BERLIN) == Place(country="DE", city=None, isp=None)
    assert told(caplog) == []


def test_a_file_that_is_replaced_is_read_from_the_next_look_up_on(tmp_path: Path) -> None:
    city = places.write_cities(tmp_path / "city")
    with opened(city) as it:
        assert it.look_up(BERLIN) == Place(country="DE", city="Berlin", isp=None)
        places.write_cities(city, {"192.0.2.0/24": {"country": {"iso_code": "AT"}}})
        assert it.look_up(BERLIN) == Place(country="AT", city=None, isp=None)


def test_a_missing_file_is_said_once_and_used_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    city = tmp_path / "city"
    with opened(city) as it:
        assert it.look_up(BERLIN) is None
        assert it.look_up(LISBON) is None
        (line,) = told(caplog)
        assert "places_unreadable" in line
        assert str(city) in line
        assert "No such file" in line
        places.write_cities(city)
        assert it.look_up(BERLIN) is not None
        city.unlink()
        assert it.look_up(BERLIN) is None
        assert len(told(caplog)) == 2


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000, b"\xab\xcd\xefMaxMind.com", b"x" * 200_000])
def test_what_is_no_such_file_is_said_once_and_does_not_matter(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    city = tmp_path / "city"
    city.write_bytes(content)
    with opened(city, places.write_networks(tmp_path / "asn")) as it:
        for _ in range(3):
            assert it.look_up(BERLIN) == Place(country=None, city=None, isp="Spree Net")
        (line,) = told(caplog)
        assert "put a good one in its place" in line


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return places.write_cities(tmp_path_factory.mktemp("good") / "city").read_bytes()


@given(
    flips=st.dictionaries(st.floats(0, 1, exclude_max=True), st.integers(0, 255), min_size=1, max_size=5),
    kept=st.floats(0.5, 1),
)
def test_no_damage_to_a_file_raises_or_tells_an_address(
    good: bytes, flips: dict[float, int], kept: float
) -> None:
    content, said = bytearray(good), list[str]()
    for place, value in flips.items():
        content[int(place * len(content))] = value
    addresses: list[IPv4Address | IPv6Address] = [BERLIN, LISBON, LISBON_6, NOWHERE]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "event", lambda *_, **fields: said.append(str(fields)))
        path = Path(folder) / "city"
        path.write_bytes(content[: int(kept * len(content))])
        with opened(path) as it:
            for address in addresses:
                it.look_up(address)
    assert not any(str(address) in line for address in addresses for line in said)
    assert len(said) <= 2


def test_a_file_that_is_written_over_in_place_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    city = places.write_cities(tmp_path / "city")
    with opened(city) as it:
        assert it.look_up(BERLIN) is not None
        with city.open("r+b") as file:
            file.truncate(100)
        assert it.look_up(BERLIN) is None
    assert len(told(caplog)) == 1


def test_a_node_without_the_package_says_how_to_get_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "maxminddb":
            raise ImportError(name)
        return imported(name, *rest)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(builtins, "__import__", without)
    with opened(places.write_cities(tmp_path / "city")) as it:
        assert it.look_up(BERLIN) is None
    (line,) = told(caplog)
    assert "tidegate[geo]" in line


def test_names_of_any_length_and_records_of_any_shape_are_borne(tmp_path: Path) -> None:
    records = {
        "192.0.2.0/24": {"country": "DE", "city": {"names": {"en": "x" * 5000}}},
        "198.51.100.0/24": ["nothing"],
    }
    with opened(places.write_cities(tmp_path / "city", records)) as it:
        assert it.look_up(BERLIN) == Place(country=None, city="x" * geo.LONGEST_NAME, isp=None)
        assert it.look_up(LISBON) is None
